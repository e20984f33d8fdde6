"""Which test images each variant got right, in a form that is small enough for Git.

One bit for each image, packed and written in base64, by class: with the bits of two revisions
their accuracies can be compared image by image, in each class too, without a prediction, an
image or the order of the labels. The test set is told by a checksum.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from resnet8.compare.comparison import Correct
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities


class Record(BaseModel):
    """What the file holds.

    test_set_sha256: of the images, labels and class names.
    n_images: how many images each class has.
    correct: by variant and class, the bits of the class's images in the order of the test set,
        the first in the highest bit of the first byte, in base64.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    test_set_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    n_images: Annotated[dict[str, Annotated[int, Field(ge=1)]], Field(min_length=1)]
    correct: dict[str, dict[str, str]]


class Correctness(NamedTuple):
    """Which images each variant got right.

    test_set: its SHA-256.
    by_class: by variant and class, (N of the class,) bool, in the order of the test set.
    """

    test_set: str
    by_class: dict[str, dict[str, Correct]]


def describe_correctness(
    predictions: Mapping[str, Probabilities], test_set: TestSet
) -> dict[str, Any]:
    """Notes which images are right.

    Args:
        predictions: (N, K) probabilities by variant; the class of the largest counts.
        test_set: what was predicted; a class without images is left out.

    Returns:
        What `Record` describes, for a JSON file.
    """
    _, labels, label_names = test_set
    classes = {name: labels == k for k, name in enumerate(label_names) if (labels == k).any()}
    right = {
        name: probabilities.argmax(axis=1) == labels for name, probabilities in predictions.items()
    }
    record = Record(
        test_set_sha256=_checksum(test_set),
        n_images={name: int(chosen.sum()) for name, chosen in classes.items()},
        correct={
            variant: {name: _pack(correct[chosen]) for name, chosen in classes.items()}
            for variant, correct in right.items()
        },
    )
    return record.model_dump()


def read_correctness(record: Record) -> Correctness:
    """Unpacks the bits.

    Raises:
        ValueError: a class is missing or unknown, or its bits are damaged.
    """
    for variant, packed in record.correct.items():
        if set(packed) != set(record.n_images):
            raise ValueError(f"correct.{variant} must have the classes of n_images")
    return Correctness(
        test_set=record.test_set_sha256,
        by_class={
            variant: {name: _unpack(packed[name], n) for name, n in record.n_images.items()}
            for variant, packed in record.correct.items()
        },
    )


def _checksum(test_set: TestSet) -> str:
    digest = hashlib.sha256("\n".join(test_set.label_names).encode())
    digest.update(np.ascontiguousarray(test_set.labels, "<i8").tobytes())
    digest.update(np.ascontiguousarray(test_set.images).tobytes())
    return digest.hexdigest()


def _pack(correct: Correct) -> str:
    return base64.b64encode(np.packbits(correct).tobytes()).decode("ascii")


def _unpack(text: str, n: int) -> Correct:
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as exc:
        raise ValueError(f"bits must be base64, got {text[:20]!r}: {exc}") from exc
    bits = np.unpackbits(packed)
    if len(packed) != -(-n // 8) or bits[n:].any():
        raise ValueError(f"bits must be {n}, got {len(packed)} bytes of them")
    return bits[:n].astype(bool)
