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
from contextlib import AbstractContextManager
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
from resnet8.models.faults import FAULTS, refused
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


def export(module: torch.nn.Module) -> Program:
    """Exports a module from (N, 32, 32, 3) to (N, K) for any N, without other metadata.

    Raises:
        RuntimeError, ValueError: an operator cannot be exported, or only for one N.
    """
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module, (torch.zeros(2, *IMAGE_SHAPE),), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta = {key: node.meta[key] for key in _KEPT_METADATA if key in node.meta}
    program._example_inputs = None
    return program


def encode(program: Program, metadata: Mapping[str, str] | None = None) -> bytes:
    """Returns a program, and texts about it, as the bytes of a `.pt2` file.

    Only the public part of PyTorch's version is written, so that `2.13.0` and `2.13.0+cpu` give
    the same bytes.

    Raises:
        ArtifactError: the program has an operator that `load_model` refuses.
    """
    version = torch.__version__
    content = io.BytesIO()
    with patch.object(torch, "__version__", type(version)(version.partition("+")[0])):
        torch.export.save(program, content, extra_files=dict(metadata or {}))
    with refused(
        "The PyTorch model must consist of operators that its readers take",
        "Choose another fetch.model.",
    ):
        read_checked(content)
    return content.getvalue()


def load_model(path: Path, *, n_classes: int | None = None) -> Program:
    """Loads a `.pt2` file without running code of it, and tries the program on black images.

    Raises:
        ArtifactError: the file is missing, no exported program, or does not map images to
            K probabilities; without `n_classes`, K may be any number.
    """
    program = load_any(path)
    with _reading(path):
        interface = describe_interface(program)
        if count := count_classes(program):
            _try_on_images(program, count)
    if not count or n_classes not in (None, count):
        inputs, outputs = ([[x["dtype"], *x["shape"]] for x in side] for side in interface)
        raise ArtifactError(
            f"{path} must map float32 images (batch, 32, 32, 3) to probabilities (batch, "
            f"{n_classes or 'classes'}), got inputs {inputs} and outputs {outputs}. "
            "Export it so, with a dynamic batch."
        )
    return program


def load_any(source: Path | bytes) -> Program:
    """Loads a program of any input, from a file or from what `encode` returned.

    Raises:
        ArtifactError: the file is missing or no exported program.
    """
    with _reading(source if isinstance(source, Path) else "The program"):
        content = read_checked(source if isinstance(source, Path) else io.BytesIO(source))
        program: Program = load_pt2(content).exported_programs["model"]
        for name, tensor in program.state_dict.items():
            if not tensor.isfinite().all():
                raise ValueError(f"NaN or infinity in {shown(name)}")
    return program


def read_metadata(path: Path, key: str) -> str:
    """Reads a text that `encode` wrote; empty if there is none.

    Raises:
        ArtifactError: the file is missing, or not one that `encode` wrote.
    """
    with _reading(path), zipfile.ZipFile(read_checked(path)) as archive:
        name = f"archive/extra/{key}"
        return archive.read(name).decode() if name in archive.namelist() else ""


def _reading(subject: Path | str) -> AbstractContextManager[None]:
    """Reports a file that is no program as an ArtifactError."""
    return refused(
        f"{subject} must be an exported PyTorch program",
        "Run `dvc repro` to make it again.",
        faults=(*FAULTS, SpecViolationError),
        cause=lambda exc: str(exc).partition("Original exception")[0],  # and its traceback
    )


def make_predictor(model: Program | torch.nn.Module) -> Predictor:
    """Wraps a model as a function of arrays; sets PyTorch to one thread."""
    torch.set_num_threads(1)
    module = model.module() if isinstance(model, Program) else model

    def predict(images: NDArray[np.float32]) -> Probabilities:
        with torch.inference_mode():
            probabilities: Probabilities = module(as_tensor(images)).numpy()
        return probabilities

    return predict


def as_tensor(images: NDArray[np.float32]) -> torch.Tensor:
    """Copies images to a tensor in row-major order; PyTorch rounds differently in other orders."""
    return torch.from_numpy(np.array(images, order="C"))


def count_parameters(program: Program) -> int:
    """Counts the elements of all floating-point parameters that are arrays."""
    return sum(x.numel() for x in program.state_dict.values() if x.is_floating_point() and x.dim())


def describe(program: Program) -> dict[str, Any]:
    """Inputs, outputs, operator counts, and the layers that `torch.export.unflatten` restores."""
    inputs, outputs = describe_interface(program)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return {
        "inputs": inputs,
        "outputs": outputs,
        "operators": dict(Counter(calls)),
        "layers": [name for name, _ in torch.export.unflatten(program).named_children()],
    }


def describe_interface(program: Program) -> list[list[dict[str, Any]]]:
    """Inputs and outputs: name, dtype, dimensions (a number where static, else `batch`)."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    signature = program.graph_signature
    return [
        [
            {
                "name": name,
                "dtype": str(values[name].dtype).removeprefix("torch."),
                "shape": [x if isinstance(x, int) else "batch" for x in values[name].shape],
            }
            for name in map(str, names)
        ]
        for names in (signature.user_inputs, signature.user_outputs)
    ]


def count_classes(program: Program) -> int | None:
    """K of a program that maps float32 (N, 32, 32, 3) to (N, K) for any N; None for others."""
    try:
        (images,), (rows,) = describe_interface(program)
    except (AttributeError, LookupError, ValueError):  # several, or other things than tensors
        return None
    takes_images = (images["dtype"], images["shape"]) == ("float32", ["batch", *IMAGE_SHAPE])
    match rows["shape"]:
        case ["batch", int(n_classes)] if takes_images and rows["dtype"] == "float32":
            return n_classes
    return None


def _try_on_images(program: Program, n_classes: int) -> None:
    """Raises a ValueError if results are too large, or of another shape than declared."""
    module = program.module()
    sizes = _ResultSizes(module)
    sizes.extra_traceback = False  # in the message
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
