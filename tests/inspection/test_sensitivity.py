"""The ranking of layers, on a model whose layers add known amounts."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from resnet8.compare.comparison import kl_divergence
from resnet8.core.evaluation import Predictor
from resnet8.inspection.sensitivity import rank

SHIFTS = {"first": 0.1, "second": -2.0, "third": 0.5, "none": 0.0}  # of the first class's logit
IMAGES = np.arange(4 * 32 * 32 * 3).astype(np.uint8).reshape(4, 32, 32, 3)


def logits(n: int) -> NDArray[np.float32]:
    return np.tile(np.array([1.0, 0.5, -1.0], np.float32), (n, 1))


def isolate(layers: Sequence[str]) -> Predictor:
    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        shifted = logits(len(images))
        shifted[:, 0] += sum(SHIFTS[layer] for layer in layers)
        return softmax(shifted, axis=1)

    return predict


def test_rank_puts_the_layer_first_that_moves_the_outputs_most() -> None:
    found = rank(list(SHIFTS), isolate, IMAGES)["layers"]
    assert sorted(found, key=lambda layer: found[layer]["rank"]) == [
        "second", "third", "first", "none",
    ]  # fmt: skip


def test_rank_measures_each_layer_against_the_float_model() -> None:
    found = rank(list(SHIFTS), isolate, IMAGES)["layers"]
    shifted = logits(4)
    shifted[:, 0] += SHIFTS["third"]
    expected = kl_divergence(softmax(logits(4), axis=1), softmax(shifted, axis=1))
    assert found["third"]["alone"]["kl_divergence"] == pytest.approx(expected, rel=1e-3)
    assert found["none"]["alone"] == {"kl_divergence": 0.0, "agreement": 1.0}
    assert found["second"]["alone"]["agreement"] == 0.0


def test_rank_spares_one_layer_at_a_time() -> None:
    found = rank(list(SHIFTS), isolate, IMAGES)
    assert found["n_images"] == 4
    shifted = logits(4)
    shifted[:, 0] += SHIFTS["first"] + SHIFTS["third"]
    expected = kl_divergence(softmax(logits(4), axis=1), softmax(shifted, axis=1))
    assert found["layers"]["second"]["spared"]["kl_divergence"] == pytest.approx(expected, rel=1e-3)
    assert found["layers"]["none"]["spared"] == found["all"]
