"""The demo shows DVC's stages as one line each."""

import io
import os
import shutil

import pytest

from samples.steps import REASON_LINES, Steps, find_reason

STAGES = {"fit": "Finds the scales", "evaluate@a": "Evaluates a", "report": "Writes the report"}
FIT = "Running stage 'fit':"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Shown:
    """Steps of stages, the time, and what is printed."""

    def __init__(self, out: io.StringIO | None = None) -> None:
        self.out, self.now = out or io.StringIO(), 0.0
        self.steps = Steps(STAGES, self.out, clock=lambda: self.now)

    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self.out.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def typical(monkeypatch: pytest.MonkeyPatch) -> None:
    typical = {"fit": 10.0, "evaluate@a": 20.0, "report": 30.0}
    monkeypatch.setattr("samples.steps.TYPICAL_SECONDS", typical)


# The pace counts as if stages of 20 typical seconds had taken as long as typical before.
@pytest.mark.parametrize(
    ("seconds", "end"),
    [(4.12, "4.1 s, about 40 s left"), (10, "10.0 s, about 50 s left"), (25, "25.0 s, about 75 s")],
)
def test_finished_stage_is_a_line_with_its_time_and_what_is_left(seconds: float, end: str) -> None:
    shown = Shown()
    shown.steps.read(FIT)
    shown.now += seconds
    shown.steps.read("12 tensors in 8 bits")
    shown.steps.read("Running stage 'evaluate@a':")
    (line,) = shown.lines()
    assert line.startswith(f"1/3 fit Finds the scales {end}")


def test_last_stage_leaves_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    for stage in STAGES:
        shown.steps.read(f"Running stage '{stage}':")
    shown.steps.finish()
    assert ["left" in line for line in shown.lines()] == [True, True, False]


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("Stage 'fit' didn't change, skipping", "unchanged"),
        ("Stage 'fit' is cached - skipping run, checking out outputs", "from DVC's cache"),
        (FIT, "failed"),
    ],
)
def test_skipped_and_failed_stages_say_so(line: str, outcome: str) -> None:
    shown = Shown()
    shown.steps.read(line)
    shown.steps.finish("failed")
    assert shown.lines() == [f"1/3 fit Finds the scales {outcome}"]


def test_terminal_shows_the_running_stage_in_a_line_that_is_replaced() -> None:
    shown, log = Shown(Terminal()), Shown()
    for each in (shown, log):
        each.steps.read(FIT)
        each.now += 4
        each.steps.show()
        each.now += 4
    assert log.lines() == []
    shown.steps.finish()
    nothing, running, finished = shown.out.getvalue().split("\r\033[K")
    assert (nothing, running[-1] == "\n") == ("", False)
    assert " ".join(running.split()) == "1/3 fit Finds the scales 4 s, about 55 s left"
    assert " ".join(finished.split()) == "1/3 fit Finds the scales 8.0 s"


def test_line_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    size = os.terminal_size((60, 20))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_arguments, **_named: size)
    out = Terminal()
    Steps({"fit": "Finds the scales " * 9}, out).read("Stage 'fit' didn't change, skipping")
    (line,) = out.getvalue().removeprefix("\r\033[K").splitlines()
    assert len(line) < 60
    assert " … " in line


def test_reason_is_the_message_of_the_stage_that_failed_or_the_end_of_the_log() -> None:
    log = (
        "Running stage 'a':\nerror: of another stage\nRunning stage 'b':\n> python -m b\n"
        "warning: no matter\nerror: fit.size must be 1, got 0.\n  Second line.\n"
        "ERROR: failed to reproduce 'b': failed to run: python -m b, exited with 1\n"
    )
    assert find_reason(log) == "fit.size must be 1, got 0.\n  Second line."
    lines = [f"line {number}" for number in range(REASON_LINES + 5)]
    assert find_reason("\n".join(lines)).splitlines() == lines[5:]
