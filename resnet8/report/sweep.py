"""The report's section about the runs of the sweep."""

from collections.abc import Sequence
from typing import Any

from resnet8.compare.tables import best_settings, count_draws, with_deviation, with_interval
from resnet8.core.variants import Variant
from resnet8.report.inputs import Json
from resnet8.report.tables import NOTHING, Cell, Table, number, percent, text
from resnet8.report.vega_lite import Spec, by_variant, chart, css, quantity, tip

BEST = 10  # rows of the first table, beside the default settings
HEIGHT = 240  # pixels


def sweep_view(summary: Json) -> dict[str, Any]:
    """How far the sweep is, what it says, and its tables."""
    settings = summary["settings"]
    return {
        "n_runs": summary["n_runs"],
        "n_finished": summary["n_finished"],
        "note": summary["note"],
        "answer": summary["answer"],
        "n_settings": len(settings),
        "has_usual": any(not row["changes"] for row in settings),
        "runtimes": list(by_runtime(settings)),
        "best": settings_table(
            f"The default settings, and the best {BEST} others by KL", summary, BEST
        ),
        "all": settings_table("All settings", summary, len(settings)),
    }


def settings_table(caption: str, summary: Json, count: int) -> Table:
    """Means over the draws of the default settings and the best others, compared with the default.

    Args:
        caption: of the table.
        summary: what metrics/sweep.json holds.
        count: of settings beside the default ones.
    """
    columns = (
        "variant", "settings", "draws", "file kB", "top-1 % (± of draws)",
        "agreement %", "KL, nats", "accuracy above default, pp", "agreement above default, pp",
    )  # fmt: skip
    return Table(
        caption,
        columns,
        [
            [
                text(row["variant"]),
                text(
                    ("default" if row["is_default"] else row["description"])
                    + (", on the front" if row["on_front"] else "")
                ),
                Cell(count_draws(row, summary), len(row["seeds"])),
                number(row["file_bytes"] / 1000, ".1f"),
                Cell(with_deviation(row["top1_accuracy"]), row["top1_accuracy"]["mean"]),
                percent(row["agreement"]["mean"]),
                number(row["kl_divergence"]["mean"], ".5f"),
                _above(row, "accuracy_above_default_pp"),
                _above(row, "agreement_above_default_pp"),
            ]
            for row in best_settings(summary, count)
        ],
    )


def _above(row: Json, name: str) -> Cell:
    found = row[name]
    if found is None:
        return Cell("default", 0.0) if row["is_default"] else NOTHING
    return Cell(with_interval(found), found["mean"])


def sweep_charts(summary: Json) -> dict[str, Spec]:
    """Accuracy and agreement against calibration images, and accuracy against file size."""
    settings, baseline = summary["settings"], summary["baseline_accuracy"]
    usual = [row for row in settings if not row["changes"]]
    found = {
        f"sweep-front-{runtime}": front(rows, baseline=baseline)
        for runtime, rows in by_runtime(settings).items()
    }
    if usual:
        found |= {
            "sweep-accuracy": by_images(
                usual, "top1_accuracy", "top-1 accuracy, %", baseline=baseline
            ),
            "sweep-agreement": by_images(usual, "agreement", "agreement with the baseline, %"),
        }
    return found


def by_runtime(rows: Sequence[Json]) -> dict[str, list[Json]]:
    """The settings that give files of one format."""
    found: dict[str, list[Json]] = {}
    for row in rows:
        found.setdefault(Variant(row["variant"]).runtime, []).append(row)
    return found


def by_images(
    rows: Sequence[Json], figure: str, title: str, *, baseline: float | None = None
) -> Spec:
    """A figure's mean against the number of images, with the worst and the best draw."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    values = [
        {
            "variant": row["variant"],
            "images": row["images"],
            # Side by side, so that no variant hides another.
            "place": row["images"]
            * 1.06 ** (variants.index(row["variant"]) - (len(variants) - 1) / 2),
            "draws": len(row["seeds"]),
            **{name: 100 * row[figure][name] for name in ("mean", "low", "high")},
        }
        for row in rows
    ]
    x = quantity("place", "calibration images (logarithmic)")
    x["scale"] = {"type": "log", "nice": False, "padding": 12}
    x["axis"] = {
        "values": sorted({row["images"] for row in rows}), "format": ",d", "grid": False,
        "labelOverlap": False, "labelAngle": -45,
    }  # fmt: skip
    tips = [{"field": "variant"}, tip("images", ",d"), tip("draws", "d")]
    tips += [tip(name, ".2f") for name in ("mean", "low", "high")]
    shared = {"x": x, "color": by_variant(variants), "tooltip": tips}
    text = f"{title} against the number of calibration images: mean, worst and best draw"
    return chart(text, _spreads(shared, title, baseline, line=True), values=values, height=HEIGHT)


def front(rows: Sequence[Json], *, baseline: float) -> Spec:
    """Accuracy against file size, with the settings that no other beats."""
    values = [
        {
            "variant": row["variant"],
            "settings": row["description"],
            "size": row["file_bytes"] / 1000,
            "on_front": row["on_front"],
            **{name: 100 * row["top1_accuracy"][name] for name in ("mean", "low", "high")},
        }
        for row in rows
    ]
    sizes = [float(value["size"]) for value in values]
    x = quantity("size", "model file, kB")
    x["scale"] = {"domain": [0.98 * min(sizes), 1.02 * max(sizes)], "nice": False}
    tips = [{"field": "variant"}, {"field": "settings"}, tip("size", ".1f")]
    tips += [tip(name, ".2f") for name in ("mean", "low", "high")]
    color = by_variant(list(dict.fromkeys(row["variant"] for row in rows)))
    title = "top-1 accuracy, %"
    y = quantity("mean", title) | {"scale": {"zero": False}}
    only_front = [{"filter": "datum.on_front"}]
    line = {"type": "line", "interpolate": "step-after", "color": css("ink-soft"), "aria": False}
    ring = {"type": "point", "size": 130, "color": css("ink"), "strokeWidth": 1.5, "aria": False}
    return chart(
        "Top-1 accuracy against the size of the model file: mean, worst and best draw; the "
        "settings that no other beats are ringed",
        [
            {"transform": only_front, "mark": line, "encoding": {"x": x, "y": y}},
            *_spreads({"x": x, "color": color, "tooltip": tips}, title, baseline, line=False),
            {"transform": only_front, "mark": ring, "encoding": {"x": x, "y": y}},
        ],
        values=values,
        height=HEIGHT,
    )


def _spreads(shared: Spec, title: str, baseline: float | None, *, line: bool) -> list[Spec]:
    """Bars from the worst to the best draw, their means, and the baseline."""
    y = {"scale": {"zero": False}}
    ends = {"y": quantity("low", title) | y, "y2": {"field": "high"}}
    mean = {"y": quantity("mean", title) | y}
    layers: list[Spec] = [
        {"mark": {"type": "rule", "opacity": 0.45, "strokeWidth": 1.5}, "encoding": shared | ends},
        {"mark": {"type": "point", "filled": True, "size": 45}, "encoding": shared | mean},
    ]
    if line:
        layers.insert(0, {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": shared | mean})
    if baseline is not None:
        rule = {"type": "rule", "color": css("ink-soft"), "strokeDash": [3, 3], "aria": False}
        layers.insert(0, {"mark": rule, "encoding": {"y": {"datum": 100 * baseline}}})
    return layers
