"""Compares the methods of `fit` on training images that calibration does not use.

This is how the defaults of params.yaml were chosen. Run it with `python -m benchmarks.methods`
after `dvc repro`. No test image is read.

Shape letters: S draws of calibration images, N held-out images.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks import machine, tables
from benchmarks.peers.runs import held_out_indices
from resnet8.compare.comparison import Divergences, compare, kl_by_image, top_share
from resnet8.core.evaluation import Probabilities, predict
from resnet8.core.files import read_array, read_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.sections import Fit
from resnet8.models import onnx_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.calibration import draw_balanced
from resnet8.quantize.fit import fit
from resnet8.sweep.crossed import variances

COLUMNS = (
    "method", "agree %", "KL", "KL above default", "verdict", "ten images %", "delta pp",
    "seconds",
)  # fmt: skip
TIE_ERRORS = 2  # a difference within so many standard errors is a tie
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


class Draw(NamedTuple):
    """A method with one draw of calibration images.

    divergences: (N,) KL divergence of each held-out image from the float model, in nats.
    agreement: share of the held-out images with the float model's class.
    accuracy_delta_pp: accuracy above the float model's, in percentage points.
    seconds: that `fit` took.
    """

    divergences: Divergences
    agreement: float
    accuracy_delta_pp: float
    seconds: float

    def figures(self) -> dict[str, float | None]:
        """The draw in single numbers."""
        return {
            "kl_divergence": float(self.divergences.mean()),
            "kl_top10_share": top_share(self.divergences),
            "agreement": self.agreement,
            "accuracy_delta_pp": self.accuracy_delta_pp,
            "seconds": self.seconds,
        }


class Summary(NamedTuple):
    """A method over all draws: means, and the median of the seconds.

    above, above_error: KL above that of the default settings, and its standard error.
    verdict: `default`, `tie`, `better` or `worse`.
    top_share: share that the ten images with the largest KL have in its sum.
    """

    agreement: float
    kl_divergence: float
    above: float
    above_error: float
    verdict: str
    top_share: float
    accuracy_delta_pp: float
    seconds: float


def list_settings(usual: Fit) -> tuple[str, dict[str, Fit]]:
    """The name of the default settings among all settings, and these by name.

    Args:
        usual: the default settings. Where they are none of `METHODS`, they become one.
    """
    settings = {
        name: Fit.model_validate(dict(usual) | changes) for name, changes in METHODS.items()
    }
    default = next((name for name, x in settings.items() if x == usual), "params.yaml")
    return default, {**settings, default: usual}


def compare_pairs(values: NDArray[np.float64], usual: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of `values` minus `usual`, and its standard error.

    The differences are those of one image with one draw. Their mean varies with the images and
    with the draws, and the variances of both are added; a single draw says nothing about others.

    Args:
        values: (S, N) divergences.
        usual: (S, N) divergences of the default settings, with these draws on these images.
    """
    differences = values - usual
    return float(differences.mean()), sum(variances(differences)) ** 0.5


def judge(above: float, error: float) -> str:
    """Judges a KL divergence above the default's by its standard error."""
    if abs(above) <= TIE_ERRORS * error:
        return "tie"
    return "worse" if above > 0 else "better"


def summarize(all_draws: Mapping[str, Sequence[Draw]], default: str) -> dict[str, Summary]:
    """Sums up the draws of each method.

    Args:
        all_draws: the draws by method, the same ones in the same order for each method.
        default: the name of the default settings.
    """
    values = {name: np.stack([x.divergences for x in draws]) for name, draws in all_draws.items()}
    rows = {}
    for name, draws in all_draws.items():
        above, error = compare_pairs(values[name], values[default])
        rows[name] = Summary(
            agreement=fmean(x.agreement for x in draws),
            kl_divergence=float(values[name].mean()),
            above=above,
            above_error=error,
            verdict="default" if name == default else judge(above, error),
            top_share=fmean(top_share(x.divergences) or 0.0 for x in draws),
            accuracy_delta_pp=fmean(x.accuracy_delta_pp for x in draws),
            seconds=median(x.seconds for x in draws),
        )
    return rows


