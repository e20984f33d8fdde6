"""Selects and reads the images that models are inspected on.

Shape letters: N images, H and W pixels, C channels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError
from resnet8.core.files import read_array
from resnet8.core.input_spec import BATCH_SIZE, InputSpec
from resnet8.core.pictures import SUFFIXES, read_picture

Layout = Literal["NCHW", "NHWC"]
CHANNELS = (1, 3, 4)  # of an image: grey, RGB, RGBA
_FILES = {"test": "cifar10/test_images.npy", "calibration": "calibration/images.npy"}


def choose(
    spec: InputSpec,
    images: Mapping[str, NDArray[np.uint8]],
    *,
    shape: tuple[int, ...] = IMAGE_SHAPE,
) -> NDArray[np.uint8]:
    """Selects images (N, 32, 32, 3) by source, or draws one of a shape (H, W, C).

    Raises:
        ValueError: an index or batch number is out of range.
    """
    if spec.source == "random":
        generator = np.random.default_rng(spec.numbers[0])
        return generator.integers(0, 256, (1, *shape), dtype=np.uint8)
    chosen = images[spec.source]
    if fault := spec.find_fault(n_test=len(chosen), n_calibration=len(chosen)):
        raise ValueError(fault)
    if spec.source == "test":
        return chosen[list(spec.numbers)]
    return batches(chosen)[spec.numbers[0]]


def read_chosen(
    text: str, data: Path, *, shape: tuple[int, ...] = IMAGE_SHAPE
) -> NDArray[np.uint8]:
    """Reads the images that a text such as `test:7` selects from the pipeline's data folder.

    Raises:
        ValueError: the text is malformed or out of range.
        ArtifactError: the data is missing or damaged.
    """
    spec = InputSpec.parse(text)
    try:
        images = {x: read_array(data / _FILES[x]) for x in _FILES if x == spec.source}
    except ArtifactError as exc:
        raise ArtifactError(
            f"{exc} Name the pipeline's data folder if it is not {data} (data=, or --data), "
            "such as build/demo/data, or choose random:0, which needs none."
        ) from exc
    return choose(spec, images, shape=shape)


def batches(images: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    """Splits images into batches of at most `BATCH_SIZE`."""
    return [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]


def take_images(
    images: Any, layout: Layout | None, shape: tuple[int | None, ...], data: Path
) -> tuple[NDArray[Any], str]:
    """Converts arrays, tensors, pictures or a text to (N, H, W, C) floats, and describes them.

    `layout` is that of arrays whose shape is ambiguous, `shape` (H, W, C) that of random images.

    Raises:
        ValueError: the layout or the size of random images must be given.
        PipelineError: images or pictures are missing or differ in size.
    """
    if isinstance(images, str) and not images.lower().endswith(SUFFIXES):
        sizes = tuple(x for x in shape if x)
        if images.startswith("random:") and len(sizes) != 3:
            raise ValueError(f"{images} needs the model's input size, such as size=(3, 224, 224).")
        pixels = read_chosen(images, data, shape=sizes)
        return pixels.astype(np.float32), InputSpec.parse(images).in_words
    paths = [images] if isinstance(images, str | Path) else images
    if isinstance(paths, list | tuple) and all(isinstance(x, str | Path) for x in paths):
        pictures = _read_pictures([Path(x) for x in paths])
        return pictures.astype(np.float32), ", ".join(Path(x).name for x in paths)
    if hasattr(images, "detach"):  # a PyTorch tensor; NumPy has no bfloat16
        tensor = images.detach().cpu()
        images = (tensor.float() if tensor.dtype.itemsize == 2 else tensor).numpy()
    array = _channels_last(np.asarray(images), layout)
    array = array.copy() if array.dtype.kind == "f" else array.astype(np.float32)
    return array, f"{len(array)} image{'s' if len(array) > 1 else ''}"


def _read_pictures(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Reads PNG and JPEG files of one size as (N, H, W, 3)."""
    pictures = [read_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            sizes = [f"{x.shape[1]} x {x.shape[0]} pixels" for x in (pictures[0], picture)]
            raise ArtifactError(
                f"Pictures must have one size, got {sizes[0]} in {paths[0]} and {sizes[1]} in "
                f"{path}."
            )
    return np.stack(pictures)


def _channels_last(images: NDArray[Any], layout: Layout | None) -> NDArray[Any]:
    """Converts images (N, C, H, W), (N, H, W, C) or a single image to (N, H, W, C)."""
    if images.ndim not in (3, 4) or not images.size:
        raise ValueError(f"images must have three or four axes, got shape {images.shape}.")
    batch = images if images.ndim == 4 else images[None]
    first, last = (batch.shape[axis] in CHANNELS for axis in (1, 3))
    if layout is None and first == last:
        raise ValueError(
            f"images must have a shape in which one axis holds 1, 3 or 4 channels, got "
            f'{images.shape}. Pass layout="NCHW" or layout="NHWC".'
        )
    is_last = last if layout is None else layout == "NHWC"
    return batch if is_last else batch.transpose(0, 2, 3, 1)
