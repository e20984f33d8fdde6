"""Accuracy on MLPerf Tiny's 200 images."""

import hashlib

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from resnet8.decision.mlperf_tiny import read_samples, scores

NAMES = [f"class {k}" for k in range(10)]
LABELS = np.random.default_rng(0).integers(0, 10, 10_000)


def by_class(correct: np.ndarray) -> dict[str, np.ndarray]:
    return {name: correct[k == LABELS] for k, name in enumerate(NAMES)}


def test_samples_are_200_different_images_of_the_test_set() -> None:
    samples = read_samples()
    assert len(samples) == len({*samples.tolist()}) == 200
    assert samples.min() >= 0
    assert samples.max() < 10_000
    # Of the benchmark's own file.
    assert hashlib.sha256(samples.astype("<i8").tobytes()).hexdigest() == (
        "53de4283fc9df2add14ce400a9c37ea8fc9f0f27f4109aef4ee1d9fe39ac2b24"
    )


def test_scores_count_right_answers_on_the_samples_alone() -> None:
    correct = np.zeros(10_000, bool)
    correct[read_samples()[:174]] = True
    correct[np.setdiff1d(np.arange(10_000), read_samples())] = True
    metrics = scores({"onnx_int8": by_class(correct)}, LABELS, NAMES)
    row = metrics["variants"]["onnx_int8"]
    assert (metrics["n_images"], metrics["target"]) == (200, 0.85)
    assert (row["n_right"], row["top1_accuracy"]) == (174, 0.87)
    expected = proportion_confint(174, 200, method="wilson")
    assert (row["ci95_low"], row["ci95_high"]) == pytest.approx(expected, abs=5e-5)
