"""Holds the codes of a quantized model against exact arithmetic, tensor by tensor.

Each tensor is computed exactly from the codes that the runtime itself gave to its inputs, so a
difference is not counted again in the layers behind it. A code may differ by one where the exact
value is so near to a tie between both codes that the float32 arithmetic of the runtime may decide
otherwise; how near is computed for each such code (`operators.Bound`).

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.evaluation import map_ahead
from resnet8.inspection.capture import Captured
from resnet8.models.onnx_model import OUTPUT
from resnet8.reference.network import IMAGES, Network, Step
from resnet8.reference.operators import Values
from resnet8.reference.results import Checked, EndToEnd, TensorCheck
from resnet8.reference.runtimes import Runtime

N_IMAGES = 300  # of the test set, that are compared
BATCH_SIZE = 25  # of them that are computed at once: in float64, with eight bytes a value


def check(
    network: Network,
    runtimes: Mapping[str, Runtime],
    images: NDArray[np.uint8],
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, Checked]:
    """Compares quantized models with exact arithmetic.

    Args:
        network: what they must compute.
        runtimes: by variant.
        images: (N, H, W, C).
        progress: wraps the loop over batches, as `tqdm.tqdm` does.
    """

    def run(batch: _Batch) -> dict[str, Checked]:
        exact = network.run(batch.images)
        return {
            name: _check(network, runtime, batch.images, batch.captured[name], exact)
            for name, runtime in runtimes.items()
        }

    starts = progress(range(0, len(images), BATCH_SIZE))
    batches = (_run(runtimes, images[start : start + BATCH_SIZE]) for start in starts)
    found: dict[str, Checked] = {}
    for checked in map_ahead(run, batches, cores=None):
        found = {name: found[name].joined(x) if found else x for name, x in checked.items()}
    return found


class _Batch(NamedTuple):
    images: NDArray[np.uint8]
    captured: dict[str, Captured]


def _run(runtimes: Mapping[str, Runtime], images: NDArray[np.uint8]) -> _Batch:
    """Runs the models one after the other: hooks of PyTorch belong to one call at a time."""
    pixels = images.astype(np.float32)
    return _Batch(images, {name: x.watched.run(pixels) for name, x in runtimes.items()})


def _check(
    network: Network,
    runtime: Runtime,
    images: NDArray[np.uint8],
    captured: Captured,
    exact: Mapping[str, NDArray[Any]],
) -> Checked:
    codes: dict[str, NDArray[Any]] = {IMAGES: images}
    found: list[TensorCheck] = []
    n_differing = 0
    for step in network.steps:
        values = network.compute(step, codes)
        exact_sums = not runtime.exact_sums.isdisjoint([step.tensor, *values])
        look = _Look(network, step, values, codes, exact_sums)
        if step.tensor == OUTPUT:
            found += look.compare_numbers(captured)
            break
        given = runtime.codes(captured, step.tensor)
        expected = network.quantize(step.tensor, values[step.tensor])
        if given is not None:
            found.append(look.compare_codes(given, expected))
            n_differing += int(np.count_nonzero(given != exact[step.tensor]))
        codes[step.tensor] = expected if given is None else given
    classes = [x.argmax(axis=1) for x in (captured.probabilities, exact[OUTPUT])]
    end_to_end = EndToEnd(
        n_images=len(images),
        same_class=int(np.count_nonzero(classes[0] == classes[1])),
        codes=sum(row.compared for row in found if row.in_codes),
        differing=n_differing,
        largest=float(np.abs(captured.probabilities - exact[OUTPUT]).max()),
    )
    return Checked({row.tensor: row for row in found}, end_to_end)


class _Look:
    """A step of a network, with what exact arithmetic makes of a runtime's codes."""

    def __init__(
        self,
        network: Network,
        step: Step,
        values: Mapping[str, Values],
        codes: Mapping[str, NDArray[Any]],
        exact_sums: bool,
    ) -> None:
        self._network, self._step, self._values = network, step, values
        self._codes, self._exact_sums = dict(codes), exact_sums

    def compare_codes(self, given: NDArray[np.int64], expected: NDArray[np.int64]) -> TensorCheck:
        tensor = self._step.tensor
        row = TensorCheck(tensor, self._step.layer, in_codes=True, compared=given.size)
        rows = (given != expected).reshape(len(given), -1).any(axis=1)
        if not rows.any():
            return row
        # Images; where a tensor has other rows than those, all of them.
        by_image = {len(x) for x in (*self._codes.values(), *self._values.values())} == {len(rows)}
        chosen = rows if by_image else slice(None)
        given, expected = given[chosen], expected[chosen]
        differs = given != expected
        parameters = self._network.activations[tensor]
        ties = np.minimum(given, expected)[differs] + 0.5 - int(parameters.zero_point)
        steps = self._values[tensor][chosen][differs] / float(parameters.scale)
        errors = self._errors(chosen).get(tensor)
        error = np.full(len(ties), np.inf) if errors is None else errors[differs]
        difference, distance = np.abs(given - expected)[differs], np.abs(steps - ties)
        return row._replace(
            differing=len(ties),
            unexplained=int(np.count_nonzero((difference > 1) | (distance > error))),
            largest=float(difference.max()),
            farthest=float(distance.max()),
            bound=float(error.max()),
        )

    def compare_numbers(self, captured: Captured) -> Iterator[TensorCheck]:
        """Compares what stays in float behind the last codes, as far as bounds are known."""
        errors = self._errors(slice(None))
        for node in self._step.nodes:
            tensor = node.output[0]
            given = captured.outputs.get(tensor)
            if given is None or tensor not in errors:
                continue
            off = np.abs(given - self._values[tensor])
            share = float(np.max(off / np.maximum(errors[tensor], np.finfo(np.float64).tiny)))
            n_differing = int(np.count_nonzero(off > errors[tensor]))
            yield TensorCheck(
                tensor,
                node.name,
                in_codes=False,
                compared=given.size,
                differing=n_differing,
                unexplained=n_differing,
                largest=share,
            )

    def _errors(self, chosen: NDArray[np.bool_] | slice) -> dict[str, Values]:
        """Error bounds of the tensors of the step, for some of the images; see `Network`."""
        codes = {name: x[chosen] for name, x in self._codes.items()}
        values = {name: x[chosen] for name, x in self._values.items()}
        return self._network.bound_errors(
            self._step, codes, exact=values if self._exact_sums else None
        )
