"""Takes the README's pictures of the report: `python -m tools.picture_report`.

One shows the result and the layer explorer, one the sweep; none an image of the data set. Needs
Chromium.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from resnet8.common.errors import PipelineError
from resnet8.common.files import write_bytes
from resnet8.common.processes import run_stage

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1280  # CSS pixels
COLORS = 256  # enough for charts and text
# By name of the picture, what of the page is left.
STYLES = {
    "report.png": """
      section:not(#headline, #explorer) { display: none; }
      #parameters, #no-parameters, #feature-maps { display: none; }
      main { padding-bottom: 20px !important; }
    """,
    "sweep.png": """
      nav, header, section:not(#sweep), #sweep > :not(.columns) { display: none; }
      body { display: block !important; }
      main { max-width: none !important; padding: 0 20px !important; }
      section { border: none !important; margin: 0 !important; padding: 8px 0 !important; }
    """,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("artifacts/report/index.html"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args(argv)

    for name, style in STYLES.items():
        picture = Image.open(io.BytesIO(screenshot(args.report, style=style)))
        smaller = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        out = io.BytesIO()
        smaller.save(out, "PNG", optimize=True)
        write_bytes(args.out / name, out.getvalue())
        print(f"{args.out / name}: {len(out.getvalue()) / 1000:.0f} kB")


def screenshot(report: Path, *, style: str) -> bytes:
    """A report with some more CSS, as PNG."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        raise PipelineError(f"one of {', '.join(CHROMIUM_NAMES)} must be on the PATH, got none.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": WIDTH, "height": 300})
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-ready]")
        page.add_style_tag(content=style)
        page.evaluate(
            "dispatchEvent(new Event('resize'))"
        )  # charts take the width that is theirs now
        page.wait_for_timeout(1000)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": WIDTH, "height": height})
        taken = page.screenshot()
        browser.close()
    return taken


if __name__ == "__main__":
    run_stage(main)
