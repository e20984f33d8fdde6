"""Takes the images that a user gives: arrays, tensors, picture files, or words such as `test:7`.

Shape letters: N images, H and W pixels, C channels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.core.errors import ArtifactError
from resnet8.core.input_spec import InputSpec
from resnet8.core.pictures import SUFFIXES, read_picture
from resnet8.inspection.inputs import read_chosen

Layout = Literal["NCHW", "NHWC"]
CHANNELS = (1, 3, 4)  # of an image: grey, colours, colours and opacity


def take_images(
    images: Any, layout: Layout | None, shape: tuple[int | None, ...], data: Path
) -> tuple[NDArray[Any], str]:
    """Takes images of any kind; see `resnet8.inside.look`.

    Args:
        images: arrays, tensors, paths, or a text such as `test:7`.
        layout: of arrays whose shape does not tell.
        shape: (H, W, C) of random images, empty if not known.
        data: the pipeline's folder of arrays.

    Returns:
        (N, H, W, C) floats, and what they are in words.

    Raises:
        ValueError: the layout or the size of random images must be given.
        PipelineError: images or pictures are not there, or do not fit together.
    """
    if isinstance(images, str) and not images.lower().endswith(SUFFIXES):
        sizes = tuple(x for x in shape if x)
        if images.startswith("random:") and len(sizes) != 3:
            raise ValueError(f"{images} needs the model's input size, such as size=(3, 224, 224).")
        found = read_chosen(images, data, shape=sizes)
        return found.astype(np.float32), InputSpec.parse(images).in_words
    paths = [images] if isinstance(images, str | Path) else images
    if isinstance(paths, list | tuple) and all(isinstance(x, str | Path) for x in paths):
        pictures = read_pictures([Path(x) for x in paths])
        return pictures.astype(np.float32), ", ".join(Path(x).name for x in paths)
    if isinstance(images, torch.Tensor):
        cpu = images.detach().cpu()
        images = (cpu.float() if cpu.dtype == torch.bfloat16 else cpu).numpy()
    array = channels_last(np.asarray(images), layout)
    array = array.copy() if array.dtype.kind == "f" else array.astype(np.float32)
    return array, f"{len(array)} image{'s' if len(array) > 1 else ''}"


def read_pictures(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Reads PNG and JPEG files of one size as (N, H, W, 3).

    Raises:
        ArtifactError: a file is missing, no picture, or of another size than the first.
    """
    pictures = [read_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            sizes = [f"{x.shape[1]} x {x.shape[0]} pixels" for x in (pictures[0], picture)]
            raise ArtifactError(
                f"Pictures must have one size, got {sizes[0]} in {paths[0]} and {sizes[1]} in "
                f"{path}."
            )
    return np.stack(pictures)


def channels_last(images: NDArray[Any], layout: Layout | None) -> NDArray[Any]:
    """Brings images (N, C, H, W), (N, H, W, C) or a single one to (N, H, W, C).

    Args:
        images: four axes, or three.
        layout: of their axes; None to tell it by which of them holds 1, 3 or 4 channels.

    Raises:
        ValueError: there is another number of axes, or the layout must be given.
    """
    if images.ndim not in (3, 4) or not images.size:
        raise ValueError(f"images must have three or four axes, got shape {images.shape}.")
    found = images if images.ndim == 4 else images[None]
    first, last = (found.shape[axis] in CHANNELS for axis in (1, 3))
    if layout is None and first == last:
        raise ValueError(
            f"images must show by their shape which axis holds 1, 3 or 4 channels, got "
            f'{images.shape}. Say layout="NCHW" or layout="NHWC".'
        )
    is_last = last if layout is None else layout == "NHWC"
    return found if is_last else found.transpose(0, 2, 3, 1)
