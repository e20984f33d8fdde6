"""docs/look_inside.ipynb runs on what `make demo` makes, and shows what is committed."""

import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from resnet8.models import torch_model
from tools.run_notebook import NOTEBOOK, execute


@pytest.fixture(scope="module")
def executed(
    tmp_path_factory: pytest.TempPathFactory,
    torch_fp32: Any,
    torch_int8: Any,
    quantization: Any,
    test_set: Any,
) -> nbformat.NotebookNode:
    root = tmp_path_factory.mktemp("project")
    models, data = root / "build/demo/artifacts/models", root / "build/demo/data/cifar10"
    for folder in (root / "docs", models, data):
        folder.mkdir(parents=True)
    np.save(data / "test_images.npy", test_set[0])
    (models / "torch_fp32.pt2").write_bytes(torch_model.encode(torch_fp32))
    content = torch_model.encode(torch_int8, quantization.metadata)
    (models / "torch_int8.pt2").write_bytes(content)
    return execute(root / "docs")


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Outputs of the cells, without the digits, which calibration and CPU decide."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            lines = output["data"]["text/plain"].splitlines()
            title = lines[0] if re.match(r"<Picture|\(|\w.* over ", lines[0]) else ""
            found.append(
                [re.sub(r"0x\w+|x\d+", "", title), *(x.split()[0] for x in lines if x[:1] == " ")]
            )
    return found


def test_the_notebook_shows_what_is_committed(executed: nbformat.NotebookNode) -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    assert [x.source for x in executed.cells] == [x.source for x in committed.cells]
    assert shown(executed) == shown(committed)
    kinds = [list(x["data"]) for c in executed.cells for x in c.get("outputs", [])]
    assert sum("image/png" in x for x in kinds) == 6
    assert sum("text/html" in x for x in kinds) == 5


def test_the_notebook_is_small() -> None:
    assert NOTEBOOK.stat().st_size < 600_000


def test_the_notebook_names_no_folder_of_a_person() -> None:
    assert not re.search(r"/(home|root|tmp|Users)/", Path(NOTEBOOK).read_text())
