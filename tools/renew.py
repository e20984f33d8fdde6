"""Renews all generated files and lists the changes: `python -m tools.renew`.

In this order: the page of DVC's plots, the results (`dvc repro` writes dvc.lock and metrics/), the
generated parts of README and docs, and the pictures. With `--check` nothing is written: the
command lists what is out of date, and fails. The check needs no data.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnet8.core.errors import PipelineError
from resnet8.core.processes import run_stage
from tools import make_plots_page, picture_report, update_readme

ROOT = Path(__file__).parents[1]
_MISSING = ("deleted", "not in cache")
GENERATED = ("resnet8/report/templates/dvc_plots.html", "dvc.lock", "metrics", "README.md", "docs")


def stale_stages(status: dict[str, Any]) -> Iterator[str]:
    """Yields the differences between the stages and dvc.lock.

    Args:
        status: output of `dvc status --json`. Missing data and models do not count, because they
            are not in Git.
    """
    for stage, changes in status.items():
        for change in changes:
            if isinstance(change, str):
                yield f"{stage}: {change}"
                continue
            for kind, paths in change.items():
                for path, state in paths.items():
                    if state not in _MISSING or path.startswith("metrics/"):
                        yield f"{stage}: {kind}: {path} {_describe(state)}"


def _describe(state: Any) -> str:
    """Formats the state of a file or of parameters."""
    if isinstance(state, dict):
        return ", ".join(f"{name} {value}" for name, value in state.items())
    return str(state)


def check() -> None:
    """Checks that all generated files are up to date.

    Raises:
        PipelineError: a file is out of date.
    """
    status = update_readme.run_dvc("status", "--json", "dvc.yaml")
    stale = list(stale_stages(json.loads(status)))
    if make_plots_page.PAGE.read_text(encoding="utf-8") != make_plots_page.make_page():
        stale.append(f"{make_plots_page.PAGE.relative_to(ROOT)}: other packages made it")
    if stale:
        listed = "\n".join(stale)
        raise PipelineError(
            "dvc.lock and metrics/ must be those of the current code and parameters, got:\n"
            f"{listed}\nRun `make renew`."
        )
    update_readme.main(["--check"])


def renew() -> None:
    """Renews all generated files that are out of date."""
    make_plots_page.main()
    if subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=ROOT, check=False).returncode:
        raise PipelineError("`dvc repro` failed; see above.")
    update_readme.main([])
    if picture_report.find_chromium():
        picture_report.main([])
    else:
        print("The README's pictures were not renewed: install Chromium.")
    if shutil.which("git"):
        command = ["git", "--no-pager", "diff", "--stat", "HEAD", "--", *GENERATED]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)  # noqa: S603
        print(done.stdout or done.stderr or "No file in Git has changed.")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where stale")
    if parser.parse_args(argv).check:
        check()
    else:
        renew()


if __name__ == "__main__":
    run_stage(main)
