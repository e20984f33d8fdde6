"""Colours of the figures and of the report.

Okabe and Ito's colours, which readers with any kind of colour vision can tell apart.
Source: M. Okabe, K. Ito (2008), https://jfly.uni-koeln.de/color/
"""

from typing import Any

ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
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
_ON_DARK = {GREY: "#A6A6A6", BLUE: SKY_BLUE, GREEN: "#1DBE90"}
CLIP = VERMILLION  # ends of a quantized range
SEQUENTIAL = "viridis"  # ordered values, by Matplotlib's name
DIVERGING = "PuOr"  # values on both sides of zero

# CSS variables of the report's page, light and dark.
# Text on `page` and on `surface` has a contrast of at least 4.5 (WCAG 2.2, 1.4.3).
PAGE = {
    "page": ("#FFFFFF", "#14171B"),
    "surface": ("#F3F5F7", "#1E2329"),
    "ink": ("#1B1F24", "#E6E9ED"),
    "ink-soft": ("#545C66", "#A7B0BA"),
    "line": ("#D3D9DF", "#3B434C"),
    "accent": ("#005E94", SKY_BLUE),
    "clip": (CLIP, "#F0762B"),
    "lost": ("#A84300", "#F58A4B"),
    "won": ("#00694D", "#3CC9A0"),
    "negative": (VERMILLION, "#F0762B"),
    "positive": (BLUE, SKY_BLUE),
} | {name: (color, _ON_DARK.get(color, color)) for name, color in VARIANTS.items()}


def line_style(variant: str) -> dict[str, Any]:
    """Matplotlib's style of a variant's lines; models from elsewhere are blue and solid."""
    color, dashes, _ = _STYLES.get(variant, (BLUE, (), "o"))
    return {"color": color, "linestyle": (0, dashes) if dashes else "solid"}


def marker_style(variant: str) -> dict[str, Any]:
    """Matplotlib's style of a variant's points; models from elsewhere have blue circles."""
    color, _, marker = _STYLES.get(variant, (BLUE, (), "o"))
    return {"color": color, "marker": marker}
