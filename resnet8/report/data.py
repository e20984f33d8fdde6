"""What the report shows, as plain tables, sentences, charts and pictures by section.

Shape letters: K classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.chance import REASONS
from resnet8.compare.predictions import confusion_matrix
from resnet8.compare.tables import concentration
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.report import charts, choice_charts, tables, vega_lite
from resnet8.report.answer import answer_view
from resnet8.report.arithmetic import arithmetic_view
from resnet8.report.explorer import explorer
from resnet8.report.flips import flips_view
from resnet8.report.inputs import ReportInputs, Variants, classes_with_images, sort_variants
from resnet8.report.network import network_view
from resnet8.report.sweep import sweep_charts, sweep_view
from resnet8.report.thumbnails import png_uri
from resnet8.report.verdict import verdict

Matrices = Mapping[str, NDArray[np.int64]]  # (K, K) confusions by variant


def view(inputs: ReportInputs) -> dict[str, Any]:
    """Prepares all sections; `page_data` is what the page's script reads."""
    variants = sort_variants(list(inputs.predictions), inputs.comparison)
    rankings = inputs.sensitivity["variants"]
    ranked = {
        name: tables.ranked(rankings[name])
        for name in inputs.predictions
        if name in rankings and rankings[name]["layers"]
    }
    shown = explorer(
        inputs.layers, inputs.captures, variants=variants.all, rankings=ranked
    )  # fmt: skip
    _, labels, label_names = inputs.test_set
    matrices = {
        name: confusion_matrix(x, labels, n_classes=len(label_names))
        for name, x in inputs.predictions.items()
    }
    network = network_view(inputs.network, inputs.layers, variants.quantized)
    return {
        "answer": answer_view(inputs),
        "network": network,
        "baseline": inputs.comparison["baseline"],
        "variants": variants,
        "headline": headline_view(inputs, variants),
        "provenance": provenance_view(inputs),
        "classes": classes_view(inputs, variants, matrices),
        "conversion": conversion_view(inputs),
        "arithmetic": arithmetic_view(inputs.verification),
        "explorer": shown,
        "chosen": {"picture": png_uri(inputs.chosen[0]), "count": len(inputs.chosen)},
        "sqnr": sqnr_view(inputs),
        "sensitivity": [sensitivity_view(inputs, name) for name in ranked],
        "lint": {**inputs.lint, "table": tables.finding_table(inputs.lint["findings"])},
        "sweep": sweep_view(inputs.sweep),
        "flips": [
            {"variant": name}
            | flips_view(
                inputs.predictions[inputs.comparison["baseline"]],
                inputs.predictions[name],
                images=inputs.test_set.images,
                labels=inputs.test_set.labels,
                label_names=inputs.test_set.label_names,
            )
            for name in variants.compared
        ],
        "page_data": {
            "config": vega_lite.config(),
            "charts": chart_views(inputs, variants, matrices),
            "confusion": confusion_view(inputs, matrices),
            "explorer": shown,
            "network": {"noise": network["noise"]},
        },
    }


def headline_view(inputs: ReportInputs, variants: Variants) -> dict[str, Any]:
    """The verdict and the comparison; `reasons` where the baseline is not better than chance."""
    comparison = inputs.comparison
    sizes = {name: file.size_bytes for name, file in inputs.models.items()}
    return {
        "verdict": verdict(
            comparison, quantized=variants.quantized, converted=variants.converted
        ),
        "reasons": REASONS if comparison["baseline_is_chance"] else (),
        "note": concentration(comparison),
        "table": tables.headline_table(comparison, variants=variants.all, sizes=sizes),
    }  # fmt: skip


def provenance_view(inputs: ReportInputs) -> dict[str, Any]:
    """Parameters by section, files with their hashes, and library versions."""
    pins = [line for line in inputs.requirements if line.strip() and not line.startswith("#")]
    models = dict.fromkeys(inputs.models.values())  # each file once
    return {
        "params": {
            name: section if isinstance(section, Mapping) else {"": section}
            for name, section in inputs.params.items()
        },
        "files": tables.file_table([*inputs.data, *models]),
        "libraries": [line.strip().split("==") for line in pins],
    }


def classes_view(inputs: ReportInputs, variants: Variants, matrices: Matrices) -> dict[str, Any]:
    """Accuracy by class."""
    seen = classes_with_images(inputs)
    return {
        "table": tables.class_accuracy_table(
            inputs.comparison,
            matrices,
            variants=variants.compared,
            label_names=inputs.test_set.label_names,
        ),
        "n_intervals": len(seen) * len(variants.compared),
        "without_images": [name for name in inputs.test_set.label_names if name not in seen],
    }


def conversion_view(inputs: ReportInputs) -> dict[str, Any]:
    """The float models' differences by layer."""
    rows = inputs.parity["layers"]
    return {
        "table": tables.parity_table(inputs.parity, order=inputs.layers["layers"]),
        "rtol": inputs.parity["rtol"],
        "n_layers": len(rows),
        "relative": max((row["relative"] for row in rows.values()), default=0.0),
        "n_images": inputs.layers["n_images"]["calibration"],
    }


def sqnr_view(inputs: ReportInputs) -> dict[str, Any]:
    """The SQNR by layer over the calibration set."""
    quantized = [name for name in inputs.predictions if name not in FLOAT_VARIANTS]
    return {
        "variants": quantized,
        "table": tables.sqnr_table(
            inputs.layers["activations"]["calibration"],
            order=inputs.layers["layers"],
            variants=quantized,
        ),
        "n_images": inputs.layers["n_images"]["calibration"],
    }


def sensitivity_view(inputs: ReportInputs, name: str) -> dict[str, Any]:
    """A variant's ranking of layers, and the figures of the first one."""
    ranking = inputs.sensitivity["variants"][name]
    first = tables.ranked(ranking)[0]
    return {
        "variant": name,
        "first": first,
        "row": ranking["layers"][first],
        "all": ranking["all"],
        "n_images": ranking["n_images"],
        "table": tables.sensitivity_table(name, ranking, known=inputs.layers["layers"]),
    }


def chart_views(inputs: ReportInputs, variants: Variants, matrices: Matrices) -> dict[str, Any]:
    """The charts that show the same whatever a person chooses, by the id of their place."""
    comparison, compared = inputs.comparison, variants.compared
    quantized = [name for name in variants.all if name not in FLOAT_VARIANTS]
    seen = classes_with_images(inputs)
    found = {
        "deltas": charts.deltas(comparison, variants=compared),
        "class-deltas": charts.class_deltas(comparison, variants=compared, labels=seen),
        "class-accuracies": charts.class_accuracies(
            matrices, variants=[comparison["baseline"], *compared], labels=seen
        ),
    }
    if quantized:
        found["sqnr-chart"] = charts.sqnr(
            inputs.layers["activations"]["calibration"],
            network=inputs.network,
            order=inputs.layers["layers"],
            variants=quantized,
        )
    found |= sweep_charts(inputs.sweep)
    return found | {
        f"sensitivity-{name}": charts.sensitivity(name, ranking)
        for name, ranking in inputs.sensitivity["variants"].items()
    }


def confusion_view(inputs: ReportInputs, matrices: Matrices) -> dict[str, Any]:
    """Confusions, and the charts that show them."""
    labels = list(inputs.test_set.label_names)
    return {
        "baseline": inputs.comparison["baseline"],
        "labels": labels,
        "counts": {name: matrix.tolist() for name, matrix in matrices.items()},
        "charts": {
            "counts": choice_charts.confusion(labels, signed=False),
            "difference": choice_charts.confusion(labels, signed=True),
        },
    }
