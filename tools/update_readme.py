"""Renews the generated parts of the README: `python -m tools.update_readme`.

Between `<!-- NAME -->` and `<!-- /NAME -->` stand: `results`, the comparison table of
metrics/comparison.json with file sizes of dvc.lock; `classes`, its deltas per class;
`inside`, where each variant hurts; `sweep`, what metrics/sweep.json says; and `dag`, what
`dvc dag --md` draws.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from resnet8.tables import class_table, inside_table, markdown_table, sweep_table

ROOT = Path(__file__).parents[1]
_EARLIER = "\n\nMeasured with an earlier version of the code; `make sweep` renews the runs."


def replace_part(text: str, name: str, content: str) -> str:
    """Puts content between a part's marks.

    Raises:
        ValueError: the marks are not there exactly once.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"the text must have one part <!-- {name} --> to <!-- /{name} -->.")
    return pattern.sub(lambda marks: f"{marks[1]}\n{content}\n\n{marks[2]}", text)


def model_sizes(lock: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each model file in artifacts/models/, by variant."""
    outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    paths = {Path(out["path"]): out["size"] for out in outs}
    return {
        path.stem: size for path, size in paths.items() if path.parts[:2] == ("artifacts", "models")
    }


def render(text: str, metrics: Mapping[str, Any], *, sizes: Mapping[str, int], dag: str) -> str:
    """The README's text with all generated parts renewed.

    Args:
        text: the README.
        metrics: what metrics/<name>.json hold, by name.
        sizes: bytes of each model file, by variant.
        dag: what `dvc dag --md` draws.
    """
    sweep = metrics["sweep"]
    parts = {
        "results": markdown_table(metrics["comparison"], sizes=sizes),
        "classes": class_table(metrics["comparison"]),
        "inside": inside_table(metrics["layers"], metrics["sensitivity"]),
        "sweep": f"> {sweep['answer']}{_EARLIER * sweep['is_earlier']}\n\n{sweep_table(sweep)}",
        "dag": dag.strip(),
    }
    for name, content in parts.items():
        text = replace_part(text, name, content)
    return text


def render_from_checkout(text: str) -> str:
    """`render` with what the checkout holds."""
    metrics = {
        name: json.loads((ROOT / "metrics" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("comparison", "layers", "sensitivity", "sweep")
    }
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "dvc", "dag", "--md"]
    dag = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    return render(text, metrics, sizes=model_sizes(lock), dag=dag.stdout)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(render_from_checkout(readme.read_text(encoding="utf-8")), encoding="utf-8")
