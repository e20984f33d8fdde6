"""Runs of a sweep on Dask: on this machine's cores, or where a scheduler runs."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from uuid import uuid4

import cloudpickle
import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, Security, as_completed
from distributed.comm import connect
from distributed.system import MEMORY_LIMIT

from resnet8.core.errors import ClusterError, PipelineError
from resnet8.sweep import remote
from resnet8.sweep.grid import Run
from resnet8.sweep.identity import LIBRARIES, pack_code, public_version
from resnet8.sweep.measure import Inputs
from resnet8.sweep.result import Result

CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 600.0  # without any worker; a queue may take its time to start one
POLL_SECONDS = 0.25
COUNT_SECONDS = 2.0  # between looks at how many workers there are
WORKER_BYTES = 10**9  # a worker needs less

Say = Callable[[str], None]


def scheduler_address() -> str | None:
    """The scheduler that Dask's configuration names, as in DASK_SCHEDULER_ADDRESS."""
    address: str | None = dask.config.get("scheduler-address", None)
    return address or None


@contextmanager
def open_client(address: str | None, *, n_workers: int) -> Iterator[Client]:
    """Connects to a scheduler, or starts one with workers on this machine.

    Args:
        address: of the scheduler, None for workers on this machine, one for each core.
        n_workers: of which there is use, at most.

    Raises:
        ClusterError: the address cannot be reached, or Dask does not start on this machine.
    """
    gc.enable()  # a sweep takes long
    # What it says about workers that come and go, or end, is said here.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        if address is None:
            # Its sampling of what workers do costs them time, and nobody looks at it.
            stack.enter_context(dask.config.set({"distributed.worker.profile.enabled": False}))
            cluster = stack.enter_context(_start_here(n_workers))
        # A client that finds no scheduler is never closed, and when Python collects it, it may wait
        # for a lock of the next client forever. So the scheduler is asked first.
        try:
            if address:
                asyncio.run(_connect(address))
            client = Client(address or cluster, timeout=CONNECT_SECONDS)
        except (OSError, RuntimeError, TypeError, ValueError) as exc:
            raise ClusterError(
                f"DASK_SCHEDULER_ADDRESS must be the address of a Dask scheduler, got {address!r}, "
                f"which cannot be reached ({str(exc) or type(exc).__name__}). Start one with `dask "
                "scheduler`, check the TLS settings (docs/cluster.md), or leave the variable out "
                "to run on this machine."
            ) from exc
        yield stack.enter_context(client)


