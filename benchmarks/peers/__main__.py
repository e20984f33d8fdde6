"""Quantizes the float ONNX model with every peer and with our own stages, and compares.

Run it with `python -m benchmarks.peers` after `dvc repro`.
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, tables
from benchmarks.peers.environments import make_environment
from benchmarks.peers.runs import (
    HELD_OUT_IMAGES,
    OUR_COMMANDS,
    PEERS,
    Inputs,
    execute,
    held_out_indices,
    our_runs,
    peer_runs,
)
from benchmarks.peers.scores import format_row, score
from benchmarks.timing import interleave, ratio
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.errors import PipelineError
from resnet8.core.files import read_array, read_json, write_array
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage

COLUMNS = ("model", "top-1 %", "agree %", "KL", "kB", "speed", "seconds", "x ours")
PACKAGES = ("numpy", "onnx", "onnxruntime")
FLOAT = "onnx_fp32"  # what is quantized
OURS = next(iter(OUR_COMMANDS))  # whose time is the unit


def write_held_out(data: Path, folder: Path) -> None:
    """Writes the training images that peers may tune on, with their labels."""
    images = read_array(data / "cifar10" / "train_images.npy")
    labels = read_array(data / "cifar10" / "train_labels.npy")
    calibration = read_array(data / "calibration" / "indices.npy")
    chosen = held_out_indices(len(images), calibration, size=HELD_OUT_IMAGES)
    write_array(folder / "images.npy", images[chosen])
    write_array(folder / "labels.npy", labels[chosen])


def quantize(args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, list[float]]]:
    """Runs all quantizers on the same files.

    Returns:
        The models, the float one first, and the seconds of each round of each quantizer.
    """
    folder = args.folder.absolute()
    inputs = Inputs(
        model=(args.artifacts / "models" / f"{FLOAT}.onnx").absolute(),
        calibration=(args.data / "calibration" / "images.npy").absolute(),
        held_out=folder / "held_out",
    )
    write_held_out(args.data, inputs.held_out)
    environments = {peer: make_environment(peer, folder, python=args.python) for peer in args.peers}
    scratch = folder / "runs"
    runs = [*our_runs(inputs, scratch), *peer_runs(environments, inputs, scratch)]
    steps = {run.name: partial(execute, run) for run in runs}
    seconds = interleave(steps, repeats=args.repeats, warm_up=False)
    return {FLOAT: inputs.model} | {run.name: run.out for run in runs}, seconds


def evaluate(args: argparse.Namespace, files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Scores the models on the test set against the pipeline's baseline; see `score`."""
    params = load_params(args.params)
    test_set, name = read_test_set(args.data / "cifar10"), params.compare.baseline
    predictions = read_predictions(args.artifacts / "predictions", [name], shape=test_set.shape)
    return score(
        files,
        test_set,
        baseline=predictions[name],
        batch_size=params.evaluate.batch_size,
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--repeats", type=int, default=1, help="rounds, in which all take turns")
    tables.add_options(parser)
    parser.add_argument("--python", default=sys.executable, help="makes the environments")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--comparison", type=Path, default=Path("metrics/comparison.json"))
    parser.add_argument("--folder", type=Path, default=Path("build/peers"))
    args = parser.parse_args(argv)
    if args.repeats < 1:
        raise PipelineError(f"--repeats must be at least 1, got {args.repeats}.")

    known = read_json(args.comparison)["variants"]
    files, seconds = quantize(args)
    evaluated = evaluate(args, files)
    for name, durations in seconds.items():
        evaluated[name]["seconds"] = durations
        evaluated[name]["median_seconds"] = statistics.median(durations)
        evaluated[name]["times_our_seconds"] = ratio(durations, seconds[OURS])

    rows = known | evaluated  # what the pipeline made, and what was just made
    lines = [COLUMNS, *(format_row(name, row) for name, row in rows.items())]
    described = machine.describe(PACKAGES)
    rounds = "1 round" if args.repeats == 1 else f"median of {args.repeats} rounds"
    note = f"{machine.sentence(described)} Seconds: {rounds}."
    content = {"machine": described, "models": rows}
    tables.publish(args, "peers", lines, note=note, content=content)


if __name__ == "__main__":
    run_stage(main)
