"""What people read."""

import io
from typing import Any

import pytest
from rich.console import Console

from resnet8.compare.tables import (
    COLUMNS,
    SWEEP_ROWS,
    class_table,
    concentration,
    format_row,
    inside_table,
    markdown_table,
    print_classes,
    print_headline,
    print_layers,
    sweep_table,
    with_error,
)
from tests.report_inputs import make_summary

ROW = {
    "top1_accuracy": 0.8716, "accuracy_delta_pp": -0.03, "ci95_low_pp": -0.2512,
    "ci95_high_pp": 0.1904, "mcnemar_p": 0.857, "agreement": 0.9845, "kl_divergence": 0.0036,
    "kl_standard_error": 0.000057, "kl_top10_share": 0.129,
    "per_class_delta_pp": {"cat": -1.2, "dog": 0.0},
}  # fmt: skip


@pytest.fixture
def comparison() -> dict[str, Any]:
    same = {
        **ROW, "kl_standard_error": 0.0, "kl_top10_share": None,
        "per_class_delta_pp": {"cat": 0.0, "dog": 0.0},
    }  # fmt: skip
    variants = {"onnx_int8": ROW, "keras_fp32": same, "onnx_fp32": same}
    return {
        "baseline": "keras_fp32",
        "n_images": 10_000,
        "baseline_is_chance": False,
        "chance_accuracy": 0.1,
        "variants": variants,
    }


def printed(show: Any, comparison: dict[str, Any]) -> str:
    out = io.StringIO()
    show(comparison, console=Console(file=out, width=80, color_system=None))
    return out.getvalue()


def test_markdown_table_has_percent_and_signed_points(comparison: dict[str, Any]) -> None:
    last = markdown_table(comparison, sizes={"onnx_int8": 99_400}).splitlines()[-1]
    assert last == (
        "| `onnx_int8` | 87.16 | -0.03 | -0.25 to +0.19 | 0.86 | 98.45 | 0.00360 ± 0.00006 | 99 |"
    )


def test_markdown_table_starts_with_the_float_variants(comparison: dict[str, Any]) -> None:
    rows = markdown_table(comparison, sizes={}).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == ["keras_fp32", "onnx_fp32", "onnx_int8"]


def test_markdown_table_compares_the_baseline_with_nothing(comparison: dict[str, Any]) -> None:
    assert (
        markdown_table(comparison, sizes={})
        .splitlines()[2]
        .startswith("| `keras_fp32` | 87.16 |  | baseline |  |")
    )


def test_class_table_has_a_column_for_each_variant_that_moved(comparison: dict[str, Any]) -> None:
    assert class_table(comparison).splitlines() == [
        "| class | `onnx_int8` |",
        "| --- | ---: |",
        "| cat | -1.2 |",
        "| dog | +0.0 |",
    ]


@pytest.mark.parametrize(
    ("kl", "error", "shown"),
    [
        (0.001005, 0.000057, "0.00101 ± 0.00006"),
        (2.3, 0.01, "2.30000 ± 0.01000"),
        (0.00001, 0.00001, "0.00001 ± 0.00001"),
        (0.000042, 0.000003, "0.000042 ± 0.000003"),
        (0.0, 0.0, "0.00000"),
        (0.5, None, "0.50000"),
    ],
)
def test_with_error_never_shows_an_error_as_zero(
    kl: float, error: float | None, shown: str
) -> None:
    assert with_error(kl, error) == shown


WIDEST = {
    "top1_accuracy": 0.8856, "accuracy_delta_pp": -11.44, "ci95_low_pp": -12.25,
    "ci95_high_pp": -10.63, "mcnemar_p": 2.2e-16, "agreement": 0.8845, "kl_divergence": 0.4036,
    "kl_standard_error": 0.00123,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, WIDEST], ids=["usual", "widest"])
