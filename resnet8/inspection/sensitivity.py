"""Ranks layers by what quantizing each one alone costs.

A layer's quantization is that of its weights and of its output, or of what stands in for it
after a ReLU or a change of shape; `input` has that of the images. Each 8-bit step of a model
belongs to one layer, so all layers together are the quantized model.

Shape letters: N images, K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.comparison import kl_divergence
from resnet8.core.digits import divergence
from resnet8.core.evaluation import Predictor, Probabilities, predict

BATCH_SIZE = 25  # images run at once on a core
# Makes a predictor in which the named layers are quantized and the others are float.
Isolate = Callable[[Sequence[str]], Predictor]


def rank(
    layers: Sequence[str],
    isolate: Isolate,
    images: NDArray[np.uint8],
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Quantizes each layer alone, and all layers but each one.

    Args:
        layers: those with a quantization of their own.
        isolate: makes the models.
        images: (N, 32, 32, 3) uint8.
        progress: wraps the loop over layers, as `tqdm.tqdm` does.

    Returns:
        `all`: the divergence and agreement of the fully quantized model with the float one;
        `layers`: by layer, `alone` (only it is quantized) and `spared` (all others are)
        likewise, and `rank` from 1, the layer that costs most alone.
    """

    def run(quantized: Sequence[str]) -> Probabilities:
        return predict(isolate(quantized), images, batch_size=BATCH_SIZE)

    baseline = run([])
    found = {
        layer: {
            "alone": _cost(baseline, run([layer])),
            "spared": _cost(baseline, run([other for other in layers if other != layer])),
        }
        for layer in progress(layers)
    }
    order = sorted(layers, key=lambda layer: -found[layer]["alone"]["kl_divergence"])
    return {
        "n_images": len(images),
        "all": _cost(baseline, run(layers)),
        "layers": {layer: found[layer] | {"rank": order.index(layer) + 1} for layer in layers},
    }


def _cost(baseline: Probabilities, changed: Probabilities) -> dict[str, float]:
    agreement = np.mean(baseline.argmax(axis=1) == changed.argmax(axis=1))
    return {
        "kl_divergence": divergence(kl_divergence(baseline, changed)),
        "agreement": float(agreement),
    }
