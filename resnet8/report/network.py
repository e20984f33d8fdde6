"""The report's graph of the network, laid out by grandalf.

Source: K. Sugiyama, S. Tagawa, M. Toda (1981), Methods for visual understanding of hierarchical
system structures; https://github.com/bdcht/grandalf
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout, VertexViewer
from grandalf.routing import EdgeViewer

from resnet8.core.files import Json
from resnet8.report.figures.layer_rows import shorten

BOX_WIDTH, BOX_HEIGHT = 206, 40  # pixels
GAP_X, GAP_Y = 16, 18  # between boxes
MARGIN = 6
NAME_LENGTH, KIND_LENGTH = 18, 24  # characters that fit into a box
Point = tuple[float, float]


def place(
    names: Sequence[str], edges: Sequence[tuple[str, str]]
) -> tuple[dict[str, Point], dict[tuple[str, str], list[Point]]]:
    """Places boxes, named in the order of computation, in layers with few crossings.

    Returns the middle of each box, and the points of each edge from middle to middle, in pixels.
    """
    vertices = {name: Vertex(name) for name in names}
    lines = [Edge(vertices[source], vertices[target]) for source, target in edges]
    for vertex in vertices.values():
        vertex.view = VertexViewer(BOX_WIDTH, BOX_HEIGHT)
    for line in lines:
        line.view = EdgeViewer()
    boxes: dict[str, Point] = {}
    routes: dict[tuple[str, str], list[Point]] = {}
    left = float(MARGIN)
    for part in Graph(list(vertices.values()), lines).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.yspace = GAP_X, GAP_Y
        layout.init_all()
        layout.draw()
        xs, ys = zip(*(vertex.view.xy for vertex in part.sV), strict=True)
        right, down = left + BOX_WIDTH / 2 - min(xs), MARGIN + BOX_HEIGHT / 2 - min(ys)
        for vertex, x, y in zip(part.sV, xs, ys, strict=True):
            boxes[vertex.data] = (x + right, y + down)
        for line in part.sE:
            points = [(x + right, y + down) for x, y in line.view._pts]
            routes[line.v[0].data, line.v[1].data] = points
        left += max(xs) - min(xs) + BOX_WIDTH + GAP_X
    return {name: boxes[name] for name in names}, {pair: routes[pair] for pair in edges}


def network_view(network: Json, known: Sequence[str]) -> dict[str, Any]:
    """Returns the numbers and texts of an SVG drawing; the layer explorer shows `known` layers."""
    rows = {row["name"]: row for row in network["layers"]}
    edges = [
        (source, name) for name, row in rows.items() for source in dict.fromkeys(row["inputs"])
    ]
    names = list(dict.fromkeys([x for x, _ in edges if x not in rows] + list(rows)))
    places, routes = place(names, edges)
    return {
        "width": round(max(x for x, _ in places.values())) + BOX_WIDTH // 2 + MARGIN,
        "height": round(max(y for _, y in places.values())) + BOX_HEIGHT // 2 + MARGIN,
        "box": {"width": BOX_WIDTH, "height": BOX_HEIGHT},
        "boxes": [
            {
                "x": round(x) - BOX_WIDTH // 2, "y": round(y) - BOX_HEIGHT // 2,
                "layer": name if name in known else "", **_texts(name, rows.get(name)),
            }
            for name, (x, y) in places.items()
        ],
        "lines": [_path(points) for points in routes.values()],
    }  # fmt: skip


def _texts(name: str, row: Json | None) -> dict[str, str]:
    """Returns the two lines in a box, and its tooltip; the input of the network has no row."""
    if row is None:
        return {"label": shorten(name, NAME_LENGTH), "kind": "images", "about": name}
    shape = "×".join(map(str, row["shape"]))
    units = {"macs": "multiply-accumulates", "weights": "weights", "biases": "biases"}
    counts = [f"{row[key]:,} {unit}" for key, unit in units.items() if row[key]]
    return {
        "label": shorten(name, NAME_LENGTH),
        "kind": shorten(f"{row['operator']} {shape}", KIND_LENGTH),
        "about": ", ".join([f"{name}: {row['operator']}, output {shape}", *counts]),
    }


def _path(points: Sequence[Point]) -> str:
    """Returns an SVG path from the first box's bottom to the last one's top, around other boxes."""
    half = BOX_HEIGHT / 2
    stops = [(x, y + side) for x, y in points for side in (-half, half)][1:-1]
    path = f"M{stops[0][0]:.0f},{stops[0][1]:.0f}"
    for (x, y), (next_x, next_y) in pairwise(stops):
        middle = (y + next_y) / 2
        path += f" C{x:.0f},{middle:.0f} {next_x:.0f},{middle:.0f} {next_x:.0f},{next_y:.0f}"
    return path
