"""The graph of the network: positions and texts of its boxes."""

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

from resnet8.report.network import BOX_HEIGHT, BOX_WIDTH, MARGIN, network_view, place
from tests.report_inputs import make_inputs

ROOT = Path(__file__).parents[2]
# A stem, three branches of different lengths with a crossing, and a part of its own.
EDGES = [
    ("input", "stem"), ("stem", "a1"), ("a1", "a2"), ("a2", "a3"), ("stem", "b1"), ("b1", "join"),
    ("a3", "join"), ("stem", "join"), ("a1", "b2"), ("b2", "join"), ("alone", "end"),
]  # fmt: skip
NAMES = list(dict.fromkeys(name for edge in EDGES for name in edge))


def test_place_puts_no_box_over_another_and_leads_edges_downward_around_them() -> None:
    boxes, lines = place(NAMES, EDGES)
    assert list(boxes) == NAMES
    assert min(x for x, _ in boxes.values()) == MARGIN + BOX_WIDTH / 2
    for (x, y), (u, v) in combinations(boxes.values(), 2):
        assert abs(x - u) >= BOX_WIDTH or abs(y - v) >= BOX_HEIGHT
    assert list(lines) == EDGES
    assert len(lines["stem", "join"]) > 2
    for (source, target), (first, *inner, last) in lines.items():
        assert (first, last) == (boxes[source], boxes[target])
        heights = [y for _, y in (first, *inner, last)]
        assert heights == sorted(heights)
        for x, y in inner:
            assert all(abs(x - u) > BOX_WIDTH / 2 or abs(y - v) > BOX_HEIGHT / 2
                       for u, v in boxes.values())  # fmt: skip


def test_place_gives_the_same_in_every_process() -> None:
    script = (
        "import json; from resnet8.report.network import place;"
        f"print(json.dumps(place({NAMES}, {EDGES})[0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    boxes = {name: list(xy) for name, xy in place(NAMES, EDGES)[0].items()}
    assert json.loads(done.stdout) == boxes


def test_boxes_have_name_operator_and_shape() -> None:
    view = network_view(make_inputs().results["network"], ["relu", "dense"])
    assert [box["layer"] for box in view["boxes"]] == ["", "", "relu", "dense"]
    last = view["boxes"][-1]
    assert (last["label"], last["kind"]) == ("dense", "Conv 4×8×8")
    assert "1,000 multiply-accumulates, 108 weights, 4 biases" in last["about"]
