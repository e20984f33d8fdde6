"""Runs of a sweep on Dask: on this machine's cores, or on the workers of a scheduler."""

import asyncio
import gc
import io
import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import cloudpickle
import dask
import distributed
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, Security, as_completed
from distributed.comm import connect
from distributed.system import MEMORY_LIMIT

from resnet8.core.errors import ClusterError, PipelineError
from resnet8.core.grid import Run
from resnet8.sweep import remote
from resnet8.sweep.identity import identify_libraries
from resnet8.sweep.measure import Inputs
from resnet8.sweep.record import Outcome
from resnet8.sweep.result import Result

CONNECT_SECONDS = 10.0
PATIENCE_SECONDS = 600.0  # without any worker; a batch queue may start one late
POLL_SECONDS = 0.5
WORKER_BYTES = 10**9  # more than a worker needs
_PACKAGE = Path(__file__).parents[1]
_LOCAL = {  # Dask's configuration for workers on this machine
    # Dask has glibc return each freed array to the system and clear the next one, which costs a
    # tenth of the time. These are glibc's own upper limits.
    # Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**26,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
    "distributed.deploy.lost-worker-timeout": PATIENCE_SECONDS,  # nannies start them again
    "distributed.worker.profile.enabled": False,  # costs time and is not used
}


@contextmanager
def open_client(*, n_workers: int) -> Iterator[Client]:
    """Connects to a scheduler, or starts one with workers on this machine.

    The scheduler is that of Dask's configuration, as in DASK_SCHEDULER_ADDRESS. Without one, there
    is a worker for each core, but at most `n_workers`.

    Raises:
        ClusterError: the address cannot be reached, or Dask does not start on this machine.
    """
    gc.enable()  # a sweep takes long
    # `compute` reports the workers that come and go.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    address = dask.config.get("scheduler-address", None)
    with ExitStack() as stack:
        try:
            if address:
                asyncio.run(_connect(address))
                client = Client(address, timeout=CONNECT_SECONDS)
            else:
                stack.enter_context(dask.config.set(_LOCAL))
                client = Client(stack.enter_context(_start_here(n_workers)))
        except (OSError, RuntimeError, TypeError, ValueError) as exc:
            reason = str(exc) or type(exc).__name__
            if not address:
                raise ClusterError(
                    f"Dask must start on this machine, got: {reason}. Correct its configuration; "
                    "docs/cluster.md has the TLS settings."
                ) from exc
            raise ClusterError(
                f"DASK_SCHEDULER_ADDRESS must be the address of a Dask scheduler, got {address!r}, "
                f"which cannot be reached ({reason}). Start one with `dask scheduler`, check the "
                "TLS settings (docs/cluster.md), or leave the variable out to run on this machine."
            ) from exc
        yield stack.enter_context(client)


async def _connect(address: str) -> None:
    """Connects to a scheduler and closes the connection.

    A client that finds no scheduler is never closed, and when Python collects it, it may wait for
    a lock of the next client forever. So the scheduler is asked before there is a client.

    Raises:
        OSError: nobody answers, or a side does not accept the certificate of the other.
        RuntimeError: Dask's configuration requires TLS, the address has none.
        TypeError: the address has TLS, Dask's configuration has no certificate.
        ValueError: the address is invalid.
    """
    arguments = Security().get_connection_args("client")
    async with asyncio.timeout(2 * CONNECT_SECONDS):  # Dask waits forever for a first answer
        connection = await connect(address, timeout=CONNECT_SECONDS, **arguments)
        await connection.close()


def _start_here(n_workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=max(1, min(CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES, n_workers)),
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",  # a port that is free
        silence_logs=logging.CRITICAL,
    )


