"""Draws the figures: layer by layer, class by class, image by image.

Reads: artifacts/inspection/, artifacts/predictions/, metrics/{sensitivity,comparison}.json,
    data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json
Writes: artifacts/figures/
Params: quantize_onnx.types, quantize_torch.types
"""

from typing import Any

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.files import read_arrays, read_json, write_bytes
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.report.figures import canvas
from resnet8.report.figures.catalog import layer_drawings, outcome_drawings


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params inspection metrics predictions data out")
    params = load_params(args.params)

    inspection = read_json(args.inspection / "layers.json")
    captures: dict[str, dict[str, Any]] = {
        name: read_arrays(args.inspection / f"{name}.npz") for name in params.variants
    }
    sensitivity = read_json(args.metrics / "sensitivity.json")
    comparison = read_json(args.metrics / "comparison.json")
    test_set = read_test_set(args.data)
    predictions = read_predictions(args.predictions, params.variants, shape=test_set.shape)

    drawings = layer_drawings(inspection, captures, sensitivity=sensitivity)
    drawings |= outcome_drawings(predictions, test_set, comparison=comparison)

    drawn = canvas.draw_all(drawings)
    for name, png in show_progress(drawn, desc="figures", unit="figures", total=len(drawings)):
        write_bytes(args.out / f"{name}.png", png)
    print(f"{len(drawings)} pictures in {args.out}")


if __name__ == "__main__":
    run_stage(main)
