"""Prepares what the report's templates and scripts show.

Shape letters: K classes.
"""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.chance import REASONS
from resnet8.compare.predictions import confusion_matrix, find_flips
from resnet8.compare.tables import concentration, interval
from resnet8.core.names import data_in_words, model_in_words
from resnet8.decision import words
from resnet8.decision.decide import RULES
from resnet8.report import tables
from resnet8.report.explorer import explorer
from resnet8.report.inputs import ReportInputs, Variants, classes_with_images, sort_variants
from resnet8.report.network import network_view
from resnet8.report.sweep import sweep_view
from resnet8.report.thumbnails import png_uri
from resnet8.report.verdict import verdict

MAX_FLIPS = 40  # shown of each variant


def view(inputs: ReportInputs) -> dict[str, Any]:
    """Returns the templates' variables; `page_data` is JSON for the page's scripts."""
    comparison, fetch = inputs.comparison, inputs.params["fetch"]
    variants = sort_variants(list(inputs.predictions), comparison)
    _, labels, label_names = inputs.test_set
    classes = classes_with_images(inputs)
    matrices = {
        name: confusion_matrix(x, labels, n_classes=len(label_names))
        for name, x in inputs.predictions.items()
    }
    rankings = inputs.sensitivity["variants"]
    rankings = {x: rankings[x] for x in variants.all if rankings.get(x, {}).get("layers")}
    ranked = {name: tables.ranked(ranking) for name, ranking in rankings.items()}
    exploration = explorer(
        inputs.layers, inputs.captures, variants=variants.all, rankings=ranked
    )  # fmt: skip
    return {
        "inputs": inputs,
        "baseline": comparison["baseline"],
        "variants": variants,
        "title": f"{model_in_words(fetch['model'])} on {data_in_words(fetch['dataset'])}",
        "words": words,
        "interval": interval,
        "rules": RULES,
        "reasons": REASONS if comparison["baseline_is_chance"] else (),
        "verdict": verdict(
            comparison, quantized=variants.quantized, converted=variants.converted
        ),
        "concentration": concentration(comparison),
        "classes": classes,
        "rankings": rankings,
        "ranked": ranked,
        "network": network_view(inputs.network, inputs.layers["layers"]),
        "explorer": exploration,
        "picture": png_uri,
        "sweep": sweep_view(inputs.sweep),
        "flips": {name: flips_view(inputs, name) for name in variants.compared},
        "tables": table_views(inputs, variants, matrices[comparison["baseline"]]),
        "ranking_tables": {
            name: tables.sensitivity_table(name, ranking, known=inputs.layers["layers"])
            for name, ranking in rankings.items()
        },
        "pins": [x.strip() for x in inputs.requirements if x.strip() and not x.startswith("#")],
        "page_data": {
            "comparison": comparison,
            "compared": variants.compared,
            "classes": classes,
            "confusion": {
                "baseline": comparison["baseline"],
                "labels": list(label_names),
                "counts": {name: matrix.tolist() for name, matrix in matrices.items()},
            },
            "explorer": exploration,
            "network": inputs.network["layers"],
            "quantized": variants.in_8_bits,
            "rankings": rankings,
            "sweep": inputs.sweep,
        },
    }  # fmt: skip


def table_views(
    inputs: ReportInputs, variants: Variants, matrix: NDArray[np.int64]
) -> dict[str, tables.Table]:
    """All tables but the rankings; `matrix` is (K, K), the confusions of the baseline."""
    comparison, order = inputs.comparison, inputs.layers["layers"]
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
            inputs.layers["activations"]["calibration"], order=order, variants=variants.in_8_bits
        ),
        "lint": tables.finding_table(inputs.lint["findings"]),
        "parity": tables.parity_table(inputs.parity, order=order),
        "arithmetic": tables.arithmetic_table(inputs.verification["variants"]),
        "differing_codes": tables.differing_codes_table(inputs.verification["variants"]),
        "files": tables.file_table([*inputs.data, *models]),
    }


def flips_view(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """The images whose class a variant changed: the first ones, and their number by outcome."""
    baseline = inputs.predictions[inputs.comparison["baseline"]]
    flips = find_flips(baseline, inputs.predictions[name], inputs.test_set.labels)
    outcomes = Counter(flip.outcome for flip in flips)
    return {"count": len(flips), "outcomes": outcomes, "shown": flips[:MAX_FLIPS]}
