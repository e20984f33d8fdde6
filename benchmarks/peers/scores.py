"""Evaluates the quantized models with the pipeline's own code.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.timing import interleave, ratio
from resnet8.compare.comparison import compare
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities, predict
from resnet8.models import onnx_model

SPEED_IMAGES, SPEED_ROUNDS = 2000, 5


def score(
    files: Mapping[str, Path], test_set: TestSet, *, baseline: Probabilities, batch_size: int
) -> dict[str, dict[str, Any]]:
    """Compares models with the baseline, and their speed with that of the first.

    Args:
        files: ONNX models by name, the float one first.
        test_set: the images and their classes.
        baseline: (N, K) probabilities of the float model.
        batch_size: images run at once.

    Returns:
        By name, what `comparison.compare` returns, `bytes` and `times_float_speed`.
    """
    images, labels, label_names = test_set
    runs = {}
    rows = {}
    for name, path in files.items():
        model = onnx_model.load_model(path, n_classes=len(label_names))
        predictor = onnx_model.make_predictor(model)
        probabilities = predict(predictor, images, batch_size=batch_size)
        row = compare(baseline, probabilities, labels, label_names=label_names)
        rows[name] = row | {"bytes": path.stat().st_size}
        runs[name] = partial(predict, predictor, images[:SPEED_IMAGES], batch_size=batch_size)
    durations = interleave(runs, repeats=SPEED_ROUNDS)
    reference = next(iter(durations.values()))
    for name, row in rows.items():
        row["times_float_speed"] = ratio(reference, durations[name])
    return rows


def format_row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Name, accuracy, agreement, KL, size, speed, seconds and their multiple of ours.

    A cell is empty where nothing was measured.
    """
    optional = {
        "bytes": f"{row.get('bytes', 0) / 1000:.0f}",
        "times_float_speed": f"{row.get('times_float_speed', 0):.2f}",
        "median_seconds": f"{row.get('median_seconds', 0):.1f}",
        "times_our_seconds": f"{row.get('times_our_seconds', 0):.1f}",
    }
    return (
        name,
        f"{100 * row['top1_accuracy']:.2f}",
        f"{100 * row['agreement']:.2f}",
        f"{row['kl_divergence']:.4f}",
        *(text if key in row else "" for key, text in optional.items()),
    )
