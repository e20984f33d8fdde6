"""Takes the README's picture of the report: `python -m tools.picture_report`.

It shows the result and the layer explorer, and no image of the data set. Needs Chromium.
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
HIDDEN = """
  section:not(#headline, #explorer), #parameters, #no-parameters, #feature-maps { display: none; }
  main { padding-bottom: 20px !important; }
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("artifacts/report/index.html"))
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    args = parser.parse_args(argv)

    picture = Image.open(io.BytesIO(screenshot(args.report)))
    smaller = picture.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    smaller.save(out, "PNG", optimize=True)

    write_bytes(args.out, out.getvalue())
    print(f"{args.out}: {len(out.getvalue()) / 1000:.0f} kB")


def screenshot(report: Path) -> bytes:
    """The parts of a report that show no image of the data set, as PNG."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if chromium is None:
        raise PipelineError(f"one of {', '.join(CHROMIUM_NAMES)} must be on the PATH, got none.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-ready]")
        page.add_style_tag(content=HIDDEN)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": WIDTH, "height": height})
        taken = page.screenshot()
        browser.close()
    return taken


if __name__ == "__main__":
    run_stage(main)
