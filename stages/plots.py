"""Draws the figures of all layers, and writes the tables that `dvc plots` draws.

Reads: artifacts/inspection/, artifacts/predictions/, data/cifar10/test_{images,labels}.npy,
    data/cifar10/labels.json, metrics/sensitivity.json
Writes: artifacts/figures/, metrics/plots/{per_class_accuracy,confusion,sqnr,sensitivity}.csv
Params: quantize_onnx.types, quantize_torch.types
"""

from typing import Any

from resnet8.compare.plot_data import COLUMNS, plot_tables
from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.files import csv_bytes, read_arrays, read_json, write_bytes
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.report.figures.canvas import draw_all
from resnet8.report.figures.catalog import layer_drawings


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params inspection predictions data sensitivity tables out")
    params = load_params(args.params)

    inspection = read_json(args.inspection / "layers.json")
    captures: dict[str, dict[str, Any]] = {
        name: read_arrays(args.inspection / f"{name}.npz") for name in params.variants
    }
    test_set = read_test_set(args.data)
    tables = plot_tables(
        read_predictions(args.predictions, params.variants, shape=test_set.shape),
        test_set,
        inspection=inspection,
        sensitivity=read_json(args.sensitivity),
        quantized=params.quantized,
    )
    drawings = layer_drawings(inspection, captures)

    drawn = draw_all(drawings)
    for name, png in show_progress(drawn, desc="figures", unit="figures", total=len(drawings)):
        write_bytes(args.out / f"{name}.png", png)
    for name, rows in tables.items():
        write_bytes(args.tables / f"{name}.csv", csv_bytes(COLUMNS[name], rows))
    print(f"{len(tables)} tables in {args.tables}, {len(drawings)} pictures in {args.out}")


if __name__ == "__main__":
    run_stage(main)
