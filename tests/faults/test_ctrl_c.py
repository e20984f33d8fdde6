"""Ctrl-C, which the terminal sends to DVC and its stage alike."""

import re
from pathlib import Path

import pytest

from tests.faults.projects import (
    assert_recovers,
    copy,
    events,
    fault,
    forget,
    left_over,
    lock,
    repro,
    temporaries,
)

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("stage", "moment", "module"),
    [
        ("calibrate", "import", "numpy"),
        ("convert_onnx", "import", "tensorflow"),
        ("plots", "import", "matplotlib.style"),
        ("fetch", "after-publication", ""),
        ("evaluate@onnx_fp32", "before-publication", ""),
    ],
)
def test_ctrl_c_ends_run_and_stage_with_one_word(
    tmp_path: Path, finished: Path, stage: str, moment: str, module: str
) -> None:
    folder = copy(finished, tmp_path / "project")
    forget(folder, stage)
    before = lock(folder)
    ended = repro(folder, **fault(folder, stage, "ctrl-c", moment, FAULT_IMPORT=module))
    assert "ctrl-c" in [event for found in events(folder).values() for event in found]
    assert ended.code == 255, ended.output
    assert ended.output.splitlines().count("interrupted") == 1
    # A shell that does not replace itself with the stage (dash, say) is ended by the same signal.
    assert re.search("exited with (130|-2)$", ended.output, re.MULTILINE), ended.output
    assert "Traceback" not in ended.output
    assert left_over(ended.process) == []
    assert temporaries(folder) == []
    assert lock(folder) == before
    assert_recovers(folder, finished)
