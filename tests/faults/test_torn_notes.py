"""DVC's own notes, which it writes in place: torn by a kill in that moment, or a full disk."""

from pathlib import Path

import pytest

from tests.faults.projects import assert_recovers, copy, lock, repro
from tests.pipeline.commands import stages_run

pytestmark = pytest.mark.faults
# The first two keep their outputs; the others have some in Git, outside of DVC's cache.
NEVER_FROM_THE_CACHE = {
    "validate", "fetch", "compare", "inspect_layers", "inspect_sensitivity", "plots_data",
}  # fmt: skip


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
