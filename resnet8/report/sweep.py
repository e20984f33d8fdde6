"""The report's section about the runs of the sweep."""

from typing import Any

from resnet8.compare.tables import best_settings, count_draws, with_deviation, with_interval
from resnet8.core.variants import Variant
from resnet8.report.inputs import Json
from resnet8.report.tables import NOTHING, Cell, Table, number, percent, text

BEST = 10  # rows of the first table, besides the default settings


def sweep_view(summary: Json) -> dict[str, Any]:
    """Returns the section's tables, and the runtimes that have a chart of the Pareto front."""
    settings = summary["settings"]
    best = f"The default settings, and the best {BEST} others by KL"
    return {
        "has_usual": any(not row["changes"] for row in settings),
        "runtimes": list(dict.fromkeys(Variant(row["variant"]).runtime for row in settings)),
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
