"""The report's tables."""

from typing import Any

import numpy as np
import pytest

from resnet8.reference.results import Checked, EndToEnd, TensorCheck, describe
from resnet8.report import tables
from resnet8.report.inputs import ReportInputs
from resnet8.report.tables import NOTHING, Cell, Table
from tests.report_inputs import LABELS, LAYERS, make_inputs


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return make_inputs()


def cells(table: Table, column: int) -> dict[str, Cell]:
    """Cells of a column by the first cell of their row."""
    rows = [list(row.values()) for row in table.rows]
    return {row[0].text: row[column] for row in rows}


def texts(table: Table, column: int) -> dict[str, str]:
    return {name: cell.text for name, cell in cells(table, column).items()}


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0"), (1.234e-6, "1.2e-06"), (None, "–")])
def test_small_shows_zero_as_exact(value: float | None, shown: str) -> None:
    assert tables.small(value).text == shown


def test_headline_table_has_a_row_for_each_variant(inputs: ReportInputs) -> None:
    variants = list(inputs.predictions)
    table = tables.headline_table(inputs.comparison, variants=variants, sizes={"onnx_int8": 99_400})
    assert list(texts(table, 0)) == variants
    assert {len(row) for row in table.rows} == {11}
    assert texts(table, -1)["onnx_int8"] == "99"
    assert texts(table, 2)["keras_fp32"] == "baseline"
    row = inputs.comparison["variants"]["onnx_int8"]
    kl, error = row["kl_divergence"], row["kl_standard_error"]
    assert cells(table, 8)["onnx_int8"][:2] == (f"{kl:.5f} ± {error:.5f}", kl)  # sorted by KL


def test_class_table_has_accuracy_delta_and_interval_or_dashes() -> None:
    row = {
        "per_class_delta_pp": {"airplane": -25.0},
        "per_class_ci95_pp": {"airplane": [-60.0, 20.0]},
    }
    counts = np.zeros((10, 10), np.int64)
    counts[0, :2] = 3, 1
    table = tables.class_accuracy_table(
        {"baseline": "keras_fp32", "variants": {"onnx_int8": row}},
        counts,
        variants=["onnx_int8"],
        label_names=LABELS,
    )
    first, without_images = (list(table.rows[i].values()) for i in (0, 3))
    assert [cell.text for cell in first] == ["airplane", "4", "75.0", "-25.0 (-60.0 to +20.0)"]
    assert first[-1].value == -25.0
    assert without_images[2:] == [NOTHING, NOTHING]


def test_parity_table_follows_the_order_of_computation(inputs: ReportInputs) -> None:
    table = tables.parity_table(inputs.parity, order=["dense", "somewhere_else", "conv"])
    assert texts(table, 2) == {"dense": "2e-06", "conv": "–"}


def test_sqnr_table_tells_no_error_from_no_layer(inputs: ReportInputs) -> None:
    rows = inputs.layers["activations"]["calibration"]
    table = tables.sqnr_table(rows, order=LAYERS, variants=["onnx_int8", "torch_int8"])
    assert texts(table, 1) == {"conv": "–", "relu": "no error", "dense": "28.0"}
    assert texts(table, 2) == {"conv": "30.0", "relu": "29.0", "dense": "28.0"}
    assert cells(table, 1)["relu"].value > cells(table, 1)["dense"].value


def test_sqnr_cell_of_noise_without_a_signal_is_a_dash() -> None:
    assert tables.sqnr_cell({"statistics": {"sqnr_db": None, "max_abs_error": 0.5}}) == NOTHING


def test_sensitivity_table_has_layers_by_rank_and_links_to_the_explorer(
    inputs: ReportInputs,
) -> None:
    ranking = inputs.sensitivity["variants"]["onnx_int8"]
    table = tables.sensitivity_table("onnx_int8", ranking, known=LAYERS)
    assert list(texts(table, 0)) == ["dense", "relu", "conv", "input"]
    assert cells(table, 0)["dense"][2:] == ("dense", "onnx_int8")
    assert cells(table, 0)["input"][2:] == ("", "")
    assert texts(table, 5) == {"dense": "+1.0e-03", "relu": "0", "conv": "-1.0e-03", "input": "0"}


CONV = TensorCheck("relu", "conv", in_codes=True, compared=1000)
POOL = TensorCheck("pool", "pool", in_codes=True, compared=24)
DENSE = TensorCheck("dense", "dense", in_codes=False, compared=80, largest=0.34)
DIFFERING = CONV._replace(differing=3, largest=1, farthest=2e-5, bound=1e-3)
UNBOUNDED = CONV._replace(differing=1, largest=1, farthest=0.25, bound=float("inf"))


def verified(*rows: TensorCheck) -> dict[str, Any]:
    whole = EndToEnd(n_images=8, same_class=7, codes=1000, differing=5, largest=0.25)
    return describe(Checked({row.tensor: row for row in rows}, whole))


def test_arithmetic_table_sums_up_each_variant() -> None:
    (row,) = tables.arithmetic_table({"onnx_int8": verified(DIFFERING, POOL, DENSE)}).rows
    assert [cell.text for cell in row.values()] == [
        "onnx_int8", "2", "1,024", "3", "1", "2.0e-05", "0.34", "0.500", "87.50", "2.5e-01",
    ]  # fmt: skip


def test_differing_codes_table_has_a_row_for_each_tensor() -> None:
    variants = {"onnx_int8": verified(DIFFERING, POOL, DENSE), "torch_int8": verified(UNBOUNDED)}
    table = tables.differing_codes_table(variants)
    assert list(table.rows[0]) == ["tensor", "layer", "onnx_int8", "torch_int8"]
    assert [[cell.text for cell in row.values()] for row in table.rows] == [
        ["relu", "conv", "3 (2.0e-05 of 1.0e-03)", "1 (2.5e-01 of unknown)"],
        ["pool", "pool", "0", NOTHING.text],
    ]
