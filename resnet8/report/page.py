"""Writes the report: one HTML file without references to any other.

Source: Vega, Vega-Lite and Vega-Embed, https://vega.github.io/
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resnet8.report.figures import palette

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = (
    "charts.js", "tables.js", "overview.js", "confusion.js", "explorer.js", "network.js", "page.js",
)  # fmt: skip


def render(view: Mapping[str, Any], *, vega: str) -> str:
    """Returns the page as HTML; the arguments come from `data.view` and `vega_bundle`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": True, "allow_nan": False, "separators": (",", ":"),
    }  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        view,
        colors=palette.PAGE,
        style=_read("report.css"),
        script=_read(*SCRIPTS),
        vega=vega,
        licences=_read("dvc_plots.html").partition("\n\n")[2].partition("-->")[0],
    )


def vega_bundle() -> str:
    """Returns the script of Vega-Embed with its dependencies, from the page of DVC's plots."""
    page = _read("dvc_plots.html")
    return page.partition("<script>\n")[2].partition("\n</script>")[0]


def _read(*names: str) -> str:
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
