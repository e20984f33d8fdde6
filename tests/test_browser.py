"""The offline browser notices requests, errors and warnings of a page."""

import time
from pathlib import Path

import pytest

from tests.browser import PATIENCE_MS, links, open_offline

IMAGE = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
BAD = """
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


@pytest.mark.parametrize(("body", "expected"), [(BAD, PROBLEMS), (f"<img src='{IMAGE}'>", ())])
def test_open_offline_notices_every_kind_of_problem_and_no_other(
    tmp_path: Path, body: str, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><title>a</title><a href='#b'>a</a><p id=b>{body}")
    with open_offline(path) as (page, problems):
        page.click("a")
        page.wait_for_url("**/page.html#b")
        end = time.monotonic() + PATIENCE_MS / 1000
        while not all(any(problem in x for x in problems) for problem in expected):
            assert time.monotonic() < end, problems
            page.wait_for_timeout(20)
        assert bool(problems) == bool(expected)


def test_links_are_those_that_leave_the_page() -> None:
    html = "<link href=a.css><script src='b.js'>'<img src=x>'</script><a href='#c'>d</a>"
    assert links(html) == ["a.css", "b.js"]