def format_row(name: str, row: Summary) -> tuple[str, ...]:
    """One line of the table, a cell for each of `COLUMNS`."""
    is_default = row.verdict == "default"
    return (
        name,
        f"{100 * row.agreement:.2f}",
        f"{row.kl_divergence:.5f}",
        "" if is_default else f"{row.above:+.6f} ± {row.above_error:.6f}",
        row.verdict,
        f"{100 * row.top_share:.0f}",
        f"{row.accuracy_delta_pp:+.2f}",
        f"{row.seconds:.1f}",
    )


def conclude(rows: Mapping[str, Summary]) -> str:
    """Says which settings are as good as the default ones, and which has the lowest KL."""
    best = min(rows, key=lambda name: rows[name].kl_divergence)
    ties = [name for name, row in rows.items() if row.verdict == "tie"]
    return (
        f"Ties with the default, within {TIE_ERRORS} standard errors: "
        f"{'; '.join(ties) or 'none'}. Lowest KL: {best} ({rows[best].verdict})."
    )


class Inputs(NamedTuple):
    """Inputs of all methods.

    model: the float ONNX model.
    images, labels: (N,) held-out training images and their classes.
    original: (N, K) probabilities of the model for them.
    label_names: K names.
    """

    model: onnx.ModelProto
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    original: Probabilities
    label_names: Sequence[str]


def measure(settings: Fit, calibration: NDArray[np.uint8], inputs: Inputs) -> Draw:
    """Quantizes the model to uint8 and compares it with the float one."""
    start = time.perf_counter()
    quantization = fit(inputs.model, calibration, settings)
    seconds = time.perf_counter() - start
    quantized = onnx_writer.quantize(inputs.model, quantization, quant_type="uint8")
    probabilities = predict(onnx_model.make_predictor(quantized), inputs.images, batch_size=100)
    row = compare(inputs.original, probabilities, inputs.labels, label_names=inputs.label_names)
    divergences = kl_by_image(inputs.original, probabilities)
    return Draw(divergences, row["agreement"], row["accuracy_delta_pp"], seconds)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="calibration images")
    parser.add_argument("--seeds", type=int, default=3, help="draws of calibration images")
    parser.add_argument("--held-out", type=int, default=5000, help="training images to score on")
    tables.add_options(parser)
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"))
    parser.add_argument("--model", type=Path, default=Path("artifacts/models/onnx_fp32.onnx"))
    args = parser.parse_args(argv)
    default, settings = list_settings(load_params(args.params).fit)

    images = read_array(args.data / "train_images.npy")
    labels = read_array(args.data / "train_labels.npy")
    drawn = [draw_balanced(labels, args.size, seed=seed) for seed in range(args.seeds)]
    # The same images for all draws, and none of them calibrates.
    rest = held_out_indices(len(images), np.concatenate(drawn), size=args.held_out)
    model = onnx_model.load_model(args.model)
    original = predict(onnx_model.make_predictor(model), images[rest], batch_size=100)
    label_names = read_json(args.data / "labels.json")["label_names"]
    inputs = Inputs(model, images[rest], labels[rest], original, label_names)

    all_draws: dict[str, list[Draw]] = {name: [] for name in settings}
    for seed, indices in enumerate(drawn):
        for name, chosen in settings.items():
            draw = measure(chosen, images[indices], inputs)
            all_draws[name].append(draw)
            print(f"seed {seed}: {name}: KL {draw.divergences.mean():.5f}", flush=True)

    rows = summarize(all_draws, default)
    lines = [COLUMNS, *(format_row(name, row) for name, row in rows.items())]
    described = machine.describe(("numpy", "onnxruntime"))
    note = (
        f"{conclude(rows)} {machine.sentence(described)} {args.size:,} calibration images, mean of "
        f"{args.seeds} draws; scored on {len(rest):,} other training images."
    )
    methods = {name: row._asdict() for name, row in rows.items()}
    draws = {name: [draw.figures() for draw in x] for name, x in all_draws.items()}
    content = {"machine": described, "methods": methods, "draws": draws}
    tables.publish(args, "methods", lines, note=note, content=content)


if __name__ == "__main__":
    run_stage(main)
