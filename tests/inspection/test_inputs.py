"""The choice of what to look at."""

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.core.input_spec import InputSpec
from resnet8.inspection import inputs

IMAGES = np.arange(120 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(120, 32, 32, 3)


def choose(text: str) -> NDArray[np.uint8]:
    return inputs.choose(InputSpec.parse(text), test_images=IMAGES, calibration_images=IMAGES)


def test_choose_takes_one_test_image() -> None:
    assert np.array_equal(choose("test:7"), IMAGES[[7]])


def test_choose_takes_several_in_the_order_given() -> None:
    assert np.array_equal(choose("test:9,2"), IMAGES[[9, 2]])


def test_choose_takes_a_calibration_batch_and_the_shorter_last_one() -> None:
    assert np.array_equal(choose("calibration:1"), IMAGES[50:100])
    assert np.array_equal(choose("calibration:2"), IMAGES[100:])


def test_choose_draws_the_same_noise_for_the_same_seed_only() -> None:
    assert np.array_equal(choose("random:3"), choose("random:3"))
    assert not np.array_equal(choose("random:3"), choose("random:4"))
    assert choose("random:3").shape == (1, 32, 32, 3)


def test_choose_needs_no_images_for_noise() -> None:
    assert inputs.choose(InputSpec.parse("random:0")).dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test:120", r"test numbers must be from 0 to 119, got 120\."),
        ("test:0,500", r"test numbers must be from 0 to 119, got 500\."),
        ("calibration:3", r"calibration numbers must be from 0 to 2, got 3\."),
    ],
)
def test_choose_refuses_what_is_out_of_range(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(text)


def test_batches_hold_every_image_once_in_order() -> None:
    assert np.array_equal(np.concatenate(inputs.batches(IMAGES)), IMAGES)
    assert [len(batch) for batch in inputs.batches(IMAGES)] == [50, 50, 20]
