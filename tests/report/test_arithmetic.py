"""The report's section on 8-bit arithmetic."""

from typing import Any

from resnet8.reference.results import Checked, EndToEnd, TensorCheck, describe
from resnet8.report.arithmetic import arithmetic_view
from resnet8.report.tables import NOTHING

CONV = TensorCheck("relu", "conv", in_codes=True, compared=1000)


def verification(*, saturates: bool = False, **by_variant: list[TensorCheck]) -> dict[str, Any]:
    whole = EndToEnd(n_images=8, same_class=7, codes=1000, differing=5, largest=0.25)
    return {
        "n_images": 8,
        "variants": {
            name: describe(Checked({row.tensor: row for row in rows}, whole), saturates=saturates)
            for name, rows in by_variant.items()
        },
    }


def test_arithmetic_view_sums_up_each_variant() -> None:
    rows = [
        CONV._replace(differing=3, largest=1, farthest=2e-5, bound=1e-3),
        TensorCheck("pool", "pool", in_codes=True, compared=24),
        TensorCheck("dense", "dense", in_codes=False, compared=80, largest=0.34),
    ]
    found = arithmetic_view(verification(onnx_int8=rows))
    (row,) = found["table"].rows
    assert [cell.text for cell in row] == [
        "onnx_int8", "2", "1,024", "3", "1", "2.0e-05", "0.34", "0.500", "87.50", "2.5e-01",
    ]  # fmt: skip
    assert (found["n_images"], found["variants"], found["saturating"]) == (8, ["onnx_int8"], [])


def test_arithmetic_view_lists_codes_that_differ_by_tensor() -> None:
    differing = CONV._replace(differing=3, largest=1, farthest=2e-5, bound=1e-3)
    unbounded = CONV._replace(differing=1, largest=1, farthest=0.25, bound=float("inf"))
    pool = TensorCheck("pool", "pool", in_codes=True, compared=24)
    found = arithmetic_view(verification(onnx_int8=[differing, pool], torch_int8=[unbounded]))
    table = found["layers"]
    assert table.columns == ("tensor", "layer", "onnx_int8", "torch_int8")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["relu", "conv", "3 (2.0e-05 of 1.0e-03)", "1 (2.5e-01 of unknown)"],
        ["pool", "pool", "0", NOTHING.text],
    ]


def test_arithmetic_view_names_models_whose_products_saturate() -> None:
    found = arithmetic_view(verification(saturates=True, onnx_uint8_int8=[CONV]))
    assert found["saturating"] == ["onnx_uint8_int8"]


def test_arithmetic_view_of_no_variants_is_empty() -> None:
    found = arithmetic_view(verification())
    assert (found["variants"], found["table"].rows, found["layers"].rows) == ([], [], [])
