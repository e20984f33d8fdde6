"""The offline browser notices requests, errors and warnings of a page."""

import time
from pathlib import Path

from tests.browser import PATIENCE_MS, links, open_offline

BAD = """<!DOCTYPE html><title>a</title><a href='#b'>a</a><p id=b>
<img src='https://example.com/a.png'><img src='b.png'>
<script>fetch('http://example.com/c')</script>
<script>console.warn('careful')</script>
<script>throw new Error('broken')</script>
"""
PROBLEMS = (
    "request: https://example.com/a.png",
    "/b.png",
    "request: http://example.com/c",
    "console warning: careful",
    "exception: broken",
)


def test_open_offline_notices_every_kind_of_problem(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(BAD)
    with open_offline(path) as (page, problems):
        page.click("a")
        page.wait_for_url("**/page.html#b")
        end = time.monotonic() + PATIENCE_MS / 1000
        while not all(any(problem in x for x in problems) for problem in PROBLEMS):
            assert time.monotonic() < end, problems
            page.wait_for_timeout(20)
        assert not any("page.html" in x for x in problems if x.startswith("request"))


def test_links_are_those_that_leave_the_page() -> None:
    html = "<link href=a.css><script src='b.js'>'<img src=x>'</script><a href='#c'>d</a>"
    assert links(html) == ["a.css", "b.js"]
