"""Durations of the parts of a stage, each in a separate process."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 3
# Runs a stage twice in one process: prints the third-party modules that it imported, in order,
# and the seconds of the second run.
_SCRIPT = """
import importlib, json, sys, time
module, *arguments = sys.argv[1:]
main = importlib.import_module(module).main
main(arguments)
modules = [name for name, imported in sys.modules.items()
           if "." not in name and "site-packages" in str(getattr(imported, "__file__", ""))]
start = time.perf_counter()
main(arguments)
print("\\n" + json.dumps({"modules": modules, "seconds": time.perf_counter() - start}))
"""


def _observe(command: Sequence[str], folder: Path) -> dict[str, object]:
    module, arguments = command[2], command[3:]  # python -m <module> <arguments>
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _SCRIPT, module, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def work_seconds(command: Sequence[str], folder: Path) -> float:
    """Measures a stage in a process that has imported everything.

    Args:
        command: as in dvc.lock, split at spaces.
        folder: of the project; outputs are written again.
    """
    return float(str(_observe(command, folder)["seconds"]))


def find_imports(command: Sequence[str], folder: Path) -> float:
    """Median seconds of a process that only imports the libraries that a stage imports."""
    modules = _observe(command, folder)["modules"]
    # Native parts of packages come with them.
    script = f"import importlib\nfor name in {modules!r}:\n try: importlib.import_module(name)\n"
    script += " except Exception: pass\n"
    durations = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True)  # noqa: S603
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)
