"""Colours of the figures and of the report.

Okabe and Ito's colours, which readers with any kind of colour vision can tell apart.
Source: M. Okabe, K. Ito (2008), https://jfly.uni-koeln.de/color/
"""

from typing import Any

BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#767676"

# Colour, dash pattern of lines (on, off, ... in line widths; none is solid) and Matplotlib's marker
# of points: variants look different without colour, too.
_STYLES: dict[str, tuple[str, tuple[float, ...], str]] = {
    "keras_fp32": (GREY, (), "x"),
    "onnx_fp32": (GREY, (), "x"),
    "torch_fp32": (GREY, (), "x"),
    "onnx_int8": (BLUE, (), "o"),
    "onnx_uint8": (ORANGE, (5, 1.5), "s"),
    "onnx_uint8_int8": (PURPLE, (5, 1.5, 1, 1.5), "D"),
    "torch_int8": (GREEN, (1.5, 1.2), "^"),
}
VARIANTS = {name: color for name, (color, _, _) in _STYLES.items()}
CLIP = VERMILLION  # ends of a quantized range
SEQUENTIAL = "viridis"  # ordered values, by Matplotlib's name
DIVERGING = "PuOr"  # values on both sides of zero

# CSS variables of the report's page, light and dark.
# Text on `page` and on `surface` has a contrast of at least 4.5 (WCAG 2.2, 1.4.3).
PAGE_LIGHT = {
    "page": "#FFFFFF",
    "surface": "#F3F5F7",
    "ink": "#1B1F24",
    "ink-soft": "#545C66",
    "line": "#D3D9DF",
    "accent": "#005E94",
    "clip": CLIP,
    "lost": "#A84300",
    "won": "#00694D",
    "negative": VERMILLION,
    "positive": BLUE,
    **VARIANTS,
}
PAGE_DARK = {
    "page": "#14171B",
    "surface": "#1E2329",
    "ink": "#E6E9ED",
    "ink-soft": "#A7B0BA",
    "line": "#3B434C",
    "accent": SKY_BLUE,
    "clip": "#F0762B",
    "lost": "#F58A4B",
    "won": "#3CC9A0",
    "negative": "#F0762B",
    "positive": SKY_BLUE,
    **VARIANTS,
    "keras_fp32": "#A6A6A6",
    "onnx_fp32": "#A6A6A6",
    "torch_fp32": "#A6A6A6",
    "onnx_int8": SKY_BLUE,
    "torch_int8": "#1DBE90",
}


def line_style(variant: str) -> dict[str, Any]:
    """Matplotlib's style of a variant's lines; models from elsewhere are blue and solid."""
    color, dashes, _ = _STYLES.get(variant, (BLUE, (), "o"))
    return {"color": color, "linestyle": (0, dashes) if dashes else "solid"}


def marker_style(variant: str) -> dict[str, Any]:
    """Matplotlib's style of a variant's points; models from elsewhere have blue circles."""
    color, _, marker = _STYLES.get(variant, (BLUE, (), "o"))
    return {"color": color, "marker": marker}