def test_headline_fits_80_columns_uncut(
    comparison: dict[str, Any], changes: dict[str, Any]
) -> None:
    comparison["variants"]["keras_fp32"]["top1_accuracy"] = 1.0
    comparison["variants"]["onnx_uint8_int8"] = {**ROW, **changes}  # the longest name
    text = printed(print_headline, comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    words = {word for column in COLUMNS for word in column.split()}
    assert words <= set(text.split())
    assert "10,000 test images" in text
    row = format_row("onnx_uint8_int8", {**ROW, **changes}, is_baseline=False)
    (line,) = [line for line in text.splitlines() if "onnx_uint8_int8 " in line]
    assert line.split() == " ".join(row).split()


def test_headline_says_what_share_ten_images_have(comparison: dict[str, Any]) -> None:
    text = " ".join(printed(print_headline, comparison).split())
    assert (
        "The ten images with the largest KL divergence make up 12.9% (onnx_int8) of its sum."
        in text
    )


def test_headline_without_any_share_says_nothing_about_it(comparison: dict[str, Any]) -> None:
    comparison["variants"] = {"keras_fp32": comparison["variants"]["keras_fp32"]}
    assert concentration(comparison) == ""
    assert "ten images" not in printed(print_headline, comparison)


def test_headline_begins_with_a_baseline_that_is_chance(comparison: dict[str, Any]) -> None:
    comparison["variants"]["keras_fp32"]["top1_accuracy"] = 0.1034
    text = printed(print_headline, comparison | {"baseline_is_chance": True})
    said = " ".join(text.split())
    assert said.startswith(
        "WARNING: keras_fp32 is not measurably better than chance: it is right on 10.34% of 10,000 "
        "test images, and the most frequent class alone makes up 10.00%."
    )
    for reason in ("untrained", "pixels in 0 to 1", "Rescaling or Normalization", "another order"):
        assert said.index(reason) < said.index("McNemar")


def test_headline_does_not_warn_of_a_baseline_that_is_better(comparison: dict[str, Any]) -> None:
    assert "WARNING" not in printed(print_headline, comparison)


def test_classes_lists_only_variants_that_moved(comparison: dict[str, Any]) -> None:
    text = printed(print_classes, comparison)
    assert "onnx_int8" in text
    assert "onnx_fp32" not in text
    assert "-1.20" in text


def test_classes_prints_nothing_when_nothing_moved(comparison: dict[str, Any]) -> None:
    comparison["variants"] = {"keras_fp32": comparison["variants"]["keras_fp32"]}
    assert printed(print_classes, comparison) == ""


def test_inside_table_names_the_noisiest_and_the_most_sensitive_layer() -> None:
    def row(kl: float) -> dict[str, float]:
        return {"kl_divergence": kl, "agreement": 1.0}

    layers = {
        "activations": {
            "onnx_int8": {"a": {"sqnr_db": 30.0}, "b": {"sqnr_db": 21.57}, "c": {"sqnr_db": None}}
        }
    }
    ranking = {
        "all": row(0.004),
        "layers": {
            "a": {"alone": row(0.003), "spared": row(0.001), "rank": 1},
            "b": {"alone": row(0.002), "spared": row(0.002), "rank": 2},
        },
    }
    last = inside_table(layers, {"variants": {"onnx_int8": ranking}}).splitlines()[-1]
    assert last == "| `onnx_int8` | `b` | 21.6 | `a` | 0.0030 | 0.0010 | 0.0040 |"


def test_print_layers_has_a_table_for_each_variant() -> None:
    statistics = {"mean": 0.5, "std": 1.0, "min": -2.0, "max": 3.0, "zeros_share": 0.25}
    quantized = {"clipped_share": 0.001, "levels_used": 250, "sqnr_db": 31.26}
    inspection = {
        "layers": ["conv", "relu"],
        "input": "test image 3",
        "activations": {
            "input": {
                "conv": {"onnx_fp32": {"statistics": statistics}},
                "relu": {"onnx_int8": {"statistics": statistics | quantized}},
            }
        },
    }
    text = io.StringIO()
    print_layers(inspection, console=Console(file=text, width=120))
    lines = [line.split() for line in text.getvalue().splitlines()]
    assert ["onnx_fp32", "over", "test", "image", "3"] in lines
    assert ["conv", "0.5", "1", "-2", "3", "25.0"] in lines
    assert ["relu", "0.5", "1", "-2", "3", "25.0", "0.1", "250", "31.3"] in lines


def test_sweep_table_has_the_defaults_among_the_best_by_divergence() -> None:
    summary = make_summary()
    lines = sweep_table(summary).splitlines()
    assert len(lines) <= 2 + SWEEP_ROWS + 2
    assert sum("**default**" in line for line in lines) == 2
    (default,) = [x for x in lines if "`onnx_int8`" in x and "**default**" in x]
    assert default.split(" | ")[-4:] == ["0.00100", "", "", "100 |"]
    (best,) = [line for line in lines if "`onnx_int8` | 10 images" in line]
    assert "+1.00 (" in best
    assert "79.90 ± 0.10" in best
