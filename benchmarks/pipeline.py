"""The whole `dvc repro` from nothing, stage by stage, beside what its parts cost bare.

Run it with `python -m benchmarks.pipeline`; RESNET8_MIRROR counts as for `make repro`. It works in
a copy of the project, build/benchmark.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine, tables
from benchmarks.parts import find_imports, work_seconds
from benchmarks.timing import interleave, rate, ratio
from resnet8.core.errors import PipelineError
from resnet8.core.processes import run_stage
from samples.demo import ROOT, make_project

COLUMNS = ("stage", "in dvc repro", "imports", "inference", "fitting", "library", "x bare")
PACKAGES = ("dvc", "numpy", "onnxruntime", "torch", "tensorflow", "matplotlib")
_DVC = (sys.executable, "-m", "dvc")


def repro_seconds(folder: Path) -> tuple[dict[str, float], float]:
    """Runs `dvc repro` in a folder.

    Returns:
        Seconds by stage, DVC's bookkeeping for it included, and in all.

    Raises:
        PipelineError: DVC failed.
    """
    command = (*_DVC, "repro")
    start = time.perf_counter()
    begun = [("", start)]
    lines = []
    with subprocess.Popen(  # noqa: S603
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("Running stage '"):
                begun.append((line.split("'")[1], time.perf_counter()))
    end = time.perf_counter()
    if process.returncode:
        raise PipelineError(f"dvc repro must succeed in {folder}, got: {''.join(lines[-3:])}")
    ends = [*(at for _, at in begun[1:]), end]
    return {name: b - a for (name, a), b in zip(begun[1:], ends[1:], strict=True)}, end - start


def make_empty_project(folder: Path, *, stages: int) -> None:
    """A DVC project of stages that write a word each, one after the other."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    config = folder / ".dvc" / "config"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[core]\n", "[core]\n    no_scm = true\n"), encoding="utf-8")
    described = {
        f"stage{number}": {
            "cmd": f"echo {number} > {number}.txt",
            "deps": [f"{number - 1}.txt"] if number else [],
            "outs": [f"{number}.txt"],
        }
        for number in range(stages)
    }
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": described}), encoding="utf-8")


def parts(
    folder: Path, seconds: Mapping[str, float], images_per_second: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Compares each stage with the bare durations of its parts.

    Args:
        folder: where the stages ran.
        seconds: by stage, in `dvc repro`.
        images_per_second: by variant, at the runtime's best.
    """
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    rows = []
    for stage, wall in seconds.items():
        command = lock[stage]["cmd"].split()
        row = {"stage": stage, "seconds": wall, "imports": find_imports(command, folder)}
        if stage.startswith("evaluate"):
            variant = Path(command[command.index("--predictions") + 1]).stem
            row["inference"] = row["images"] = 10_000 / images_per_second[variant]
        else:
            row["fitting" if stage == "fit" else "library"] = work_seconds(command, folder)
        rows.append(row)
        print(" ".join(format_row(row)), flush=True)
    return rows


def total(rows: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """The sum of all stages; `seconds` is of the whole run."""
    keys = ("imports", "inference", "fitting", "library")
    sums = {key: sum(row.get(key, 0.0) for row in rows) for key in keys}
    return {"stage": "all", "seconds": seconds} | sums


def format_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table, a cell for each of `COLUMNS`."""
    keys = ("imports", "inference", "fitting", "library")
    bare = sum(row.get(key, 0.0) for key in keys)
    cells = (f"{row[key]:.1f}" if key in row else "" for key in keys)
    return (row["stage"], f"{row['seconds']:.1f}", *cells, f"{row['seconds'] / bare:.2f}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs with nothing to do")
    parser.add_argument("--speeds", type=Path, required=True, help="benchmarks.inference --json")
    tables.add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("build/benchmark"))
    args = parser.parse_args(argv)

    folder = args.out / "project"
    shutil.rmtree(folder, ignore_errors=True)
    make_project(folder, args.params)
    seconds, whole = repro_seconds(folder)
    empty = args.out / "empty"
    make_empty_project(empty, stages=len(seconds))
    repro_seconds(empty)
    idle = interleave(
        {"project": lambda: repro_seconds(folder), "empty": lambda: repro_seconds(empty)},
        repeats=args.repeats,
    )
    rows = parts(folder, seconds, best_rates(args.speeds))

    lines = [COLUMNS, *(format_row(row) for row in [*rows, total(rows, whole)])]
    described = machine.describe(PACKAGES)
    note = (
        f"{machine.sentence(described)} Seconds. With nothing to do, `dvc repro` takes "
        f"{1 / rate(1, idle['project']):.1f} s, in an empty project of {len(seconds)} stages "
        f"{1 / rate(1, idle['empty']):.1f} s ({ratio(idle['project'], idle['empty']):.2f} times)."
    )
    content = {"machine": described, "stages": rows, "seconds": whole, "idle": idle}
    tables.publish(args, "pipeline", lines, note=note, content=content)


def best_rates(path: Path) -> dict[str, float]:
    """Images per second of each variant's fastest bare loop.

    Raises:
        PipelineError: the file is not what `benchmarks.inference --json` writes.
    """
    try:
        runs = yaml.safe_load(path.read_text(encoding="utf-8"))["runs"]
        rates: dict[str, float] = {}
        for run in runs:
            rates[run["variant"]] = max(rates.get(run["variant"], 0), run["images_per_second"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as exc:
        raise PipelineError(
            f"--speeds must be a file that `python -m benchmarks.inference --json {path}` wrote, "
            f"got: {exc}."
        ) from exc
    return rates


if __name__ == "__main__":
    run_stage(main)
