"""Makes the page in which `dvc plots` draws offline: `python -m tools.make_plots_page`.

DVC's default page loads Vega from the internet. This one, which .dvc/config names, includes Vega
from the vl-convert-python package. The report takes Vega and its licences from this page.
"""

import re
from pathlib import Path

import vl_convert

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "resnet8" / "report" / "templates" / "dvc_plots.html"
LICENCES = Path(__file__).with_name("vega_licences.txt")
VEGA_LITE = "6.4"  # matches the Vega in the bundle; also draws DVC's version 5 templates

# DVC replaces {refresh_tag} and {plot_divs}. It would put its scripts, which are links, in place
# of another mark, which is therefore left out. Each plot calls vegaEmbed(element, spec).
TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<!-- Made by `python -m tools.make_plots_page`; do not edit.

%(licences)s-->
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>DVC plots</title>
<style>
body { margin: 1.5rem; background: #fff; color: #000; font-family: system-ui, sans-serif; }
main > div { margin-bottom: 2.5rem; }
main > .vega-embed { display: block; overflow-x: auto; }
</style>
<script>
%(bundle)s
</script>
<script>
// Charts are drawn as SVG, whose text can be searched and copied, and can be saved. Vega-Embed's
// link to an editor on the internet is left out, and so is the version that a spec names: it is
// 5, which would only bring a warning. DVC gives an empty spec for a table without rows.
const draw = window.vegaEmbed;
const options = {
  mode: "vega-lite",
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  config: {
    title: { fontSize: 15 },
    axis: {
      labelFontSize: 12, labelLimit: 300, maxExtent: 320, titleFontSize: 12, titlePadding: 8,
    },
    header: { labelFontSize: 12, labelFontWeight: "bold" },
    legend: { labelFontSize: 12, titleFontSize: 12 },
  },
};
window.vegaEmbed = (element, { $schema, ...spec }) => {
  if (spec.data) return draw(element, spec, options);
  const place = document.querySelector(element);
  place.textContent = `No data for the plot ${place.id}.`;
};
</script>
</head>
<body>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def inline_script(code: str) -> str:
    """Escapes JavaScript for a <script> element.

    A closing tag or the start of a comment can only occur inside a string or a regular expression,
    where a preceding backslash changes nothing.

    Source: https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
    """
    return re.sub(r"<(?=/script|!--)", r"<\\", code, flags=re.IGNORECASE)


def make_page() -> str:
    """Returns the HTML page."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    licences = LICENCES.read_text(encoding="utf-8")
    return TEMPLATE % {"licences": licences, "bundle": inline_script(bundle)}


def main() -> None:
    PAGE.write_text(make_page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
