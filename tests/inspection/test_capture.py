"""Choosing layers by a pattern."""

import pytest

from resnet8.inspection.capture import select_layers

LAYERS = ["conv2d", "activation", "conv2d_1", "dense"]


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("*", LAYERS),
        ("conv2d*", ["conv2d", "conv2d_1"]),
        ("dense, conv2d", ["conv2d", "dense"]),
        ("conv2d_?", ["conv2d_1"]),
    ],
)
def test_select_layers_keeps_their_order(pattern: str, selected: list[str]) -> None:
    assert select_layers(LAYERS, pattern) == selected


@pytest.mark.parametrize("pattern", ["pool*", "conv2d,pool*", ""])
def test_select_layers_lists_the_layers_if_a_pattern_matches_none(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"must match a layer, .*conv2d, activation, conv2d_1, d"):
        select_layers(LAYERS, pattern)
