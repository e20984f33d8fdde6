"""Identifies what determines the result of a run: model, data, settings, code and libraries."""

import ast
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from resnet8.core.files import find_model, read_array, read_bytes, read_json
from resnet8.core.params import Params
from resnet8.core.sections import ConvertOnnx, Evaluate
from resnet8.core.variants import Variant

_PACKAGE = Path(__file__).parents[1]
# The modules that make and measure a quantized model, starting with the Keras file. Of `core`,
# only those that compute: the rest reads parameters and files, and words messages.
_CODE = (
    "compare/comparison.py", "core/digits.py", "core/evaluation.py", "core/qparams.py",
    "models/*.py", "quantize/*.py", "sweep/measure.py", "sweep/result.py",
)  # fmt: skip
_LIBRARIES = (
    "keras", "numpy", "onnx", "onnx2torch", "onnxruntime", "tensorflow", "tf2onnx", "torch",
    "torchao",
)  # fmt: skip
# Fields of syntax trees that only some versions of Python fill.
_NOT_CODE = ("type_comment", "kind", "type_ignores")
_DIGITS = 16  # hexadecimal: the chance that two of a million agree is one in ten million
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class Identity(NamedTuple):
    """Identity of model, data, code, libraries and settings that all runs of a sweep share."""

    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # of the Keras file
    data: _Digest  # of the training images to draw from, the test set and the class names
    code: _Digest  # without comments and docstrings
    libraries: Annotated[str, Field(pattern="^[!-~]+( [!-~]+)*$")]  # with public versions
    opset: Annotated[int, ConvertOnnx.model_fields["opset"]]  # of the ONNX models
    batch_size: Annotated[int, Evaluate.model_fields["batch_size"]]  # number of test images
    # The variant that runs are compared with; a quantized one with its settings.
    baseline: Annotated[str, Field(pattern=f"^({'|'.join(Variant)})( [ -~]+)?$")]


def identify(params: Params, *, raw: Path, data: Path) -> Identity:
    """Identifies the Keras model in `raw`, the arrays in `data`, the code and shared parameters.

    Raises:
        ArtifactError: a file is missing or invalid.
    """
    arrays = [
        read_array(data / f"{part}_{name}.npy").tobytes()
        for part in ("train", "test")
        for name in ("images", "labels")
    ]
    names = json.dumps(read_json(data / "labels.json")["label_names"])
    baseline = params.compare.baseline
    if not Variant(baseline).is_float:
        baseline += f" {json.dumps(params.settings.values(), separators=(',', ':'))}"
    return Identity(
        model_sha256=hashlib.sha256(read_bytes(find_model(raw))).hexdigest(),
        data=_digest(*arrays, names.encode()),
        code=digest_code([path.read_text(encoding="utf-8") for path in code_files()]),
        libraries=identify_libraries(),
        opset=params.convert_onnx.opset,
        batch_size=params.evaluate.batch_size,
        baseline=baseline,
    )


def identify_libraries() -> str:
    """Returns the versions of the libraries that can change a figure, without local parts.

    Source: https://packaging.python.org/en/latest/specifications/version-specifiers/, "Local
    version identifiers": 2.13.0+cpu is a build of 2.13.0.
    """
    versions = {name: metadata.version(name).partition("+")[0] for name in _LIBRARIES}
    return " ".join(f"{name}=={version}" for name, version in versions.items())


def code_files() -> list[Path]:
    """Returns the paths of the modules that can change a figure, sorted."""
    return sorted(path for pattern in _CODE for path in _PACKAGE.glob(pattern))


def digest_code(sources: list[str]) -> str:
    """Returns a checksum of modules that ignores comments, docstrings and layout.

    It hashes the content of the syntax trees, because the results of `ast.dump` and `ast.unparse`
    differ between versions of Python.
    """
    return _digest(*(json.dumps(_as_json(ast.parse(source))).encode() for source in sources))


def _as_json(node: object) -> Any:
    """Converts a syntax tree to lists, without empty fields: some versions leave them out."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty text to nested format specifiers
        return ["JoinedStr", *(_as_json(x) for x in node.values if getattr(x, "value", None) != "")]
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
    text = node.value if isinstance(node, ast.Expr) else None
    return isinstance(text, ast.Constant) and isinstance(text.value, str)


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:_DIGITS]
