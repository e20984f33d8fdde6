"""PyTorch: saves and loads exported programs, and runs them.

Needs stock PyTorch alone.
"""

import io
import os
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.batches import IMAGE_SHAPE
from resnet8.errors import ArtifactError
from resnet8.evaluation import Predictor, Probabilities

# torch.export.load unpickles some kinds of entries unless told not to.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
# Raised within torch.export.load itself.
warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*", category=FutureWarning)

# Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
_KEPT_METADATA = ("val", "nn_module_stack")


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


def encode(program: torch.export.ExportedProgram) -> bytes:
    """Serializes a program to the bytes of a `.pt2` file; the same each time.

    Of what the tracing process noted down, only shapes and module names are kept: the rest
    holds file paths and memory addresses, and is larger than 8-bit weights.
    """
    for node in program.graph.nodes:
        node.meta = {key: node.meta[key] for key in _KEPT_METADATA if key in node.meta}
    program._example_inputs = None
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def load(path: Path) -> torch.export.ExportedProgram:
    """Loads a `.pt2` file without unpickling code.

    Raises:
        ArtifactError: the file is missing or no exported program.
    """
    try:
        return torch.export.load(path)
    except (
        AssertionError,
        LookupError,
        OSError,
        RuntimeError,
        ValueError,
        zipfile.BadZipFile,
    ) as exc:
        reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        raise ArtifactError(
            f"{path} must be an exported PyTorch program, got: {reason} "
            "Run `dvc repro` to make it again."
        ) from exc


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


def make_predictor(program: torch.export.ExportedProgram) -> Predictor:
    """Wraps a program as a function of arrays."""
    module = program.module()

    def predict(images: NDArray[np.float32]) -> Probabilities:
        with torch.inference_mode():
            probabilities: Probabilities = module(torch.from_numpy(images)).numpy()
        return probabilities

    return predict


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
