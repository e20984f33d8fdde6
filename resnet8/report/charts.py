"""The report's charts that show the same whatever a person chooses, as Vega-Lite."""

import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from resnet8.report.inputs import Json
from resnet8.report.network import edges_between
from resnet8.report.tables import ranked, saved
from resnet8.report.vega_lite import Spec, by_variant, category, chart, css, quantity, tip

ROW = 19  # pixels for each row of a chart
PROFILE_ROW = 26  # with a point for each variant
DENSE_ROW = 12  # for each variant in a row
_INTERVAL_TITLE = "delta, percentage points (95% interval)"


def deltas(comparison: Json, *, variants: Sequence[str]) -> Spec:
    """The accuracy of variants minus the baseline's, with intervals."""
    values = [
        {
            "variant": name,
            "delta": row["accuracy_delta_pp"],
            "low": row["ci95_low_pp"],
            "high": row["ci95_high_pp"],
        }
        for name in variants
        for row in [comparison["variants"][name]]
    ]
    found = "; ".join(f"{row['variant']} {row['delta']:+.2f}" for row in values)
    text = f"Accuracy minus that of {comparison['baseline']} in percentage points: {found}"
    rows = category("variant")
    height = 32 * len(values)
    return chart(text, _intervals(rows, variants, legend=False), values=values, height=height)


def class_deltas(comparison: Json, *, variants: Sequence[str], labels: Collection[str]) -> Spec:
    """The same by class."""
    values = [
        {"variant": name, "class": label, "delta": delta, "low": low, "high": high}
        for name in variants
        for row in [comparison["variants"][name]]
        for label in labels
        for delta, (low, high) in [
            (row["per_class_delta_pp"][label], row["per_class_ci95_pp"][label])
        ]
    ]
    text = f"Accuracy by class minus that of {comparison['baseline']}, with 95% intervals"
    rows = category("class") | {"yOffset": {"field": "variant", "sort": None}}
    height = DENSE_ROW * (len(variants) + 2) * len(labels)
    return chart(text, _intervals(rows, variants, legend=True), values=values, height=height)


def class_accuracies(
    confusions: Mapping[str, NDArray[np.int64]],
    *,
    variants: Sequence[str],
    labels: Mapping[str, int],
) -> Spec:
    """The accuracy by class, from (K, K) confusions and the numbers of classes with images."""
    values = [
        {"variant": name, "class": label, "accuracy": round(100 * row[k] / row.sum(), 4)}
        for name in variants
        for label, k in labels.items()
        for row in [confusions[name][k]]
    ]
    encoding = category("class") | {
        "yOffset": {"field": "variant", "sort": None},
        "x": quantity("accuracy", "accuracy, %") | {"scale": {"zero": False, "nice": True}},
        "color": by_variant(variants),
        "tooltip": [{"field": "class"}, {"field": "variant"}, tip("accuracy", ".1f")],
    }
    points = {
        "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
        "encoding": encoding,
    }
    height = DENSE_ROW * (len(variants) + 1) * len(labels)
    return chart("Accuracy by class", [points], values=values, height=height)


