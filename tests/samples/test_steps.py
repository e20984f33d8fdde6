"""The demo shows DVC's stages as one line each."""

import io
import os
import shutil

import pytest

from samples.steps import REASON_LINES, Steps, find_reason

STAGES = {"fit": "Finds the scales", "evaluate@a": "Evaluates a", "report": "Writes the report"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def typical(monkeypatch: pytest.MonkeyPatch) -> None:
    typical = {"fit": 10.0, "evaluate@a": 20.0, "report": 30.0}
    monkeypatch.setattr("samples.steps.TYPICAL_SECONDS", typical)


def run_fit(steps: Steps, clock: Clock, *, seconds: float) -> None:
    """Runs the stage `fit`, and begins the next one."""
    steps.read("Running stage 'fit':")
    clock.now += seconds
    steps.read("12 tensors in 8 bits")
    steps.read("Running stage 'evaluate@a':")


def words(printed: str) -> list[str]:
    return [" ".join(line.split()) for line in printed.splitlines()]


def test_finished_stage_is_a_line_with_number_description_and_time(clock: Clock) -> None:
    out = io.StringIO()
    run_fit(Steps(STAGES, out, clock=clock), clock, seconds=4.12)
    assert words(out.getvalue()) == ["1/3 fit Finds the scales 4.1 s, about 40 s left"]


def test_time_left_is_scaled_by_the_pace_of_finished_stages(clock: Clock) -> None:
    # As if stages of 20 typical seconds had taken as long as typical before.
    for seconds, left in ((10.0, 50), (25.0, 75)):
        out = io.StringIO()
        run_fit(Steps(STAGES, out, clock=clock), clock, seconds=seconds)
        assert f"about  {left} s left" in out.getvalue()


def test_last_stage_leaves_no_time(clock: Clock) -> None:
    out = io.StringIO()
    steps = Steps({"fit": "Finds the scales"}, out, clock=clock)
    steps.read("Running stage 'fit':")
    steps.finish()
    assert "left" not in out.getvalue()


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("Stage 'fit' didn't change, skipping", "unchanged"),
        ("Stage 'fit' is cached - skipping run, checking out outputs", "from DVC's cache"),
    ],
)
def test_skipped_stages_say_so(line: str, outcome: str) -> None:
    out = io.StringIO()
    Steps(STAGES, out).read(line)
    assert words(out.getvalue()) == [f"1/3 fit Finds the scales {outcome}"]


def test_failed_stage_says_so() -> None:
    out = io.StringIO()
    steps = Steps(STAGES, out)
    steps.read("Running stage 'fit':")
    steps.finish("failed")
    assert words(out.getvalue()) == ["1/3 fit Finds the scales failed"]


def test_terminal_shows_the_running_stage_in_a_line_that_is_replaced(clock: Clock) -> None:
    out = Terminal()
    steps = Steps(STAGES, out, clock=clock)
    steps.read("Running stage 'fit':")
    clock.now += 4
    steps.show()
    clock.now += 4
    steps.finish()
    nothing, running, finished = out.getvalue().split("\r\033[K")
    assert nothing == ""
    assert words(running) == ["1/3 fit Finds the scales 4 s, about 55 s left"]
    assert not running.endswith("\n")
    assert words(finished) == ["1/3 fit Finds the scales 8.0 s"]


def test_no_terminal_gets_no_line_of_the_running_stage() -> None:
    out = io.StringIO()
    steps = Steps(STAGES, out)
    steps.read("Running stage 'fit':")
    steps.show()
    assert out.getvalue() == ""


def test_line_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    size = os.terminal_size((60, 20))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda _fallback: size)
    out = Terminal()
    steps = Steps({"fit": "Finds the scales " * 9}, out)
    steps.read("Stage 'fit' didn't change, skipping")
    (line,) = out.getvalue().removeprefix("\r\033[K").splitlines()
    assert len(line) < 60
    assert " … " in line


def test_reason_is_the_message_of_the_stage_that_failed() -> None:
    log = (
        "Running stage 'a':\nerror: of another stage\nRunning stage 'b':\n> python -m b\n"
        "warning: no matter\nerror: fit.size must be 1, got 0.\n  Second line.\n"
        "ERROR: failed to reproduce 'b': failed to run: python -m b, exited with 1\n"
    )
    assert find_reason(log) == "fit.size must be 1, got 0.\n  Second line."


def test_reason_without_a_message_is_the_end_of_the_log() -> None:
    lines = [f"line {number}" for number in range(REASON_LINES + 5)]
    assert find_reason("\n".join(lines)).splitlines() == lines[5:]
