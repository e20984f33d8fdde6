"""Tables that people read."""

from collections.abc import Callable
from typing import Any

import pytest

from resnet8.compare import tables

ROW: dict[str, Any] = {
    "top1_accuracy": 0.8716, "accuracy_delta_pp": -0.03, "ci95_low_pp": -0.2512,
    "ci95_high_pp": 0.1904, "mcnemar_p": 0.857, "agreement": 0.9845, "kl_divergence": 0.0036,
    "kl_standard_error": 0.000057, "kl_top10_share": 0.129,
    "per_class_delta_pp": {"cat": -1.2, "dog": 0.0},
}  # fmt: skip
WIDEST = ROW | {
    "top1_accuracy": 0.8856, "accuracy_delta_pp": -11.44, "ci95_low_pp": -12.25,
    "ci95_high_pp": -10.63, "mcnemar_p": 2.2e-16, "agreement": 0.8845, "kl_divergence": 0.4036,
    "kl_standard_error": 0.00123,
}  # fmt: skip
SAME = ROW | {
    "top1_accuracy": 1.0, "kl_standard_error": 0.0, "kl_top10_share": None,
    "per_class_delta_pp": {"cat": 0.0, "dog": 0.0},
}  # fmt: skip
COMPARISON: dict[str, Any] = {
    "baseline": "keras_fp32", "n_images": 10_000, "baseline_is_chance": False,
    "chance_accuracy": 0.1,
    "variants": {"onnx_int8": ROW, "keras_fp32": SAME, "onnx_fp32": SAME},
}  # fmt: skip
ALONE = COMPARISON | {"variants": {"keras_fp32": SAME}}
Print = Callable[..., str]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Print:
    """Shows a content in a terminal of some width."""

    def show(function: Any, content: dict[str, Any], width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        function(content)
        return capsys.readouterr().out

    return show


def test_markdown_table_has_the_variants_in_the_order_of_the_pipeline() -> None:
    lines = tables.markdown_table(COMPARISON, sizes={"onnx_int8": 99_400}).splitlines()
    assert lines[2] == "| `keras_fp32` | 100.00 |  | baseline |  |  |  |  |"
    assert lines[3].startswith("| `onnx_fp32` |")
    assert lines[4] == (
        "| `onnx_int8` | 87.16 | -0.03 | -0.25 to +0.19 | 0.86 | 98.45 | 0.00360 ± 0.00006 | 99 |"
    )


def test_tables_by_class_have_the_variants_that_changed(printed: Print) -> None:
    assert tables.class_table(COMPARISON).splitlines() == [
        "| variant | cat | dog |", "| --- | ---: | ---: |", "| `onnx_int8` | -1.2 | +0.0 |",
    ]  # fmt: skip
    text = printed(tables.print_classes, COMPARISON)
    assert ["cat", "-1.20"] in [line.split() for line in text.splitlines()]
    assert "onnx_fp32" not in text
    assert printed(tables.print_classes, ALONE) == ""


@pytest.mark.parametrize(
    ("kl", "error", "text"),
    [
        (0.001005, 0.000057, "0.00101 ± 0.00006"),
        (2.3, 0.01, "2.30000 ± 0.01000"),
        (0.00001, 0.00001, "0.00001 ± 0.00001"),
        (0.000042, 0.000003, "0.000042 ± 0.000003"),
        (0.0, 0.0, "0.00000"),
        (0.5, None, "0.50000"),
    ],
)
def test_with_error_never_shows_an_error_as_zero(kl: float, error: float | None, text: str) -> None:
    assert tables.with_error(kl, error) == text


@pytest.mark.parametrize("row", [ROW, WIDEST], ids=["usual", "widest"])
def test_headline_fits_80_columns_uncut(row: dict[str, Any], printed: Print) -> None:
    rows = COMPARISON["variants"] | {"onnx_uint8_int8": row}  # the longest name
    text = printed(tables.print_headline, COMPARISON | {"variants": rows})
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert {word for column in tables.COLUMNS for word in column.split()} <= set(text.split())
    cells = tables.format_row("onnx_uint8_int8", row, is_baseline=False)
    (line,) = [line for line in text.splitlines() if "onnx_uint8_int8 " in line]
    assert line.split() == " ".join(cells).split()
    assert "10,000 test images" in text
    assert "WARNING" not in text


def test_headline_has_the_share_of_ten_images_and_begins_with_a_warning(printed: Print) -> None:
    text = " ".join(printed(tables.print_headline, COMPARISON).split())
    assert "The ten images with the largest KL divergence make up 12.9% (onnx_int8)" in text
    assert "ten images" not in printed(tables.print_headline, ALONE)
    text = printed(tables.print_headline, COMPARISON | {"baseline_is_chance": True})
    assert text.startswith("WARNING: keras_fp32 is not measurably better than chance")
    assert text.index("untrained") < text.index("McNemar")


def test_inside_table_has_the_noisiest_and_the_most_sensitive_layer() -> None:
    def kl(divergence: float) -> dict[str, float]:
        return {"kl_divergence": divergence}

    layers = {"activations": {"onnx_int8": {
        "a": {"sqnr_db": 30.0}, "b": {"sqnr_db": 21.6}, "c": {"sqnr_db": None}, "d": {},
    }}}  # fmt: skip
    ranking = {
        "all": kl(0.004),
        "layers": {
            "b": {"alone": kl(0.002), "spared": kl(0.002), "rank": 2},
            "a": {"alone": kl(0.003), "spared": kl(0.001), "rank": 1},
        },
    }
    table = tables.inside_table(layers, {"variants": {"onnx_int8": ranking}})
    assert table.splitlines()[-1] == (
        "| `onnx_int8` | `b` | 21.6 | `a` | 0.00300 | 0.00100 | 0.00400 |"
    )


def test_print_layers_has_a_table_for_each_variant(printed: Print) -> None:
    statistics = {"mean": 0.5, "std": 1.0, "min": -2.0, "max": 3.0, "zeros_share": 0.25}
    quantized = {"clipped_share": 0.001, "clips_on_purpose": "below", "levels_used": 250}
    quantized |= {"sqnr_db": 31.26}
    activations = {
        "conv": {"onnx_fp32": {"statistics": statistics}},
        "[relu]": {"onnx_int8": {"statistics": statistics | quantized}},
    }
    inspection = {"layers": ["conv", "[relu]"], "input": "test image 3"}
    inspection |= {"activations": {"input": activations}}
    text = printed(tables.print_layers, inspection, width=120)
    lines = [line.split() for line in text.splitlines()]
    assert ["onnx_fp32", "over", "test", "image", "3"] in lines
    assert ["conv", "0.5", "1", "-2", "3", "25.0"] in lines
    assert ["[relu]", "0.5", "1", "-2", "3", "25.0", "0.1*", "250", "31.3"] in lines
    assert "clipped below on purpose" in text