def compute(
    client: Client, runs: Sequence[Run], inputs: Inputs, *, report: Callable[[str], None]
) -> Iterator[Outcome]:
    """Computes runs on a scheduler's workers, and yields them in the order in which they finish.

    Runs with the same settings share their quantization. The inputs are sent to each worker once.
    `report` tells the user when the number of workers changes. A run that failed comes with its
    reason.

    Raises:
        ClusterError: the scheduler went away, or there has been no worker for a long time.
    """
    cloudpickle.register_pickle_by_value(remote)
    name = f"resnet8-{uuid4().hex}"
    futures: dict[Future, Run] = {}
    try:
        project = remote.Project(name, pack_code(), inputs._asdict(), identify_libraries())
        client.register_plugin(project)
        futures |= _submit(client, name, runs)
        waiting = as_completed(list(futures), with_results=True)
        for _ in _watch(client, report):
            for future, value in waiting.next_batch(block=False):
                yield futures.pop(future), _outcome(value)
            if waiting.is_empty():
                return
            time.sleep(POLL_SECONDS)
    except (OSError, TimeoutError) as exc:
        raise ClusterError(
            f"The Dask scheduler must stay until the sweep ends, but it went away "
            f"({client.scheduler.address}). Start one, then start the sweep again: finished runs "
            "are kept."
        ) from exc
    finally:
        if client.status == "running":
            with suppress(OSError, TimeoutError):
                client.cancel(list(futures))
                client.unregister_worker_plugin(name)


def pack_code() -> bytes:
    """Returns the project's library as a zip file that Python imports from."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_PACKAGE.rglob("*.py")):
            archive.write(path, path.relative_to(_PACKAGE.parent))
    return file.getvalue()


def _submit(client: Client, name: str, runs: Sequence[Run]) -> dict[Future, Run]:
    """Hands the runs to the scheduler; `name` is that of the plugin that makes them."""

    def call(method: str, *arguments: Any) -> Any:  # nested: Dask pickles it by value
        return distributed.get_worker().plugins[name].call(method, *arguments)

    quantizations: dict[str, Future] = {}
    futures = {}
    # Long and short ones mixed, so that the first tell how long the rest will take.
    for run in Random(0).sample(runs, len(runs)):  # noqa: S311
        fit_key, measure_key = f"fit-{name}-{run.settings}", f"measure-{name}-{run}"
        if fit_key not in quantizations:
            settings = run.settings.model_dump()
            quantizations[fit_key] = client.submit(call, "fit", settings, key=fit_key)
        arguments = (quantizations[fit_key], run.variant)
        # Before other fits, so that finished quantizations do not pile up.
        future = client.submit(call, "measure", *arguments, key=measure_key, priority=1)
        futures[future] = run
    return futures


def _watch(client: Client, report: Callable[[str], None]) -> Iterator[None]:
    """Reports each change of the number of workers, and yields until an error.

    Raises:
        ClusterError: there has been no worker for a long time.
        ConnectionError: the scheduler went away.
    """
    count, last_worker = None, time.monotonic()
    patience = f"{PATIENCE_SECONDS / 60:.0f} minutes"
    while client.status == "running":
        before, count = count, len(client.nthreads())
        address = client.scheduler.address
        if count != before:
            waits = "" if count else f"; waiting {patience} for one"
            report(f"{count} worker{'' if count == 1 else 's'} at {address}{waits}")
        if count:
            last_worker = time.monotonic()
        elif time.monotonic() - last_worker > PATIENCE_SECONDS:
            raise ClusterError(
                f"The scheduler must have workers, got none for {patience} ({address}). Start some "
                "with `dask worker`, then start the sweep again: finished runs are kept."
            )
        yield
    raise ConnectionError


def _outcome(value: Any) -> Result | str:
    """Returns the result of a run, or the reason of the exception that Dask gives in its place.

    The future's status is unreliable: if the worker that holds a result dies, Dask computes
    the result again even after it has been received.
    """
    match value:
        case CancelledError():  # by a scheduler that went away
            raise ConnectionError
        case (type(), BaseException() as fault, _):
            return _reason(fault)
    result: Result = value
    return result


def _reason(fault: BaseException) -> str:
    if isinstance(fault, KilledWorker):
        return "each worker that tried died; is there too little memory?"
    if isinstance(fault, PipelineError):
        return str(fault)
    return f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"
