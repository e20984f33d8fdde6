"""What each method of `fit` is worth, on training images that calibration does not see.

This is how the defaults of params.yaml were chosen. Run it with `python -m benchmarks.methods`
after `dvc repro`. No test image is read.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks import machine, tables
from benchmarks.peers.runs import held_out_indices
from resnet8.compare.comparison import compare
from resnet8.core.dataset import read_images, read_label_names, read_labels
from resnet8.core.evaluation import predict
from resnet8.core.files import write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.sections import Fit
from resnet8.models import onnx_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.calibration import draw_balanced
from resnet8.quantize.fit import fit

COLUMNS = ("method", "agree %", "KL", "delta pp", "seconds")
PLAIN = {
    "activation_range": "minmax",
    "equalization": 0.0,
    "weight_rounding": "nearest",
    "bias_correction": False,
}
# What differs from params.yaml, by the name in the table; one step after the other first.
METHODS: dict[str, dict[str, Any]] = {
    "minmax, nearest": PLAIN,
    "percentile, nearest": PLAIN | {"activation_range": "percentile"},
    "entropy, nearest": PLAIN | {"activation_range": "entropy"},
    "mse, nearest": PLAIN | {"activation_range": "mse"},
    "mse, GPTQ": PLAIN | {"activation_range": "mse", "weight_rounding": "gptq"},
    "mse, GPTQ, corrected biases": {"equalization": 0.0},
    "the same, equalized at 0.5": {"equalization": 0.5},
    "the same, equalized at 0.75": {"equalization": 0.75},
    "the same, equalized at 1": {"equalization": 1.0},
    "params.yaml, but minmax": {"activation_range": "minmax"},
    "params.yaml, but percentile": {"activation_range": "percentile"},
    "params.yaml, but symmetric activations": {"activation_symmetric": True},
    "params.yaml, but one weight scale": {"per_channel": False},
    "params.yaml, but damping 0.1": {"gptq_damping": 0.1},
}


def summarize(found: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean of each figure over the draws, and the median of the seconds, by method."""
    return {
        name: {
            key: (median if key == "seconds" else fmean)([row[key] for row in rows])
            for key in rows[0]
        }
        for name, rows in found.items()
    }


def format_row(name: str, row: Mapping[str, float]) -> tuple[str, ...]:
    """One line of the table, a cell for each of `COLUMNS`."""
    return (
        name,
        f"{100 * row['agreement']:.2f}",
        f"{row['kl_divergence']:.5f}",
        f"{row['accuracy_delta_pp']:+.2f}",
        f"{row['seconds']:.1f}",
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="calibration images")
    parser.add_argument("--seeds", type=int, default=3, help="draws of calibration images")
    parser.add_argument("--held-out", type=int, default=5000, help="training images to score on")
    parser.add_argument("--json", type=Path, help="where to write every draw")
    parser.add_argument("--readme", action="store_true", help="renew benchmarks/README.md")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"))
    parser.add_argument("--model", type=Path, default=Path("artifacts/models/onnx_fp32.onnx"))
    args = parser.parse_args(argv)
    params = load_params(args.params)

    images = read_images(args.data / "train_images.npy")
    labels = read_labels(args.data / "train_labels.npy")
    label_names = read_label_names(args.data / "labels.json")
    model = onnx_model.load_model(args.model)
    original = predict(onnx_model.make_predictor(model), images, batch_size=100)

    found: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for seed in range(args.seeds):
        drawn = draw_balanced(labels, args.size, seed=seed)
        rest = held_out_indices(len(images), drawn, size=args.held_out)
        for name, changes in METHODS.items():
            settings = Fit.model_validate(dict(params.fit) | changes)
            start = time.perf_counter()
            points = onnx_writer.find_points(
                model, symmetric=settings.activation_symmetric, float_layers=settings.float_layers
            )
            quantization = fit(model, images[drawn], settings, points=points)
            seconds = time.perf_counter() - start
            quantized = onnx_writer.quantize(model, quantization, quant_type="uint8")
            predictor = onnx_model.make_predictor(quantized)
            probabilities = predict(predictor, images[rest], batch_size=100)
            row = compare(original[rest], probabilities, labels[rest], label_names=label_names)
            keys = ("agreement", "kl_divergence", "accuracy_delta_pp")
            found[name].append({key: row[key] for key in keys} | {"seconds": seconds})
            print(f"seed {seed}: {' '.join(format_row(name, found[name][-1]))}", flush=True)

    lines = [format_row(name, row) for name, row in summarize(found).items()]
    tables.print_table(COLUMNS, lines)
    described = machine.describe(("numpy", "onnxruntime"))
    note = (
        f"{machine.sentence(described)} {args.size:,} calibration images, mean of {args.seeds} "
        f"draws; scored on up to {args.held_out:,} other training images."
    )
    print(note)
    if args.json:
        write_json(args.json, {"machine": described, "draws": found})
    if args.readme:
        tables.renew_readme("methods", f"{tables.markdown(COLUMNS, lines)}\n\n{note}")


if __name__ == "__main__":
    run_stage(main)
