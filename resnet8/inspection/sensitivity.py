"""Ranks layers by the effect of quantizing each one alone.

The quantization of a layer is that of its weights and its output; if a ReLU or reshape follows,
the output of the last such operator is quantized. `input` stands for the images. Each
quantized tensor belongs to one layer, so all layers together are the quantized model.

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
# Returns a predictor in which the named layers are quantized and the others are float.
Isolate = Callable[[Sequence[str]], Predictor]


def rank(
    layers: Sequence[str],
    isolate: Isolate,
    images: NDArray[np.uint8],
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """Measures the model with each layer quantized alone, and with all layers but each one.

    Args:
        layers: the quantized layers.
        isolate: makes the models.
        images: (N, 32, 32, 3) uint8.
        progress: wraps the loop over layers, as `tqdm.tqdm` does.

    Returns:
        `all`: divergence and agreement of the fully quantized model with the float one;
        `layers`: by layer, the same two figures with only this layer quantized (`alone`) and
        with all other layers quantized (`spared`), and its `rank` by `alone`, from 1 for the
        largest divergence.
    """

    def run(quantized: Sequence[str]) -> Probabilities:
        return predict(isolate(quantized), images, batch_size=BATCH_SIZE)

    baseline = run([])
    effects = {
        layer: {
            "alone": _effect(baseline, run([layer])),
            "spared": _effect(baseline, run([other for other in layers if other != layer])),
        }
        for layer in progress(layers)
    }
    order = sorted(layers, key=lambda layer: -effects[layer]["alone"]["kl_divergence"])
    return {
        "n_images": len(images),
        "all": _effect(baseline, run(layers)),
        "layers": {layer: effects[layer] | {"rank": order.index(layer) + 1} for layer in layers},
    }


def _effect(baseline: Probabilities, changed: Probabilities) -> dict[str, float]:
    agreement = np.mean(baseline.argmax(axis=1) == changed.argmax(axis=1))
    return {
        "kl_divergence": divergence(kl_divergence(baseline, changed)),
        "agreement": float(agreement),
    }
