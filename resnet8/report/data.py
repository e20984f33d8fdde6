"""What the report shows, as plain tables, sentences, charts and pictures by section.

Shape letters: K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.predictions import confusion_matrix
from resnet8.core.names import FLOAT_VARIANTS
from resnet8.report import charts, choice_charts, tables, vega_lite
from resnet8.report.evidence import Evidence, Variants, classes_with_images, sort_variants
from resnet8.report.explorer import explorer
from resnet8.report.flips import flips_view
from resnet8.report.sweep import sweep_charts, sweep_view
from resnet8.report.thumbnails import png_uri
from resnet8.report.verdict import verdict

Matrices = Mapping[str, NDArray[np.int64]]  # (K, K) confusions by variant


def view(evidence: Evidence) -> dict[str, Any]:
    """Prepares all sections; `page_data` is what the page's script reads."""
    variants = sort_variants(list(evidence.predictions), evidence.comparison)
    rankings = evidence.sensitivity["variants"]
    ranked = {
        name: tables.ranked(rankings[name])
        for name in evidence.predictions
        if name in rankings and rankings[name]["layers"]
    }
    shown = explorer(
        evidence.layers, evidence.captures, variants=variants.all, rankings=ranked
    )  # fmt: skip
    matrices = {
        name: confusion_matrix(x, evidence.labels, n_classes=len(evidence.label_names))
        for name, x in evidence.predictions.items()
    }
    fetch = evidence.params["fetch"]
    model = fetch["model"].rpartition("/")[2]  # of a path or URL, the file's name
    return {
        "title": f"{model} on {fetch['dataset']}",
        "baseline": evidence.comparison["baseline"],
        "variants": variants,
        "headline": headline_view(evidence, variants),
        "provenance": provenance_view(evidence),
        "classes": classes_view(evidence, variants, matrices),
        "conversion": conversion_view(evidence),
        "explorer": shown,
        "chosen": {"picture": png_uri(evidence.chosen[0]), "count": len(evidence.chosen)},
        "sqnr": sqnr_view(evidence),
        "sensitivity": [sensitivity_view(evidence, name) for name in ranked],
        "lint": {**evidence.lint, "table": tables.finding_table(evidence.lint["findings"])},
        "sweep": sweep_view(evidence.sweep),
        "flips": [
            {"variant": name}
            | flips_view(
                evidence.predictions[evidence.comparison["baseline"]],
                evidence.predictions[name],
                images=evidence.images,
                labels=evidence.labels,
                label_names=evidence.label_names,
            )
            for name in variants.compared
        ],
        "page_data": {
            "config": vega_lite.config(),
            "charts": chart_views(evidence, variants, matrices),
            "confusion": confusion_view(evidence, matrices),
            "explorer": shown,
        },
    }


def headline_view(evidence: Evidence, variants: Variants) -> dict[str, Any]:
    """The verdict and the comparison."""
    comparison = evidence.comparison
    sizes = {name: file.size_bytes for name, file in evidence.models.items()}
    return {
        "verdict": verdict(
            comparison, quantized=variants.quantized, converted=variants.converted
        ),
        "table": tables.headline_table(comparison, variants=variants.all, sizes=sizes),
    }  # fmt: skip


def provenance_view(evidence: Evidence) -> dict[str, Any]:
    """Parameters by section, files with their hashes, and library versions."""
    pins = [line for line in evidence.requirements if line.strip() and not line.startswith("#")]
    models = dict.fromkeys(evidence.models.values())  # each file once
    return {
        "params": {
            name: section if isinstance(section, Mapping) else {"": section}
            for name, section in evidence.params.items()
        },
        "files": tables.file_table([*evidence.data, *models]),
        "libraries": [line.strip().split("==") for line in pins],
    }


def classes_view(evidence: Evidence, variants: Variants, matrices: Matrices) -> dict[str, Any]:
    """Accuracy by class."""
    seen = classes_with_images(evidence)
    return {
        "table": tables.class_table(
            evidence.comparison,
            matrices,
            variants=variants.compared,
            label_names=evidence.label_names,
        ),
        "n_intervals": len(seen) * len(variants.compared),
        "without_images": [name for name in evidence.label_names if name not in seen],
    }


def conversion_view(evidence: Evidence) -> dict[str, Any]:
    """The float models' differences by layer."""
    rows = evidence.parity["layers"]
    return {
        "table": tables.parity_table(evidence.parity, order=evidence.layers["layers"]),
        "rtol": evidence.parity["rtol"],
        "n_layers": len(rows),
        "relative": max((row["relative"] for row in rows.values()), default=0.0),
        "n_images": evidence.layers["n_images"]["calibration"],
    }


def sqnr_view(evidence: Evidence) -> dict[str, Any]:
    """The SQNR by layer over the calibration set."""
    quantized = [name for name in evidence.predictions if name not in FLOAT_VARIANTS]
    return {
        "variants": quantized,
        "table": tables.sqnr_table(
            evidence.layers["activations"]["calibration"],
            order=evidence.layers["layers"],
            variants=quantized,
        ),
        "n_images": evidence.layers["n_images"]["calibration"],
    }


def sensitivity_view(evidence: Evidence, name: str) -> dict[str, Any]:
    """A variant's ranking of layers, and the figures of the first one."""
    ranking = evidence.sensitivity["variants"][name]
    first = tables.ranked(ranking)[0]
    return {
        "variant": name,
        "first": first,
        "row": ranking["layers"][first],
        "all": ranking["all"],
        "n_images": ranking["n_images"],
        "table": tables.sensitivity_table(name, ranking, known=evidence.layers["layers"]),
    }


def chart_views(evidence: Evidence, variants: Variants, matrices: Matrices) -> dict[str, Any]:
    """The charts that show the same whatever a person chooses, by the id of their place."""
    comparison, compared = evidence.comparison, variants.compared
    quantized = [name for name in variants.all if name not in FLOAT_VARIANTS]
    seen = classes_with_images(evidence)
    found = {
        "deltas": charts.deltas(comparison, variants=compared),
        "class-deltas": charts.class_deltas(comparison, variants=compared, labels=seen),
        "class-accuracies": charts.class_accuracies(
            matrices, variants=[comparison["baseline"], *compared], labels=seen
        ),
    }
    if quantized:
        found["sqnr-chart"] = charts.sqnr(
            evidence.layers["activations"]["calibration"],
            order=evidence.layers["layers"],
            variants=quantized,
        )
    found |= sweep_charts(evidence.sweep)
    return found | {
        f"sensitivity-{name}": charts.sensitivity(name, ranking)
        for name, ranking in evidence.sensitivity["variants"].items()
    }


def confusion_view(evidence: Evidence, matrices: Matrices) -> dict[str, Any]:
    """Confusions, and the charts that show them."""
    labels = list(evidence.label_names)
    return {
        "baseline": evidence.comparison["baseline"],
        "labels": labels,
        "counts": {name: matrix.tolist() for name, matrix in matrices.items()},
        "charts": {
            "counts": choice_charts.confusion(labels, signed=False),
            "difference": choice_charts.confusion(labels, signed=True),
        },
    }
