"""Targets of the fuzzer: each reads any bytes, and may raise the project's errors only."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resnet8.core.batches import decode_label_names, encode_batch, encode_label_names, read_batch
from resnet8.core.errors import ArtifactError, ParamsError, PipelineError
from resnet8.core.params import load_params
from samples.demo import SAMPLE_PARAMS
from tests.parameters import TEST_PARAMS

MAX_MESSAGE = 500  # characters of a sentence


def check_message(fault: PipelineError, *, lines: int = 1) -> None:
    """Raises ValueError for a message that is no short sentence."""
    text = str(fault)
    if text[-1] not in ".?" or text.count("\n") >= lines or len(text) > MAX_MESSAGE * lines:
        raise ValueError(f"no sentence: {text!r}") from fault


def read_as_batches(content: bytes) -> None:
    try:
        images, labels = read_batch(content, name="test_batch", n_classes=10)
    except ArtifactError as fault:
        check_message(fault)
    else:
        if images.shape != (len(labels), 32, 32, 3) or images.dtype != np.uint8:
            raise ValueError(f"images {images.shape} {images.dtype}")
        if labels.min() < 0 or labels.max() > 9 or labels.dtype != np.int64:
            raise ValueError(f"labels {labels}")
    try:
        names = decode_label_names(content, name="batches.meta")
    except ArtifactError as fault:
        check_message(fault)
    else:
        if len(set(names)) < 2 or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"names {names}")


def batch_seeds() -> list[bytes]:
    images = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 32, 32, 3)
    return [
        encode_batch(images, [3, 8], name="test_batch"),
        encode_batch(images[:1], [0], name="x"),
        encode_label_names(["cat", "dog"], images_per_batch=2),
    ]


def read_as_params(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(prefix="params", suffix=".yaml") as file:
        file.write(content)
        file.flush()
        try:
            params = load_params(Path(file.name))
        except ParamsError as fault:
            check_message(fault, lines=1 + str(fault).count("\n  - "))
            return
    if params.fetch.dataset not in ("cifar10", "sample") or "keras_fp32" not in params.variants:
        raise ValueError(f"parameters {params}")


# A reader of any bytes, whose own errors are no finds; and valid files to start from.
TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "batches": (read_as_batches, batch_seeds()),
    "params": (read_as_params, [path.read_bytes() for path in (TEST_PARAMS, SAMPLE_PARAMS)]),
}
