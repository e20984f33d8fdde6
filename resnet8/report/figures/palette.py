"""The colours of pictures and of the report: one home for both.

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

VARIANTS = {
    "keras_fp32": GREY,
    "onnx_fp32": GREY,
    "torch_fp32": GREY,
    "onnx_int8": BLUE,
    "onnx_uint8": ORANGE,
    "onnx_uint8_int8": PURPLE,
    "torch_int8": GREEN,
}
# Variants look different without colour too: dash patterns of lines (on, off, ... in line widths,
# as in SVG's stroke-dasharray; none is solid) and markers of points.
DASHES: dict[str, tuple[float, ...]] = {
    "keras_fp32": (),
    "onnx_fp32": (),
    "torch_fp32": (),
    "onnx_int8": (),
    "onnx_uint8": (5, 1.5),
    "onnx_uint8_int8": (5, 1.5, 1, 1.5),
    "torch_int8": (1.5, 1.2),
}
MARKERS = {  # Matplotlib's names
    "keras_fp32": "x",
    "onnx_fp32": "x",
    "torch_fp32": "x",
    "onnx_int8": "o",
    "onnx_uint8": "s",
    "onnx_uint8_int8": "D",
    "torch_int8": "^",
}
CLIP = VERMILLION  # the ends of a quantized range
SEQUENTIAL = "viridis"  # Matplotlib's and Vega's name for ordered values
COUNTS = "Blues"  # Matplotlib's name for shares, from white
DIVERGING = "PuOr"  # Matplotlib's name for values on both sides of zero

# The report's page, for readers who prefer light or dark, by the names of its CSS variables.
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
    """Matplotlib's style of the lines of a variant; they differ without colour, too."""
    dashes = DASHES.get(variant, ())
    return {
        "color": VARIANTS.get(variant, BLUE),
        "linestyle": (0, dashes) if dashes else "solid",
    }


def marker_style(variant: str) -> dict[str, Any]:
    """Matplotlib's style of the points of a variant; they differ without colour, too."""
    return {"color": VARIANTS.get(variant, BLUE), "marker": MARKERS.get(variant, "o")}
