"""Results of a comparison with exact arithmetic: JSON, text and errors."""

import math

import pytest

from resnet8.core.errors import ParityError
from resnet8.reference.results import (
    Checked,
    EndToEnd,
    TensorCheck,
    describe,
    in_words,
    refuse_unexplained,
    summarize,
)


def row(tensor: str = "relu", **changes: object) -> TensorCheck:
    right = TensorCheck(tensor, "conv", in_codes=True, compared=1000)
    return right._replace(**changes)  # type: ignore[arg-type]


def of(*rows: TensorCheck, saturates: bool = False) -> Checked:
    return Checked({x.tensor: x for x in rows}, EndToEnd(10, 9, 1000, 3, 0.01), saturates)


RIGHT = row(differing=2, largest=1, farthest=3e-5, bound=2e-3)


def test_joined_adds_counts_and_keeps_the_largest() -> None:
    other = row(differing=3, unexplained=1, largest=4, farthest=1e-6, bound=3e-3)
    joined = of(RIGHT).joined(of(other))
    assert joined.tensors["relu"] == row(
        compared=2000, differing=5, unexplained=1, largest=4, farthest=3e-5, bound=3e-3
    )
    assert joined.end_to_end == EndToEnd(20, 18, 2000, 6, 0.01)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0.0, 1e-4), (1e-9, 1e-4), (3e-5, 1e-4), (1e-4, 1e-4), (2e-4, 1e-3), (0.3, 1.0)],
)
def test_summarize_gives_distances_as_a_power_of_ten(distance: float, expected: float) -> None:
    summary = summarize(of(row(differing=1, largest=1, farthest=distance)))
    assert summary["distance_from_tie_at_most"] == expected


def test_summarize_leaves_out_what_a_cpu_decides() -> None:
    logits = row("dense", in_codes=False, compared=10, largest=0.7)
    elsewhere = RIGHT._replace(differing=5, farthest=9e-5)
    one, other = (summarize(of(x, logits)) for x in (RIGHT, elsewhere))
    assert one == other == {
        "tensors": 1,
        "codes": 1000,
        "largest_difference": 1,
        "distance_from_tie_at_most": 1e-4,
        "saturating_products": False,
    }  # fmt: skip


def test_describe_has_no_infinity() -> None:
    described = describe(of(row(differing=1, bound=math.inf)))
    assert [x["bound"] for x in described["tensors"]] == [None]


def test_refuse_unexplained_names_the_first_layer_and_the_others() -> None:
    wrong = row(layer="conv2", unexplained=12, differing=14, largest=7)
    dense = row("logits", layer="dense", in_codes=False, unexplained=1, largest=5.25)
    message = (
        r"^conv2 of onnx_int8 must give what exact arithmetic gives for its inputs, got 12 of "
        r"1,000 codes \(relu\) that rounding in float32 does not explain, up to 7 steps off\. "
        r"Then: dense\."
    )
    with pytest.raises(ParityError, match=message):
        refuse_unexplained("onnx_int8", of(row("x"), wrong, dense))
    with pytest.raises(ParityError, match=r"1 of 1,000 numbers .* up to 5\.25 error bounds off"):
        refuse_unexplained("onnx_int8", of(RIGHT, dense))
    refuse_unexplained("onnx_int8", of(RIGHT))
    refuse_unexplained("onnx_uint8_int8", of(wrong, saturates=True))


def test_in_words_counts_the_codes_that_differ() -> None:
    farthest = "all by one and within 3e-05 steps of a tie"
    text = f"it: 2 of 2,000 codes differ from exact arithmetic, {farthest}"
    assert in_words("it", of(RIGHT, row("x"))) == text
    assert in_words("it", of(RIGHT, saturates=True)).endswith("on this CPU, which has no VNNI")
    assert in_words("it", of(row())).endswith("exact arithmetic")
