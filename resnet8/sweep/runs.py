"""Makes the runs of a grid that the record does not have."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from resnet8.core.grid import Settings
from resnet8.sweep import record
from resnet8.sweep.grid import Run
from resnet8.sweep.identity import Identity
from resnet8.sweep.result import Result

Outcomes = Iterator[tuple[Run, Result | str]]


def missing_runs(path: Path, keys: Mapping[record.Key, Run]) -> list[Run]:
    """Returns the runs that the record lacks."""
    found = record.read(path)
    return [run for key, run in keys.items() if key not in found]


def keep(
    path: Path,
    outcomes: Outcomes,
    identity: Identity,
    *,
    progress: Callable[[Outcomes], Iterable[tuple[Run, Result | str]]] = iter,
) -> list[tuple[Run, str]]:
    """Writes each run into the record as soon as it is finished, and sorts them at the end.

    Args:
        path: of the record.
        outcomes: runs with their results, or the reason why they failed.
        identity: model, data and versions of the runs.
        progress: wraps the loop over the runs, as `tqdm.tqdm` does.

    Returns:
        The failed runs and their errors.
    """
    failed = []
    try:
        for run, result in progress(outcomes):
            if isinstance(result, Result):
                record.append(path, record.Finished(record.key_of(run, identity), result))
            else:
                failed.append((run, result))
    finally:
        record.tidy(path, identity)
    return failed


def describe_failures(failed: Sequence[tuple[Run, str]], usual: Settings) -> str:
    """A line for each reason, with the runs that failed for it.

    Args:
        failed: runs and reasons.
        usual: settings that are left out of the descriptions.
    """
    runs: dict[str, list[str]] = {}
    for run, reason in failed:
        runs.setdefault(reason, []).append(run.describe(usual))
    return "\n".join(f"failed: {'; '.join(names)}\n  {reason}" for reason, names in runs.items())
