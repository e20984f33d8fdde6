"""Takes the images that a capture looks at.

Shape letters: N images, H and W pixels, C channels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.dataset import read_images
from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.core.input_spec import BATCH_SIZE, InputSpec


def choose(
    spec: InputSpec,
    *,
    test_images: NDArray[np.uint8] | None = None,
    calibration_images: NDArray[np.uint8] | None = None,
    shape: tuple[int, ...] = IMAGE_SHAPE,
) -> NDArray[np.uint8]:
    """Takes or draws the chosen images.

    Args:
        spec: what to look at.
        test_images: (N, 32, 32, 3), needed for `test`.
        calibration_images: (N, 32, 32, 3), needed for `calibration`.
        shape: (H, W, C) of random images.

    Returns:
        (N, H, W, C) uint8; one image where it is random.

    Raises:
        ValueError: an index or batch number is out of range, or the images are not given.
    """
    if spec.source == "random":
        generator = np.random.default_rng(spec.numbers[0])
        return generator.integers(0, 256, (1, *shape), dtype=np.uint8)
    images = test_images if spec.source == "test" else calibration_images
    if images is None:
        raise ValueError(f"{spec.source} images must be given to choose some of them.")
    if fault := spec.find_fault(n_test=len(images), n_calibration=len(images)):
        raise ValueError(fault)
    if spec.source == "test":
        return images[list(spec.numbers)]
    return batches(images)[spec.numbers[0]]


def read_chosen(
    text: str, data: Path, *, shape: tuple[int, ...] = IMAGE_SHAPE
) -> NDArray[np.uint8]:
    """Takes the images that a text such as `test:7` names, out of the pipeline's arrays.

    Args:
        text: see `InputSpec`.
        data: the pipeline's folder of arrays, needed for `test` and `calibration`.
        shape: (H, W, C) of random images.

    Raises:
        ValueError: the text has another form or is out of range.
        ArtifactError: the arrays are not there.
    """
    spec = InputSpec.parse(text)
    files = {"test": "cifar10/test_images.npy", "calibration": "calibration/images.npy"}
    try:
        found = {
            f"{source}_images": read_images(data / file)
            for source, file in files.items()
            if source == spec.source
        }
    except ArtifactError as exc:
        raise ArtifactError(
            f"{exc} Name the pipeline's folder of data where it is another than {data} (data=, or "
            "--data), such as build/demo/data, or choose random:0, which needs none."
        ) from exc
    return choose(spec, **found, shape=shape)


def choose_images(text: str, data: Path) -> NDArray[np.uint8]:
    """Takes the images that `--input` of a command names; see `read_chosen`.

    Raises:
        ParamsError: the text has another form or is out of range.
        ArtifactError: the arrays are not there.
    """
    try:
        return read_chosen(text, data)
    except ValueError as exc:
        raise ParamsError(f"--input: {exc}") from exc


def batches(images: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    """Images in batches of at most `BATCH_SIZE`."""
    return [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
