"""The report's tables."""

from typing import Any

import numpy as np
import pytest

from resnet8.report.inputs import ReportInputs
from resnet8.report.tables import (
    NOTHING,
    Table,
    class_accuracy_table,
    headline_table,
    parity_table,
    percent,
    ranked,
    saved,
    sensitivity_table,
    small,
    sqnr_cell,
    sqnr_table,
)
from tests.report_inputs import LABELS, LAYERS, make_inputs


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return make_inputs()


def texts(table: Table, column: int) -> dict[str, str]:
    return {row[0].text: row[column].text for row in table.rows}


def test_percent_keeps_the_number_to_sort_by() -> None:
    assert percent(0.1234) == ("12.34", pytest.approx(12.34), "", "")


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0"), (1.234e-6, "1.2e-06"), (None, "–")])
def test_small_shows_zero_as_exact(value: float | None, shown: str) -> None:
    assert small(value).text == shown


def test_headline_table_has_a_row_for_each_variant_in_order(inputs: ReportInputs) -> None:
    variants = list(inputs.predictions)
    table = headline_table(inputs.comparison, variants=variants, sizes={"onnx_int8": 99_400})
    assert [row[0].text for row in table.rows] == variants
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert texts(table, -1)["onnx_int8"] == "99"
    assert texts(table, 2)["keras_fp32"] == "baseline"


def test_headline_table_has_kl_with_its_standard_error_sorted_by_kl(inputs: ReportInputs) -> None:
    table = headline_table(inputs.comparison, variants=["onnx_int8"], sizes={})
    (column,) = [i for i, name in enumerate(table.columns) if name.startswith("KL")]
    row = inputs.comparison["variants"]["onnx_int8"]
    kl, error = row["kl_divergence"], row["kl_standard_error"]
    assert table.rows[0][column][:2] == (f"{kl:.5f} ± {error:.5f}", kl)


def one_class(images: int, right: int) -> Any:
    matrix = np.zeros((10, 10), np.int64)
    matrix[0, 0], matrix[0, 1] = right, images - right
    return matrix


def test_class_table_has_accuracy_delta_and_interval() -> None:
    row = {
        "per_class_delta_pp": {"airplane": -25.0},
        "per_class_ci95_pp": {"airplane": [-60.0, 20.0]},
    }
    table = class_accuracy_table(
        {"baseline": "keras_fp32", "variants": {"onnx_int8": row}},
        {"keras_fp32": one_class(4, 3), "onnx_int8": one_class(4, 2)},
        variants=["onnx_int8"],
        label_names=LABELS,
    )
    assert [cell.text for cell in table.rows[0]] == [
        "airplane", "4", "75.0", "-25.0 (-60.0 to +20.0)",
    ]  # fmt: skip
    assert table.rows[0][-1].value == -25.0


def test_class_table_has_dashes_for_a_class_without_images() -> None:
    row: dict[str, Any] = {"per_class_delta_pp": {}, "per_class_ci95_pp": {}}
    matrix = np.zeros((10, 10), np.int64)
    table = class_accuracy_table(
        {"baseline": "keras_fp32", "variants": {"onnx_int8": row}},
        {"keras_fp32": matrix, "onnx_int8": matrix},
        variants=["onnx_int8"],
        label_names=LABELS,
    )
    assert table.rows[3][2:] == [NOTHING, NOTHING]


def test_parity_table_follows_the_order_of_computation(inputs: ReportInputs) -> None:
    table = parity_table(inputs.parity, order=["dense", "somewhere_else", "conv"])
    assert [row[0].text for row in table.rows] == ["dense", "conv"]


def test_parity_table_has_a_dash_for_a_pair_that_is_missing(inputs: ReportInputs) -> None:
    table = parity_table(inputs.parity, order=LAYERS)
    assert texts(table, 2) == {"conv": "–", "relu": "2e-06", "dense": "2e-06"}


def test_sqnr_table_tells_no_error_from_no_layer(inputs: ReportInputs) -> None:
    table = sqnr_table(
        inputs.layers["activations"]["calibration"],
        order=LAYERS,
        variants=["onnx_int8", "torch_int8"],
    )
    assert texts(table, 1) == {"conv": "–", "relu": "no error", "dense": "28.0"}
    assert texts(table, 2) == {"conv": "30.0", "relu": "29.0", "dense": "28.0"}


def test_sqnr_cell_without_an_error_is_above_all() -> None:
    best = sqnr_cell({"statistics": {"sqnr_db": None, "max_abs_error": 0.0}}).value
    other = sqnr_cell({"statistics": {"sqnr_db": 140.0, "max_abs_error": 1e-9}}).value
    assert float(best or 0) > float(other or 0)


def test_sqnr_cell_is_a_dash_where_all_values_are_zero() -> None:
    # There is an error but no signal: no ratio either, and not a perfect layer.
    assert sqnr_cell({"statistics": {"sqnr_db": None, "max_abs_error": 0.5}}) == NOTHING


def test_ranked_begins_with_what_costs_most(inputs: ReportInputs) -> None:
    ranking = inputs.sensitivity["variants"]["onnx_int8"]
    assert ranked(ranking) == ["dense", "relu", "conv", "input"]


def test_saved_is_the_divergence_of_all_minus_that_of_the_others(inputs: ReportInputs) -> None:
    ranking = inputs.sensitivity["variants"]["onnx_int8"]
    assert [saved(ranking, layer) for layer in LAYERS] == [-0.001, 0.0, 0.001]


def test_sensitivity_table_leads_to_layers_that_the_explorer_knows(inputs: ReportInputs) -> None:
    ranking = inputs.sensitivity["variants"]["onnx_int8"]
    table = sensitivity_table("onnx_int8", ranking, known=LAYERS)
    leads = {row[0].text: (row[0].layer, row[0].variant) for row in table.rows}
    assert leads["dense"] == ("dense", "onnx_int8")
    assert leads["input"] == ("", "")
