"""The colours of pictures and of the report: one home for both.

Okabe and Ito's colours, which readers with any kind of colour vision can tell apart.
Source: M. Okabe, K. Ito (2008), https://jfly.uni-koeln.de/color/
"""

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
CLIP = VERMILLION  # the ends of a quantized range
SEQUENTIAL = "viridis"  # Matplotlib's and Vega's name for ordered values
DIVERGING = "PuOr"  # Matplotlib's name for values on both sides of zero
