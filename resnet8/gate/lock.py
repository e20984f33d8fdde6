"""Whether metrics are those of the code and parameters beside them, after dvc.lock alone.

What `dvc status` says needs the data and models; here the files that Git has are enough: the
code, the parameters and the metrics themselves.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from resnet8.core.errors import GateError

LOCK = "dvc.lock"
_NOT_IN_GIT = ("data", "artifacts")
_IGNORED = ("*/__pycache__/*", "*/.*.tmp*")  # as in .dvcignore
Stage = Mapping[str, Any]


def check_lock(folder: Path, metrics: Sequence[str], *, params: Mapping[str, Any]) -> None:
    """Checks that dvc.lock records the given metrics, and what they were made of, as it is.

    Args:
        folder: the project.
        metrics: paths in it.
        params: what params.yaml says, as a nested mapping.

    Raises:
        GateError: dvc.lock is missing or damaged, or something changed since it was written.
    """
    stages = _read_stages(folder / LOCK)
    try:
        recorded = {out["path"]: out["md5"] for x in stages.values() for out in x.get("outs", [])}
        missing = [path for path in metrics if path not in recorded]
        needed = _upstream(stages, metrics)
        changed = [
            path for path in metrics if path in recorded and _md5(folder / path) != recorded[path]
        ]
        for stage in needed:
            changed += _changed_files(folder, stage)
            changed += _changed_params(stage, params)
    except (AttributeError, KeyError, TypeError) as exc:
        raise _damaged(f"{type(exc).__name__} {exc}") from exc
    if missing or changed:
        what = ", ".join(sorted({*missing, *changed}))
        raise GateError(
            f"The metrics must be those of the code and the parameters beside them, got another "
            f"state than {LOCK} records of: {what}. Run `dvc repro`."
        )


def _read_stages(path: Path) -> dict[str, Stage]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        stages: dict[str, Stage] = content["stages"]
    except FileNotFoundError as exc:
        raise GateError(f"{LOCK} must be there, got none. Run `dvc repro`, or restore it.") from exc
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError) as exc:
        raise _damaged(str(exc).splitlines()[0]) from exc
    if not isinstance(stages, dict):
        raise _damaged(f"stages that are {type(stages).__name__}")
    return stages


def _damaged(what: str) -> GateError:
    return GateError(
        f"{LOCK} must be what DVC wrote, got: {what}. Restore it with `git restore {LOCK}`."
    )


def _upstream(stages: Mapping[str, Stage], paths: Sequence[str]) -> Iterator[Stage]:
    """The stages that made the paths, and those that made what these read, and so on."""
    makers = {out["path"]: name for name, x in stages.items() for out in x.get("outs", [])}
    waiting, seen = [*paths], set[str]()
    while waiting:
        path = waiting.pop()
        beneath = (
            x for x in makers if x == path or x.startswith(f"{path}/") or path.startswith(f"{x}/")
        )
        for name in {makers[x] for x in beneath} - seen:
            seen.add(name)
            waiting += [dep["path"] for dep in stages[name].get("deps", [])]
            yield stages[name]


def _changed_files(folder: Path, stage: Stage) -> list[str]:
    deps = {dep["path"]: dep["md5"] for dep in stage.get("deps", [])}
    return [
        path
        for path, md5 in deps.items()
        if path.split("/")[0] not in _NOT_IN_GIT and _md5(folder / path) != md5
    ]


def _changed_params(stage: Stage, params: Mapping[str, Any]) -> list[str]:
    recorded = stage.get("params", {}).get("params.yaml", {})
    return [key for key, value in recorded.items() if _at(params, key) != value]


def _at(params: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        params = params.get(part) if isinstance(params, Mapping) else None
    return params


def _md5(path: Path) -> str | None:
    """The checksum that DVC records for a file or a package; None where there is none.

    Source: https://doc.dvc.org/user-guide/project-structure/internal-files, "Structure of the
    cache directory": a folder's is that of the JSON list of its files.
    """
    if path.is_dir():
        files = {
            x.relative_to(path).as_posix(): x
            for x in path.rglob("*")
            if x.is_file() and not any(fnmatch(x.as_posix(), ignored) for ignored in _IGNORED)
        }
        listed = [{"md5": _md5(files[x]), "relpath": x} for x in sorted(files)]
        content = json.dumps(listed, sort_keys=True).encode()
        return f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir"
    if not path.is_file():
        return None
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
