"""Compares a checkout with dvc.lock: commands, dependencies, parameters, outputs.

DVC reads its own files and hashes the files in Git. Data and models may be absent: their recorded
checksum as a dependency must equal the recorded checksum of the stage that writes them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.dvcfile import load_file
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.graph import build_graph, get_subgraph_of_nodes

from resnet8.core.errors import GateError
from resnet8.core.param_errors import refuse_deep

PIPELINE, LOCK = "dvc.yaml", "dvc.lock"
_JUDGED = "compare"  # all metrics that the gate judges come from it or from stages upstream
_LINKED = "data/linked"  # a link to the user's own model, which no stage makes
_FAULTS = (DvcException, AttributeError, LookupError, RecursionError, TypeError, ValueError)
State = dict[str, Any]  # command of a stage, checksums by path, values by parameter


def check_lock(metrics: Sequence[str]) -> None:
    """Checks that dvc.lock records the current state of everything that determines `metrics`.

    Stages downstream of `compare` determine none of these files: only their commands, the names of
    their dependencies and their outputs in Git are compared.

    Raises:
        GateError: dvc.yaml or dvc.lock is missing or damaged, or a recorded state differs.
    """
    for name in (PIPELINE, LOCK):
        if not Path(name).is_file():
            raise GateError(
                f"{name} must be there, got none. Restore it with `git restore {name}`."
            )
        refuse_deep(Path(name))
    changed = set(metrics)
    try:
        with Repo(".") as repo:
            loader = load_file(repo, PIPELINE).stages
            stages, entries = dict(loader), loader.lockfile_data
            graph = build_graph(list(stages.values()))
            judged = {x.name for x in get_subgraph_of_nodes(graph, [stages[_JUDGED]])}
            # Left over: metrics that no stage up to `compare` writes.
            changed -= {out.def_path for name in judged for out in stages[name].outs}
            outs = [out for stage in stages.values() for out in stage.outs if out.use_cache]
            # Metrics are in Git and are hashed, whatever dvc.yaml calls cached.
            outs = [out for out in outs if not out.def_path.startswith("metrics/")]
            made = {out.def_path: out.hash_info.value for out in outs}
            for name, stage in stages.items():
                now = _state(stage, made, is_judged=name in judged)
                before = _recorded(name, entries.get(name, {}))
                # `...` stands for an absent entry, because None is a value.
                changed |= {x for x in now | before if now.get(x, ...) != before.get(x, ...)}
    except _FAULTS as exc:
        reason = " ".join(f"{type(exc).__name__}: {exc.__cause__ or exc}".split())[:300]
        raise GateError(
            f"{PIPELINE}, {LOCK} and .dvc must be readable for DVC, got: {reason}. Restore what is "
            "damaged with `git restore`."
        ) from exc
    if changed:
        raise GateError(
            f"The metrics must match the code and parameters beside them, got changes that "
            f"{LOCK} does not record: {', '.join(sorted(changed))}. Run `dvc repro`."
        )
    if gone := sorted(x for x in entries if x.partition("@")[0] not in loader.stages_data):
        raise GateError(
            f"{LOCK} must record the stages of {PIPELINE}, got {', '.join(gone)}, too. Restore "
            f"it with `git restore {PIPELINE}`, or delete its entry with `dvc remove`."
        )


def _recorded(name: str, entry: Mapping[str, Any]) -> State:
    """Returns the state that an entry of dvc.lock records."""
    items = [*entry.get("deps", []), *entry.get("outs", [])]
    files = {x["path"]: x.get("md5") or "nothing" for x in items}
    if len(files) < len(items):
        raise ValueError(f"a path of {name} twice")
    params = chain.from_iterable(x.items() for x in entry.get("params", {}).values())
    return {f"the command of {name}": entry.get("cmd"), **files, **dict(params)}


def _state(stage: Any, made: Mapping[str, str | None], *, is_judged: bool) -> State:
    """Returns the current state of a stage, from dvc.yaml, the files and the parameters.

    Dependencies of stages that are not judged keep their recorded state.
    """
    state = {f"the command of {stage.name}": stage.cmd}
    state |= {out.def_path: _checksum(out, made) for out in stage.outs}
    for dep in stage.deps:
        recorded = dep.hash_info.value
        if isinstance(dep, ParamsDependency):
            if is_judged:
                refuse_deep(Path(dep.fs_path))
            values = dep.read_params() if is_judged else recorded or {}
            state |= {x: values.get(x) for x in dep.params}
        else:
            state[dep.def_path] = _checksum(dep, made) if is_judged else recorded
    return state


def _checksum(item: Any, made: Mapping[str, str | None]) -> Any:
    """Returns the checksum that dvc.lock must record for a path; None if there is no file.

    `made` has the recorded checksums of outputs that are not in Git.

    Source: https://doc.dvc.org/user-guide/project-structure/internal-files, "Structure of the
    cache directory": a folder's is that of the JSON list of its files.
    """
    path = item.def_path
    if path in made:
        return made[path]
    if inside := [x for x in sorted(made) if x.startswith(f"{path}/")]:
        listed = [{"md5": made[x], "relpath": x.removeprefix(f"{path}/")} for x in inside]
        content = json.dumps(listed, sort_keys=True).encode()
        return f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir"
    if path == _LINKED or any(path.startswith(f"{x}/") for x in made):
        return item.hash_info.value  # nothing in Git to compare it with
    return item.get_hash().value if item.exists else None
