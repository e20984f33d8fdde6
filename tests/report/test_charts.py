"""The report's charts: Vega-Lite accepts them, and they have the right values."""

from typing import Any

import numpy as np
import pytest
import vl_convert

from resnet8.report.charts import class_accuracies, sensitivity, sqnr
from resnet8.report.data import view
from tests.report_inputs import LAYERS, make_inputs


def test_all_charts_compile_and_take_their_colours_from_the_page() -> None:
    page_data = view(make_inputs())["page_data"]
    names = ("a", "b", "clips", "ends", "cells")
    charts = page_data["explorer"]["charts"] | page_data["confusion"]["charts"]
    for spec in [*page_data["charts"].values(), *charts.values()]:
        filled = spec | {"datasets": {name: [] for name in names}, "config": page_data["config"]}
        assert vl_convert.vegalite_to_vega(filled)["marks"]
        assert "#" not in str(filled)


def test_class_accuracies_are_percent_of_the_row() -> None:
    matrix = np.array([[3, 1], [0, 0]])
    spec = class_accuracies({"onnx_int8": matrix}, variants=["onnx_int8"], labels={"cat": 0})
    assert spec["data"]["values"] == [{"variant": "onnx_int8", "class": "cat", "accuracy": 75.0}]


@pytest.fixture
def profile() -> Any:
    """The SQNR of two variants: a chain whose last layer also reads the first."""
    inputs = make_inputs()
    return sqnr(
        inputs.layers["activations"]["calibration"],
        network=inputs.network,
        order=LAYERS,
        variants=["onnx_int8", "torch_int8"],
    )


def test_sqnr_has_a_point_for_each_ratio_beside_those_of_other_variants(profile: Any) -> None:
    points = profile["data"]["values"]
    assert [(x["layer"], x["sqnr"]) for x in points if x["variant"] == "onnx_int8"] == [
        ("dense", 28.0)
    ]
    places = [(row["layer"], row["place"]) for row in points]
    assert len(set(places)) == len(places)
    assert all(abs(place - LAYERS.index(layer)) < 0.5 for layer, place in places)


def test_sqnr_lines_follow_the_edges_of_the_network(profile: Any) -> None:
    lines = profile["layer"][0]["data"]["values"]
    assert {row["variant"] for row in lines} == {"torch_int8"}  # the other has one point
    ends = sorted((row["x"], row["x2"]) for row in lines)
    assert ends == [(29.0, 28.0), (30.0, 28.0), (30.0, 29.0)]


def test_sensitivity_has_the_worst_layer_first() -> None:
    ranking = make_inputs().sensitivity["variants"]["onnx_int8"]
    values = sensitivity("onnx_int8", ranking)["data"]["values"]
    assert values[0] == {"layer": "dense", "alone": 0.003, "saved": 0.001}
