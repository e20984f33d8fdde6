"""The report's graph of the network: boxes and edges where grandalf's layout puts them.

Source: K. Sugiyama, S. Tagawa, M. Toda (1981), Methods for visual understanding of hierarchical
system structures; https://github.com/bdcht/grandalf
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout

from resnet8.report.inputs import Json

BOX_WIDTH, BOX_HEIGHT = 206, 40  # pixels
GAP_X, GAP_Y = 16, 18  # between boxes
MARGIN = 6
NAME_LENGTH, KIND_LENGTH = 18, 24  # characters that fit into a box
Point = tuple[float, float]


class _Box:
    """A box for the layout; grandalf sets `xy`, its middle."""

    def __init__(self) -> None:
        self.w, self.h = BOX_WIDTH, BOX_HEIGHT
        self.xy: Point = (0.0, 0.0)


class _Line:
    """A line for the layout; grandalf hands over the points of the edge."""

    def __init__(self) -> None:
        self.points: Sequence[Point] = []

    def setpath(self, points: Sequence[Point]) -> None:
        self.points = points


def place(
    names: Sequence[str], edges: Iterable[tuple[str, str]]
) -> tuple[dict[str, Point], dict[tuple[str, str], list[Point]]]:
    """Places boxes in layers, from the top, with few crossings.

    Args:
        names: of the boxes, in the order of computation.
        edges: from box to box.

    Returns:
        The middle of each box, and the points of each edge from middle to middle, in pixels.
    """
    vertices = {name: Vertex(name) for name in names}
    lines = {pair: Edge(vertices[pair[0]], vertices[pair[1]]) for pair in edges}
    for vertex in vertices.values():
        vertex.view = _Box()
    for line in lines.values():
        line.view = _Line()
    left = 0.0
    for part in Graph(list(vertices.values()), list(lines.values())).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.yspace = GAP_X, GAP_Y
        layout.init_all()
        layout.draw()
        boxes = [vertex.view for vertex in part.sV]
        shift = left - min(box.xy[0] for box in boxes)
        for box in boxes:
            box.xy = (box.xy[0] + shift, box.xy[1])
        for line in part.sE:
            line.view.points = [(x + shift, y) for x, y in line.view.points]
        left = max(box.xy[0] for box in boxes) + BOX_WIDTH + GAP_X
    return (
        {name: vertex.view.xy for name, vertex in vertices.items()},
        {pair: list(line.view.points) for pair, line in lines.items()},
    )


def network_view(network: Json, layers: Json, variants: Sequence[str]) -> dict[str, Any]:
    """The graph as an SVG drawing's numbers and words.

    Args:
        network: what metrics/network.json holds.
        layers: what artifacts/inspection/layers.json holds.
        variants: the quantized ones.
    """
    rows = {row["name"]: row for row in network["layers"]}
    edges = [
        (source, name) for name, row in rows.items() for source in dict.fromkeys(row["inputs"])
    ]
    names = list(dict.fromkeys([x for x, _ in edges if x not in rows] + list(rows)))
    middles, routes = place(names, edges)
    left = min((x for x, _ in middles.values()), default=0) - BOX_WIDTH / 2 - MARGIN
    top = min((y for _, y in middles.values()), default=0) - BOX_HEIGHT / 2 - MARGIN
    corners = {name: (round(x - left), round(y - top)) for name, (x, y) in middles.items()}
    known = set(layers["layers"])
    return {
        "width": max((x for x, _ in corners.values()), default=0) + BOX_WIDTH // 2 + MARGIN,
        "height": max((y for _, y in corners.values()), default=0) + BOX_HEIGHT // 2 + MARGIN,
        "box": {"width": BOX_WIDTH, "height": BOX_HEIGHT},
        "boxes": [
            {
                "x": x - BOX_WIDTH // 2, "y": y - BOX_HEIGHT // 2, "name": name,
                "label": shortened(name, NAME_LENGTH),
                "kind": shortened(_kind(rows.get(name)), KIND_LENGTH),
                "layer": name if name in known else "",
                "about": _about(name, rows.get(name)),
            }
            for name, (x, y) in corners.items()
        ],
        "lines": [
            _path([(x - left, y - top) for x, y in points]) for points in routes.values() if points
        ],
        "variants": list(variants),
        "noise": {name: noise(layers, name, list(known)) for name in variants},
    }  # fmt: skip


def noise(layers: Json, variant: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Words of a box about a variant, by layer: the type of its codes, and SQNR in dB.

    Args:
        layers: what artifacts/inspection/layers.json holds.
        variant: a quantized one.
        names: of layers.
    """
    found = {}
    for name in sorted(names):
        row = layers["activations"]["calibration"][name].get(variant)
        if row is not None:
            statistics = row["statistics"]
            ratio = statistics.get("sqnr_db")
            exact = ratio is None and statistics.get("max_abs_error") == 0
            found[name] = {
                "type": statistics.get("dtype", "float32"),
                "sqnr": ratio,
                "text": "no error" if exact else "" if ratio is None else f"{ratio:.1f} dB",
            }
    return found


def edges_between(network: Json, names: Collection[str]) -> list[tuple[str, str]]:
    """The edges between some of the layers, across those that are not among them.

    Args:
        network: what metrics/network.json holds.
        names: of the layers.
    """
    inputs = {row["name"]: row["inputs"] for row in network["layers"]}

    def sources(name: str) -> list[str]:
        found = [[x] if x in names else sources(x) for x in inputs.get(name, ())]
        return list(dict.fromkeys(x for among in found for x in among))

    return [(source, name) for name in inputs if name in names for source in sources(name)]


def shortened(text: str, length: int) -> str:
    """Text of at most `length` characters, with an ellipsis in the middle where it is longer."""
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"


def _kind(row: Mapping[str, Any] | None) -> str:
    return f"{row['operator']} {_shape(row)}" if row else "images"


def _about(name: str, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return name
    counts = [f"{row[key]:,} {words}" for key, words in
              (("macs", "multiply-accumulates"), ("weights", "weights"), ("biases", "biases"))
              if row[key]]  # fmt: skip
    return ", ".join([f"{name}: {row['operator']}, output {_shape(row)}", *counts])


def _shape(row: Mapping[str, Any]) -> str:
    return "×".join(map(str, row["shape"]))


def _path(points: Sequence[Point]) -> str:
    """An SVG path from the bottom of the first box to the top of the last, rounded at corners."""
    (x0, y0), *inner, (x1, y1) = points
    start, end = (x0, y0 + BOX_HEIGHT / 2), (x1, y1 - BOX_HEIGHT / 2)
    path = f"M{start[0]:.0f},{start[1]:.0f}"
    last = start
    stops = [p for x, y in inner for p in ((x, y - BOX_HEIGHT / 2), (x, y + BOX_HEIGHT / 2))]
    for x, y in [*stops, end]:
        middle = (last[1] + y) / 2
        path += f" C{last[0]:.0f},{middle:.0f} {x:.0f},{middle:.0f} {x:.0f},{y:.0f}"
        last = (x, y)
    return path
