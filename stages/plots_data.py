"""Writes the tables that `dvc plots` draws.

Reads: artifacts/predictions/, data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json,
    artifacts/inspection/layers.json, metrics/sensitivity.json
Writes: metrics/plots/{per_class_accuracy,confusion,sqnr,sensitivity}.csv
Params: quantize_onnx.types, quantize_torch.types
"""

from resnet8.compare.plot_data import COLUMNS, plot_tables
from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.files import csv_bytes, read_json, write_bytes
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params predictions data layers sensitivity out")
    params = load_params(args.params)

    test_set = read_test_set(args.data)
    tables = plot_tables(
        read_predictions(args.predictions, params.variants, shape=test_set.shape),
        test_set,
        inspection=read_json(args.layers),
        sensitivity=read_json(args.sensitivity),
        quantized=params.quantized,
    )

    for name, rows in tables.items():
        write_bytes(args.out / f"{name}.csv", csv_bytes(COLUMNS[name], rows))
    print(f"{len(tables)} tables for `dvc plots show`, of {len(params.variants)} variants")


if __name__ == "__main__":
    run_stage(main)
