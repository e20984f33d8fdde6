"""Writes the report: one HTML file that asks for nothing else.

Source: Vega, Vega-Lite and Vega-Embed as vl-convert packs them, https://vega.github.io/
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from resnet8.report.figures import palette

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("charts.js", "tables.js", "confusion.js", "explorer.js", "network.js", "page.js")
# What Vega-Embed needs to be in the page for its own script to draw charts.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def render(view: Mapping[str, Any], *, vega: str) -> str:
    """Fills the page.

    Args:
        view: the sections, as `data.view` makes them.
        vega: a script that defines `vegaEmbed`, as `vega_bundle` makes it.

    Returns:
        HTML; the same for the same arguments.
    """
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
        themes={"light": palette.PAGE_LIGHT, "dark": palette.PAGE_DARK},
        style=_own("report.css"),
        script=_own(*SCRIPTS),
        vega=vega,
        licences=_own("vega_licences.txt"),
    )


def vega_bundle() -> str:
    """Packs Vega-Embed with all that it needs as one script for a page.

    Raises:
        ValueError: the script would end its own element.
    """
    bundle: str = vl_convert.javascript_bundle(_SNIPPET)
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise ValueError("the Vega bundle must not end a script element.")
    return bundle


def _own(*names: str) -> str:
    """Files of the project that go into the page as they are."""
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
