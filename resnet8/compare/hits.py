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
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet8.compare.chance import describe_chance
from resnet8.compare.comparison import ByClass, Correct, compare_correct, join_classes
from resnet8.core.dataset import TestSet
from resnet8.core.errors import shown
from resnet8.core.evaluation import Probabilities

_ClassName = Annotated[str, Field(pattern=r"^\P{C}{1,80}$")]  # printable


class Record(BaseModel):
    """What the file holds.

    test_set_sha256: of the images, labels and class names.
    n_images: how many images each class has.
    correct: by variant and class, the bits of the class's images in the order of the test set,
        the first in the highest bit of the first byte, in base64.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    test_set_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    n_images: Annotated[dict[_ClassName, Annotated[int, Field(ge=1)]], Field(min_length=1)]
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


def read_correctness(content: object) -> Correctness:
    """Unpacks the bits.

    Args:
        content: what `Record` describes, as it was read from JSON.

    Raises:
        ValueError: it is something else, a class is missing or unknown, or bits are damaged.
    """
    try:
        record = Record.model_validate(content)
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(map(str, error["loc"])) or "all of it"
        raise ValueError(f"{where} = {shown(error['input'])} ({error['msg']})") from exc
    for variant, packed in record.correct.items():
        if set(packed) != set(record.n_images):
            raise ValueError(f"correct.{variant} must have the classes of n_images")
    return Correctness(
        test_set=record.test_set_sha256,
        by_class={
            variant: {name: _unpack(packed[name], n) for name, n in sorted(record.n_images.items())}
            for variant, packed in record.correct.items()
        },
    )


def compare_hits(by_variant: Mapping[str, ByClass], baseline: str) -> dict[str, Any]:
    """Compares variants as far as right and wrong answers tell.

    Args:
        by_variant: whether each image was right, by variant and class.
        baseline: the variant to compare with.

    Returns:
        The part of metrics/comparison.json that needs no probabilities.
    """
    by_class = by_variant[baseline]
    correct = join_classes(by_class)
    labels = np.repeat(np.arange(len(by_class)), [len(x) for x in by_class.values()])
    return {
        "baseline": baseline,
        "n_images": len(correct),
        **describe_chance(correct, labels),
        "variants": {name: compare_correct(by_class, x) for name, x in by_variant.items()},
    }


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
