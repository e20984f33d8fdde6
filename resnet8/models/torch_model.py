"""Saves, loads and runs exported PyTorch programs.

Needs stock PyTorch alone. Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import io
import logging
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch._export.verifier import SpecViolationError
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export.pt2_archive._package import load_pt2  # torch.export.load logs its errors
from torch.utils._pytree import tree_leaves

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.errors import ArtifactError, shown
from resnet8.core.evaluation import Predictor, Probabilities
from resnet8.models.faults import FAULTS, reason
from resnet8.models.torch_file import read_checked

# torch.export.load unpickles some kinds of entries unless told not to.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
for _name in ("torch.export", "torch._subclasses.fake_tensor"):  # which log tracebacks
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# Raised within torch.export.load itself.
warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)

Program = torch.export.ExportedProgram
MAX_RESULT_BYTES = 2**28  # of all operators together, for one image
_KEPT_METADATA = ("val", "nn_module_stack")  # the rest has paths, addresses, and many bytes
_FAULTS: tuple[type[Exception], ...] = (*FAULTS, SpecViolationError)


def export(module: torch.nn.Module) -> Program:
    """Exports a module from (N, 32, 32, 3) to (N, K) for any N.

    Nodes of the program keep the metadata on shapes and module names alone.

    Raises:
        ArtifactError: an operator cannot be exported, or only for one N.
    """
    example = torch.zeros(2, *IMAGE_SHAPE)
    batch = torch.export.Dim("batch", min=1)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    except (RuntimeError, ValueError) as exc:
        raise ArtifactError(
            "The PyTorch model must be exportable for any number of images, got: "
            f"{str(exc).strip().splitlines()[0]} Choose another fetch.model."
        ) from exc
    for node in program.graph.nodes:
        node.meta = {key: node.meta[key] for key in _KEPT_METADATA if key in node.meta}
    program._example_inputs = None
    return program


def encode(program: Program, metadata: Mapping[str, str] | None = None) -> bytes:
    """Returns a program, and texts about it, as the bytes of a `.pt2` file.

    Only the public part of PyTorch's version is written, so that `2.13.0` and `2.13.0+cpu` give
    the same bytes.

    Raises:
        ArtifactError: the program has an operator that `load` refuses.
    """
    version = torch.__version__
    content = io.BytesIO()
    with patch.object(torch, "__version__", type(version)(version.partition("+")[0])):
        torch.export.save(program, content, extra_files=dict(metadata or {}))
    try:
        read_checked(content)
    except ValueError as exc:
        raise ArtifactError(
            f"The PyTorch model must consist of operators that its readers take, got: {exc}. "
            "Choose another fetch.model."
        ) from exc
    return content.getvalue()


def load(path: Path) -> Program:
    """Loads a `.pt2` file without running code of it, and tries the program on black images.

    Raises:
        ArtifactError: the file is missing, no exported program, or does not take images.
    """
    program = load_any(path)
    try:
        inputs, outputs = describe_interface(program)
        if maps_images(inputs, outputs):
            _try_on_images(program)
            return program
    except _FAULTS as exc:
        raise _no_program(path, exc) from exc
    sides = [[[x["dtype"], *x["shape"]] for x in group] for group in (inputs, outputs)]
    raise ArtifactError(
        f"{path} must map float32 images (batch, 32, 32, 3) to probabilities (batch, classes), "
        f"got inputs {sides[0]} and outputs {sides[1]}. Export it so, with a dynamic batch."
    )


def load_any(path: Path) -> Program:
    """Loads a `.pt2` file of any input without running it.

    Raises:
        ArtifactError: the file is missing or no exported program.
    """
    return _load(path, path)


def decode(content: bytes) -> Program:
    """Loads the bytes that `encode` returned."""
    return _load(io.BytesIO(content), "The program")


def read_metadata(path: Path, key: str) -> str:
    """Reads a text that `encode` wrote; empty if there is none.

    Raises:
        ArtifactError: the file is missing, or not one that `encode` wrote.
    """
    try:
        with zipfile.ZipFile(read_checked(path)) as archive:
            name = f"archive/extra/{key}"
            return archive.read(name).decode() if name in archive.namelist() else ""
    except _FAULTS as exc:
        raise _no_program(path, exc) from exc


def _load(source: Path | io.BytesIO, subject: Path | str) -> Program:
    try:
        program: Program = load_pt2(read_checked(source)).exported_programs["model"]
        for name, tensor in program.state_dict.items():
            if not tensor.isfinite().all():
                raise ValueError(f"NaN or infinity in {shown(name)}")
    except _FAULTS as exc:
        raise _no_program(subject, exc) from exc
    return program


def _no_program(subject: Path | str, exc: Exception) -> ArtifactError:
    message = str(exc).partition("Original exception")[0]  # which comes with its traceback
    return ArtifactError(
        f"{subject} must be an exported PyTorch program, got: {reason(exc, message)}. "
        "Run `dvc repro` to make it again."
    )


def load_classifier(path: Path, *, n_classes: int) -> Program:
    """Loads a program that returns probabilities.

    Raises:
        ArtifactError: the file is no program, or has another number of classes.
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


