"""Progress of long loops: bars on a terminal, a few lines in a log."""

import io
import sys
import time
from collections.abc import Iterator

import pytest

from resnet8.core import progress as module
from resnet8.core.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes stderr a terminal; not in a fixture, after which pytest sets its own stderr."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_items_come_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    open_terminal(monkeypatch)
    assert list(show_progress("abc", desc="letters", unit="letters")) == ["a", "b", "c"]


def test_items_come_as_they_are_where_no_terminal_is() -> None:
    assert list(show_progress("abc", desc="letters", unit="letters")) == ["a", "b", "c"]


def test_short_loop_shows_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    list(show_progress(range(3), desc="loop", unit="items"))
    assert terminal.getvalue() == ""


def test_short_loop_shows_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    list(show_progress(range(3), desc="loop", unit="items"))
    assert capsys.readouterr() == ("", "")


def test_bar_has_count_share_and_time_left_and_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(module, "DELAY_SECONDS", 1e-9)
    for _ in show_progress(range(4), desc="loop", unit="items"):
        time.sleep(0.15)  # tqdm draws at most ten times a second
    *_, last, empty, end = terminal.getvalue().split("\r")
    assert last.startswith("loop: ")
    assert "100% |" in last
    assert "| 4 of 4 items, 00:00 left" in last
    assert (empty.strip(), end) == ("", "")


def test_log_gets_lines_with_count_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 20.0, 40.0, 60.0, 80.0])  # the first is the start
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    list(show_progress(range(4), desc="loop", unit="items"))
    monkeypatch.undo()
    assert capsys.readouterr().err.splitlines() == [
        "loop: 2 of 4 items, 00:40 left",
        "loop: 4 of 4 items, 00:00 left",
    ]


def test_total_of_a_generator_can_be_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    list(show_progress((x for x in "ab"), desc="loop", unit="letters", total=2))
    assert "loop: 1 of 2 letters" in capsys.readouterr().err


def test_exception_in_the_loop_passes_and_removes_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    monkeypatch.setattr(module, "DELAY_SECONDS", 1e-9)

    def loop(items: Iterator[int]) -> None:
        for item in items:
            time.sleep(0.15)
            if item:
                raise ValueError("stop")

    items = show_progress(range(4), desc="loop", unit="items")
    with pytest.raises(ValueError, match="stop"):
        loop(items)
    items.close()
    assert "| 1 of 4 items" in terminal.getvalue()
    assert terminal.getvalue().split("\r")[-2].strip() == ""
