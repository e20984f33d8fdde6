"""DVC's own notes, which it writes in place: torn by a kill in that moment, or a full disk."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.projects import STAGES, assert_recovers, copy, lock, repro
from tests.pipeline.commands import stages_run

pytestmark = pytest.mark.faults


def is_kept_or_in_git(out: str | dict[str, Any]) -> bool:
    """Whether an output stays when its stage runs again, or is in Git and not in the cache."""
    options = next(iter(out.values())) if isinstance(out, dict) else {}
    return options.get("persist", False) or not options.get("cache", True)


# DVC brings metrics back from its cache, also those in Git, but no other outputs like these.
NEVER_FROM_THE_CACHE = {
    name for name, entry in STAGES.items() if any(map(is_kept_or_in_git, entry.get("outs", [])))
}


@pytest.mark.parametrize("share", [0, 0.4])
def test_without_a_torn_lock_file_one_run_brings_everything_back_from_the_cache(
    tmp_path: Path, finished: Path, share: float
) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / "dvc.lock").write_bytes(lock(finished)[: int(share * len(lock(finished)))] + b"\n][")
    refused = repro(folder)
    assert refused.code == 255
    assert "dvc.lock" in refused.output
    (folder / "dvc.lock").unlink()
    again = repro(folder)
    assert again.code == 0, again.output
    assert stages_run(again.output) <= NEVER_FROM_THE_CACHE
    assert_recovers(folder, finished)


def test_without_its_torn_list_of_locks_dvc_goes_on(tmp_path: Path, finished: Path) -> None:
    folder = copy(finished, tmp_path / "project")
    (folder / ".dvc" / "tmp" / "rwlock").write_bytes(b"")
    refused = repro(folder)
    assert refused.code == 255
    assert "Unable to read RWLock-file '.dvc/tmp/rwlock'" in refused.output
    (folder / ".dvc" / "tmp" / "rwlock").unlink()
    assert_recovers(folder, finished)
