"""Building blocks of the report's charts.

Colours are CSS variables of the page (`var(--name)`), so that charts follow its theme.

Source: Vega-Lite 6, https://vega.github.io/vega-lite/docs/
"""

from collections.abc import Iterable
from typing import Any

Spec = dict[str, Any]


def css(name: str) -> str:
    """A colour of the page."""
    return f"var(--{name})"


def config() -> Spec:
    """The look of all charts."""
    soft, line, ink = css("ink-soft"), css("line"), css("ink")
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "axis": {
            "labelColor": soft, "titleColor": soft, "titleFontWeight": "normal",
            "gridColor": line, "domainColor": line, "tickColor": line, "labelLimit": 150,
        },
        "legend": {
            "labelColor": ink, "titleColor": soft, "orient": "top", "title": None, "columns": 2,
            "symbolOpacity": 1,
        },
        "view": {"stroke": None},
    }  # fmt: skip


def chart(description: str, layers: list[Spec], *, height: int, values: Any = None) -> Spec:
    """A chart as wide as its place in the page."""
    data = {} if values is None else {"data": {"values": list(values)}}
    return data | {
        "description": description,
        "width": "container",
        "height": height,
        "layer": layers,
    }


def layer(kind: str, encoding: Spec, **options: Any) -> Spec:
    """Marks of one kind: `rule`, `point`, `bar`, `line`, `rect` or `text`."""
    return {"mark": {"type": kind, **options}, "encoding": encoding}


def category(field: str) -> Spec:
    """Rows in the order of the data."""
    return {"y": {"field": field, "type": "nominal", "sort": None, "title": None}}


def quantity(field: str, title: str, **options: Any) -> Spec:
    """A numeric axis."""
    return {
        "field": field, "type": "quantitative", "title": title, "axis": {"tickCount": 6}, **options,
    }  # fmt: skip


def tooltip(*words: str, **numbers: str) -> list[Spec]:
    """Fields of a tooltip: words, then numbers with their formats."""
    return [{"field": field} for field in words] + [
        {"field": field, "type": "quantitative", "format": form} for field, form in numbers.items()
    ]


def by_variant(names: Iterable[str]) -> Spec:
    """A colour for each variant, which the page gives the variant's name."""
    domain = list(dict.fromkeys(names))
    scale = {"domain": domain, "range": [css(name) for name in domain]}
    return {"field": "variant", "type": "nominal", "scale": scale}


def intervals(channel: str, title: str, encoding: Spec, *, opacity: float = 1) -> list[Spec]:
    """Points at `mean` on intervals from `low` to `high`, along channel `x` or `y`."""
    low, mean = (quantity(field, title, scale={"zero": False}) for field in ("low", "mean"))
    ends = {channel: low, f"{channel}2": {"field": "high"}}
    return [
        layer("rule", encoding | ends, strokeWidth=2, opacity=opacity),
        layer("point", encoding | {channel: mean}, filled=True, size=50, opacity=1),
    ]


def reference_line(channel: str, value: float) -> Spec:
    """A dashed line across the chart."""
    return layer(
        "rule", {channel: {"datum": value}}, color=css("ink-soft"), strokeDash=[3, 3], aria=False
    )
