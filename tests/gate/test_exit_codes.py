"""Exit codes 0 (pass), 1 (regression) and 2 (error), also where the output fails."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gate.project import Gate, bomb, commit
from tests.pipeline.commands import ROOT

COMMAND = (sys.executable, "-m", "resnet8.gate")


def run(folder: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Runs the command in a process: Python ends with 1 on an exception."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | options.pop("environment", {})  # type: ignore[operator]
    return subprocess.run(
        [*COMMAND, "--base=HEAD", *arguments], cwd=folder, env=environment, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


def test_a_closed_pipe_changes_no_exit_code(project: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--base=HEAD", "--markdown"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        running.stdout.close()
        assert (running.wait(), running.stderr.read()) == (0, b"")


def test_output_to_a_full_device_is_an_error_and_no_regression(project: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(project, stdout=full, stderr=subprocess.PIPE)
        unread = run(project, "--base=nope", stdout=subprocess.DEVNULL, stderr=full)
    assert (done.returncode, unread.returncode) == (2, 2)
    assert done.stderr.startswith(b"error: [Errno 28]")


def test_names_and_encodings_of_other_bytes_change_no_exit_code(project: Path) -> None:
    name = b"f\xe9"
    subprocess.run(["git", "branch", name], cwd=project, check=True)
    done = run(project, b"--base=" + name, "--markdown", "a.md", capture_output=True)  # type: ignore[arg-type]
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    done = run(project, environment={"PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2265" in done.stdout


def test_an_unexpected_exception_is_no_regression(project: Path, tmp_path: Path) -> None:
    (tmp_path / "dvc").mkdir()
    (tmp_path / "dvc" / "__init__.py").write_text("raise RuntimeError('broken')")
    done = run(project, environment={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True)
    assert (done.returncode, b"RuntimeError: broken" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "params",
    [
        f"{bomb()}\ngate: *a11\nfetch: {{}}\ncompare: {{}}",
        f"{bomb()}\ngate: {{drop_max_pp: *a11}}\nfetch: {{}}\ncompare: {{}}",
        "gate: " + "[" * 5000,
        "gate: 1",
        "[]",
        "a: 1\na: 2",
        "gate: {}\nfetch: {}",
        "\x00",
    ],
    ids=["bomb", "bomb in a limit", "deep", "word", "list", "twice", "section gone", "binary"],
)
def test_invalid_parameters_of_the_base_end_soon(project: Path, gate: Gate, params: str) -> None:
    original = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params)
    commit(project)
    (project / "params.yaml").write_text(original)
    ended = gate("--json")
    if "drop_max_pp" in params:  # a section with another value, which the message cuts off
        assert (ended.code, "gate.drop_max_pp was [" in ended.out) == (0, True)
        assert len(max(json.loads(ended.out)["moved"], key=len)) < 500
    else:
        assert (ended.code, "params.yaml of the base" in ended.out) == (2, True)
        assert len(ended.out) < 3000


@pytest.mark.parametrize(
    ("form", "path", "reason"),
    [
        ("--json", ".", r"\[Errno 21\]"),
        ("--markdown", ".", r"\[Errno 21\]"),
        ("--json", "params.yaml/gate.json", ".+params.yaml"),
    ],
)
def test_output_that_cannot_be_written_is_an_error(
    project: Path, gate: Gate, form: str, path: str, reason: str
) -> None:
    ended = gate(form, path)
    assert ended.code == 2
    assert re.match(f"error: {reason}", ended.error)


def test_output_goes_through_links_pipes_and_devices(
    project: Path, gate: Gate, tmp_path: Path
) -> None:
    target, link, pipe = tmp_path / "target.json", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert gate("--json", str(link), "--markdown", str(pipe)).code == 0
    assert os.read(reading, 4) == b"### "
    os.close(reading)
    assert gate("--json", "/dev/null").code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert (link.is_symlink(), target.read_text().startswith('{\n  "moved"')) == (True, True)
