"""The report's charts: their values, and that Vega-Lite takes them."""

from typing import Any

import numpy as np
import pytest
import vl_convert

from resnet8.report.charts import class_accuracies, sensitivity, sqnr
from resnet8.report.data import view
from tests.report_inputs import LAYERS, make_inputs


@pytest.fixture(scope="module")
def page_data() -> dict[str, Any]:
    found: dict[str, Any] = view(make_inputs())["page_data"]
    return found


def test_charts_that_are_fixed_compile(page_data: dict[str, Any]) -> None:
    for spec in page_data["charts"].values():
        assert vl_convert.vegalite_to_vega(spec | {"config": page_data["config"]})["marks"]


def test_charts_that_depend_on_choices_compile(page_data: dict[str, Any]) -> None:
    names = ("a", "b", "clips", "ends", "cells")
    templates = page_data["explorer"]["charts"] | page_data["confusion"]["charts"]
    for spec in templates.values():
        filled = spec | {"datasets": {name: [] for name in names}}
        assert vl_convert.vegalite_to_vega(filled | {"config": page_data["config"]})["marks"]


def test_charts_have_no_colour_of_their_own(page_data: dict[str, Any]) -> None:
    assert "#" not in str(page_data["charts"]) + str(page_data["explorer"]["charts"])


def test_class_accuracies_are_percent_of_the_row() -> None:
    matrix = np.array([[3, 1], [0, 0]])
    spec = class_accuracies({"onnx_int8": matrix}, variants=["onnx_int8"], labels={"cat": 0})
    assert spec["data"]["values"] == [{"variant": "onnx_int8", "class": "cat", "accuracy": 75.0}]


@pytest.fixture
def profile() -> Any:
    """The SQNR of two variants: a chain whose last layer reads the first, too."""
    inputs = make_inputs()
    return sqnr(
        inputs.layers["activations"]["calibration"],
        network=inputs.network,
        order=LAYERS,
        variants=["onnx_int8", "torch_int8"],
    )


def test_sqnr_leaves_out_layers_without_a_ratio(profile: Any) -> None:
    points = [row for row in profile["data"]["values"] if row["variant"] == "onnx_int8"]
    assert [(row["layer"], row["sqnr"]) for row in points] == [("dense", 28.0)]


def test_sqnr_lines_follow_the_edges_of_the_network(profile: Any) -> None:
    lines = profile["layer"][0]["data"]["values"]
    assert {row["variant"] for row in lines} == {"torch_int8"}  # the other has one point
    ends = sorted((row["x"], row["x2"]) for row in lines)
    assert ends == [(29.0, 28.0), (30.0, 28.0), (30.0, 29.0)]


def test_sqnr_puts_variants_that_coincide_side_by_side(profile: Any) -> None:
    places = [(row["layer"], row["place"]) for row in profile["data"]["values"]]
    assert len(set(places)) == len(places)
    assert all(abs(place - LAYERS.index(layer)) < 0.5 for layer, place in places)


def test_sensitivity_has_the_worst_layer_first() -> None:
    ranking = make_inputs().sensitivity["variants"]["onnx_int8"]
    values = sensitivity("onnx_int8", ranking)["data"]["values"]
    assert values[0] == {"layer": "dense", "alone": 0.003, "saved": 0.001}