def make_predictor(program: Program) -> Predictor:
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
    """Copies images to a tensor in row-major order; PyTorch rounds differently in others."""
    return torch.from_numpy(np.array(images, order="C"))


def count_parameters(program: Program) -> int:
    """Counts the elements of all floating-point parameters that are arrays."""
    arrays = [x for x in program.state_dict.values() if x.is_floating_point() and x.dim()]
    return sum(x.numel() for x in arrays)


def describe(program: Program) -> dict[str, Any]:
    """Describes the interface, operators and layers of a program.

    Returns:
        Inputs and outputs (see `describe_interface`), operator counts, and the names of the
        layers that `torch.export.unflatten` restores.
    """
    inputs, outputs = describe_interface(program)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    layers = [name for name, _ in torch.export.unflatten(program).named_children()]
    operators = dict(Counter(calls))
    return {"inputs": inputs, "outputs": outputs, "operators": operators, "layers": layers}


def describe_interface(program: Program) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs: name, dtype, dimensions (a number where static, else `batch`)."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}

    def describe_tensor(name: object) -> dict[str, Any]:
        tensor = values[name]
        shape = [dim if isinstance(dim, int) else "batch" for dim in tensor.shape]
        dtype = str(tensor.dtype).removeprefix("torch.")
        return {"name": str(name), "dtype": dtype, "shape": shape}

    names = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    inputs, outputs = ([describe_tensor(name) for name in group] for group in names)
    return inputs, outputs


def maps_images(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> bool:
    """Returns whether an interface maps float32 (N, 32, 32, 3) to (N, K) for any N."""
    shapes = [[[x["dtype"], *x["shape"]] for x in group] for group in (inputs, outputs)]
    takes_images = shapes[0] == [["float32", "batch", *IMAGE_SHAPE]]
    return takes_images and [shape[:-1] for shape in shapes[1]] == [["float32", "batch"]]


def _try_on_images(program: Program) -> None:
    """Runs a program on fake tensors, then the program and its unflattened form on two images.

    Raises:
        ValueError: results are too large, or of another shape than declared.
    """
    module = program.module()
    sizes = _ResultSizes(module)
    sizes.extra_traceback = False  # in the message
    n_classes = describe_interface(program)[1][0]["shape"][1]
    with torch.inference_mode():
        with FakeTensorMode(allow_non_fake_inputs=True):
            sizes.run(torch.zeros(1, *IMAGE_SHAPE))
        for runnable in (module, torch.export.unflatten(program)):
            result = runnable(torch.zeros(2, *IMAGE_SHAPE))
            if (result.dtype, *result.shape) != (torch.float32, 2, n_classes):
                raise ValueError(f"{result.dtype} {list(result.shape)} for two images")


class _ResultSizes(torch.fx.Interpreter):
    """Adds up the bytes of a program's results and stops where they are too large."""

    total = 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        result = super().call_function(target, args, kwargs)
        for value in tree_leaves(result):  # numbers may be sizes
            self.total += value.nbytes if isinstance(value, torch.Tensor) else abs(value or 0)
        if not self.total <= MAX_RESULT_BYTES:  # also where it is NaN
            raise ValueError(f"results of size {self.total} (at {target})")
        return result
