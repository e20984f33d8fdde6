"""Prepares the variables of the report's templates, and the data of its scripts.

Shape letters: N images, K classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.chance import REASONS
from resnet8.compare.predictions import confusion_matrix, find_flips
from resnet8.compare.tables import concentration, interval
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities
from resnet8.core.files import Fingerprint, Json
from resnet8.core.names import data_in_words, model_in_words
from resnet8.core.variants import FLOAT_VARIANTS, Variant
from resnet8.decision import words
from resnet8.decision.decide import RULES
from resnet8.report import tables
from resnet8.report.network import network_view
from resnet8.report.sweep import BEST, settings_table
from resnet8.report.thumbnails import Captures, feature_maps, png_uri
from resnet8.report.verdict import verdict

MAX_FLIPS = 40  # shown of each variant
SCRIPT_DATA = (
    "baseline", "classes", "compared", "comparison", "confusion", "labels", "layers", "maps",
    "network", "quantized", "rankings", "sweep",
)  # fmt: skip


class ReportInputs(NamedTuple):
    """Inputs of the report.

    results: contents of metrics/<name>.json by name, of artifacts/inspection/layers.json (`layers`)
        and of artifacts/verification/quantized.json (`verification`).
    captures: outputs (N, ...) for the chosen input by variant and layer.
    chosen: (N, 32, 32, 3) the chosen input.
    predictions: (N, K) by variant, in the order of the variants.
    test_set: the images and their classes.
    params: all parameters by section.
    models: the model file of each variant.
    data: the files of images and labels.
    requirements: the lines of requirements.txt.
    """

    results: Json
    captures: Captures
    chosen: NDArray[np.uint8]
    predictions: Mapping[str, Probabilities]
    test_set: TestSet
    params: Json
    models: Mapping[str, Fingerprint]
    data: Sequence[Fingerprint]
    requirements: Sequence[str]


def view(inputs: ReportInputs) -> dict[str, Any]:
    """Returns the templates' variables; `page_data` is JSON for the page's scripts."""
    results, fetch, variants = inputs.results, inputs.params["fetch"], list(inputs.predictions)
    comparison, layers = results["comparison"], results["layers"]
    rankings, settings = results["sensitivity"]["variants"], results["sweep"]["settings"]
    _, labels, label_names = inputs.test_set
    confusion = {
        name: confusion_matrix(x, labels, n_classes=len(label_names)).tolist()
        for name, x in inputs.predictions.items()
    }
    baseline = confusion[comparison["baseline"]]
    compared = compared_variants(variants, comparison)
    quantized = [name for name in variants if name not in FLOAT_VARIANTS]
    variables = {
        **results,
        **inputs._asdict(),
        "title": f"{model_in_words(fetch['model'])} on {data_in_words(fetch['dataset'])}",
        "baseline": comparison["baseline"],
        "variants": variants,
        "compared": compared,
        "quantized": quantized,
        "labels": label_names,
        "classes": {name: k for k, name in enumerate(label_names) if any(baseline[k])},
        "confusion": confusion,
        "rankings": rankings,
        "words": words,
        "interval": interval,
        "rules": RULES,
        "reasons": REASONS if comparison["baseline_is_chance"] else (),
        "verdict": verdict(comparison),
        "concentration": concentration(comparison),
        "graph": network_view(results["network"], layers["layers"]),
        "start": first_layer(layers, variants, rankings),
        "maps": feature_maps(inputs.captures, layers["layers"]),
        "picture": png_uri,
        "runtimes": {Variant(row["variant"]).runtime for row in settings},
        "flips": {name: flips_view(inputs, name) for name in compared},
        "tables": table_rows(inputs, baseline, compared, quantized),
        "pins": [x.strip() for x in inputs.requirements if x.strip() and not x.startswith("#")],
    }
    return variables | {"page_data": {name: variables[name] for name in SCRIPT_DATA}}


def compared_variants(variants: Sequence[str], comparison: Json) -> list[str]:
    """All variants but the conversions that change no class, or all if nothing else is left."""
    others = [name for name in variants if name != comparison["baseline"]]
    agreement = {name: comparison["variants"][name]["agreement"] for name in others}
    return [x for x in others if x not in FLOAT_VARIANTS or agreement[x] < 1] or others


def first_layer(layers: Json, variants: Sequence[str], rankings: Json) -> dict[str, str]:
    """The most sensitive layer that a quantized variant has, beside its float reference."""
    for name, ranking in rankings.items():
        for layer in tables.ranked(ranking):
            if name in layers["activations"]["calibration"].get(layer, {}):
                return {"layer": layer, "a": Variant(name).original, "b": name}
    return {"layer": layers["layers"][0], "a": variants[0], "b": variants[-1]}


def table_rows(
    inputs: ReportInputs,
    baseline: Sequence[Sequence[int]],
    compared: Sequence[str],
    quantized: Sequence[str],
) -> dict[str, Any]:
    """The rows of all tables; `baseline` has its images by true and predicted class."""
    results, order = inputs.results, inputs.results["layers"]["layers"]
    comparison, checked = results["comparison"], results["verification"]["variants"]
    sizes = {name: file.size_bytes for name, file in inputs.models.items()}
    models = dict.fromkeys(inputs.models.values())  # each file once
    sweep, activations = results["sweep"], results["layers"]["activations"]["calibration"]
    return {
        "headline": tables.headline(comparison, variants=list(sizes), sizes=sizes),
        "classes": tables.class_accuracy(
            comparison, baseline, variants=compared, label_names=inputs.test_set.label_names
        ),
        "sqnr": tables.sqnr(activations, order=order, variants=quantized),
        "sensitivity": {
            name: tables.sensitivity(name, ranking, known=order)
            for name, ranking in results["sensitivity"]["variants"].items()
        },
        "lint": tables.findings(results["quantization_lint"]["findings"]),
        "parity": tables.parity(results["layer_parity"]["layers"], order=order),
        "arithmetic": tables.arithmetic(checked),
        "differing_codes": tables.differing_codes(checked),
        "best": settings_table(sweep, BEST),
        "settings": settings_table(sweep, len(sweep["settings"])),
        "files": tables.files([*inputs.data, *models]),
    }


def flips_view(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """The images whose class a variant changed: the first ones, and their number by outcome."""
    baseline = inputs.predictions[inputs.results["comparison"]["baseline"]]
    flips = find_flips(baseline, inputs.predictions[name], inputs.test_set.labels)
    outcomes = Counter(flip.outcome for flip in flips)
    return {"count": len(flips), "outcomes": outcomes, "first": flips[:MAX_FLIPS]}
