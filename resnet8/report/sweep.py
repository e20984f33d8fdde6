"""The report's section about the runs of the sweep."""

from collections.abc import Sequence
from typing import Any

from resnet8.compare.tables import best_settings, count_draws, with_deviation, with_interval
from resnet8.core.variants import Variant
from resnet8.report import vega_lite as vl
from resnet8.report.inputs import Json
from resnet8.report.tables import NOTHING, Cell, Table, number, percent, text
from resnet8.report.vega_lite import Spec, css

BEST = 10  # rows of the first table, besides the default settings
HEIGHT = 240  # pixels


def sweep_view(summary: Json) -> dict[str, Any]:
    """Returns the section's tables, and the runtimes that have a chart of the Pareto front."""
    settings = summary["settings"]
    best = f"The default settings, and the best {BEST} others by KL"
    return {
        "has_usual": any(not row["changes"] for row in settings),
        "runtimes": list(by_runtime(settings)),
        "best": settings_table(best, summary, BEST),
        "all": settings_table("All settings", summary, len(settings)),
    }


def settings_table(caption: str, summary: Json, count: int) -> Table:
    """Means over draws, of the default settings and the `count` best others by KL."""
    rows = []
    for row in best_settings(summary, count):
        settings = "default" if row["is_default"] else row["description"]
        accuracy = row["top1_accuracy"]
        rows.append({
            "variant": text(row["variant"]),
            "settings": text(f"{settings}, on the front" if row["on_front"] else settings),
            "draws": Cell(count_draws(row, summary), len(row["seeds"])),
            "file kB": number(row["file_bytes"] / 1000, ".1f"),
            "top-1 % (± of draws)": Cell(with_deviation(accuracy), accuracy["mean"]),
            "agreement %": percent(row["agreement"]["mean"]),
            "KL, nats": number(row["kl_divergence"]["mean"], ".5f"),
            "accuracy above default, pp": _above(row, "accuracy_above_default_pp"),
            "agreement above default, pp": _above(row, "agreement_above_default_pp"),
        })  # fmt: skip
    return Table(caption, rows)


def _above(row: Json, name: str) -> Cell:
    if row[name] is None:
        return Cell("default", 0.0) if row["is_default"] else NOTHING
    return Cell(with_interval(row[name]), row[name]["mean"])


def sweep_charts(summary: Json) -> dict[str, Spec]:
    """Accuracy and agreement against calibration images, and accuracy against file size."""
    settings, baseline = summary["settings"], summary["baseline_accuracy"]
    usual = [row for row in settings if not row["changes"]]
    charts = {
        f"sweep-front-{runtime}": front(rows, baseline=baseline)
        for runtime, rows in by_runtime(settings).items()
    }
    if usual:
        title = "agreement with the baseline, %"
        charts["sweep-agreement"] = by_images(usual, "agreement", title)
        charts["sweep-accuracy"] = by_images(
            usual, "top1_accuracy", "top-1 accuracy, %", baseline=baseline
        )
    return charts


def by_runtime(rows: Sequence[Json]) -> dict[str, list[Json]]:
    """Settings by the runtime that reads their files."""
    groups: dict[str, list[Json]] = {}
    for row in rows:
        groups.setdefault(Variant(row["variant"]).runtime, []).append(row)
    return groups


def by_images(
    rows: Sequence[Json], figure: str, title: str, *, baseline: float | None = None
) -> Spec:
    """A figure against the number of calibration images: mean, worst and best draw."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    middle = (len(variants) - 1) / 2
    values = [
        {
            "variant": row["variant"],
            "images": row["images"],
            # Side by side, so that no variant hides another.
            "place": row["images"] * 1.06 ** (variants.index(row["variant"]) - middle),
            "draws": len(row["seeds"]),
            **_spread(row[figure]),
        }
        for row in rows
    ]
    x = vl.quantity(
        "place",
        "calibration images (logarithmic)",
        scale={"type": "log", "nice": False, "padding": 12},
        axis={
            "values": sorted({row["images"] for row in rows}), "format": ",d", "grid": False,
            "labelOverlap": False, "labelAngle": -45,
        },
    )  # fmt: skip
    tips = vl.tooltip("variant", images=",d", draws="d", mean=".2f", low=".2f", high=".2f")
    encoding = {"x": x, "color": vl.by_variant(variants), "tooltip": tips}
    y = vl.quantity("mean", title, scale={"zero": False})
    layers = [vl.layer("line", encoding | {"y": y}, strokeWidth=1.5)]
    layers += vl.intervals("y", title, encoding, opacity=0.45)
    if baseline is not None:
        layers.insert(0, vl.reference_line("y", 100 * baseline))
    description = f"{title} against the number of calibration images: mean, worst and best draw"
    return vl.chart(description, layers, values=values, height=HEIGHT)


def front(rows: Sequence[Json], *, baseline: float) -> Spec:
    """Accuracy against file size; a line and rings mark the settings that no other beats."""
    values = [
        {
            "variant": row["variant"],
            "settings": row["description"],
            "size": row["file_bytes"] / 1000,
            "on_front": row["on_front"],
            **_spread(row["top1_accuracy"]),
        }
        for row in rows
    ]
    sizes = [value["size"] for value in values]
    domain = [0.98 * min(sizes), 1.02 * max(sizes)]
    x = vl.quantity("size", "model file, kB", scale={"domain": domain, "nice": False})
    tips = vl.tooltip("variant", "settings", size=".1f", mean=".2f", low=".2f", high=".2f")
    color = vl.by_variant(row["variant"] for row in rows)
    title = "top-1 accuracy, %"
    place = {"x": x, "y": vl.quantity("mean", title, scale={"zero": False})}
    line = vl.layer(
        "line", place, interpolate="step-after", color=css("ink-soft"), aria=False
    )  # fmt: skip
    ring = vl.layer("point", place, size=130, color=css("ink"), strokeWidth=1.5, aria=False)
    only_front = {"transform": [{"filter": "datum.on_front"}]}
    return vl.chart(
        "Top-1 accuracy against the size of the model file: mean, worst and best draw; the "
        "settings that no other beats are ringed",
        [
            line | only_front,
            vl.reference_line("y", 100 * baseline),
            *vl.intervals("y", title, {"x": x, "color": color, "tooltip": tips}, opacity=0.45),
            ring | only_front,
        ],
        values=values,
        height=HEIGHT,
    )


def _spread(figure: Json) -> dict[str, float]:
    """Mean, worst and best draw in percent."""
    return {name: 100 * figure[name] for name in ("mean", "low", "high")}
