"""The report's charts that show what a person chooses: they name datasets that the page fills."""

from collections.abc import Sequence

from resnet8.report.vega_lite import Spec, chart, css, quantity, tip

COUNT_FLOOR = 0.5  # where logarithmic counts begin: an empty bin lies on the axis


def confusion(labels: Sequence[str], *, signed: bool) -> Spec:
    """A confusion matrix, or the difference of two.

    Dataset `cells`: `actual`, `predicted`, `count`, `text`, and `shade` from 0 to 1.
    """
    color: Spec = {"value": css("positive")}
    if signed:
        negative = {"test": "datum.count < 0", "value": css("negative")}
        color = {"condition": negative, "value": css("positive")}
    side = {"type": "nominal", "sort": list(labels), "scale": {"domain": list(labels)}}
    shared = {
        "x": side | {"field": "predicted", "title": "predicted class", "axis": {"labelAngle": -60}},
        "y": side | {"field": "actual", "title": "true class"},
        "tooltip": [{"field": "actual"}, {"field": "predicted"}, {"field": "count"}],
    }
    opacity: Spec = {"field": "shade", "type": "quantitative", "legend": None}
    opacity["scale"] = {"domain": [0, 1], "range": [0, 1]}
    cells = {"mark": {"type": "rect"}, "encoding": shared | {"fill": color, "opacity": opacity}}
    on_dark = {"test": "datum.shade > 0.55", "value": css("page")}
    words = {
        "mark": {"type": "text", "fontSize": 10, "aria": False},
        "encoding": shared
        | {
            "text": {"field": "text", "type": "nominal"},
            "color": {"condition": on_dark, "value": css("ink")},
        },
    }
    return chart("", [cells, words], height=23 * len(labels)) | {"data": {"name": "cells"}}


def histogram(title: str, *, logarithmic: bool) -> Spec:
    """Two histograms, side A as bars and side B as a line, and the ends of clip ranges.

    Datasets `a` and `b`: `low`, `high`, `count`; `clips`: `at`, `side`.
    """
    floor = COUNT_FLOOR if logarithmic else 0
    y = quantity("count", "values in a bin") | {"axis": {"format": "~s", "tickCount": 4}}
    if logarithmic:
        whole = "datum.value < 1 ? '' : format(datum.value, '~s')"
        y["axis"] = {"labelExpr": whole, "tickCount": 4, "grid": False}
        y["scale"] = {"type": "log", "domainMin": floor, "clamp": True}
    x = quantity("low", title) | {"scale": {"zero": False, "nice": False}}
    tips = [tip("low", ".4~g"), tip("high", ".4~g"), tip("count", ",.0f")]
    bars = {"x": x, "x2": {"field": "high"}, "y": y, "y2": {"datum": floor}, "tooltip": tips}
    clips = {"x": quantity("at", title), "tooltip": [{"field": "side"}, tip("at", ".4~g")]}
    steps = _mark("line", "b", interpolate="step-after", strokeWidth=1.8)
    rules = _mark("rule", "b", color=css("clip"), strokeDash=[5, 3], strokeWidth=1.8)
    return _of_datasets(
        ("a", _mark("bar", "a-fill", binSpacing=0), bars),
        ("b", steps, {"x": x, "y": y}),
        ("clips", rules, clips),
    )


def channels(title: str) -> Spec:
    """A range for each output channel, side A as bars and side B as lines that end in points.

    Datasets `a` and `b`: `channel`, `middle` and `end` (of its bar), `low`, `high`; `ends`: of
    side B, `middle`, `at`.
    """
    x = quantity("channel", "output channel")
    x["axis"] = {"tickMinStep": 1, "tickCount": 8, "grid": False}
    middle = x | {"field": "middle"}
    y = quantity("low", title)
    tips = [tip("channel", "d"), tip("low", ".4~g"), tip("high", ".4~g")]
    bars = {"x": x, "x2": {"field": "end"}, "y": y, "y2": {"field": "high"}, "tooltip": tips}
    lines = {"x": middle, "y": y, "y2": {"field": "high"}, "tooltip": tips}
    ends = {"x": middle, "y": quantity("at", title), "tooltip": [tip("at", ".4~g")]}
    return _of_datasets(
        ("a", _mark("bar", "a-fill", binSpacing=0), bars),
        ("b", _mark("rule", "b", strokeWidth=1.5), lines),
        ("ends", _mark("point", "b", filled=True, size=18), ends),
    )


def _mark(kind: str, side: str, **options: object) -> Spec:
    # Not a mark for each reader of screens: the chart's description and the tables say it.
    return {"type": kind, "color": css(f"side-{side}"), "aria": False, **options}


def _of_datasets(*layers: tuple[str, Spec, Spec]) -> Spec:
    """Layers of a dataset's name, a mark and an encoding, filled by the page."""
    shown: list[Spec] = [
        {"data": {"name": name}, "mark": mark, "encoding": encoding}
        for name, mark, encoding in layers
    ]
    return chart("", shown, height=190)
