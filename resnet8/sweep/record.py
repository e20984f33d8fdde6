"""The record of finished runs: a CSV file that grows by a line with each of them."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from resnet8.core.errors import ArtifactError, shown
from resnet8.core.files import csv_bytes, read_bytes, write_bytes
from resnet8.core.grid import KNOBS, Run, Settings
from resnet8.core.variants import QUANTIZED_VARIANTS
from resnet8.sweep.identity import Identity
from resnet8.sweep.result import Result, check_result

# The fields of `Identity`, those that are parameters under their names in params.yaml.
_SHARED = (
    "model_sha256", "data", "code", "libraries", "convert_onnx.opset", "evaluate.batch_size",
    "compare.baseline",
)  # fmt: skip
_KEY = (*_SHARED, "variant", *KNOBS)
COLUMNS = (*_KEY, *Result._fields)
_IDENTITY = TypeAdapter(Identity)

Outcome = tuple[Run, Result | str]  # a string is the reason why the run failed


class Key(NamedTuple):
    """Identity of a run."""

    shared: Identity  # what it has in common with the other runs of a sweep
    cells: tuple[str, ...]  # its variant and the values of `KNOBS`, as the record writes them

    @property
    def task(self) -> tuple[object, ...]:
        """Everything but the versions of code and libraries."""
        return self.shared._replace(code="", libraries=""), self.cells


def key_of(run: Run, identity: Identity) -> Key:
    """Returns the identity of a run, one of a sweep with this identity."""
    return Key(identity, (run.variant, *map(_cell, run.settings.values().values())))


def read(path: Path) -> dict[Key, Result]:
    """Reads the finished runs; an incomplete last line is ignored.

    Raises:
        ArtifactError: the file is missing or invalid.
    """
    content = read_bytes(path)
    try:
        text = content[: content.rfind(b"\n") + 1].decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as exc:
        raise _damaged(path, f"CSV in UTF-8, got: {exc}") from exc
    header = lines[0] if lines else content
    if content and header != list(COLUMNS):
        raise _damaged(path, f"a header of {len(COLUMNS)} columns, got {shown(header)}")
    results: dict[Key, Result] = {}
    # Numbers of all and of right images, images known to be right, images known to be wrong.
    baselines: dict[Identity, tuple[tuple[int, int], set[int], set[int]]] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            key, result = _parse(line)
            if key in results:
                raise ValueError("the run is repeated")
            counts = (result.n_images, result.baseline_right)
            earlier, right, wrong = baselines.setdefault(key.shared, (counts, set(), set()))
            right.update(result.lost)
            wrong.update(result.won, result.other)
            if counts != earlier or right & wrong:
                raise ValueError("the baseline must match the lines above")
        except (ValueError, RecursionError) as exc:
            got = f"{shown(','.join(line))} ({_reason(exc)})"
            raise _damaged(path, f"a finished run in line {number}, got {got}") from exc
        results[key] = result
    return results


def keep(path: Path, outcomes: Iterable[Outcome], identity: Identity) -> list[tuple[Run, str]]:
    """Adds each run to the record as soon as it is finished, and sorts the record at the end.

    Returns:
        The failed runs and the reasons.
    """
    failed = []
    _tidy(path, identity)
    try:
        for run, result in outcomes:
            if isinstance(result, Result):
                with path.open("ab") as file:
                    file.write(csv_bytes(_line(key_of(run, identity), result), []))
                    file.flush()
                    os.fsync(file.fileno())
            else:
                failed.append((run, result))
    finally:
        _tidy(path, identity)
    return failed


def describe_failures(failed: Sequence[tuple[Run, str]], usual: Settings) -> str:
    """Describes failed runs, a line for each reason with the runs that failed for it.

    Settings that are the `usual` ones are left out.
    """
    runs: dict[str, list[str]] = {}
    for run, reason in failed:
        name = ", ".join([run.variant, *run.settings.differences(usual)])
        runs.setdefault(reason, []).append(name)
    return "\n".join(f"failed: {'; '.join(names)}\n  {reason}" for reason, names in runs.items())


def _tidy(path: Path, identity: Identity) -> None:
    """Sorts the runs, completes the header and removes an incomplete last line.

    Runs of other versions of code and libraries are removed if they were made again with those of
    `identity`.
    """
    results = read(path)
    version = (identity.code, identity.libraries)
    current = {key: (key.shared.code, key.shared.libraries) == version for key in results}
    renewed = {key.task for key in results if current[key]}
    lines = [_line(x, results[x]) for x in results if current[x] or x.task not in renewed]
    lines.sort(key=lambda line: [_sortable(cell) for cell in line[: len(_KEY)]])
    content = csv_bytes(COLUMNS, lines)
    if content != path.read_bytes():
        write_bytes(path, content)


def _line(key: Key, result: Result) -> list[str]:
    return [*map(_cell, key.shared), *key.cells, *map(_cell, result)]


def _cell(value: object) -> str:
    """Writes text as it is, everything else as JSON, from which floats are read back exactly."""
    if isinstance(value, float):
        value += 0.0  # -0.0 is 0.0, and the same setting
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _value(cell: str) -> Any:
    """Reads a value that `_cell` wrote."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _sortable(cell: str) -> tuple[float, str]:
    """Sort key of a cell: numbers by value, before text."""
    try:
        return float(cell), ""
    except ValueError:
        return float("inf"), cell


def _parse(line: list[str]) -> tuple[Key, Result]:
    """Parses and validates a line.

    Raises:
        ValueError: `_line` does not write such a line.
    """
    cells = dict(zip(COLUMNS, line, strict=True))
    shared = dict(zip(Identity._fields, line, strict=False))  # the first cells
    identity = _IDENTITY.validate_python(shared)
    if cells["variant"] not in QUANTIZED_VARIANTS:
        raise ValueError(f"variant must be out of {', '.join(QUANTIZED_VARIANTS)}")
    # `batches` is no knob: any valid value does.
    raw: dict[str, Any] = {"calibrate": {"batches": [1]}, "fit": {}}
    for knob in KNOBS:
        section, _, name = knob.partition(".")
        raw[section][name] = _value(cells[knob])
    key = key_of(Run(cells["variant"], Settings.model_validate(raw)), identity)
    result = check_result({name: json.loads(cells[name]) for name in Result._fields})
    for name, cell, written in zip(COLUMNS, line, _line(key, result), strict=True):
        if cell != written:
            raise ValueError(f"{name} must be written as {written}")
    return key, result


def _reason(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        error = exc.errors()[0]
        return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
    return " ".join(str(exc).split())[:100]


def _damaged(path: Path, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{path} must hold {expected}. Restore it with `git restore {path}`, or empty it: its runs "
        "are then made again."
    )
