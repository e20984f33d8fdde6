"""DVC's own notes, which it writes in place: torn by a kill in that moment, or a full disk."""

from pathlib import Path

import pytest

from tests.faults.projects import assert_recovers, copy, lock, repro
from tests.pipeline.commands import stages_run

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("share", [0, 0.4])
def test_without_a_torn_lock_file_one_run_brings_everything_back_from_the_cache(
    tmp_path: Path, finished: Path, share: float
) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / "dvc.lock").write_bytes(lock(finished)[: int(share * len(lock(finished)))] + b"md")
    refused = repro(folder)
    assert refused.code == 255
    assert "dvc.lock" in refused.output
    (folder / "dvc.lock").unlink()
    again = repro(folder)
    assert (again.code, stages_run(again.output)) == (0, {"validate", "fetch"}), again.output
    assert_recovers(folder, finished)


def test_without_its_torn_list_of_locks_dvc_goes_on(tmp_path: Path, finished: Path) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / ".dvc" / "tmp" / "rwlock").write_bytes(b"")
    refused = repro(folder)
    assert refused.code == 255
    assert "Unable to read RWLock-file '.dvc/tmp/rwlock'" in refused.output
    (folder / ".dvc" / "tmp" / "rwlock").unlink()
    assert_recovers(folder, finished)
