"""Times things that are compared: in turns, so that all meet the same noise."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def interleave(
    runs: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Times each run once in every round, so that a slow spell of the machine hits them all.

    Args:
        runs: what is timed, by name.
        repeats: rounds that count.
        warm_up: whether a round that does not count comes first.
        clock: gives the time in seconds.

    Returns:
        Durations in seconds by name, one of each round.
    """
    durations: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(repeats + warm_up):
        for name, run in runs.items():
            start = clock()
            run()
            seconds = clock() - start
            if number >= warm_up:
                durations[name].append(seconds)
    return durations


def rate(count: int, durations: Sequence[float]) -> float:
    """Returns the rate per second at the median duration."""
    return count / statistics.median(durations)


def ratio(durations: Sequence[float], reference: Sequence[float]) -> float:
    """Returns the duration relative to the reference: the median of the rounds' quotients."""
    return statistics.median(a / b for a, b in zip(durations, reference, strict=True))
