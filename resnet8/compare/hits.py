"""Records which test images each variant classifies correctly, compactly enough for Git.

There is one bit per image, packed by class and written in base64. The bits of two revisions tell
how their accuracies differ, image by image and class by class, without predictions and images. A
checksum identifies the test set.

Shape letters: N images, K classes.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet8.compare.chance import describe_chance
from resnet8.compare.comparison import (
    ByClass,
    Correct,
    compare_correct,
    join_classes,
    split_by_class,
)
from resnet8.core.dataset import TestSet
from resnet8.core.errors import shown
from resnet8.core.evaluation import Probabilities

_ClassName = Annotated[str, Field(pattern=r"^\P{C}{1,80}$")]  # printable


class Record(BaseModel):
    """Content of metrics/correct.json.

    test_set_sha256: of images, labels and class names.
    n_images: by class.
    correct: by variant and class, bits in the order of the test set, in base64; the first one is
        the highest bit of the first byte.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    test_set_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    n_images: Annotated[dict[_ClassName, Annotated[int, Field(ge=1)]], Field(min_length=1)]
    correct: dict[str, dict[str, str]]


class Correctness(NamedTuple):
    """Content of metrics/correct.json, unpacked: SHA-256 of the test set, and right predictions."""

    test_set: str
    by_class: dict[str, dict[str, Correct]]


def describe_correctness(
    predictions: Mapping[str, Probabilities], test_set: TestSet
) -> dict[str, Any]:
    """Returns the content of metrics/correct.json, without classes that have no images.

    Args:
        predictions: (N, K) probabilities by variant.
        test_set: the images and their classes.
    """
    images, labels, names = test_set
    digest = hashlib.sha256("\n".join(names).encode())
    digest.update(np.ascontiguousarray(labels, "<i8").tobytes())
    digest.update(np.ascontiguousarray(images).tobytes())
    packed = {}
    for variant, probabilities in predictions.items():
        by_class = split_by_class(probabilities.argmax(axis=1) == labels, labels, names)
        packed[variant] = {
            name: base64.b64encode(np.packbits(correct).tobytes()).decode()
            for name, correct in by_class.items()
        }
    counts = np.bincount(labels, minlength=len(names)).tolist()
    return {
        "test_set_sha256": digest.hexdigest(),
        "n_images": {name: n for name, n in zip(names, counts, strict=True) if n},
        "correct": packed,
    }


def read_correctness(content: object) -> Correctness:
    """Unpacks the parsed content of metrics/correct.json.

    Raises:
        ValueError: the content has another form, classes differ, or bits are damaged.
    """
    try:
        record = Record.model_validate(content)
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(map(str, error["loc"])) or "all of it"
        raise ValueError(f"{where} = {shown(error['input'])} ({error['msg']})") from exc
    sizes = sorted(record.n_images.items())
    by_class = {}
    for variant, packed in record.correct.items():
        if set(packed) != set(record.n_images):
            raise ValueError(f"correct.{variant} must have the classes of n_images")
        by_class[variant] = {name: _unpack(packed[name], n) for name, n in sizes}
    return Correctness(record.test_set_sha256, by_class)


def _unpack(text: str, n: int) -> Correct:
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as exc:
        raise ValueError(f"bits must be base64, got {text[:20]!r}: {exc}") from exc
    bits = np.unpackbits(packed)
    n_bytes = -(-n // 8)  # rounded up
    if len(packed) != n_bytes or bits[n:].any():
        raise ValueError(f"bits must be {n}, got {len(packed)} bytes of them")
    return bits[:n].astype(bool)


def compare_hits(by_variant: Mapping[str, ByClass], baseline: str) -> dict[str, Any]:
    """Returns the part of metrics/comparison.json that needs no probabilities."""
    by_class = by_variant[baseline]
    correct = join_classes(by_class)
    labels = np.repeat(np.arange(len(by_class)), [len(x) for x in by_class.values()])
    return {
        "baseline": baseline,
        "n_images": len(correct),
        **describe_chance(correct, labels),
        "variants": {name: compare_correct(by_class, x) for name, x in by_variant.items()},
    }
