"""Draws the figures of all layers.

Reads: artifacts/inspection/
Writes: artifacts/figures/
Params: quantize_onnx.types, quantize_torch.types
"""

from typing import Any

from resnet8.core.arguments import parse_paths
from resnet8.core.files import read_arrays, read_json, write_bytes
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.report.figures.canvas import draw_all
from resnet8.report.figures.catalog import layer_drawings


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params inspection out")
    params = load_params(args.params)

    captures: dict[str, dict[str, Any]] = {
        name: read_arrays(args.inspection / f"{name}.npz") for name in params.variants
    }
    drawings = layer_drawings(read_json(args.inspection / "layers.json"), captures)

    drawn = draw_all(drawings)
    for name, png in show_progress(drawn, desc="figures", unit="figures", total=len(drawings)):
        write_bytes(args.out / f"{name}.png", png)
    print(f"{len(drawings)} pictures in {args.out}")


if __name__ == "__main__":
    run_stage(main)
