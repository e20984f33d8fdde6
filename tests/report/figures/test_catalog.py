"""The figures of layers: their list, names and legibility."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text

from resnet8.report.figures.canvas import Drawing
from resnet8.report.figures.catalog import file_names, layer_drawings
from tests.report_inputs import FLOAT, make_inputs

ALL_QUANTIZED = ("onnx_int8", "onnx_uint8", "onnx_uint8_int8", "torch_int8")
LAYERS = ("block/conv2d_3.0", "activation_1", "dense")


def drawings(**changes: Any) -> dict[str, Drawing]:
    """Figures of made-up results; arguments are those of make_inputs."""
    inputs = make_inputs(**({"layers": LAYERS} | changes))
    return layer_drawings(inputs.results["layers"], inputs.captures)


@pytest.mark.parametrize("quantized", [("onnx_int8", "torch_int8"), ()])
def test_there_is_a_picture_of_everything(quantized: tuple[str, ...]) -> None:
    assert set(drawings(quantized=quantized)) == {
        "layers", *(["sqnr"] if quantized else []), "channel_ranges",
        "histograms/block_conv2d_3.0", "histograms/activation_1", "histograms/dense",
        "feature_maps/block_conv2d_3.0", "feature_maps/activation_1",
    }  # fmt: skip


def test_a_model_without_weights_has_no_picture_of_them() -> None:
    inputs = make_inputs()
    inputs.results["layers"]["parameters"].clear()
    names = layer_drawings(inputs.results["layers"], inputs.captures).keys()
    assert "histograms/conv" in names
    assert "channel_ranges" not in names


def test_feature_maps_are_of_the_first_chosen_image() -> None:
    layers = make_inputs().results["layers"]
    layers["n_images"]["input"] = 2
    outputs = np.stack([np.full((2, 3, 3), i, np.float32) for i in (5, 6)])
    captures = dict.fromkeys(FLOAT, dict.fromkeys(layers["layers"], outputs))
    figure = layer_drawings(layers, captures)["feature_maps/conv"]()
    assert figure.texts[0].get_text() == "conv: 2 channels for test image 0, the first"
    assert np.nanmax(np.array(figure.axes[0].images[0].get_array())) == 5


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["conv2d_3.0", "add"], ["conv2d_3.0", "add"]),
        (["block/conv", "block_conv"], ["block_conv", "block_conv_2"]),
        (["Conv", "conv", "CONV"], ["Conv", "conv_2", "CONV_3"]),
        (["a", "a_2", "A"], ["a", "a_2", "A_3"]),
        (["../secret", ".hidden", ""], ["_secret", "hidden", "_"]),
        (["Größe", "层"], ["Gr__e", "_"]),
        (["x" * 300], ["x" * 100]),
    ],
)
def test_file_names(layers: list[str], expected: list[str]) -> None:
    assert list(file_names(layers).items()) == list(zip(layers, expected, strict=True))


def faults(figures: Mapping[str, Drawing]) -> list[str]:
    """Texts that are cut off or run into each other, by figure."""
    faults = []
    for name, draw in figures.items():
        figure = draw()
        figure.canvas.draw()
        ticks = {
            t for axes in figure.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())
        }
        texts = {x for x in figure.findobj(Text) if x.get_visible() and x.get_text() and x.figure}
        boxes = {text: text.get_window_extent() for text in texts - ticks}
        page = figure.bbox.padded(1)
        for text, box in boxes.items():
            if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1)):
                faults.append(f"{name}: {text.get_text()!r} is cut off")
        words = [x for x in boxes if not re.fullmatch(r"\S?[\d,.]+%?", x.get_text())]
        for one, other in itertools.combinations(words, 2):
            if boxes[one].overlaps(boxes[other]):
                faults.append(f"{name}: {one.get_text()!r} runs into {other.get_text()!r}")
    return faults


def test_no_text_is_cut_off_or_runs_into_another() -> None:
    assert faults(drawings(quantized=())) == []
    long = tuple(f"functional_1_inverted_residual_block_{i}_expand_conv2d" for i in range(3))
    figures = drawings(layers=long, quantized=ALL_QUANTIZED)
    assert faults({x: draw for x, draw in figures.items() if "block_1" not in x}) == []
