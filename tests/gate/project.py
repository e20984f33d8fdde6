"""A project as the gate sees it: metrics, parameters and dvc.lock in a Git repository."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from resnet8.compare.chance import describe_chance
from resnet8.compare.comparison import compare
from resnet8.compare.hits import describe_correctness
from resnet8.core.dataset import TestSet
from resnet8.core.evaluation import score
from resnet8.core.files import write_json
from resnet8.core.params import load_params
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import GIT

NAMES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LABELS = np.arange(1000) % 10
IMAGES = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
FLOATS = ("keras_fp32", "onnx_fp32", "torch_fp32")
QUANTIZED = ("onnx_int8", "onnx_uint8", "torch_int8")
DROP = object()
Right = dict[str, NDArray[np.bool_]]
Edit = Callable[[Path], object]


class Ended(NamedTuple):
    """Exit code and output of the gate."""

    code: int
    out: str
    error: str


Gate = Callable[..., Ended]


def right(*wrong: int) -> NDArray[np.bool_]:
    """Correctness of each image: all are right but the given ones."""
    correct = np.ones(len(LABELS), bool)
    correct[list(wrong)] = False
    return correct


def usual() -> Right:
    """Every variant has 90% right; quantized ones lose 5 images and win 5."""
    floats = right(*range(100))
    quantized = right(*range(5, 105))
    return dict.fromkeys(FLOATS, floats) | dict.fromkeys(QUANTIZED, quantized)


def predictions(correct: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Probabilities whose largest is the right class, or the next one."""
    classes = np.where(correct, LABELS, (LABELS + 1) % 10)
    return np.eye(10, dtype=np.float32)[classes] * np.float32(0.9) + np.float32(0.01)


def write_metrics(
    folder: Path,
    correct: Right,
    *,
    images: NDArray[np.uint8] = IMAGES,
    baseline: str = "keras_fp32",
    model: str = "a",
) -> None:
    """Writes all metrics that the gate reads, as the stages do, and a dvc.lock that fits."""
    metrics = folder / "metrics"
    by_variant = {name: predictions(x) for name, x in correct.items()}
    for name, probabilities in by_variant.items():
        scores = score(probabilities, LABELS, label_names=NAMES)
        write_json(metrics / f"{name}.json", {"variant": name} | scores)
    rows = {
        name: compare(by_variant[baseline], x, LABELS, label_names=NAMES)
        for name, x in by_variant.items()
    }
    comparison = {
        "baseline": baseline,
        "n_images": len(LABELS),
        **describe_chance(correct[baseline], LABELS),
        "variants": rows,
    }
    write_json(metrics / "comparison.json", comparison)
    write_json(
        metrics / "correct.json", describe_correctness(by_variant, TestSet(images, LABELS, NAMES))
    )
    for name, original in (("onnx", "keras"), ("torch", "onnx")):
        parity = {"max_abs_probability_diff": 1e-6, "agreement": 1.0}
        proof = {f"parity_with_{original}": parity, "model_sha256": model * 64}
        write_json(metrics / f"verify_{name}.json", proof)
    write_lock(folder)


def write_lock(folder: Path) -> None:
    """Writes dvc.yaml, and dvc.lock as DVC does: `code.py` makes all metrics."""
    params = load_params(folder / "params.yaml").model_dump()
    outs = [f"metrics/{path.name}" for path in sorted((folder / "metrics").iterdir())]
    stage = {
        "cmd": "python code.py",
        "deps": ["code.py"],
        "params": ["calibrate.size", "compare", "gate"],
        "outs": [{path: {"cache": False}} for path in outs],
    }
    entry = {
        "cmd": stage["cmd"],
        "deps": [{"path": "code.py", "md5": md5(folder / "code.py")}],
        "params": {"params.yaml": {
            "calibrate.size": params["calibrate"]["size"],
            "compare": params["compare"],
            "gate": params["gate"],
        }},
        "outs": [{"path": path, "md5": md5(folder / path)} for path in outs],
    }  # fmt: skip
    for name, content in (
        ("dvc.yaml", {"stages": {"compare": stage}}),
        ("dvc.lock", {"schema": "2.0", "stages": {"compare": entry}}),
    ):
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def git(folder: Path, *arguments: str) -> str:
    command = (*GIT, "-C", str(folder), *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "results")


def make_project(folder: Path, correct: Right | None = None) -> Path:
    """A repository with one commit, whose working tree is as committed."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    shutil.copy(TEST_PARAMS, folder / "params.yaml")
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").touch()
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (folder / "code.py").touch()
    write_metrics(folder, correct or usual())
    commit(folder)
    return folder


def write(name: str, content: bytes) -> Edit:
    return lambda folder: (folder / name).write_bytes(content)


def append(name: str, text: str) -> Edit:
    def edit(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return edit


def cut(name: str) -> Edit:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def remove(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def replaced(name: str, old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


def entry(name: str, *keys: Any, to: Any = DROP) -> Edit:
    """Sets an entry of a JSON or YAML file by hand, or deletes it."""

    def edit(folder: Path) -> None:
        content = yaml.safe_load((folder / name).read_text())
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to
        if to is DROP:
            del place[keys[-1]]
        dump = json.dumps if name.endswith(".json") else yaml.safe_dump
        (folder / name).write_text(dump(content))

    return edit


def rename_class(name: str) -> Edit:
    """Renames the class `cat` in all metrics, and in dvc.lock."""

    def edit(folder: Path) -> None:
        for path in (folder / "metrics").iterdir():
            path.write_text(path.read_text().replace('"cat"', f'"{name}"'))
        write_lock(folder)

    return edit


def both(*edits: Edit) -> Edit:
    return lambda folder: [edit(folder) for edit in edits]


def bomb() -> str:
    """YAML of 1 kB that stands for 9**12 words."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)