def sqnr(
    activations: Json, *, network: Json, order: Sequence[str], variants: Sequence[str]
) -> Spec:
    """The SQNR of quantized variants from the input, at the top, to the output.

    Lines follow the network's edges: parallel branches are no sequence. In the row of a layer,
    variants are below each other, so that none covers another.

    Args:
        activations: by layer and variant.
        network: what metrics/network.json holds.
        order: the layers.
        variants: the quantized ones.
    """
    ratios = {
        name: {
            layer: statistics["sqnr_db"]
            for layer in order
            if name in activations[layer]
            for statistics in [activations[layer][name]["statistics"]]
            if statistics.get("sqnr_db") is not None
        }
        for name in variants
    }
    step = 0.6 / max(len(variants), 2)
    places = {
        (name, layer): round(row + step * (i - (len(variants) - 1) / 2), 3)
        for i, name in enumerate(variants)
        for row, layer in enumerate(order)
    }
    points = [
        {"layer": layer, "variant": name, "sqnr": ratio, "place": places[name, layer]}
        for name, found in ratios.items()
        for layer, ratio in found.items()
    ]
    lines = [
        {"variant": name, "x": found[a], "x2": found[b], "y": places[name, a],
         "y2": places[name, b]}
        for name, found in ratios.items()
        for a, b in edges_between(network, found)
    ]  # fmt: skip
    scales: Spec = {"y": {"reverse": True, "domain": [-0.5, len(order) - 0.5], "nice": False}}
    labels = f"{json.dumps(list(order))}[datum.value]"
    axis = {"values": list(range(len(order))), "labelExpr": labels, "grid": False, "ticks": False}
    x = quantity("sqnr", "SQNR, dB (higher is better)") | {"scale": {"zero": False}}
    y = {
        "field": "place",
        "type": "quantitative",
        "title": None,
        "axis": axis,
        "scale": scales["y"],
    }
    tooltip = [{"field": "layer"}, {"field": "variant"}, tip("sqnr", ".1f")]
    layers: list[Spec] = [
        {
            "data": {"values": lines},
            "mark": {"type": "rule", "strokeWidth": 1.2, "opacity": 0.7, "aria": False},
            "encoding": {
                "x": x | {"field": "x"}, "x2": {"field": "x2"}, "y": y | {"field": "y"},
                "y2": {"field": "y2"}, "color": by_variant(variants),
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 38, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": by_variant(variants), "tooltip": tooltip},
        },
    ]  # fmt: skip
    text = "SQNR by layer, from input to output; lines follow the edges of the network"
    return chart(text, layers, values=points, height=PROFILE_ROW * len(order))


def sensitivity(name: str, ranking: Json) -> Spec:
    """The layers of a variant: what each alone costs, and what leaving it in float saves."""
    order = ranked(ranking)
    values = [
        {
            "layer": layer,
            "alone": ranking["layers"][layer]["alone"]["kl_divergence"],
            "saved": saved(ranking, layer),
        }
        for layer in order
    ]
    costs = {"title": "KL divergence, nats", "axis": {"tickCount": 4, "format": "~g"}}
    shared = category("layer") | {
        "tooltip": [{"field": "layer"}, tip("alone", ".3~g"), tip("saved", ".3~g")]
    }
    bars = {
        "mark": {"type": "bar", "height": {"band": 0.6}, "color": css(name)},
        "encoding": shared | {"x": quantity("alone", "") | costs},
    }
    points = {
        "mark": {"type": "point", "shape": "diamond", "size": 45, "color": css("ink")},
        "encoding": shared | {"x": quantity("saved", "") | costs},
    }
    text = f"Layers of {name} by the KL divergence when each alone is quantized, largest first"
    return chart(text, [bars, points], values=values, height=ROW * len(order))


def _intervals(rows: Spec, variants: Sequence[str], *, legend: bool) -> list[Spec]:
    """A line at zero, intervals and points."""
    color = by_variant(variants) | ({} if legend else {"legend": None})
    tips = [{"field": name} for name in ("class", "variant") if legend or name == "variant"]
    tips += [tip(name, "+.2f") for name in ("delta", "low", "high")]
    shared = rows | {"color": color, "tooltip": tips}
    zero = {"type": "rule", "color": css("ink-soft"), "strokeDash": [3, 3], "aria": False}
    ends = {"x": quantity("low", _INTERVAL_TITLE), "x2": {"field": "high"}}
    points = {"type": "point", "filled": True, "size": 55, "opacity": 1}
    return [
        {"mark": zero, "encoding": {"x": {"datum": 0}}},
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": shared | ends},
        {"mark": points, "encoding": shared | {"x": quantity("delta", _INTERVAL_TITLE)}},
    ]
