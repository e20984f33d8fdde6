"""Definition of a refusal, and folders in which stages get hostile input."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from resnet8.core.batches import encode_batch, encode_label_names
from resnet8.core.files import write_array, write_bytes, write_json
from resnet8.core.processes import run_stage

ROOT = Path(__file__).parents[2]
NAMES = [f"class{k}" for k in range(10)]
MARKER = "ran"  # the file that every payload would create, beside the input
# Bars of progress on stderr, before the message.
BAR = r"(?:\w+: +)?\d+%\|[^|]*\|[^\]]*\]|[\d.]+[kM]?B \[[^\]]*\]"
PROGRESS = re.compile(rf"^(?:\s|\x1b\[A|{BAR})+(?=error: )")


class Case(NamedTuple):
    """One hostile input.

    name: what is hostile about it.
    write: makes it, given the folder that the stage reads.
    message: a regular expression for the stage's complete message after `error: `.
    """

    name: str
    write: Callable[[Path], object]
    message: str


def table(*cases: Case) -> Any:
    """Runs a test once for each case."""
    assert len({case.name for case in cases}) == len(cases), "two cases of one name"
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name.replace(" ", "_"))


def replaced(name: str, content: bytes | Callable[[Path], bytes]) -> Callable[[Path], object]:
    """Puts content in the place of a file; a function of the payload's marker makes it."""

    def write(folder: Path) -> None:
        made = content if isinstance(content, bytes) else content(folder.parent / MARKER)
        write_bytes(folder / name, made)

    return write


def tree(folder: Path) -> dict[str, object]:
    """Everything below a folder: bytes of files, targets of links, None for the rest."""
    return {
        str(path.relative_to(folder)): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def assert_refusal(code: object, stderr: str, message: str) -> None:
    """Checks an exit code and the text on stderr."""
    assert code == 1, stderr
    assert "Traceback" not in stderr
    assert re.fullmatch(f"error: {message}", PROGRESS.sub("", stderr).strip("\n")), stderr


def refuse(
    main: Callable[[list[str]], None],
    arguments: dict[str, object],
    capfd: pytest.CaptureFixture[str],
    *,
    folder: Path,
    message: str,
) -> None:
    """Runs a stage in this process and checks that it refuses: see the package's docstring."""
    before = tree(folder.parent)
    capfd.readouterr()
    with pytest.raises(SystemExit, match="^1$") as ended:
        run_stage(lambda: main(options(**arguments)))
    out, err = capfd.readouterr()
    assert_refusal(ended.value.code, err, message)
    assert "Traceback" not in out
    assert tree(folder.parent) == before
    assert not (folder.parent / MARKER).exists()


def options(**values: object) -> list[str]:
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]


def params(**changes: Any) -> dict[str, Any]:
    """The sample's parameters but for these, `section__key=value`."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "samples" / "params.yaml").read_text())
    for name, value in changes.items():
        section, _, key = name.partition("__")
        content[section] = content[section] | {key: value} if key else value
    return content


def write_params(folder: Path, **changes: Any) -> Path:
    path = folder / "params.yaml"
    write_bytes(path, yaml.safe_dump(params(**changes), sort_keys=False).encode())
    return path


def pixels(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def write_batches(folder: Path) -> None:
    """A valid `cifar-10-batches-py` of two images each."""
    for name in ("test_batch", "data_batch_1"):
        write_bytes(folder / name, encode_batch(pixels(2), [3, 8], name=name))
    write_bytes(folder / "batches.meta", encode_label_names(NAMES, images_per_batch=2))


def write_arrays(folder: Path) -> None:
    """Valid arrays of four images, as `prepare` writes them."""
    for part in ("test", "train"):
        write_array(folder / f"{part}_images.npy", pixels(4))
        write_array(folder / f"{part}_labels.npy", np.arange(4))
    write_json(folder / "labels.json", {"label_names": NAMES})


def evaluate_arguments(folder: Path, runtime: str, model: Path) -> dict[str, object]:
    """Arguments of `evaluate`, beside valid arrays."""
    write_arrays(folder / "data")
    return {
        "params": write_params(folder),
        "variant": f"{runtime}_fp32",
        "model": model,
        "data": folder / "data",
        "predictions": folder / "out" / "x.npy",
        "metrics": folder / "out" / "x.json",
    }
