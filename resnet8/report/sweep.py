"""The report's tables of the sweep."""

from resnet8.compare.tables import interval
from resnet8.core.files import Json
from resnet8.report.tables import NOTHING, Cell, Rows, number, percent

BEST = 10  # rows of the first table, besides the default settings


def settings_table(summary: Json, count: int) -> Rows:
    """Means over draws: of the default settings, and the `count` others with the least KL."""
    ranked = sorted(summary["settings"], key=lambda row: float(row["kl_divergence"]["mean"]))
    others = [row for row in ranked if not row["is_default"]][:count]
    chosen = [row for row in ranked if row["is_default"] or row in others]
    # Draws of an earlier version are counted where the record has both.
    is_mixed = 0 < summary["n_earlier"] < summary["n_finished"]
    rows = []
    for row in chosen:
        settings = "default" if row["is_default"] else row["description"]
        draws, accuracy = len(row["seeds"]), row["top1_accuracy"]
        earlier = f" ({row['n_earlier']} earlier)" if is_mixed and row["n_earlier"] else ""
        deviation = accuracy["deviation"]
        around = "" if deviation is None else f" ± {100 * deviation:.2f}"
        rows.append({
            "variant": row["variant"],
            "settings": f"{settings}, on the front" if row["on_front"] else settings,
            "draws": Cell(f"{draws}{earlier}", draws),
            "file kB": number(row["file_bytes"] / 1000, ".1f"),
            "top-1 % (± of draws)": Cell(f"{100 * accuracy['mean']:.2f}{around}", accuracy["mean"]),
            "agreement %": percent(row["agreement"]["mean"]),
            "KL, nats": number(row["kl_divergence"]["mean"], ".5f"),
            "accuracy above default, pp": _above(row, "accuracy_above_default_pp"),
            "agreement above default, pp": _above(row, "agreement_above_default_pp"),
        })  # fmt: skip
    return rows


def _above(row: Json, name: str) -> Cell:
    """A difference from the default settings, with its interval."""
    if figure := row[name]:
        ends = interval(figure["low"], figure["high"])
        return Cell(f"{figure['mean']:+.2f} ({ends})", figure["mean"])
    return Cell("default", 0.0) if row["is_default"] else NOTHING
