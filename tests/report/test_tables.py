"""The report's tables."""

from typing import Any

import numpy as np
import pytest

from resnet8.compare.rendering import Table
from resnet8.reference.results import Checked, EndToEnd, TensorCheck, describe
from resnet8.report import tables
from resnet8.report.tables import NOTHING
from tests.report_inputs import LABELS, LAYERS, make_inputs

RESULTS = make_inputs().results


def column(table: Table, number: int) -> dict[str, Any]:
    """Cells by the first cell of their line."""
    return {line[0]: line[number] for line in table.lines[1:]}


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1.234e-6, "1.2e-06"), (None, "–")])
def test_small_writes_zero_as_exact(value: float | None, text: str) -> None:
    assert tables.small(value) == text


def test_headline_table_has_a_line_for_each_variant() -> None:
    comparison = RESULTS["comparison"]
    variants = list(comparison["variants"])
    table = tables.headline_table(comparison, variants=variants, sizes={"onnx_int8": 99_400})
    assert list(column(table, 0)) == variants
    assert {len(line) for line in table.lines} == {11}
    assert column(table, -1)["onnx_int8"] == "99"
    assert column(table, 2)["keras_fp32"] == "baseline"
    row = comparison["variants"]["onnx_int8"]
    kl, error = row["kl_divergence"], row["kl_standard_error"]
    cell = column(table, 8)["onnx_int8"]
    assert (cell, cell.value) == (f"{kl:.5f} ± {error:.5f}", kl)  # sorted by KL


def test_class_table_has_accuracy_delta_and_interval_or_dashes() -> None:
    row = {
        "per_class_delta_pp": {"airplane": -25.0},
        "per_class_ci95_pp": {"airplane": [-60.0, 20.0]},
    }
    counts = np.zeros((10, 10), np.int64)
    counts[0, :2] = 3, 1
    comparison = {"baseline": "keras_fp32", "variants": {"onnx_int8": row}}
    table = tables.class_accuracy_table(
        comparison, counts, variants=["onnx_int8"], label_names=LABELS
    )
    _, first, *_, without_images = table.lines[:5]
    assert list(first) == ["airplane", "4", "75.0", "-25.0 (-60.0 to +20.0)"]
    assert first[-1].value == -25.0
    assert without_images[2:] == [NOTHING, NOTHING]


def test_parity_table_follows_the_order_of_computation() -> None:
    table = tables.parity_table(RESULTS["layer_parity"], order=["dense", "somewhere_else", "conv"])
    assert column(table, 2) == {"dense": "2e-06", "conv": "–"}


def test_sqnr_table_tells_no_error_from_no_layer() -> None:
    rows = RESULTS["layers"]["activations"]["calibration"]
    table = tables.sqnr_table(rows, order=LAYERS, variants=["onnx_int8", "torch_int8"])
    assert column(table, 1) == {"conv": "–", "relu": "no error", "dense": "28.0"}
    assert column(table, 2) == {"conv": "30.0", "relu": "29.0", "dense": "28.0"}
    assert column(table, 1)["relu"].value > column(table, 1)["dense"].value
    # Noise without a signal has no SQNR.
    assert tables.sqnr_cell({"statistics": {"sqnr_db": None, "max_abs_error": 0.5}}) is NOTHING


def test_sensitivity_table_has_layers_by_rank_and_links_to_the_explorer() -> None:
    ranking = RESULTS["sensitivity"]["variants"]["onnx_int8"]
    table = tables.sensitivity_table("onnx_int8", ranking, known=LAYERS)
    assert list(column(table, 0)) == ["dense", "relu", "conv", "input"]
    link = column(table, 0)["dense"]
    assert (link.layer, link.variant) == ("dense", "onnx_int8")
    assert type(column(table, 0)["input"]) is str  # it has no link
    assert column(table, 5) == {"dense": "+1.0e-03", "relu": "0", "conv": "-1.0e-03", "input": "0"}


CONV = TensorCheck("relu", "conv", in_codes=True, compared=1000)
POOL = TensorCheck("pool", "pool", in_codes=True, compared=24)
DENSE = TensorCheck("dense", "dense", in_codes=False, compared=80, largest=0.34)
DIFFERING = CONV._replace(differing=3, largest=1, farthest=2e-5, bound=1e-3)
UNBOUNDED = CONV._replace(differing=1, largest=1, farthest=0.25, bound=float("inf"))


def verified(*rows: TensorCheck) -> dict[str, Any]:
    whole = EndToEnd(n_images=8, same_class=7, codes=1000, differing=5, largest=0.25)
    return describe(Checked({row.tensor: row for row in rows}, whole))


def test_arithmetic_tables_have_a_line_for_each_variant_or_tensor() -> None:
    variants = {"onnx_int8": verified(DIFFERING, POOL, DENSE), "torch_int8": verified(UNBOUNDED)}
    assert list(tables.arithmetic_table(variants).lines[1]) == [
        "onnx_int8", "2", "1,024", "3", "1", "2.0e-05", "0.34", "0.500", "87.50", "2.5e-01",
    ]  # fmt: skip
    assert [list(line) for line in tables.differing_codes_table(variants).lines] == [
        ["tensor", "layer", "onnx_int8", "torch_int8"],
        ["relu", "conv", "3 (2.0e-05 of 1.0e-03)", "1 (2.5e-01 of unknown)"],
        ["pool", "pool", "0", NOTHING],
    ]
