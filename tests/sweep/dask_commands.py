"""A Dask scheduler and workers on loopback, started with Dask's own commands elsewhere."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

DASK = str(Path(sys.executable).with_name("dask"))
PATIENCE_SECONDS = 600  # of which a quiet machine needs two


class Cluster:
    """Processes in a folder that has nothing of the project, started with some variables."""

    scheduler: "subprocess.Popen[bytes]"
    address: str

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.processes: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self, options: Sequence[str]) -> None:
        file, end = self.folder / "scheduler.json", time.monotonic() + PATIENCE_SECONDS
        self.scheduler = self.start(
            "scheduler", "--host", "127.0.0.1", "--port", "0",
            "--scheduler-file", str(file), *options,
        )  # fmt: skip
        while not (file.exists() and file.stat().st_size):  # Dask makes it, then writes at once
            assert time.monotonic() < end
            time.sleep(0.05)
        self.address = str(json.loads(file.read_text())["address"])

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [DASK, *command],
                cwd=self.folder,
                env={**kept, **self.variables},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def add_worker(self, *options: str) -> "subprocess.Popen[bytes]":
        return self.start(
            "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard",
            *options,
        )  # fmt: skip

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Ends a process and those that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def dask_cluster(
    folder: Path, options: Sequence[str] = ("--no-dashboard",), **variables: str
) -> Iterator[Cluster]:
    """Starts a scheduler with these options."""
    cluster = Cluster(folder, variables)
    try:
        cluster.start_scheduler(options)
        yield cluster
    finally:
        for process in cluster.processes:
            cluster.kill(process)
