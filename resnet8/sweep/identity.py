"""Identifies what determines the result of a run: model, data, settings, code and libraries."""

import ast
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from resnet8.core.dataset import read_images, read_label_names, read_labels
from resnet8.core.files import find_model, read_bytes
from resnet8.core.params import Params
from resnet8.core.variants import Variant

_PACKAGE = Path(__file__).parents[1]
# The modules that make and measure a quantized model, starting with the Keras file. What they
# import belongs to the code, too; of `core` only what computes: the rest of it reads
# parameters and files, and words messages.
_ROOTS = (
    "models/keras_conversion.py",
    "models/onnx_graph.py",
    "models/torch_conversion.py",
    "sweep/measure.py",
)
_COMPUTES = ("core/evaluation.py", "core/qparams.py")
LIBRARIES = (
    "keras", "numpy", "onnx", "onnx2torch", "onnxruntime", "tensorflow", "tf2onnx", "torch",
    "torchao",
)  # fmt: skip
# What Python's versions add to their syntax trees, and the code does not say.
_NOT_CODE = ("type_comment", "kind", "type_ignores")
_DIGITS = 16  # hexadecimal: the chance that two of a million agree is one in ten million


class Identity(NamedTuple):
    """Identity of model, data, code, libraries and settings that all runs of a sweep share.

    model_sha256: of the Keras file.
    data: a checksum of the training images to draw from, the test set and the class names.
    code: a checksum of the code as it runs, without comments and docstrings.
    libraries: their public versions.
    opset: of the ONNX models.
    batch_size: test images that are run at once.
    baseline: what runs are compared with; a quantized one with what it was made with.
    """

    model_sha256: str
    data: str
    code: str
    libraries: str
    opset: int
    batch_size: int
    baseline: str


def identify(params: Params, *, raw: Path, data: Path) -> Identity:
    """Identifies what runs start from.

    Args:
        params: the parameters.
        raw: folder with the Keras model.
        data: folder of the arrays that `prepare` wrote.

    Raises:
        ArtifactError: a file is missing or holds something else.
    """
    arrays = [
        read(data / f"{part}_{name}.npy").tobytes()
        for part in ("train", "test")
        for name, read in (("images", read_images), ("labels", read_labels))
    ]
    names = json.dumps(list(read_label_names(data / "labels.json")))
    return Identity(
        model_sha256=hashlib.sha256(read_bytes(find_model(raw))).hexdigest(),
        data=_digest(*arrays, names.encode()),
        code=identify_code(),
        libraries=identify_libraries(),
        opset=params.convert_onnx.opset,
        batch_size=params.evaluate.batch_size,
        baseline=_describe_baseline(params),
    )


def _describe_baseline(params: Params) -> str:
    """The baseline's name; where it is quantized, with the settings behind it."""
    name = params.compare.baseline
    if Variant(name).is_float:
        return name
    return f"{name} {json.dumps(params.settings.values(), separators=(',', ':'))}"


def identify_libraries() -> str:
    """The public versions of the libraries that can change a figure."""
    return " ".join(f"{name}=={public_version(name)}" for name in LIBRARIES)


def public_version(library: str) -> str:
    """A library's version without its local part: 2.13.0 for 2.13.0+cpu.

    Source: https://packaging.python.org/en/latest/specifications/version-specifiers/
    """
    return metadata.version(library).partition("+")[0]


@cache
def identify_code() -> str:
    """A checksum of the code that can change a figure."""
    return digest_code([path.read_text(encoding="utf-8") for path in code_files()])


def digest_code(sources: list[str]) -> str:
    """A checksum of code as it runs: comments, docstrings and layout do not count.

    The syntax trees are compared by what they say, because `ast.dump` and `ast.unparse` differ
    between Python's versions.

    Args:
        sources: of the modules, in an order that is always the same.
    """
    trees = [json.dumps(_as_json(ast.parse(source))).encode() for source in sources]
    return _digest(*trees)


def _as_json(node: object) -> Any:
    """A syntax tree as lists, without fields that have no content: some versions leave them out."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty text to nested format specifiers
        return ["JoinedStr", *(_as_json(x) for x in node.values if not _is_empty_text(x))]
    if isinstance(node, ast.AST):
        fields = {
            name: value
            for name, value in ast.iter_fields(node)
            if name not in _NOT_CODE and value is not None and value != []
        }
        return [type(node).__name__, *([name, _as_json(x)] for name, x in sorted(fields.items()))]
    if isinstance(node, list):
        return [_as_json(x) for x in node if not _is_docstring(x)]
    return ascii(node)  # `repr` would depend on the version's table of printable characters


def _is_docstring(node: object) -> bool:
    """Whether a statement is only a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_empty_text(node: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def code_files() -> list[Path]:
    """The modules that can change a figure, sorted."""
    found: set[Path] = set()
    waiting = [_PACKAGE / name for name in (*_ROOTS, *_COMPUTES)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported_by(path)
    return sorted(found)


def _imported_by(path: Path) -> Iterator[Path]:
    """The project's modules that a module imports, but those of `core`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            for parts in (name.split(".") for name in names):
                module = _PACKAGE.joinpath(*parts[1:]).with_suffix(".py")
                if parts[0] == _PACKAGE.name and "core" not in parts and module.is_file():
                    yield module


def pack_code() -> bytes:
    """The project's library as a zip file that Python imports from."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.rglob("*.py")):
            archive.write(path, path.relative_to(_PACKAGE.parent))
    return file.getvalue()


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:_DIGITS]
