"""Reads PNG and JPEG pictures, and encodes PNG.

Shape letters: H and W pixels.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resnet8.core.errors import ArtifactError

SUFFIXES = (".png", ".jpg", ".jpeg")
# Raised by Pillow for a damaged file.
_FAULTS = OSError, SyntaxError, ValueError, Image.DecompressionBombError


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as (H, W, 3) RGB, rotated as its EXIF orientation says.

    Raises:
        ArtifactError: the file is missing or not a PNG or JPEG picture.
    """
    if not path.is_file():
        raise ArtifactError(f"The picture must be a file, got {path}. Name a PNG or JPEG file.")
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except _FAULTS as exc:
        raise ArtifactError(f"{path} must be a PNG or JPEG picture, got: {exc}.") from exc


def encode_png(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    """Encodes (H, W) grey levels or (H, W, 3) RGB; `options` are those of Pillow."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", **options)
    return out.getvalue()
