"""Renews the generated parts of README.md and docs/: `python -m tools.update_readme`.

A part is the text between `<!-- NAME -->` and `<!-- /NAME -->`. With `--check` nothing is written:
the command prints the difference and fails if a part does not match the metrics of the checkout.
"""

import argparse
import difflib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from resnet8.compare.chance import chance_warning
from resnet8.compare.tables import (
    class_table,
    concentration,
    inside_table,
    markdown_table,
)
from resnet8.core import markdown
from resnet8.core.errors import PipelineError
from resnet8.core.files import read_json, write_bytes
from resnet8.core.names import BUILT_IN_MODELS, data_in_words, model_in_words
from resnet8.core.params import Params, load_params
from resnet8.core.processes import run_stage
from resnet8.core.variants import list_larger
from resnet8.decision import words
from resnet8.report.sweep import settings_table
from samples import layer_kinds

ROOT = Path(__file__).parents[1]
# The document of each part.
PARTS = {
    "results": "README.md",
    "classes": "README.md",
    "inside": "README.md",
    "sweep": "README.md",
    "settings": "docs/sweeps.md",
    "layers": "docs/your-model.md",
}
SWEEP_ROWS = 8  # settings in docs/sweeps.md, besides the default ones
METRICS = ("comparison", "decision", "layers", "sensitivity", "sweep", "verify_onnx")
_SWEEP_PICTURE = (
    "![Accuracy and agreement against the number of calibration images, accuracy against file "
    "size](docs/sweep.png)"
)


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


def render_parts(
    metrics: Mapping[str, Any], *, params: Params, sizes: Mapping[str, int]
) -> dict[str, str]:
    """Returns the content of each part in `PARTS`.

    Args:
        metrics: the contents of metrics/<name>.json for the names in `METRICS`.
        params: the parameters.
        sizes: bytes of each model file, by variant.
    """
    sweep = metrics["sweep"]
    return {
        "results": _describe_results(metrics, params, sizes),
        "classes": class_table(metrics["comparison"]),
        "inside": inside_table(metrics["layers"], metrics["sensitivity"]),
        "sweep": _describe_sweep(sweep),
        "settings": _list_settings(sweep) if sweep["settings"] else sweep["note"],
        "layers": layer_kinds.table(),
    }


def _describe_results(metrics: Mapping[str, Any], params: Params, sizes: Mapping[str, int]) -> str:
    comparison = metrics["comparison"]
    warning = chance_warning(comparison)
    paragraphs = [
        f"> **Warning:** {warning}" if warning else "",
        _introduce_results(metrics, params),
        markdown_table(comparison, sizes=sizes),
        *_describe_decision(metrics["decision"], comparison),
        concentration(comparison),
        list_larger(sizes),
    ]
    return "\n\n".join(filter(None, paragraphs))


def _describe_decision(decision: Mapping[str, Any], comparison: Mapping[str, Any]) -> list[str]:
    conclusion = f"**{words.headline(decision)}**: {decision['reason']}."
    sentences = [conclusion, words.costs(decision, comparison)]
    sentences.append(words.PLACES.get(decision["recommended"], ""))
    return [
        " ".join(filter(None, sentences)),
        words.mlperf_tiny(decision, comparison["baseline"]),
    ]


def _introduce_results(metrics: Mapping[str, Any], params: Params) -> str:
    model = model_in_words(params.fetch.model)
    if params.fetch.model not in BUILT_IN_MODELS:
        model = f"`{model}`"
    n_parameters = metrics["verify_onnx"]["parameters"]["original"]
    return (
        f"{model} ({n_parameters:,} parameters) on the {metrics['comparison']['n_images']:,} test "
        f"images of {data_in_words(params.fetch.dataset)},\nquantized with "
        f"{params.calibrate.size:,} training images:"
    )


def _describe_sweep(summary: Mapping[str, Any]) -> str:
    answer = f"> {summary['answer']}" if summary["answer"] else ""
    picture = _SWEEP_PICTURE if summary["settings"] else ""
    return "\n\n".join(filter(None, [answer, summary["note"], picture]))


def _list_settings(summary: Mapping[str, Any]) -> str:
    rows = [row | {"variant": f"`{row['variant']}`"} for row in settings_table(summary, SWEEP_ROWS)]
    return markdown.table([list(rows[0]), *(list(row.values()) for row in rows)])


def render_documents() -> dict[Path, str]:
    """Returns the documents of the checkout, with all parts renewed."""
    params = load_params(ROOT / "params.yaml")
    metrics = {name: read_json(ROOT / "metrics" / f"{name}.json") for name in METRICS}
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in set(PARTS.values())}
    for name, content in render_parts(metrics, params=params, sizes=model_sizes(lock)).items():
        texts[PARTS[name]] = replace_part(texts[PARTS[name]], name, content)
    return {ROOT / path: text for path, text in sorted(texts.items())}


def run_dvc(*arguments: str) -> str:
    """Runs DVC in the checkout, and returns what it prints.

    Raises:
        PipelineError: DVC failed.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise PipelineError(f"`dvc {' '.join(arguments)}` failed:\n{done.stderr.strip()}")
    return done.stdout


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args(argv).check

    stale = []
    for path, after in render_documents().items():
        before = path.read_text(encoding="utf-8")
        if before == after:
            continue
        stale.append(path.name)
        if check:
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
            print("\n".join(lines))
        else:
            write_bytes(path, after.encode())
    if check and stale:
        raise PipelineError(
            f"{', '.join(stale)} must match the metrics, got other lines (above). Run `make renew`."
        )


if __name__ == "__main__":
    run_stage(main)
