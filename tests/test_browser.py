"""The browser that other tests look through must notice what is wrong."""

import time
from pathlib import Path

from tests.browser import PATIENCE_MS, links, open_offline

FAULTY = """<!DOCTYPE html><title>a</title>
<img src='https://example.com/a.png'><img src='b.png'>
<script>fetch('http://example.com/c')</script>
<script>console.warn('careful')</script>
<script>throw new Error('broken')</script>"""
PROBLEMS = (
    "request: https://example.com/a.png", "/b.png", "request: http://example.com/c",
    "console warning: careful", "exception: broken",
)  # fmt: skip


def test_open_offline_notices_requests_warnings_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(FAULTY)
    with open_offline(path) as (page, problems):
        end = time.monotonic() + PATIENCE_MS / 1000
        while not all(any(x in problem for problem in problems) for x in PROBLEMS):
            assert time.monotonic() < end, problems
            page.wait_for_timeout(20)


def test_open_offline_accepts_a_page_without_references(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    image = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    path.write_text(f"<!DOCTYPE html><a href='#b'>a</a><p id=b><img src='{image}'>")
    with open_offline(path) as (page, problems):
        page.click("a")
        page.wait_for_url("**/page.html#b")
        assert problems == []


def test_links_are_those_that_leave_the_page() -> None:
    html = "<link href=a.css><script src='b.js'>'<img src=x>'</script><a href='#c'>d</a>"
    assert links(html) == ["a.css", "b.js"]
