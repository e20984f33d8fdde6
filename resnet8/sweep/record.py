"""The record of finished runs: a CSV file that grows by a line with each of them."""

import csv
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from resnet8.core.errors import ArtifactError, shown
from resnet8.core.files import read_bytes, write_bytes
from resnet8.core.grid import KNOBS, Settings
from resnet8.core.sections import ConvertOnnx, Evaluate
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.sweep.grid import Run
from resnet8.sweep.identity import Identity
from resnet8.sweep.result import Result, check_result

VERSION = ("code", "libraries")
SETTINGS = (  # of the pipeline, then of the run
    "convert_onnx.opset", "evaluate.batch_size", "compare.baseline", "variant", *KNOBS,
)  # fmt: skip
KEY = ("model_sha256", "data", *VERSION, *SETTINGS)
COLUMNS = (*KEY, *Result._fields)
_VARIANT = "|".join(Variant)
_FORMS = {
    "model_sha256": "[0-9a-f]{64}",
    "data": "[0-9a-f]{16}",
    "code": "[0-9a-f]{16}",
    "libraries": "[!-~]+( [!-~]+)*",
    "compare.baseline": f"({_VARIANT})( [ -~]+)?",
    "variant": "|".join(QUANTIZED_VARIANTS),
}


class Key(NamedTuple):
    """Identity of a run, as the cells of a line; see `identity.Identity`.

    settings: the cells of `SETTINGS`.
    """

    model_sha256: str
    data: str
    code: str
    libraries: str
    settings: tuple[str, ...]

    @property
    def task(self) -> tuple[str, ...]:
        """All but the version of code and libraries."""
        return (self.model_sha256, self.data, *self.settings)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The cells that determine the baseline's predictions."""
        return (*self[:-1], *self.settings[: SETTINGS.index("variant")])

    @property
    def cells(self) -> tuple[str, ...]:
        return (*self[:-1], *self.settings)


class Finished(NamedTuple):
    """A line of the record: what determines a run, and what it gave."""

    key: Key
    result: Result


def key_of(run: Run, identity: Identity) -> Key:
    """Returns the identity of a run.

    Args:
        run: its settings.
        identity: what all runs of the sweep have in common.
    """
    cells = {name: _cell(value) for name, value in run.settings.values().items()}
    cells |= {
        "convert_onnx.opset": _cell(identity.opset),
        "evaluate.batch_size": _cell(identity.batch_size),
        "compare.baseline": identity.baseline,
        "variant": run.variant,
    }
    return _key({**identity._asdict(), **cells})


def _key(cells: Mapping[str, str]) -> Key:
    return Key(
        model_sha256=cells["model_sha256"],
        data=cells["data"],
        code=cells["code"],
        libraries=cells["libraries"],
        settings=tuple(cells[name] for name in SETTINGS),
    )


def read(path: Path) -> dict[Key, Result]:
    """Reads the finished runs; an incomplete last line is ignored.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    whole, ended, torn = read_bytes(path).rpartition(b"\n")
    if not ended and not _format([list(COLUMNS)]).startswith(torn):
        raise _damaged(path, f"a header of {len(COLUMNS)} columns, got {shown(torn)}")
    try:
        lines = list(csv.reader(io.StringIO(whole.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as exc:
        raise _damaged(path, f"CSV in UTF-8, got: {exc}") from exc
    if lines and lines[0] != list(COLUMNS):
        raise _damaged(path, f"a header of {len(COLUMNS)} columns, got {shown(lines[0])}")
    found: dict[Key, Result] = {}
    counts: dict[tuple[str, ...], tuple[int, int]] = {}  # images of a baseline: all and right ones
    right: dict[tuple[str, ...], set[int]] = defaultdict(set)
    wrong: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for number, line in enumerate(lines[1:], start=2):
        try:
            key, result = _parse(line)
            if key in found:
                raise ValueError("the run is there twice")
            count = (result.n_images, result.baseline_right)
            right[key.inputs].update(result.lost)
            wrong[key.inputs].update(result.won, result.other)
            is_same = counts.setdefault(key.inputs, count) == count
            if not is_same or right[key.inputs] & wrong[key.inputs]:
                raise ValueError("the baseline must be that of the lines above")
        except (ValueError, RecursionError) as exc:
            found_line = f"{shown(','.join(line))} ({_reason(exc)})"
            raise _damaged(path, f"a finished run in line {number}, got {found_line}") from exc
        found[key] = result
    return found


def append(path: Path, finished: Finished) -> None:
    """Adds a run and waits until the disk has it."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        if file.read() != b"\n":  # an interrupted write left half a line
            file.seek(0)
            file.seek(file.read().rfind(b"\n") + 1)
            file.truncate()
        lines = [] if file.tell() else [list(COLUMNS)]
        file.write(_format([*lines, _line(finished)]))
        file.flush()
        os.fsync(file.fileno())


def tidy(path: Path, identity: Identity) -> None:
    """Sorts the runs, so that their order does not tell when they finished.

    Args:
        path: of the record.
        identity: of the sweep that ends; its runs replace those of other versions.
    """
    found = read(path)
    version = (identity.code, identity.libraries)
    renewed = {key.task for key in found if (key.code, key.libraries) == version}
    keys = sorted(
        (x for x in found if (x.code, x.libraries) == version or x.task not in renewed),
        key=lambda key: [_sortable(cell) for cell in key.cells],
    )
    lines = [_line(Finished(key, found[key])) for key in keys]
    content = _format([list(COLUMNS), *lines])
    if content != path.read_bytes():
        write_bytes(path, content)


def _line(finished: Finished) -> list[str]:
    return [*finished.key.cells, *(_cell(value) for value in finished.result)]


def _format(lines: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue().encode()


def _cell(value: object) -> str:
    """Text as it is, everything else as JSON; floats so that they are read back exactly."""
    if isinstance(value, float):
        value += 0.0  # -0.0 is 0.0, and the same setting
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _sortable(cell: str) -> tuple[float, str]:
    try:
        return float(cell), ""
    except ValueError:
        return float("inf"), cell


def _parse(line: list[str]) -> Finished:
    """Raises ValueError for what `_line` does not write."""
    cells = dict(zip(COLUMNS, line, strict=True))
    for name, pattern in _FORMS.items():
        if not re.fullmatch(pattern, cells[name]):
            raise ValueError(f"{name} is none")
    raw: dict[str, Any] = {"calibrate": {"batches": [1]}, "fit": {}}
    for knob in KNOBS:
        section, _, name = knob.partition(".")
        raw[section][name] = _value(cells[knob])
    settings = Settings.model_validate(raw)
    opset = ConvertOnnx.model_validate({"opset": _value(cells["convert_onnx.opset"])}).opset
    batch = Evaluate.model_validate({"batch_size": _value(cells["evaluate.batch_size"])}).batch_size
    fixed = {"convert_onnx.opset": opset, "evaluate.batch_size": batch}
    for knob, value in {**settings.values(), **fixed}.items():
        if _cell(value) != cells[knob]:
            raise ValueError(f"{knob} must be written as {_cell(value)}")
    result = check_result({name: json.loads(cells[name]) for name in Result._fields})
    return Finished(_key(cells), result)


def _value(cell: str) -> Any:
    """Reads a value that `_cell` wrote."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _reason(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        error = exc.errors()[0]
        return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
    return " ".join(str(exc).split())[:100]


def _damaged(path: Path, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{path} must hold {expected}. Bring it back with `git restore {path}`, or empty it: its "
        "runs are then made again."
    )
