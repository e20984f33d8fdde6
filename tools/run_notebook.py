"""Runs docs/look_inside.ipynb and stores its outputs: `python -m tools.run_notebook`.

Needs the results of `make demo`.
"""

import base64
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "docs" / "look_inside.ipynb"


def execute(folder: Path) -> nbformat.NotebookNode:
    """Runs the notebook's cells in a folder; an error in a cell is raised here.

    Returns:
        The notebook with its outputs, without execution times.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    ).execute()
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def shrink(picture: str) -> str:
    """Reduces a base64-encoded PNG picture to a palette of 256 colours."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(256).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main() -> None:
    notebook = execute(NOTEBOOK.parent)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in (data := output.get("data", {})):
                data["image/png"] = shrink(data["image/png"])
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