def _start_here(n_workers: int) -> LocalCluster:
    """Starts a scheduler and workers on this machine.

    Raises:
        ClusterError: Dask does not start.
    """
    try:
        return LocalCluster(
            n_workers=max(1, min(CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES, n_workers)),
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # a port that is free
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as exc:
        raise ClusterError(
            f"Dask must start on this machine, got: {exc}. Correct its configuration; "
            "docs/cluster.md has the TLS settings."
        ) from exc


async def _connect(address: str) -> None:
    """Connects to a scheduler and closes the connection.

    Raises:
        OSError: nobody answers, or a side does not accept the certificate of the other.
        RuntimeError: Dask's configuration requires TLS, the address has none.
        TypeError: the address has TLS, Dask's configuration has no certificate.
        ValueError: the address is none.
    """
    arguments = Security().get_connection_args("client")
    async with asyncio.timeout(2 * CONNECT_SECONDS):  # Dask waits forever for a first answer
        connection = await connect(address, timeout=CONNECT_SECONDS, **arguments)
        await connection.close()


def compute(
    client: Client, runs: Sequence[Run], inputs: Inputs, *, say: Say
) -> Iterator[tuple[Run, Result | str]]:
    """Computes runs, in whatever order they finish.

    Args:
        client: of the scheduler.
        runs: what to compute; those with the same settings share their quantization.
        inputs: what all start from; sent to each worker once.
        say: tells the user what happens to the workers.

    Yields:
        A run and its result, or the reason why it failed.

    Raises:
        ClusterError: the scheduler went away, or there has been no worker for a long time.
    """
    cloudpickle.register_pickle_by_value(remote)
    name = f"resnet8-{uuid4().hex}"
    versions = {library: public_version(library) for library in LIBRARIES}
    project = remote.Project(name, archive=pack_code(), inputs=inputs.pack(), versions=versions)
    futures: dict[Future, Run] = {}
    try:
        client.register_plugin(project)
        del project
        futures |= _submit(client, name, runs)
        yield from _collect(client, futures, say)
    except (OSError, TimeoutError) as exc:
        raise _gone(client) from exc
    finally:
        if client.status == "running":
            with suppress(OSError, TimeoutError):
                client.cancel(list(futures))
                client.unregister_worker_plugin(name)


def _submit(client: Client, name: str, runs: Sequence[Run]) -> dict[Future, Run]:
    """Hands the runs to the scheduler."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(str(run.settings), []).append(run)
    # Long and short ones mixed, so that the first tell how long the rest will take.
    order = Random(0).sample(list(groups.values()), len(groups))  # noqa: S311
    fit, measure = remote.tasks(name)
    found = {}
    for number, group in enumerate(order):
        settings = group[0].settings.model_dump()
        quantization = client.submit(fit, settings, key=f"fit-{name}-{number}")
        for run in group:
            key = f"measure-{name}-{number}-{run.variant}"
            # Before other fits, so that finished quantizations do not pile up.
            found[client.submit(measure, quantization, run.variant, key=key, priority=1)] = run
    return found


def _collect(
    client: Client, futures: dict[Future, Run], say: Say
) -> Iterator[tuple[Run, Result | str]]:
    waiting = as_completed(list(futures), with_results=True)
    watch = WorkerWatch(client, say)
    while not waiting.is_empty():
        for future, value in waiting.next_batch(block=False):
            if future.status == "finished":
                yield futures.pop(future), Result(*value)
            elif future.status == "error":
                yield futures.pop(future), _reason(future.exception())
            else:
                raise _gone(client)
        watch.look()
        time.sleep(POLL_SECONDS)


class WorkerWatch:
    """Tells when the number of workers changes, and raises when there are none for too long.

    Workers of this machine that are lost are started again.

    Args:
        client: of the scheduler.
        say: tells the user.
        clock: seconds.
    """

    def __init__(
        self, client: Client, say: Say, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._say, self._clock = client, say, clock
        self._count: int | None = None
        self._seen = self._looked = clock()

    def look(self) -> None:
        now = self._clock()
        if self._client.status != "running":
            raise _gone(self._client)
        if self._count is not None and now - self._looked < COUNT_SECONDS:
            return
        if cluster := self._client.cluster:
            # Dask gives up a worker of its own that takes over 15 seconds to start again.
            cluster.scale(len(cluster.worker_spec))
        count = len(self._client.nthreads())
        self._looked = now
        if count:
            self._seen = now
        if count != self._count:
            address = self._client.scheduler.address
            waits = f"; waiting {PATIENCE_SECONDS / 60:.0f} minutes for one" if not count else ""
            self._say(f"{count} worker{'' if count == 1 else 's'} at {address}{waits}")
        self._count = count
        if now - self._seen > PATIENCE_SECONDS:
            raise ClusterError(
                f"The scheduler must have workers, got none for {PATIENCE_SECONDS / 60:.0f} "
                f"minutes ({self._client.scheduler.address}). Start some with `dask worker`, then "
                "start the sweep again: finished runs are kept."
            )


def _gone(client: Client) -> ClusterError:
    return ClusterError(
        f"The Dask scheduler must stay until the sweep ends, but it went away "
        f"({client.scheduler.address}). Start one, then start the sweep again: finished runs are "
        "kept."
    )


def _reason(fault: BaseException) -> str:
    if isinstance(fault, KilledWorker):
        return "each worker that tried died; is there too little memory?"
    if isinstance(fault, PipelineError):
        return str(fault)
    return f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"
