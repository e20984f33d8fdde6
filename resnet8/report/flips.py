"""The report's flipped images: those to which a variant gives another class.

Shape letters: N images, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.predictions import Flip, find_flips
from resnet8.core.evaluation import Probabilities
from resnet8.report.thumbnails import png_uri

SHOWN_FLIPS = 40  # of each variant


def flips_view(
    baseline: Probabilities,
    variant: Probabilities,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
) -> dict[str, Any]:
    """The images whose class a variant changed, those that moved most first.

    Args:
        baseline: (N, K) probabilities.
        variant: (N, K) probabilities for the same images.
        images: (N, 32, 32, 3) uint8.
        labels: (N,) class indices.
        label_names: K names.
    """
    flips = find_flips(baseline, variant, labels)
    outcomes = [_outcome(flip) for flip in flips]
    return {
        "count": len(flips),
        "outcomes": {kind: outcomes.count(kind) for kind in ("lost", "won", "still wrong")},
        "shown": [_flip_view(x, images[x.image], label_names) for x in flips[:SHOWN_FLIPS]],
    }


def _flip_view(flip: Flip, image: NDArray[np.uint8], label_names: Sequence[str]) -> dict[str, Any]:
    """One image, with what both models give the classes that matter, in percent."""
    classes = dict.fromkeys([flip.label, flip.baseline_class, flip.variant_class])
    return {
        "image": flip.image,
        "picture": png_uri(image),
        "outcome": _outcome(flip),
        "label": label_names[flip.label],
        "beliefs": [
            {
                "name": label_names[k],
                "baseline": 100 * float(flip.baseline_p[k]),
                "variant": 100 * float(flip.variant_p[k]),
                "is_baseline_class": k == flip.baseline_class,
                "is_variant_class": k == flip.variant_class,
            }
            for k in classes
        ],
    }


def _outcome(flip: Flip) -> str:
    if flip.label == flip.baseline_class:
        return "lost"
    return "won" if flip.label == flip.variant_class else "still wrong"
