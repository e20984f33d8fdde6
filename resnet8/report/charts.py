"""The report's charts that do not depend on a reader's choices, as Vega-Lite.

Shape letters: K classes.
"""

import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from resnet8.report import vega_lite as vl
from resnet8.report.inputs import Json
from resnet8.report.network import edges_between
from resnet8.report.tables import ranked, saved
from resnet8.report.vega_lite import Spec, css

ROW = 19  # pixels per row of a chart
PROFILE_ROW = 26  # with a point for each variant
DENSE_ROW = 12  # per variant in a row
_DELTA = "delta, percentage points (95% interval)"
_DELTA_TIP = {"mean": "+.2f", "low": "+.2f", "high": "+.2f"}


def deltas(comparison: Json, *, variants: Sequence[str]) -> Spec:
    """Accuracy of variants minus the baseline's, with intervals."""
    rows = {name: comparison["variants"][name] for name in variants}
    values = [
        {
            "variant": name,
            "mean": row["accuracy_delta_pp"],
            "low": row["ci95_low_pp"],
            "high": row["ci95_high_pp"],
        }
        for name, row in rows.items()
    ]
    listed = "; ".join(f"{row['variant']} {row['mean']:+.2f}" for row in values)
    text = f"Accuracy minus that of {comparison['baseline']} in percentage points: {listed}"
    color = vl.by_variant(variants) | {"legend": None}
    encoding = vl.category("variant") | {
        "color": color,
        "tooltip": vl.tooltip("variant", **_DELTA_TIP),
    }
    layers = [vl.reference_line("x", 0), *vl.intervals("x", _DELTA, encoding)]
    return vl.chart(text, layers, values=values, height=32 * len(values))


def class_deltas(comparison: Json, *, variants: Sequence[str], labels: Collection[str]) -> Spec:
    """Accuracy by class minus the baseline's, with intervals."""
    values = []
    for name in variants:
        row = comparison["variants"][name]
        for label in labels:
            low, high = row["per_class_ci95_pp"][label]
            values.append(
                {"variant": name, "class": label, "mean": row["per_class_delta_pp"][label],
                 "low": low, "high": high}
            )  # fmt: skip
    text = f"Accuracy by class minus that of {comparison['baseline']}, with 95% intervals"
    encoding = _by_class(variants, vl.tooltip("class", "variant", **_DELTA_TIP))
    layers = [vl.reference_line("x", 0), *vl.intervals("x", _DELTA, encoding)]
    height = DENSE_ROW * (len(variants) + 2) * len(labels)
    return vl.chart(text, layers, values=values, height=height)


def class_accuracies(
    confusions: Mapping[str, NDArray[np.int64]],
    *,
    variants: Sequence[str],
    labels: Mapping[str, int],
) -> Spec:
    """Accuracy by class, from (K, K) confusions and the numbers of the classes with images."""
    values = [
        {"variant": name, "class": label, "accuracy": round(100 * row[k] / row.sum(), 4)}
        for name in variants
        for label, k in labels.items()
        for row in [confusions[name][k]]
    ]
    encoding = _by_class(variants, vl.tooltip("class", "variant", accuracy=".1f"))
    encoding["x"] = vl.quantity("accuracy", "accuracy, %", scale={"zero": False, "nice": True})
    points = vl.layer("point", encoding, filled=True, size=50, opacity=1)
    height = DENSE_ROW * (len(variants) + 1) * len(labels)
    return vl.chart("Accuracy by class", [points], values=values, height=height)


def _by_class(variants: Sequence[str], tips: list[Spec]) -> Spec:
    """A row for each class, in which variants are below each other."""
    offset = {"field": "variant", "sort": None}
    return vl.category("class") | {
        "yOffset": offset,
        "color": vl.by_variant(variants),
        "tooltip": tips,
    }


def sqnr(
    activations: Json, *, network: Json, order: Sequence[str], variants: Sequence[str]
) -> Spec:
    """SQNR of quantized variants from the input, at the top, to the output.

    Lines follow the network's edges, as parallel branches are no sequence.

    Args:
        activations: rows of artifacts/inspection/layers.json by layer and variant.
        network: metrics/network.json.
        order: the layers.
        variants: the quantized ones.
    """
    points, lines = [], []
    step = 0.6 / max(len(variants), 2)  # in the row of a layer, no variant covers another
    for i, name in enumerate(variants):
        offset = step * (i - (len(variants) - 1) / 2)
        at = {
            x: (activations[x][name]["statistics"]["sqnr_db"], round(row + offset, 3))
            for row, x in enumerate(order)
            if activations[x].get(name, {}).get("statistics", {}).get("sqnr_db") is not None
        }
        points += [
            {"layer": x, "variant": name, "sqnr": db, "place": place}
            for x, (db, place) in at.items()
        ]
        lines += [
            {"variant": name, "x": at[a][0], "y": at[a][1], "x2": at[b][0], "y2": at[b][1]}
            for a, b in edges_between(network, at)
        ]
    labels = f"{json.dumps(list(order))}[datum.value]"
    x = vl.quantity("sqnr", "SQNR, dB (higher is better)", scale={"zero": False})
    y: Spec = {
        "field": "place", "type": "quantitative", "title": None,
        "axis": {
            "values": list(range(len(order))), "labelExpr": labels, "grid": False, "ticks": False,
        },
        "scale": {"reverse": True, "domain": [-0.5, len(order) - 0.5], "nice": False},
    }  # fmt: skip
    color = vl.by_variant(variants)
    ends = {"x": x | {"field": "x"}, "x2": {"field": "x2"}, "y": y | {"field": "y"}}
    edges = vl.layer(
        "rule", ends | {"y2": {"field": "y2"}, "color": color},
        strokeWidth=1.2, opacity=0.7, aria=False,
    )  # fmt: skip
    tips = vl.tooltip("layer", "variant", sqnr=".1f")
    marks = {"x": x, "y": y, "color": color, "tooltip": tips}
    text = "SQNR by layer, from input to output; lines follow the edges of the network"
    return vl.chart(
        text,
        [edges | {"data": {"values": lines}},
         vl.layer("point", marks, filled=True, size=38, opacity=1)],
        values=points,
        height=PROFILE_ROW * len(order),
    )  # fmt: skip


def sensitivity(name: str, ranking: Json) -> Spec:
    """Cost of quantizing each layer alone as bars, and what leaving it in float saves as points."""
    values = [
        {
            "layer": x,
            "alone": ranking["layers"][x]["alone"]["kl_divergence"],
            "saved": saved(ranking, x),
        }
        for x in ranked(ranking)
    ]
    costs, saves = (
        vl.quantity(field, "KL divergence, nats", axis={"tickCount": 4, "format": "~g"})
        for field in ("alone", "saved")
    )
    rows = vl.category("layer") | {"tooltip": vl.tooltip("layer", alone=".3~g", saved=".3~g")}
    layers = [
        vl.layer("bar", rows | {"x": costs}, height={"band": 0.6}, color=css(name)),
        vl.layer("point", rows | {"x": saves}, shape="diamond", size=45, color=css("ink")),
    ]
    text = f"Layers of {name} by the KL divergence when each alone is quantized, largest first"
    return vl.chart(text, layers, values=values, height=ROW * len(values))
