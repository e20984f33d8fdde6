"""Commands of our quantizer and of the peers, each as processes from start to end."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import HERE
from resnet8.core.errors import PipelineError

# The commands that make each of our variants, as dvc.yaml has them, in a folder of their own.
_FIT = "python -m stages.fit --model {model} --images {calibration} --out {folder}/quantization"
_QUANTIZE = (
    "python -m stages.quantize_onnx --type {type} --model {{model}} "
    "--quantization {{folder}}/quantization --out {{out}}"
)
OUR_COMMANDS: dict[str, tuple[str, ...]] = {
    f"onnx_{name}": (_FIT, _QUANTIZE.format(type=name)) for name in ("int8", "uint8")
}
# The recipes of each peer, which its quantize.py describes.
PEERS: dict[str, tuple[str, ...]] = {
    "olive": ("default", "s8_percentile"),
    "onnx_neural_compressor": ("autotune",),
    "neural_compressor": ("auto", "by_operator"),
}
HELD_OUT_IMAGES = 5000  # on which a peer may tune


class Run(NamedTuple):
    """A way to quantize.

    name: of the variant, or of the peer and its recipe.
    commands: run one after the other.
    workplace: the folder in which they run.
    out: the model that they write.
    log: what they print.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    workplace: Path
    out: Path
    log: Path


class Inputs(NamedTuple):
    """The files that all quantizers get, as absolute paths.

    model: the float ONNX model.
    calibration: images (N, 32, 32, 3) uint8.
    held_out: a folder with images.npy and labels.npy.
    """

    model: Path
    calibration: Path
    held_out: Path


def held_out_indices(
    n_images: int, calibration: NDArray[np.int64], *, size: int
) -> NDArray[np.int64]:
    """Chooses training images that are not for calibration, the first ones.

    Args:
        n_images: how many training images there are.
        calibration: indices of those that calibrate.
        size: how many to choose at most.

    Raises:
        PipelineError: calibration takes all of them.
    """
    chosen = np.setdiff1d(np.arange(n_images), calibration)[:size]
    if not len(chosen):
        raise PipelineError(
            f"calibrate.size must leave training images for peers to tune on, got all {n_images}. "
            "Choose a smaller one, or more calibrate.batches."
        )
    return chosen


def our_runs(inputs: Inputs, folder: Path) -> list[Run]:
    """Our variants; run from the project's folder, where params.yaml is."""
    runs = []
    for name, lines in OUR_COMMANDS.items():
        scratch = folder / name
        out = scratch / "model.onnx"
        paths = {"model": inputs.model, "calibration": inputs.calibration}
        named = {key: shlex.quote(str(x)) for key, x in (paths | {"out": out}).items()}
        named["folder"] = shlex.quote(str(scratch))  # for files on the way
        commands = (shlex.split(line.format(**named)) for line in lines)
        ours = tuple((sys.executable, *command[1:]) for command in commands)
        runs.append(Run(name, ours, Path.cwd(), out, scratch / "log.txt"))
    return runs


def peer_runs(interpreters: Mapping[str, Path], inputs: Inputs, folder: Path) -> list[Run]:
    """The recipes of peers, by the interpreters of their environments."""
    runs = []
    for peer, interpreter in interpreters.items():
        for recipe in PEERS[peer]:
            scratch = folder / f"{peer}-{recipe}"
            out = scratch / "model.onnx"
            command: Sequence[object] = (
                *(interpreter, HERE / peer / "quantize.py", recipe, "--model", inputs.model),
                *("--calibration", inputs.calibration, "--held-out", inputs.held_out),
                *("--out", out),
            )
            words = tuple(str(word) for word in command)
            name = f"{peer} {recipe}"
            runs.append(Run(name, (words,), scratch, out, scratch / "log.txt"))
    return runs


def execute(run: Run) -> None:
    """Runs the commands in an empty folder.

    Raises:
        PipelineError: one fails, or there is no model in the end.
    """
    shutil.rmtree(run.out.parent, ignore_errors=True)
    run.out.parent.mkdir(parents=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with run.log.open("w", encoding="utf-8") as log:
        for command in run.commands:
            status = subprocess.call(  # noqa: S603
                command, cwd=run.workplace, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            if status:
                raise PipelineError(
                    f"{run.name} must end with exit code 0, got {status} ({run.log}). Read why "
                    "there; --peers leaves a peer out."
                )
    if not run.out.is_file():
        raise PipelineError(
            f"{run.name} must write {run.out}, got no file ({run.log}). Read why there; --peers "
            "leaves a peer out."
        )
