"""The report's charts that depend on a reader's choices: the page fills their named datasets."""

from collections.abc import Sequence

from resnet8.report import vega_lite as vl
from resnet8.report.vega_lite import Spec, css

COUNT_FLOOR = 0.5  # lower end of logarithmic counts: empty bins lie on the axis


def confusion(labels: Sequence[str], *, signed: bool) -> Spec:
    """A confusion matrix, or the difference of two.

    Dataset `cells`: `actual`, `predicted`, `count`, `text`, and `shade` from 0 to 1.
    """
    color: Spec = {"value": css("positive")}
    if signed:
        color["condition"] = {"test": "datum.count < 0", "value": css("negative")}
    side = {"type": "nominal", "sort": list(labels), "scale": {"domain": list(labels)}}
    shared = {
        "x": side | {"field": "predicted", "title": "predicted class", "axis": {"labelAngle": -60}},
        "y": side | {"field": "actual", "title": "true class"},
        "tooltip": vl.tooltip("actual", "predicted", "count"),
    }
    opacity: Spec = {"field": "shade", "type": "quantitative", "legend": None}
    opacity["scale"] = {"domain": [0, 1], "range": [0, 1]}
    on_dark = {"test": "datum.shade > 0.55", "value": css("page")}
    words = {
        "text": {"field": "text", "type": "nominal"},
        "color": {"condition": on_dark, "value": css("ink")},
    }
    layers = [
        vl.layer("rect", shared | {"fill": color, "opacity": opacity}),
        vl.layer("text", shared | words, fontSize=10, aria=False),
    ]
    return vl.chart("", layers, height=23 * len(labels)) | {"data": {"name": "cells"}}


def histogram(title: str, *, logarithmic: bool) -> Spec:
    """Two histograms, side A as bars and side B as a line, and the ends of clip ranges.

    Datasets `a` and `b`: `low`, `high`, `count`; `clips`: `at`, `side`.
    """
    floor = COUNT_FLOOR if logarithmic else 0
    y = vl.quantity("count", "values in a bin", axis={"format": "~s", "tickCount": 4})
    if logarithmic:
        whole = "datum.value < 1 ? '' : format(datum.value, '~s')"
        y["axis"] = {"labelExpr": whole, "tickCount": 4, "grid": False}
        y["scale"] = {"type": "log", "domainMin": floor, "clamp": True}
    x = vl.quantity("low", title, scale={"zero": False, "nice": False})
    tips = vl.tooltip(low=".4~g", high=".4~g", count=",.0f")
    bars = {"x": x, "x2": {"field": "high"}, "y": y, "y2": {"datum": floor}, "tooltip": tips}
    clips = {"x": vl.quantity("at", title), "tooltip": vl.tooltip("side", at=".4~g")}
    layers = [
        _side("a", "bar", bars, binSpacing=0),
        _side("b", "line", {"x": x, "y": y}, interpolate="step-after", strokeWidth=1.8),
        _side("clips", "rule", clips, color=css("clip"), strokeDash=[5, 3], strokeWidth=1.8),
    ]
    return vl.chart("", layers, height=190)


def channels(title: str) -> Spec:
    """A range for each output channel, side A as bars and side B as lines that end in points.

    Datasets `a` and `b`: `channel`, `middle` and `end` (of its bar), `low`, `high`; `ends`: of
    side B, `middle`, `at`.
    """
    axis = {"tickMinStep": 1, "tickCount": 8, "grid": False}
    x = vl.quantity("channel", "output channel", axis=axis)
    middle, y = x | {"field": "middle"}, vl.quantity("low", title)
    tips = vl.tooltip(channel="d", low=".4~g", high=".4~g")
    bars = {"x": x, "x2": {"field": "end"}, "y": y, "y2": {"field": "high"}, "tooltip": tips}
    lines = {"x": middle, "y": y, "y2": {"field": "high"}, "tooltip": tips}
    ends = {"x": middle, "y": vl.quantity("at", title), "tooltip": vl.tooltip(at=".4~g")}
    layers = [
        _side("a", "bar", bars, binSpacing=0),
        _side("b", "rule", lines, strokeWidth=1.5),
        _side("ends", "point", ends, filled=True, size=18),
    ]
    return vl.chart("", layers, height=190)


def _side(dataset: str, kind: str, encoding: Spec, **options: object) -> Spec:
    """Marks of a dataset in the colour of its side."""
    color = css("side-a-fill" if dataset == "a" else "side-b")
    # Screen readers get the chart's description and the tables, not each mark.
    marks = vl.layer(kind, encoding, **{"color": color, "aria": False} | options)
    return {"data": {"name": dataset}, **marks}
