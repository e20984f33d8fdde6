"""Takes screenshots of the report for the README: `python -m tools.picture_report`.

One shows the result and the layer explorer, one the sweep; none shows an image of the data set.
Needs Chromium. A picture records the report's SHA-256 and is renewed only for another report.
"""

import argparse
import hashlib
import io
import shutil
from pathlib import Path

from PIL import Image, PngImagePlugin
from playwright.sync_api import sync_playwright

from resnet8.core.errors import PipelineError
from resnet8.core.files import read_bytes, write_bytes
from resnet8.core.processes import run_stage

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1280  # CSS pixels
COLORS = 256  # enough for charts and text
_NOTE = "report-sha256"
# By name of the picture: a CSS selector that must match, and CSS that hides the rest.
PICTURES = {
    "report.png": ("#explorer", """
      section:not(#answer, #explorer) { display: none; }
      #parameters, #no-parameters, #feature-maps { display: none; }
      main { padding-bottom: 20px !important; }
    """),
    "sweep.png": ("#sweep .columns", """
      nav, header, section:not(#sweep), #sweep > :not(.columns) { display: none; }
      body { display: block !important; }
      main { max-width: none !important; padding: 0 20px !important; }
      section { border: none !important; margin: 0 !important; padding: 8px 0 !important; }
    """),
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("artifacts/report/index.html"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args(argv)

    digest = hashlib.sha256(read_bytes(args.report)).hexdigest()
    for name, (shown, style) in PICTURES.items():
        if (args.out / name).exists() and Image.open(args.out / name).info.get(_NOTE) == digest:
            continue
        taken = screenshot(args.report, shown=shown, style=style)
        if taken is None:
            continue
        smaller = Image.open(io.BytesIO(taken)).convert("RGB")
        smaller = smaller.quantize(
            COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        notes = PngImagePlugin.PngInfo()
        notes.add_text(_NOTE, digest)
        out = io.BytesIO()
        smaller.save(out, "PNG", optimize=True, pnginfo=notes)
        write_bytes(args.out / name, out.getvalue())
        print(f"{args.out / name}: {len(out.getvalue()) / 1000:.0f} kB")


def find_chromium() -> str | None:
    """Returns the path of Chromium if it is installed."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def screenshot(report: Path, *, shown: str, style: str) -> bytes | None:
    """Takes a picture of a part of a report.

    Args:
        report: the HTML file.
        shown: CSS selector that must match.
        style: additional CSS.

    Returns:
        A PNG file, or None if the selector matches nothing.
    """
    chromium = find_chromium()
    if chromium is None:
        raise PipelineError(f"one of {', '.join(CHROMIUM_NAMES)} must be on the PATH, got none.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": WIDTH, "height": 300})
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-ready]")
        if not page.locator(shown).count():
            return None
        page.add_style_tag(content=style)
        page.evaluate("dispatchEvent(new Event('resize'))")  # charts adapt to their new width
        page.wait_for_timeout(1000)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": WIDTH, "height": height})
        taken = page.screenshot()
        browser.close()
    return taken


if __name__ == "__main__":
    run_stage(main)
