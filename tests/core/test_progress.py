"""Progress of long loops: bars on a terminal, a few lines in a log."""

import io
import sys
import time

import pytest

from resnet8.core import progress as module
from resnet8.core.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stderr", [Terminal(), io.StringIO()], ids=["terminal", "log"])
def test_short_loop_yields_its_items_and_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    assert list(show_progress("abc", desc="loop", unit="letters")) == ["a", "b", "c"]
    assert stderr.getvalue() == ""


def test_bar_has_count_share_and_time_left_and_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "DELAY_SECONDS", 1e-9)
    for _ in show_progress(range(4), desc="loop", unit="items"):
        time.sleep(0.15)  # tqdm draws at most ten times a second
    *_, last, empty, end = terminal.getvalue().split("\r")
    assert last.startswith("loop: ")
    assert "100% |" in last
    assert "| 4 of 4 items, 00:00 left" in last
    assert (empty.strip(), end) == ("", "")


@pytest.mark.parametrize("total", [None, 4])
def test_log_gets_lines_with_count_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    clock = iter([0.0, 20.0, 40.0, 60.0, 80.0])  # the first is the start
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    items = (x for x in range(4)) if total else range(4)
    list(show_progress(items, desc="loop", unit="items", total=total))
    monkeypatch.undo()
    assert capsys.readouterr().err.splitlines() == [
        "loop: 2 of 4 items, 00:40 left",
        "loop: 4 of 4 items, 00:00 left",
    ]
