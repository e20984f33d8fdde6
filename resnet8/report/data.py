"""Prepares what the report's templates and scripts show.

Shape letters: N images, K classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.chance import REASONS
from resnet8.compare.predictions import confusion_matrix, find_flips
from resnet8.compare.rendering import Json, Table
from resnet8.compare.tables import concentration, interval
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import Probabilities
from resnet8.core.files import Fingerprint
from resnet8.core.names import data_in_words, model_in_words
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.decision import words
from resnet8.decision.decide import RULES
from resnet8.report import tables
from resnet8.report.explorer import Captures, explorer
from resnet8.report.network import network_view
from resnet8.report.sweep import sweep_view
from resnet8.report.thumbnails import png_uri
from resnet8.report.verdict import verdict

MAX_FLIPS = 40  # shown of each variant


class ReportInputs(NamedTuple):
    """Everything that a report is made from.

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


def view(inputs: ReportInputs) -> dict[str, Any]:
    """Returns the templates' variables; `page_data` is JSON for the page's scripts."""
    results, fetch = inputs.results, inputs.params["fetch"]
    comparison, layers = results["comparison"], results["layers"]
    variants = sort_variants(list(inputs.predictions), comparison)
    _, labels, label_names = inputs.test_set
    matrices = {
        name: confusion_matrix(x, labels, n_classes=len(label_names))
        for name, x in inputs.predictions.items()
    }
    baseline = comparison["baseline"]
    classes = {name: k for k, name in enumerate(label_names) if matrices[baseline][k].any()}
    rankings = results["sensitivity"]["variants"]
    rankings = {name: rankings[name] for name in variants.all if name in rankings}
    ranked = {name: tables.ranked(ranking) for name, ranking in rankings.items()}
    exploration = explorer(layers, inputs.captures, variants=variants.all, rankings=ranked)
    return {
        **results,
        **inputs._asdict(),
        "baseline": baseline,
        "variants": variants,
        "title": f"{model_in_words(fetch['model'])} on {data_in_words(fetch['dataset'])}",
        "words": words,
        "interval": interval,
        "rules": RULES,
        "reasons": REASONS if comparison["baseline_is_chance"] else (),
        "verdict": verdict(comparison, quantized=variants.quantized, converted=variants.converted),
        "concentration": concentration(comparison),
        "classes": classes,
        "rankings": rankings,
        "ranked": ranked,
        "graph": network_view(results["network"], layers["layers"]),
        "explorer": exploration,
        "picture": png_uri,
        "settings": sweep_view(results["sweep"]),
        "flips": {name: flips_view(inputs, name) for name in variants.compared},
        "tables": table_views(inputs, variants, matrices[baseline]),
        "ranking_tables": {
            name: tables.sensitivity_table(name, ranking, known=layers["layers"])
            for name, ranking in rankings.items()
        },
        "pins": [x.strip() for x in inputs.requirements if x.strip() and not x.startswith("#")],
        "page_data": {
            "comparison": comparison,
            "compared": variants.compared,
            "classes": classes,
            "confusion": {
                "baseline": baseline,
                "labels": list(label_names),
                "counts": {name: matrix.tolist() for name, matrix in matrices.items()},
            },
            "explorer": exploration,
            "network": results["network"]["layers"],
            "quantized": variants.in_8_bits,
            "rankings": rankings,
            "sweep": results["sweep"],
        },
    }


def table_views(
    inputs: ReportInputs, variants: Variants, matrix: NDArray[np.int64]
) -> dict[str, Table]:
    """All tables but the rankings; `matrix` is (K, K), the confusions of the baseline."""
    results, order = inputs.results, inputs.results["layers"]["layers"]
    comparison, checked = results["comparison"], results["verification"]["variants"]
    sizes = {name: file.size_bytes for name, file in inputs.models.items()}
    models = dict.fromkeys(inputs.models.values())  # each file once
    return {
        "headline": tables.headline_table(comparison, variants=variants.all, sizes=sizes),
        "classes": tables.class_accuracy_table(
            comparison,
            matrix,
            variants=variants.compared,
            label_names=inputs.test_set.label_names,
        ),
        "sqnr": tables.sqnr_table(
            results["layers"]["activations"]["calibration"],
            order=order,
            variants=variants.in_8_bits,
        ),
        "lint": tables.finding_table(results["quantization_lint"]["findings"]),
        "parity": tables.parity_table(results["layer_parity"], order=order),
        "arithmetic": tables.arithmetic_table(checked),
        "differing_codes": tables.differing_codes_table(checked),
        "files": tables.file_table([*inputs.data, *models]),
    }


def flips_view(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """The images whose class a variant changed: the first ones, and their number by outcome."""
    baseline = inputs.predictions[inputs.results["comparison"]["baseline"]]
    flips = find_flips(baseline, inputs.predictions[name], inputs.test_set.labels)
    outcomes = Counter(flip.outcome for flip in flips)
    return {"count": len(flips), "outcomes": outcomes, "shown": flips[:MAX_FLIPS]}
