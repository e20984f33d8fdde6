"""Runs docs/look_inside.ipynb again, and keeps what it shows: `python -m tools.run_notebook`.

Needs what `make demo` makes.
"""

import base64
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "docs" / "look_inside.ipynb"


def execute(folder: Path) -> nbformat.NotebookNode:
    """Runs the notebook's cells in a folder; what one raises is raised here.

    Returns:
        The notebook with its outputs, and without times.
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
    """Encodes a PNG picture, in base64, with a palette of 256 colours: a third of the bytes."""
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
