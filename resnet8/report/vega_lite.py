"""The words of Vega-Lite that the report's charts share.

Colours are CSS variables of the page (`var(--name)`), so charts follow its theme and its print.

Source: Vega-Lite 6, https://vega.github.io/vega-lite/docs/
"""

from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]


def css(name: str) -> str:
    """A colour of the page."""
    return f"var(--{name})"


def config() -> Spec:
    """How all charts look."""
    soft, line, ink = css("ink-soft"), css("line"), css("ink")
    axis = {"labelColor": soft, "titleColor": soft, "titleFontWeight": "normal"}
    axis |= {"gridColor": line, "domainColor": line, "tickColor": line}
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "axis": axis | {"labelLimit": 150},
        "legend": {
            "labelColor": ink,
            "titleColor": soft,
            "orient": "top",
            "title": None,
            "columns": 2,
            "symbolOpacity": 1,
        },
        "view": {"stroke": None},
    }


def chart(description: str, layers: list[Spec], *, height: Any, values: Any = None) -> Spec:
    data = {} if values is None else {"data": {"values": list(values)}}
    return data | {
        "description": description,
        "width": "container",
        "height": height,
        "layer": layers,
    }


def category(field: str) -> Spec:
    """Rows in the order of the data."""
    return {"y": {"field": field, "type": "nominal", "sort": None, "title": None}}


def quantity(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "axis": {"tickCount": 6}}


def tip(field: str, form: str) -> Spec:
    return {"field": field, "type": "quantitative", "format": form}


def by_variant(variants: Sequence[str]) -> Spec:
    scale = {"domain": list(variants), "range": [css(name) for name in variants]}
    return {"field": "variant", "type": "nominal", "scale": scale}
