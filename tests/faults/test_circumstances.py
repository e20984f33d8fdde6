"""Another environment gives the same bytes, and a clone gets all results from a remote."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.faults.projects import copy, finish, lock, new_project, start
from tests.pipeline.commands import ROOT, run
from tests.pipeline.sharing import Team, assert_up_to_date, make_repository

pytestmark = pytest.mark.faults
# Libraries count the processors that they may use.
ELSEWHERE = {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}


def elsewhere_prefix() -> list[str]:
    """Prefix of a command that sets other file modes, no network and one processor."""
    prefix = ["sh", "-c", 'umask 077 && exec "$@"', "sh"]
    tools = (["unshare", "--net"], ["unshare", "--map-root-user", "--net"])
    if shutil.which("unshare"):
        prefix += next((x for x in tools if run(ROOT, *x, "true").returncode == 0), [])
    if shutil.which("taskset"):
        prefix += ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    return prefix


def test_circumstances_do_not_change_a_byte_of_the_result(
    tmp_path: Path, finished: Path, small_model: Path
) -> None:
    folder = new_project(tmp_path / "elsewhere" / "deeper", small_model)
    command = (*elsewhere_prefix(), sys.executable, "-m", "dvc", "repro")
    ended = finish(start(folder, *command, **ELSEWHERE))
    assert ended.code == 0, ended.output
    assert lock(folder) == lock(finished)


def test_another_clone_pulls_the_whole_pipeline_and_has_nothing_to_do(
    team: Team, tmp_path: Path, finished: Path
) -> None:
    first = copy(finished, tmp_path / "first")
    make_repository(first)
    team.set_up(first)
    team.must(first, "push")
    second = team.clone(first, tmp_path / "second")
    linked = Path("data", "linked")  # to the model of this machine, which is not in Git
    shutil.copytree(first / linked, second / linked, symlinks=True, dirs_exist_ok=True)
    team.must(second, "pull")
    assert_up_to_date(second)
    assert_up_to_date(first)
