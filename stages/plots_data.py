"""Writes the tables that `dvc plots` draws.

Reads: artifacts/predictions/, data/cifar10/test_labels.npy, data/cifar10/labels.json,
    artifacts/inspection/layers.json, metrics/sensitivity.json
Writes: metrics/plots/ (class_accuracy, confusion, sqnr, sensitivity, all .csv)
Params: quantize_onnx.types, quantize_torch.types
"""

import argparse
from pathlib import Path

from resnet8.compare import plot_data
from resnet8.core.dataset import read_label_names, read_labels, read_predictions
from resnet8.core.files import csv_bytes, read_json, write_bytes
from resnet8.core.names import FLOAT_VARIANTS
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layers", type=Path, required=True)
    parser.add_argument("--sensitivity", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    params = load_params(args.params)
    quantized = [name for name in params.variants if name not in FLOAT_VARIANTS]

    labels = read_labels(args.data / "test_labels.npy")
    label_names = read_label_names(args.data / "labels.json")
    shape = (len(labels), len(label_names))
    predictions = read_predictions(args.predictions, params.variants, shape=shape)
    inspection, sensitivity = read_json(args.layers), read_json(args.sensitivity)

    accuracies = plot_data.class_accuracies(predictions, labels, label_names=label_names)
    confusions = plot_data.confusions(predictions, labels, label_names=label_names)
    tables = {
        "per_class_accuracy": csv_bytes(plot_data.ClassAccuracy._fields, accuracies),
        "confusion": csv_bytes(plot_data.Confusion._fields, confusions),
        "sqnr": csv_bytes(
            plot_data.LayerSqnr._fields, plot_data.sqnr_profile(inspection, variants=quantized)
        ),
        "sensitivity": csv_bytes(
            plot_data.LayerSensitivity._fields,
            plot_data.sensitivities(sensitivity, variants=quantized),
        ),
    }

    for name, content in tables.items():
        write_bytes(args.out / f"{name}.csv", content)
    print(f"{len(tables)} tables for `dvc plots show`, of {len(predictions)} variants")


if __name__ == "__main__":
    run_stage(main)
