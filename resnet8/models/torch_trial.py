"""Tries PyTorch programs: what they declare, which sizes they compute, and whether they run."""

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from resnet8.core.batches import IMAGE_SHAPE

# Shape letters: N images, K classes.
_MAX_RESULTS = 2**28  # bytes of what a program's operators give for one image


def describe_interface(
    program: torch.export.ExportedProgram,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs: name, dtype, dimensions (a number where static, else `batch`)."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    names = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    inputs, outputs = ([_describe_tensor(x, values[x]) for x in group] for group in names)
    return inputs, outputs


def _describe_tensor(name: object, tensor: torch.Tensor) -> dict[str, Any]:
    shape = [dim if isinstance(dim, int) else "batch" for dim in tensor.shape]
    return {"name": str(name), "dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}


def maps_images(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> bool:
    """Whether an interface maps (N, 32, 32, 3) to (N, K) for any N."""
    shapes = [[x["dtype"], *x["shape"]] for x in (*inputs, *outputs)]
    return (
        len(inputs) == 1
        and shapes[0] == ["float32", "batch", *IMAGE_SHAPE]
        and [shape[:-1] for shape in shapes[1:]] == [["float32", "batch"]]
    )


def try_on_images(program: torch.export.ExportedProgram) -> None:
    """Runs a program on shapes alone; then the program, and the layers it gives back, on images.

    Raises:
        ValueError: it gives another shape than it declares, or takes too much memory. PyTorch
            raises other errors.
    """
    module = program.module()
    sizes = _Sizes(module)
    sizes.extra_traceback = False  # in the message
    n_classes = describe_interface(program)[1][0]["shape"][1]
    with torch.inference_mode():
        with FakeTensorMode(allow_non_fake_inputs=True):
            sizes.run(torch.zeros(1, *IMAGE_SHAPE))
        for runnable in (module, torch.export.unflatten(program)):
            found = runnable(torch.zeros(2, *IMAGE_SHAPE))
            if (found.dtype, *found.shape) != (torch.float32, 2, n_classes):
                raise ValueError(f"{found.dtype} {list(found.shape)} for two images")


class _Sizes(torch.fx.Interpreter):
    """Computes the sizes of a program's results, and ends where they are too large."""

    total = 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        result = super().call_function(target, args, kwargs)
        for value in tree_leaves(result):  # numbers are sizes, too
            self.total += value.nbytes if isinstance(value, torch.Tensor) else abs(value or 0)
        if not self.total <= _MAX_RESULTS:  # NaN is none, either
            raise ValueError(f"results of size {self.total} (at {target})")
        return result
