"""docs/look_inside.ipynb runs on what `make demo` makes, and shows what is committed."""

import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from tools.run_notebook import NOTEBOOK, execute


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Outputs of the cells, without the digits, which calibration and CPU decide."""
    rows = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            lines = output["data"]["text/plain"].splitlines()
            title = lines[0] if re.match(r"<Picture|\(|\w.* over ", lines[0]) else ""
            rows.append(
                [re.sub(r"0x\w+|x\d+", "", title), *(x.split()[0] for x in lines if x[:1] == " ")]
            )
    return rows


@pytest.mark.faults  # a long test
def test_the_notebook_shows_what_is_committed(
    tmp_path: Path, models_folder: Path, test_set: Any
) -> None:
    demo = tmp_path / "build/demo"
    (demo / "artifacts").mkdir(parents=True)
    (demo / "artifacts/models").symlink_to(models_folder)
    (demo / "data/cifar10").mkdir(parents=True)
    np.save(demo / "data/cifar10/test_images.npy", test_set[0])
    (tmp_path / "docs").mkdir()
    executed = execute(tmp_path / "docs")
    committed = nbformat.read(NOTEBOOK, as_version=4)
    assert [x.source for x in executed.cells] == [x.source for x in committed.cells]
    assert shown(executed) == shown(committed)
    kinds = [list(x["data"]) for c in executed.cells for x in c.get("outputs", [])]
    assert sum("image/png" in x for x in kinds) == 6
    assert sum("text/html" in x for x in kinds) == 5


def test_the_notebook_is_small_and_names_no_folder_of_a_person() -> None:
    assert NOTEBOOK.stat().st_size < 600_000
    assert not re.search(r"/(home|root|tmp|Users)/", NOTEBOOK.read_text())
