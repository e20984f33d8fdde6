"""The report's tables."""

from typing import Any

import pytest

from resnet8.reference.results import Checked, EndToEnd, TensorCheck, describe
from resnet8.report import tables
from resnet8.report.sweep import BEST, settings_table
from resnet8.report.tables import NOTHING, Rows
from tests.report_inputs import LABELS, LAYERS, make_inputs, make_summary

RESULTS = make_inputs().results


def column(rows: Rows, name: str) -> dict[str, Any]:
    """Cells by the first cell of their row."""
    return {next(iter(row.values())): row[name] for row in rows}


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (1.234e-6, "1.2e-06"), (None, "–")])
def test_small_writes_zero_as_exact(value: float | None, text: str) -> None:
    assert tables.small(value) == text


def test_headline_has_a_row_for_each_variant_and_no_deltas_of_the_baseline() -> None:
    comparison = RESULTS["comparison"]
    variants = list(comparison["variants"])
    sizes = dict.fromkeys(variants, 99_400)
    rows = tables.headline(comparison, variants=variants, sizes=sizes)
    assert list(column(rows, "file kB").items()) == [(name, "99") for name in variants]
    assert column(rows, "delta pp")["keras_fp32"] == "baseline"
    row = comparison["variants"]["onnx_int8"]
    kl, error = row["kl_divergence"], row["kl_standard_error"]
    cell = column(rows, "KL, nats (± standard error)")["onnx_int8"]
    assert (cell, cell.value) == (f"{kl:.5f} ± {error:.5f}", kl)  # sorted by KL


def test_classes_have_accuracy_delta_and_interval_or_dashes() -> None:
    row = {
        "per_class_delta_pp": {"airplane": -25.0},
        "per_class_ci95_pp": {"airplane": [-60.0, 20.0]},
    }
    counts = [[3, 1, *[0] * 8], *[[0] * 10] * 9]
    comparison = {"baseline": "keras_fp32", "variants": {"onnx_int8": row}}
    first, *_, last = tables.class_accuracy(
        comparison, counts, variants=["onnx_int8"], label_names=LABELS
    )
    assert list(first.values()) == ["airplane", "4", "75.0", "-25.0 (-60.0 to +20.0)"]
    assert list(last.values()) == ["truck", "0", NOTHING, NOTHING]


def test_parity_follows_the_order_of_computation() -> None:
    rows = tables.parity(RESULTS["layer_parity"]["layers"], order=["dense", "elsewhere", "conv"])
    assert column(rows, "Keras – PyTorch") == {"dense": "2e-06", "conv": "–"}


def test_sqnr_distinguishes_no_error_from_no_layer() -> None:
    activations = RESULTS["layers"]["activations"]["calibration"]
    rows = tables.sqnr(activations, order=LAYERS, variants=["onnx_int8", "torch_int8"])
    cells = column(rows, "onnx_int8")
    assert cells == {"conv": "–", "relu": "no error", "dense": "28.0"}
    assert cells["relu"].value > cells["dense"].value
    assert column(rows, "torch_int8") == {"conv": "30.0", "relu": "29.0", "dense": "28.0"}
    # Noise without a signal has no SQNR.
    assert tables.sqnr_cell({"statistics": {"sqnr_db": None, "max_abs_error": 0.5}}) is NOTHING


def test_sensitivity_has_layers_by_rank_and_links_to_the_explorer() -> None:
    ranking = RESULTS["sensitivity"]["variants"]["onnx_int8"]
    rows = tables.sensitivity("onnx_int8", ranking, known=LAYERS)
    assert column(rows, "spared: KL saved") == {
        "dense": "+1.0e-03", "relu": "0", "conv": "-1.0e-03", "input": "0",
    }  # fmt: skip
    links = column(rows, "layer")
    assert links["dense"].variant == "onnx_int8"
    assert type(links["input"]) is str  # it has no link


CONV = TensorCheck("relu", "conv", in_codes=True, compared=1000)
POOL = TensorCheck("pool", "pool", in_codes=True, compared=24)
DENSE = TensorCheck("dense", "dense", in_codes=False, compared=80, largest=0.34)
DIFFERING = CONV._replace(differing=3, largest=1, farthest=2e-5, bound=1e-3)
UNBOUNDED = CONV._replace(differing=1, largest=1, farthest=0.25, bound=float("inf"))


def verified(*rows: TensorCheck) -> dict[str, Any]:
    whole = EndToEnd(n_images=8, same_class=7, codes=1000, differing=5, largest=0.25)
    return describe(Checked({row.tensor: row for row in rows}, whole))


def test_arithmetic_has_a_row_for_each_variant_or_tensor() -> None:
    variants = {"onnx_int8": verified(DIFFERING, POOL, DENSE), "torch_int8": verified(UNBOUNDED)}
    assert list(tables.arithmetic(variants)[0].values()) == [
        "onnx_int8", "2", "1,024", "3", "1", "2.0e-05", "0.34", "0.500", "87.50", "2.5e-01",
    ]  # fmt: skip
    cells = ["3 (2.0e-05 of 1.0e-03)", "1 (2.5e-01 of unknown)"]
    assert [list(row.values()) for row in tables.differing_codes(variants)] == [
        ["relu", "conv", *cells], ["pool", "pool", "0", NOTHING],
    ]  # fmt: skip


def settings(rows: Rows, name: str) -> dict[str, str]:
    """Cells of onnx_int8 by settings."""
    return {
        row["settings"].removesuffix(", on the front"): row[name]
        for row in rows
        if row["variant"] == "onnx_int8"
    }


def test_settings_are_the_defaults_and_the_best_compared_with_the_default() -> None:
    summary = make_summary()
    assert len(settings_table(summary, 100)) == 8
    best = settings_table(summary, 1)
    assert len(best) == 3 < BEST
    assert {row["settings"] for row in best} >= {"default"}
    rows = settings_table(summary, 100)
    top1 = settings(rows, "top-1 % (± of draws)")
    assert (top1["default"], top1["10 images"]) == ("78.90 ± 0.10", "79.90 ± 0.10")
    above = settings(rows, "accuracy above default, pp")
    assert above["default"] == "default"
    assert above["10 images"].startswith("+1.00 (")  # ten fewer images are lost
    assert above["per_channel false, 10 images"].startswith("-0.50 (")
    single = settings_table(make_summary(n_seeds=1), 100)
    assert not any("±" in row["top-1 % (± of draws)"] for row in single)


def test_settings_count_draws_of_an_earlier_version_among_others() -> None:
    summary = make_summary()
    default, *others = summary["settings"]

    def draws(**changes: Any) -> list[str]:
        return sorted(row["draws"] for row in settings_table(summary | changes, 100))

    mixed = draws(n_earlier=2, settings=[default | {"n_earlier": 2}, *others])
    assert mixed == ["3"] * 7 + ["3 (2 earlier)"]
    assert set(draws(n_earlier=24, settings=[x | {"n_earlier": 3} for x in others])) == {"3"}
