"""Choosing layers by a pattern."""

import numpy as np
import pytest

from resnet8.inspection.capture import Captured, Point, Watched, only, select_layers

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
def test_select_layers_names_what_there_is_when_nothing_matches(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"must match a layer, .*conv2d, activation, conv2d_1, d"):
        select_layers(LAYERS, pattern)


def test_only_drops_the_other_layers() -> None:
    outputs = {layer: np.zeros((1, 2), np.float32) for layer in LAYERS}
    watched = Watched(
        points={layer: Point(f"layer {layer}") for layer in LAYERS},
        parameters={"conv2d": {}, "dense": {}},
        absent={},
        run=lambda images: Captured(outputs, np.zeros((len(images), 10), np.float32)),
    )
    chosen = only(watched, ["activation", "dense"])
    assert list(chosen.points) == ["activation", "dense"]
    assert list(chosen.parameters) == ["dense"]
    found = chosen.run(np.zeros((1, 32, 32, 3), np.float32))
    assert list(found.outputs) == ["activation", "dense"]
