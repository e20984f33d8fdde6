"""Chooses the images that a capture looks at.

A choice is one word: `test:0`, `test:3,5` (test images by index), `calibration:0` (a batch of
the calibration images by number) or `random:7` (noise drawn with that seed).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.batches import IMAGE_SHAPE

# Shape letters: N images, H = W = 32 pixels, C = 3 channels.
BATCH_SIZE = 50  # calibration images in a batch
PATTERN = r"^(test:\d{1,9}(,\d{1,9})*|calibration:\d{1,9}|random:\d{1,9})$"
FORMS = "test:<index>[,<index>...], calibration:<batch number> or random:<seed>"


class Choice(NamedTuple):
    """What to look at.

    source: `test`, `calibration` or `random`.
    numbers: image indices, or one batch number, or one seed.
    """

    source: str
    numbers: tuple[int, ...]


def parse(text: str) -> Choice:
    """Reads a choice.

    Raises:
        ValueError: it has another form.
    """
    if not re.match(PATTERN, text):
        raise ValueError(f"the input must be {FORMS}, got {text!r}.")
    source, _, numbers = text.partition(":")
    return Choice(source, tuple(int(number) for number in numbers.split(",")))


def describe(choice: Choice) -> str:
    """Says in words what is looked at."""
    numbers = ", ".join(str(number) for number in choice.numbers)
    if choice.source == "test":
        return f"test image{'s' if len(choice.numbers) > 1 else ''} {numbers}"
    return f"calibration batch {numbers}" if choice.source == "calibration" else (
        f"random pixels with seed {numbers}"
    )  # fmt: skip


def count_choices(choice: Choice, *, n_test: int, n_calibration: int) -> int | None:
    """How many numbers there are to choose from, None for seeds."""
    return {
        "test": n_test,
        "calibration": -(-n_calibration // BATCH_SIZE),
        "random": None,
    }[choice.source]


def choose(
    choice: Choice,
    *,
    test_images: NDArray[np.uint8] | None = None,
    calibration_images: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Takes or draws the chosen images.

    Args:
        choice: what to look at.
        test_images: (N, 32, 32, 3), needed for `test`.
        calibration_images: (N, 32, 32, 3), needed for `calibration`.

    Returns:
        (N, 32, 32, 3) uint8.

    Raises:
        ValueError: an index or batch number is out of range.
    """
    if choice.source == "random":
        generator = np.random.default_rng(choice.numbers[0])
        return generator.integers(0, 256, (1, *IMAGE_SHAPE), dtype=np.uint8)
    images = test_images if choice.source == "test" else calibration_images
    if images is None:
        raise ValueError(f"{choice.source} images must be given to choose some of them.")
    count = count_choices(choice, n_test=len(images), n_calibration=len(images))
    for number in choice.numbers:
        if count is not None and number >= count:
            raise ValueError(
                f"{choice.source} numbers must be from 0 to {count - 1}, got {number}."
            )
    if choice.source == "test":
        return images[list(choice.numbers)]
    start = choice.numbers[0] * BATCH_SIZE
    return images[start : start + BATCH_SIZE]


def batches(images: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    """Images in batches of at most `BATCH_SIZE`."""
    return [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
