"""Compares the codes of quantized models with exact arithmetic, tensor by tensor.

Each tensor is computed exactly from the codes that the runtime itself gave to its inputs, so a
difference is not counted again in later layers. A code may differ by one where the exact value is
so close to a rounding tie that the runtime's float32 arithmetic may decide differently; how close
is computed for each such code (`operators.Bound`).

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from resnet8.core.evaluation import map_ahead
from resnet8.core.variants import Variant
from resnet8.inspection import onnx_capture, torch_capture
from resnet8.inspection.capture import Captured, Watched
from resnet8.models import onnx_model
from resnet8.models.onnx_model import OUTPUT
from resnet8.reference.network import IMAGES, Network, Step
from resnet8.reference.operators import Values
from resnet8.reference.results import Checked, EndToEnd, TensorCheck, refuse_unexplained

BATCH_SIZE = 25  # images computed at once, in float64


class Runtime(NamedTuple):
    """A quantized model in its runtime.

    watched: captures the codes of its layers.
    exact_sums: layers whose outputs the runtime computes from exact sums of 8-bit products.
    saturates: True if sums of 8-bit products saturate on this CPU.
    """

    watched: Watched
    exact_sums: frozenset[str] = frozenset()
    saturates: bool = False

    def codes(self, captured: Captured, tensor: str) -> NDArray[np.int64] | None:
        """Returns the codes of a tensor as uint8 codes; None if it has none."""
        point = self.watched.points.get(tensor)
        if point is None or point.quantization is None:
            return None
        lowest = np.iinfo(point.quantization.dtype).min
        return np.asarray(captured.outputs[tensor].astype(np.int64) - lowest)


def open_runtime(model: onnx.ModelProto | torch.export.ExportedProgram) -> Runtime:
    """Opens a model in QDQ form, or a program, which multiplies 8-bit values in float."""
    if not isinstance(model, onnx.ModelProto):
        return Runtime(torch_capture.watch(model))
    watched = onnx_capture.watch(model)
    exact = {f"tensor {x}" for x in onnx_model.integer_outputs(model)}
    layers = frozenset(layer for layer, point in watched.points.items() if point.place in exact)
    return Runtime(watched, layers, onnx_model.saturates(model))


def check_variants(
    network: Network,
    models: Mapping[Variant, Any],
    images: NDArray[np.uint8],
    *,
    progress: Callable[..., Iterable[int]],
) -> dict[str, Checked]:
    """Compares the quantized variants of loaded models with exact arithmetic; see `check`.

    Raises:
        ParityError: a variant has differences that rounding does not explain.
    """
    runtimes = {str(x): open_runtime(model) for x, model in models.items() if not x.is_float}
    shown = partial(progress, desc="exact arithmetic", unit="batches")
    checked = check(network, runtimes, images, progress=shown)
    for name, result in checked.items():
        refuse_unexplained(name, result)
    return checked


def check(
    network: Network,
    runtimes: Mapping[str, Runtime],
    images: NDArray[np.uint8],
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Checked]:
    """Compares quantized models with exact arithmetic.

    Args:
        network: computes the expected codes.
        runtimes: by variant.
        images: (N, H, W, C).
        progress: wraps the loop over batches, as `tqdm.tqdm` does.
    """

    def capture(start: int) -> tuple[NDArray[np.uint8], dict[str, Captured]]:
        batch = images[start : start + BATCH_SIZE]
        pixels = batch.astype(np.float32)
        return batch, {name: x.watched.run(pixels) for name, x in runtimes.items()}

    def compare(run: tuple[NDArray[np.uint8], dict[str, Captured]]) -> dict[str, Checked]:
        batch, captured = run
        exact = network.run(batch)
        return {name: _check(network, runtimes[name], x, exact) for name, x in captured.items()}

    # Only one thread runs models: PyTorch's hooks serve one call at a time.
    captures = map(capture, progress(range(0, len(images), BATCH_SIZE)))
    results: dict[str, Checked] = {}
    for checked in map_ahead(compare, captures, cores=None):
        results = {name: results[name].joined(x) if results else x for name, x in checked.items()}
    return results


def _check(
    network: Network, runtime: Runtime, captured: Captured, exact: Mapping[str, NDArray[Any]]
) -> Checked:
    """Compares a batch, given the exact codes end to end."""
    codes = {IMAGES: exact[IMAGES]}
    rows: list[TensorCheck] = []
    n_differing = 0
    for step in network.steps:
        values = network.compute(step, codes)
        is_exact = not runtime.exact_sums.isdisjoint([step.tensor, *values])
        computed = _Computed(network, step, values, codes, is_exact)
        if step.tensor == OUTPUT:
            rows += computed.compare_floats(captured)
            break
        actual = runtime.codes(captured, step.tensor)
        codes[step.tensor] = network.activations[step.tensor].quantize(values[step.tensor])
        if actual is not None:
            rows.append(computed.compare_codes(actual, codes[step.tensor]))
            n_differing += int(np.count_nonzero(actual != exact[step.tensor]))
            codes[step.tensor] = actual
    classes = [x.argmax(axis=1) for x in (captured.probabilities, exact[OUTPUT])]
    end_to_end = EndToEnd(
        n_images=len(classes[0]),
        same_class=int(np.count_nonzero(classes[0] == classes[1])),
        codes=sum(row.compared for row in rows if row.in_codes),
        differing=n_differing,
        largest=float(np.abs(captured.probabilities - exact[OUTPUT]).max()),
    )
    return Checked({row.tensor: row for row in rows}, end_to_end, runtime.saturates)


class _Computed(NamedTuple):
    """The exact values of a step by tensor, computed from a runtime's codes.

    is_exact: True if the runtime adds up 8-bit products exactly.
    """

    network: Network
    step: Step
    values: Mapping[str, Values]
    codes: Mapping[str, NDArray[Any]]
    is_exact: bool

    def compare_codes(self, actual: NDArray[np.int64], expected: NDArray[np.uint8]) -> TensorCheck:
        tensor = self.step.tensor
        row = TensorCheck(tensor, self.step.layer, in_codes=True, compared=actual.size)
        rows = (actual != expected).reshape(len(actual), -1).any(axis=1)
        if not rows.any():
            return row
        # Bounds are computed for the images that differ, or for all if rows are not images.
        by_image = {len(x) for x in (*self.codes.values(), *self.values.values())} == {len(rows)}
        chosen = rows if by_image else slice(None)
        actual, expected = actual[chosen], expected[chosen]
        differs = actual != expected
        parameters = self.network.activations[tensor]
        ties = np.minimum(actual, expected)[differs] + 0.5 - int(parameters.zero_point)
        steps = self.values[tensor][chosen][differs] / float(parameters.scale)
        errors = self._bound_errors(chosen).get(tensor)
        error = np.full(len(ties), np.inf) if errors is None else errors[differs]
        difference, distance = np.abs(actual - expected)[differs], np.abs(steps - ties)
        return row._replace(
            differing=len(ties),
            unexplained=int(np.count_nonzero((difference > 1) | (distance > error))),
            largest=float(difference.max()),
            farthest=float(distance.max()),
            bound=float(error.max()),
        )

    def compare_floats(self, captured: Captured) -> Iterator[TensorCheck]:
        """Compares tensors after the last codes, as far as error bounds are known."""
        errors = self._bound_errors(slice(None))
        for node in self.step.nodes:
            tensor = node.output[0]
            actual = captured.outputs.get(tensor)
            if actual is None or tensor not in errors:
                continue
            off = np.abs(actual - self.values[tensor])
            n_differing = int(np.count_nonzero(off > errors[tensor]))
            largest = float(np.max(off / np.maximum(errors[tensor], np.finfo(float).tiny)))
            row = TensorCheck(tensor, node.name, in_codes=False, compared=actual.size)
            yield row._replace(differing=n_differing, unexplained=n_differing, largest=largest)

    def _bound_errors(self, chosen: NDArray[np.bool_] | slice) -> dict[str, Values]:
        """Returns the error bounds of tensors, for some of the images; see `Network`."""
        codes = {name: x[chosen] for name, x in self.codes.items()}
        values = {name: x[chosen] for name, x in self.values.items()}
        return self.network.bound_errors(self.step, codes, exact=values if self.is_exact else None)
