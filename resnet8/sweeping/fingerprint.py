"""Tells apart what runs of a sweep started from, beside their own settings."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet8.common.dataset import read_images, read_label_names, read_labels
from resnet8.common.files import read_bytes
from resnet8.common.names import FLOAT_VARIANTS
from resnet8.common.params import Params

_PACKAGE = Path(__file__).parents[1]
# What can change a figure: these modules, whole folders where no module is named, ...
CODE = (
    "calibration.py",
    "common/evaluation.py",
    "comparison.py",
    "fitting",
    "inside/capture.py",
    "inside/statistics.py",
    "inside/torch_capture.py",
    "library_warnings.py",
    "onnx_graph.py",
    "onnx_model.py",
    "onnx_quantization.py",
    "onnx_written.py",
    "quantization.py",
    "quantization_check.py",
    "sweeping/measure.py",
    "sweeping/result.py",
    "torch_conversion.py",
    "torch_model.py",
    "torch_quantization.py",
)
LIBRARIES = ("numpy", "onnx", "onnxruntime", "torch", "torchao")  # ... and these libraries.
_LENGTH = 16  # hexadecimal digits: the chance that two of a million agree is one in ten million


def fingerprint(
    params: Params,
    *,
    model: bytes,
    pool: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test_set: tuple[NDArray[np.uint8], NDArray[np.int64]],
    label_names: Sequence[str],
) -> str:
    """A checksum of the model, the data, the way of evaluation, the code and the libraries.

    The CPU is not part of it, nor is what it can change: the bits of float predictions.

    Args:
        params: the parameters.
        model: the float ONNX model, as its file.
        pool: training images and their classes.
        test_set: test images and their classes.
        label_names: K names.
    """
    baseline = params.compare.baseline
    # A quantized baseline depends on more.
    behind = (params.calibrate, params.fit) if baseline not in FLOAT_VARIANTS else ()
    digest = hashlib.sha256()
    for part in (
        model,
        *(array.tobytes() for array in (*pool, *test_set)),
        repr((list(label_names), params.evaluate, baseline, behind)).encode(),
        *(path.read_bytes() for path in code_files()),
        repr([(name, version(name)) for name in LIBRARIES]).encode(),
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:_LENGTH]


def read_fingerprint(params: Params, *, models: Path, data: Path) -> str:
    """The fingerprint of what `inputs.read_inputs` reads."""
    return fingerprint(
        params,
        model=read_bytes(models / "onnx_fp32.onnx"),
        pool=(read_images(data / "train_images.npy"), read_labels(data / "train_labels.npy")),
        test_set=(read_images(data / "test_images.npy"), read_labels(data / "test_labels.npy")),
        label_names=read_label_names(data / "labels.json"),
    )


def code_files() -> Iterator[Path]:
    """The files of `CODE`."""
    for name in CODE:
        path = _PACKAGE / name
        yield from [path] if path.is_file() else sorted(path.glob("[!_]*.py"))


def pack_code() -> bytes:
    """The project's library as a zip file that Python imports from."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.rglob("*.py")):
            archive.write(path, path.relative_to(_PACKAGE.parent))
    return file.getvalue()
