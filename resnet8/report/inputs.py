"""Everything that a report is made from.

Shape letters: N images, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities
from resnet8.core.provenance import Fingerprint
from resnet8.core.variants import FLOAT_VARIANTS

Json = Mapping[str, Any]
Captures = Mapping[str, Mapping[str, NDArray[np.float32]]]  # by variant and layer


class ReportInputs(NamedTuple):
    """Everything that a report is made from.

    comparison, decision, network, layers, parity, verification, sensitivity, lint, sweep: the
        JSON files of these names.
    captures: outputs (N, ...) for the chosen input by variant and layer.
    chosen: (N, 32, 32, 3) the chosen input.
    predictions: (N, K) by variant, in the order of the variants.
    test_set: the images and their classes.
    params: all parameters by section.
    models: the model file of each variant.
    data: the files of images and labels.
    requirements: the lines of requirements.txt.
    """

    comparison: Json
    decision: Json
    network: Json
    layers: Json
    parity: Json
    verification: Json
    sensitivity: Json
    lint: Json
    sweep: Json
    captures: Captures
    chosen: NDArray[np.uint8]
    predictions: Mapping[str, Probabilities]
    test_set: TestSet
    params: Json
    models: Mapping[str, Fingerprint]
    data: Sequence[Fingerprint]
    requirements: Sequence[str]


class Variants(NamedTuple):
    """The variants by their role in the report; only `all` and `in_8_bits` include the baseline.

    in_8_bits, quantized: the quantized variants, with and without the baseline.
    converted: the float variants.
    compared: all but the conversions with the baseline's class for every image; all if there is
        nothing else.
    """

    all: list[str]
    in_8_bits: list[str]
    quantized: list[str]
    converted: list[str]
    compared: list[str]


def sort_variants(names: Sequence[str], comparison: Json) -> Variants:
    """Sorts variants by their role, and keeps their order."""
    others = [name for name in names if name != comparison["baseline"]]
    converted = [name for name in others if name in FLOAT_VARIANTS]
    same = [name for name in converted if comparison["variants"][name]["agreement"] == 1]
    return Variants(
        all=list(names),
        in_8_bits=[name for name in names if name not in FLOAT_VARIANTS],
        quantized=[name for name in others if name not in converted],
        converted=converted,
        compared=[name for name in others if name not in same] or others,
    )


def classes_with_images(inputs: ReportInputs) -> dict[str, int]:
    """Names and numbers of the classes of test images."""
    present = set(inputs.test_set.labels.tolist())
    return {name: k for k, name in enumerate(inputs.test_set.label_names) if k in present}
