"""PyTorch: saves and loads exported programs, and runs them.

Needs stock PyTorch alone.
"""

import io
import json
import logging
import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
from resnet8.core.evaluation import Predictor, Probabilities

# torch.export.load unpickles some kinds of entries unless told not to.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
logging.getLogger("torch.export").setLevel(logging.CRITICAL)  # it logs tracebacks
# Raised within torch.export.load itself.
warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
_KEPT_METADATA = ("val", "nn_module_stack")

# What `encode` writes. torch.export.load trusts its file: it evaluates expressions, resolves
# names in Python's modules, writes names into code that it runs, and loads native libraries.
MAX_BYTES = 2**30
_ENTRY = re.compile(
    r"\w+/(models/model\.json|extra/(equalization|relu_aware)|archive_format|archive_version|byteorder"
    r"|data/(weights/(weight_\d+|model_weights_config\.json)"
    r"|constants/(tensor_\d+|model_constants_config\.json)|sample_inputs/model\.pt)"
    r"|\.data/(version|serialization_id))"
)
_EXPRESSION = (
    r"(Mul|Add|Integer|Symbol|[(), ]|'s\d+'|(positive|integer)=True|-?\d{1,18}|s\d+){0,40}+"
)
_TREE = (
    r"([][{}:, 1]|null"
    r'|"(type|context|children_spec|builtins\.(tuple|dict|list)|null|\[\])")*'
)
_STRINGS = {  # patterns of strings by their key
    "expr_str": _EXPRESSION,
    "target": r"torch\.ops\.aten\.(?!from_file)\w+\.\w+|_operator\.(getitem|add|mul|sub)",
    "nn_module_stack": r"[\w.,;<>@]*",
    "in_spec": _TREE,
    "out_spec": _TREE,
    "torch_version": r"[\w.+]*",
    "guards_code": "(?!)",  # none
}


# What a damaged or hostile file is known to raise.
_LOADING_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)


def export(module: torch.nn.Module) -> torch.export.ExportedProgram:
    """Exports a module from (N, 32, 32, 3) to (N, K) for any N.

    Raises:
        ArtifactError: an operator cannot be exported, or only for one N.
    """
    example = torch.zeros(2, *IMAGE_SHAPE)
    batch = torch.export.Dim("batch", min=1)
    try:
        return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except (RuntimeError, ValueError) as exc:
        reason = str(exc).strip().splitlines()[0]
        raise ArtifactError(
            f"The PyTorch model must be exportable for any number of images, got: {reason} "
            "Choose another fetch.model."
        ) from exc


