"""Runs per minute of the sweep, of the same runs in one process, and of `dvc exp run`.

Run it with `python -m benchmarks.sweep` after `dvc repro`, in a Git checkout. `dvc exp run` works
in a clone of what is committed, build/benchmark/experiments, with the checkout's DVC cache.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine, tables
from resnet8.core.errors import PipelineError
from resnet8.core.grid import Block, Run, expand
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.sweep import cluster
from resnet8.sweep.measure import Inputs, Workbench, read_inputs
from resnet8.sweep.result import Result
from samples.demo import ROOT

COLUMNS = ("way", "runs", "seconds", "runs per minute", "sweep / it")
PACKAGES = ("dask", "distributed", "dvc", "onnxruntime")
SIZES = [50, 200, 1000]  # calibration images
VARIANTS = ["onnx_int8", "onnx_uint8"]
_DVC = (sys.executable, "-m", "dvc")
# The part of a process's peak memory that getrusage counts in.
_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class Timed(NamedTuple):
    """Duration of some runs."""

    way: str
    runs: int
    seconds: float

    @property
    def per_minute(self) -> float:
        return 60 * self.runs / self.seconds


def loop(runs: Sequence[Run], inputs: Inputs) -> dict[str, Result]:
    """Computes all runs in this process; runs of the same settings share a quantization."""
    workbench = Workbench(inputs)
    results, quantization = {}, {}
    for run in runs:
        key = str(run.settings)
        if key not in quantization:
            quantization[key] = workbench.fit(run.settings)
        results[str(run)] = workbench.measure(quantization[key], run.variant)
    return results


def sweep(runs: Sequence[Run], inputs: Inputs) -> tuple[dict[str, Any], list[list[int]]]:
    """Times runs on Dask, from starting the workers to ending them.

    Returns:
        Results, and the peak memory of each worker in bytes: after a quarter of the runs, and at
        the end.
    """
    results: dict[str, Any] = {}
    peaks = []
    with cluster.open_client(n_workers=len(runs)) as client:
        for run, result in cluster.compute(client, runs, inputs, report=print):
            results[str(run)] = result
            if len(results) in (len(runs) // 4, len(runs)):
                peaks.append(sorted(client.run(peak_bytes).values()))
    return results, peaks


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT_BYTES


def experiments(runs: Sequence[Run], folder: Path) -> float:
    """Seconds of `dvc exp run` for runs, one after the other, with nothing else to do.

    Raises:
        PipelineError: Git or DVC failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    call(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder.resolve()))
    call(folder, "git", "config", "user.name", "benchmark")
    call(folder, "git", "config", "user.email", "benchmark@localhost")
    call(folder, *_DVC, "cache", "dir", "--local", str(ROOT / ".dvc" / "cache"))
    call(folder, *_DVC, "checkout", "--quiet")
    call(folder, *_DVC, "repro")  # nothing, where the checkout is up to date
    start = time.perf_counter()
    for run in runs:
        runtime, _, quant_type = run.variant.partition("_")
        settings = {
            "calibrate.size": run.settings.calibrate.size,
            "calibrate.seed": run.settings.calibrate.seed,
            "quantize_onnx.types": f"[{quant_type}]" if runtime == "onnx" else "[]",
            "quantize_torch.types": f"[{quant_type}]" if runtime == "torch" else "[]",
        }
        options = [part for key, value in settings.items() for part in ("-S", f"{key}={value}")]
        call(folder, *_DVC, "exp", "run", "--quiet", *options)
    return time.perf_counter() - start


def call(folder: Path, *command: str) -> None:
    """Runs a command in a folder.

    Raises:
        PipelineError: it failed.
    """
    done = subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PipelineError(f"`{' '.join(command)}` must succeed in {folder}, got: {done.stdout}")


def format_row(row: Timed, ours: Timed) -> tuple[str, ...]:
    """One line of the table, a cell for each of `COLUMNS`."""
    speed = f"{row.per_minute:.1f}"
    return (
        row.way, str(row.runs), f"{row.seconds:.0f}", speed,
        f"{ours.per_minute / row.per_minute:.2f}",
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="draws of calibration images")
    parser.add_argument("--experiments", type=int, default=4, help="runs of `dvc exp run`")
    tables.add_options(parser)
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"))
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--out", type=Path, default=Path("build/benchmark"))
    args = parser.parse_args(argv)
    params = load_params(args.params)

    grid: list[Block] = [
        {"calibrate.size": SIZES, "calibrate.seed": list(range(args.seeds)), "variant": VARIANTS}
    ]
    runs = expand(grid, params.settings, variants=VARIANTS)
    inputs = read_inputs(
        params,
        models=args.artifacts / "models",
        data=args.data,
        predictions=args.artifacts / "predictions",
    )

    start = time.perf_counter()
    alone = loop(runs, inputs)
    middle = time.perf_counter()
    results, peaks = sweep(runs, inputs)
    end = time.perf_counter()
    if results != alone:
        raise PipelineError("the sweep must give what one process gives, got other results.")
    one_process = Timed("one process", len(runs), middle - start)
    ours = Timed("make sweep", len(runs), end - middle)
    some = runs[:: max(1, len(runs) // args.experiments)][: args.experiments]
    rows = [ours, one_process]
    if some:
        seconds = experiments(some, args.out / "experiments")
        rows.append(Timed("dvc exp run, one by one", len(some), seconds))

    lines = [COLUMNS, *(format_row(row, ours) for row in rows)]
    described = machine.describe(PACKAGES)
    megabytes = [" and ".join(f"{x / 1e6:.0f}" for x in peak) for peak in peaks]
    note = (
        f"{machine.sentence(described)} Peak memory of the workers: {megabytes[0]} MB after a "
        f"quarter of the runs, {megabytes[-1]} MB at the end."
    )
    content = {"machine": described, "rows": [x._asdict() for x in rows], "peak_bytes": peaks}
    tables.publish(args, "sweep", lines, note=note, content=content)


if __name__ == "__main__":
    run_stage(main)
