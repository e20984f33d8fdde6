"""The browser that other tests look through: it must see what is wrong."""

import time
from pathlib import Path

import pytest

from tests.browser import PATIENCE_MS, links, open_offline


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<img src='https://example.com/a.png'>", "request: https://example.com/a.png"),
        ("<img src='b.png'>", "/b.png"),
        ("<script>fetch('http://example.com/c')</script>", "request: http://example.com/c"),
        ("<script>console.warn('careful')</script>", "console warning: careful"),
        ("<script>throw new Error('broken')</script>", "exception: broken"),
    ],
)
def test_open_offline_notices(tmp_path: Path, body: str, problem: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><title>a</title>{body}")
    with open_offline(path) as (page, problems):
        end = time.monotonic() + PATIENCE_MS / 1000
        while not any(problem in found for found in problems):
            assert time.monotonic() < end, problems
            page.wait_for_timeout(20)


def test_open_offline_finds_nothing_wrong_with_a_page_of_its_own(tmp_path: Path) -> None:
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
