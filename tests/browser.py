"""Opens pages in a headless Chromium that has no network, and reads what they link to."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, Route, sync_playwright

PATIENCE_MS = 600_000  # enough on a busy machine for what always comes
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_offline(path: Path) -> Iterator[tuple[Page, list[str]]]:
    """Opens an HTML file with the network cut; skips the test where there is no Chromium.

    Yields:
        The page, loaded, and its problems so far: requests for anything but the file itself
        (all are stopped), errors and warnings on the console, and uncaught exceptions. The
        list grows while the page is used.
    """
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        pytest.skip(f"no Chromium: none of {', '.join(CHROMIUM_NAMES)} is on the PATH")
    url = path.resolve().as_uri()
    problems: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.split("#")[0] == url:
            route.continue_()
        else:
            problems.append(f"request: {route.request.url}")
            route.abort()

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            problems.append(f"console {message.type}: {message.text}")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        try:
            context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
            context.set_default_timeout(PATIENCE_MS)
            context.route("**/*", guard)
            page = context.new_page()
            page.on("console", listen)
            page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
            page.goto(url)
            yield page, problems
        finally:
            browser.close()


def links(html: str) -> list[str]:
    """Returns what the elements of a page link to or load, except places in the page."""
    links: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = ("src", "srcset", "href", "data", "action", "poster")
            links.extend(value or "" for name, value in attrs if name in names)

    Reader().feed(html)
    return [link for link in links if not link.startswith(("#", "data:"))]
