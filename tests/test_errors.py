"""How a stage ends, and how a value is shown in a message."""

import sys
from collections.abc import Callable

import pytest

from resnet8.errors import (
    ArtifactError,
    ParamsError,
    ParityError,
    PipelineError,
    SourceError,
    run_stage,
    shown,
)


def ends(fault: BaseException) -> Callable[[], None]:
    """A stage's main that ends with the fault."""

    def main() -> None:
        raise fault

    return main


def exit_code(main: Callable[[], None]) -> object:
    with pytest.raises(SystemExit, match=r"^\d+$") as ended:
        run_stage(main)
    return ended.value.code


def test_run_stage_exits_with_0_when_main_returns() -> None:
    assert exit_code(lambda: None) == 0


def test_run_stage_runs_main_once() -> None:
    calls: list[str] = []
    exit_code(lambda: calls.append("ran"))
    assert calls == ["ran"]


def test_run_stage_prints_nothing_of_its_own_when_main_returns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exit_code(lambda: None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "kind", [PipelineError, ParamsError, SourceError, ArtifactError, ParityError]
)
def test_run_stage_exits_with_1_for_every_kind_of_fault(kind: type[PipelineError]) -> None:
    assert exit_code(ends(kind("x must be y."))) == 1


def test_run_stage_prints_only_the_message_of_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code(ends(SourceError("x must be a file, got nothing there.")))
    assert capsys.readouterr() == ("", "error: x must be a file, got nothing there.\n")


def test_run_stage_names_the_file_of_an_os_error(capsys: pytest.CaptureFixture[str]) -> None:
    code = exit_code(ends(PermissionError(13, "Permission denied", "out/model.h5")))
    assert (code, capsys.readouterr().err) == (1, "error: Permission denied (out/model.h5).\n")


def test_run_stage_tells_an_os_error_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    code = exit_code(ends(OSError("the disk is gone")))
    assert (code, capsys.readouterr().err) == (1, "error: the disk is gone.\n")


def test_run_stage_exits_with_130_on_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    code = exit_code(ends(KeyboardInterrupt()))
    assert (code, capsys.readouterr().err) == (130, "interrupted\n")


def test_run_stage_lets_an_exit_of_main_through() -> None:
    assert exit_code(lambda: sys.exit(2)) == 2


def test_run_stage_leaves_the_traceback_to_a_defect() -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run_stage(ends(ZeroDivisionError("a defect")))


def test_pipeline_error_is_no_os_error_that_would_be_told_another_way() -> None:
    assert not issubclass(PipelineError, OSError)


@pytest.mark.parametrize(("value", "text"), [("many", "'many'"), (0, "0"), (None, "None")])
def test_shown_writes_a_short_value_as_python_does(value: object, text: str) -> None:
    assert shown(value) == text


def test_shown_stays_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"


def test_shown_cuts_a_long_text() -> None:
    assert len(shown("x" * 10_000)) < 100


def test_shown_cuts_deeply_shared_lists() -> None:
    value: list[object] = []
    for _ in range(40):
        value = [value] * 9
    assert len(shown(value)) < 1000


def test_shown_names_an_integer_too_long_to_write_out() -> None:
    assert shown(10**5000) == "a huge int"