def encode(
    program: torch.export.ExportedProgram, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Serializes a program, and texts about it, to the bytes of a `.pt2` file; the same each time.

    Of what the tracing process noted down, only shapes and module names are kept: the rest
    holds file paths and memory addresses, and is larger than 8-bit weights. Of PyTorch's version,
    the public part is: `2.13.0` and `2.13.0+cpu` write the same bytes.
    """
    before = [(node, node.meta) for node in program.graph.nodes], program._example_inputs
    version = torch.__version__
    content = io.BytesIO()
    try:
        torch.__version__ = type(version)(version.partition("+")[0])
        for node, noted in before[0]:
            node.meta = {key: noted[key] for key in _KEPT_METADATA if key in noted}
        program._example_inputs = None
        torch.export.save(program, content, extra_files=dict(metadata or {}))
    finally:  # as it was
        for node, noted in before[0]:
            node.meta = noted
        program._example_inputs = before[1]
        torch.__version__ = version
    return content.getvalue()


def load(path: Path) -> torch.export.ExportedProgram:
    """Loads a `.pt2` file without unpickling code.

    Raises:
        ArtifactError: the file is missing or no exported program.
    """
    return _load(path, str(path))


def read_metadata(path: Path, key: str) -> str:
    """Reads a text that `encode` wrote; empty without one.

    Raises:
        ArtifactError: the file is missing, or not one that `encode` wrote.
    """
    try:
        with zipfile.ZipFile(_checked(path)) as archive:
            found = [x for x in archive.namelist() if x.endswith(f"/extra/{key}")]
            return archive.read(found[0]).decode() if found else ""
    except _LOADING_FAULTS as exc:
        raise _no_program(str(path), exc) from exc


def decode(content: bytes) -> torch.export.ExportedProgram:
    """Loads what `encode` returned, as `load` does from a file."""
    return _load(io.BytesIO(content), "The program")


def _load(source: Path | io.BytesIO, subject: str) -> torch.export.ExportedProgram:
    try:
        program = torch.export.load(_checked(source))
        for name, tensor in program.state_dict.items():
            if not tensor.isfinite().all():
                raise ValueError(f"NaN or infinity in {shown(name)}")
    except _LOADING_FAULTS as exc:
        raise _no_program(subject, exc) from exc
    return program


def _no_program(subject: str, exc: Exception) -> ArtifactError:
    reason = (" ".join(str(exc).split()) or type(exc).__name__)[:200].rstrip(".")
    return ArtifactError(
        f"{subject} must be an exported PyTorch program, got: {reason}. "
        "Run `dvc repro` to make it again."
    )


def _checked(file: Path | io.BytesIO) -> io.BytesIO:
    """Reads the entries of a `.pt2` file, as far as they are what `encode` writes.

    They are packed anew, so that what PyTorch finds in the archive is what was checked.

    Raises:
        ValueError: an entry, or a string of its JSON, is another.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(content, "w") as checked:
        entries = source.infolist()
        if (size := sum(entry.file_size for entry in entries)) > MAX_BYTES:
            raise ValueError(f"{size} bytes when unpacked")
        for entry in entries:
            if not _ENTRY.fullmatch(entry.filename) or entry.filename in checked.namelist():
                raise ValueError(f"an entry {shown(entry.filename)}")
            data = source.read(entry)
            for key, text in _strings(json.loads(data)) if entry.filename.endswith(".json") else ():
                if not re.fullmatch(_STRINGS.get(key, r"[\w.]*"), text):
                    raise ValueError(f"{shown(text)} as {shown(key)}")
            checked.writestr(entry.filename, data)
    content.seek(0)
    return content


def _strings(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """All strings in a JSON value, keys too, each with the key that it is under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield "", name
            yield from _strings(item, name)


def load_classifier(path: Path, *, n_classes: int) -> torch.export.ExportedProgram:
    """Loads a program that gives probabilities.

    Raises:
        ArtifactError: the file is no program, or gives another number of classes.
    """
    program = load(path)
    shapes = [output["shape"] for output in describe(program)["outputs"]]
    if shapes != [["batch", n_classes]]:
        raise ArtifactError(
            f"{path} must give {n_classes} probabilities, got outputs of shape {shapes}. "
            "Run `dvc repro` to make it again."
        )
    return program


def load_predictor(path: Path, *, n_classes: int) -> Predictor:
    """Loads a program as a function of arrays; see `load_classifier`."""
    return make_predictor(load_classifier(path, n_classes=n_classes))


def saturates(_path: Path) -> bool:
    """Whether 8-bit products saturate on this CPU: 8-bit programs multiply in float."""
    return False


def make_predictor(program: torch.export.ExportedProgram) -> Predictor:
    """Wraps a program as a function of arrays; see `as_predictor`."""
    return as_predictor(program.module())


def as_predictor(module: torch.nn.Module) -> Predictor:
    """Wraps a module as a function of arrays; from then on, PyTorch computes on one core."""
    torch.set_num_threads(1)

    def predict(images: NDArray[np.float32]) -> Probabilities:
        with torch.inference_mode():
            probabilities: Probabilities = module(as_tensor(images)).numpy()
        return probabilities

    return predict


def as_tensor(images: NDArray[np.float32]) -> torch.Tensor:
    """Images as a tensor in row-major order; in another, PyTorch's kernels round otherwise."""
    return torch.from_numpy(np.ascontiguousarray(images))


def count_parameters(program: torch.export.ExportedProgram) -> int:
    """Counts the elements of all floating-point parameters that are arrays."""
    arrays = [x for x in program.state_dict.values() if x.is_floating_point() and x.dim()]
    return sum(x.numel() for x in arrays)


def describe(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """Describes a program's interface, its operators and its layers.

    Returns:
        Inputs and outputs (name, dtype, dimensions: a number where static, `batch` where
        dynamic), operator counts, and the names of the layers that `torch.export.unflatten`
        gives back.
    """
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    operators = Counter(
        str(node.target) for node in program.graph.nodes if node.op == "call_function"
    )
    signature = program.graph_signature
    layers = torch.export.unflatten(program).named_children()
    return {
        "inputs": [_describe_tensor(name, values[name]) for name in signature.user_inputs],
        "outputs": [_describe_tensor(name, values[name]) for name in signature.user_outputs],
        "operators": dict(operators),
        "layers": [name for name, _ in layers],
    }


def _describe_tensor(name: object, tensor: torch.Tensor) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else "batch" for dim in tensor.shape]
    return {"name": str(name), "dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}
