"""DVC's own notes, which it writes in place: torn by a kill in that moment, or a full disk."""

from pathlib import Path

import pytest
import yaml

from tests.faults.projects import STAGES, assert_recovers, copy, lock, outputs, repro
from tests.pipeline.commands import stages_run

pytestmark = pytest.mark.faults
# Outputs that stay when their stage runs again, or are in Git and not in DVC's cache, but for
# metrics, which DVC brings back all the same.
NEVER_FROM_THE_CACHE = {
    name
    for name, entry in STAGES.items()
    if any(x.get("persist") or not x.get("cache", True) for x in outputs(entry).values())
}


def test_without_a_torn_lock_file_results_come_back_from_the_cache(
    tmp_path: Path, finished: Path
) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / "dvc.lock").write_bytes(lock(finished)[: len(lock(finished)) // 3] + b"\n][")
    refused = repro(folder, "fit")
    assert refused.code == 255
    assert "dvc.lock" in refused.output
    (folder / "dvc.lock").unlink()
    again = repro(folder, "fit")
    assert again.code == 0, again.output
    assert stages_run(again.output) <= NEVER_FROM_THE_CACHE
    entries = {name: yaml.safe_load(lock(x))["stages"] for name, x in
               {"before": finished, "after": folder}.items()}  # fmt: skip
    assert entries["after"].items() <= entries["before"].items()
    assert "fit" in entries["after"]


def test_without_its_torn_list_of_locks_dvc_goes_on(tmp_path: Path, finished: Path) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / ".dvc" / "tmp" / "rwlock").write_bytes(b"")
    refused = repro(folder)
    assert refused.code == 255
    assert "Unable to read RWLock-file '.dvc/tmp/rwlock'" in refused.output
    (folder / ".dvc" / "tmp" / "rwlock").unlink()
    assert_recovers(folder, finished)
