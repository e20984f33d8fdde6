"""The choice of images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.core.input_spec import InputSpec
from resnet8.inspection import inputs

IMAGES = np.arange(120 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(120, 32, 32, 3)


def choose(text: str) -> NDArray[np.uint8]:
    return inputs.choose(InputSpec.parse(text), {"test": IMAGES, "calibration": IMAGES})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test:7", IMAGES[[7]]),
        ("test:9,2", IMAGES[[9, 2]]),
        ("calibration:1", IMAGES[50:100]),
        ("calibration:2", IMAGES[100:]),
    ],
)
def test_choose_selects_images_in_the_given_order(text: str, expected: Any) -> None:
    assert np.array_equal(choose(text), expected)


def test_choose_draws_the_same_noise_for_the_same_seed_only() -> None:
    assert np.array_equal(choose("random:3"), choose("random:3"))
    assert not np.array_equal(choose("random:3"), choose("random:4"))
    assert choose("random:3").shape == (1, 32, 32, 3)


def test_batches_hold_every_image_once_in_order() -> None:
    assert np.array_equal(np.concatenate(inputs.batches(IMAGES)), IMAGES)
    assert [len(batch) for batch in inputs.batches(IMAGES)] == [50, 50, 20]
