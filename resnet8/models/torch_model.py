"""PyTorch: saves and loads exported programs, and runs them.

Needs stock PyTorch alone.
"""

import io
import logging
import os
import pickle
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._export.verifier import SpecViolationError
from torch.export.pt2_archive._package import load_pt2  # torch.export.load keeps errors to itself

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
from resnet8.core.evaluation import Predictor, Probabilities
from resnet8.models.torch_file import read_checked
from resnet8.models.torch_trial import describe_interface, maps_images, try_on_images

# torch.export.load unpickles some kinds of entries unless told not to.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
for _name in ("torch.export", "torch._subclasses.fake_tensor"):  # which log tracebacks
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# Raised within torch.export.load itself.
warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
_KEPT_METADATA = ("val", "nn_module_stack")

# What a damaged or hostile file is known to raise, when loaded or when run.
_FAULTS = (
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
    SpecViolationError,
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

    Raises:
        ArtifactError: the program has an operator that `load` does not take.
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
    try:
        read_checked(content)
    except ValueError as exc:
        raise ArtifactError(
            f"The PyTorch model must be of operators that its readers take, got: {exc}. "
            "Choose another fetch.model."
        ) from exc
    return content.getvalue()


def load(path: Path) -> torch.export.ExportedProgram:
    """Loads a `.pt2` file without running code of it, and tries the program on black images.

    Raises:
        ArtifactError: the file is missing, no exported program or not one that takes images.
    """
    program = _load(path, str(path))
    try:
        shapes = describe_interface(program)
        if maps_images(*shapes):
            try_on_images(program)
            return program
    except _FAULTS as exc:
        raise _no_program(str(path), exc) from exc
    inputs, outputs = ([[x["dtype"], *x["shape"]] for x in group] for group in shapes)
    raise ArtifactError(
        f"{path} must map float32 images (batch, 32, 32, 3) to probabilities (batch, classes), "
        f"got inputs {inputs} and outputs {outputs}. Export it so, with a dynamic batch."
    )


def load_any(path: Path) -> torch.export.ExportedProgram:
    """Loads a `.pt2` file of any input without running it.

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
        with zipfile.ZipFile(read_checked(path)) as archive:
            found = [x for x in archive.namelist() if x.endswith(f"/extra/{key}")]
            return archive.read(found[0]).decode() if found else ""
    except _FAULTS as exc:
        raise _no_program(str(path), exc) from exc


def decode(content: bytes) -> torch.export.ExportedProgram:
    """Loads what `encode` returned."""
    return _load(io.BytesIO(content), "The program")


def _load(source: Path | io.BytesIO, subject: str) -> torch.export.ExportedProgram:
    try:
        program = load_pt2(read_checked(source)).exported_programs["model"]
        for name, tensor in program.state_dict.items():
            if not tensor.isfinite().all():
                raise ValueError(f"NaN or infinity in {shown(name)}")
    except _FAULTS as exc:
        raise _no_program(subject, exc) from exc
    return program


def _no_program(subject: str, exc: Exception) -> ArtifactError:
    text = str(exc).partition("Original exception")[0]  # with its traceback
    reason = (" ".join(text.split()) or type(exc).__name__)[:200].rstrip(".")
    return ArtifactError(
        f"{subject} must be an exported PyTorch program, got: {reason}. "
        "Run `dvc repro` to make it again."
    )


def load_classifier(path: Path, *, n_classes: int) -> torch.export.ExportedProgram:
    """Loads a program that gives probabilities.

    Raises:
        ArtifactError: the file is no program, or gives another number of classes.
    """
    program = load(path)
    shapes = [output["shape"] for output in describe_interface(program)[1]]
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
    return torch.from_numpy(np.array(images, order="C"))  # a copy, which programs may change


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
    inputs, outputs = describe_interface(program)
    operators = Counter(
        str(node.target) for node in program.graph.nodes if node.op == "call_function"
    )
    layers = torch.export.unflatten(program).named_children()
    return {
        "inputs": inputs,
        "outputs": outputs,
        "operators": dict(operators),
        "layers": [name for name, _ in layers],
    }
