"""Runs on Dask: the same rows wherever they are computed and whichever process ends early."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import dask
import pytest

from resnet8.core.errors import ClusterError
from resnet8.core.grid import Run
from resnet8.sweep import cluster as module
from resnet8.sweep import record, remote
from resnet8.sweep.cluster import compute, open_client
from resnet8.sweep.measure import Inputs, Workbench
from tests.sweep.dask_commands import Cluster, dask_cluster
from tests.sweep.results import IDENTITY, make_run

QUICK: dict[str, Any] = {"calibrate__size": 20, "fit__weight_rounding": "nearest"}
RUNS = [
    make_run(variant, calibrate__seed=seed, **QUICK)
    for seed in range(3)
    for variant in ("onnx_uint8", "onnx_int8")
]


def missing(path: Path, runs: Sequence[Run] = RUNS) -> list[Run]:
    """The runs that the record lacks."""
    finished = record.read(path)
    return [run for run in runs if record.key_of(run, IDENTITY) not in finished]


def sweep(
    path: Path,
    inputs: Inputs,
    address: str | None = None,
    *,
    runs: Sequence[Run] = RUNS,
    on_result: Callable[[int], None] = lambda _number: None,
    report: Callable[[str], None] = print,
) -> list[tuple[Run, str]]:
    """A sweep as the stage makes it; returns the runs that failed."""
    path.touch()

    def outcomes(client: Any) -> Iterator[Any]:
        for number, outcome in enumerate(
            compute(client, missing(path, runs), inputs, report=report)
        ):
            yield outcome
            on_result(number)

    with dask.config.set({"scheduler-address": address}), open_client(n_workers=2) as client:
        return record.keep(path, outcomes(client), IDENTITY)


@pytest.fixture(scope="module")
def expected(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The record of a plain loop in one process."""
    path = tmp_path_factory.mktemp("loop") / "runs.csv"
    path.touch()
    workbench = Workbench(inputs)
    outcomes = [(run, workbench.measure(workbench.fit(run.settings), run.variant)) for run in RUNS]
    record.keep(path, outcomes, IDENTITY)
    return path.read_bytes()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    with dask_cluster(tmp_path) as cluster:
        yield cluster


def test_workers_of_this_machine_give_the_rows_of_a_loop_and_reasons_of_failures(
    inputs: Inputs, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    submit = module.Client.submit

    def weighed(self: Any, function: Any, *arguments: Any, **options: Any) -> Any:
        sent = [x for x in arguments if not isinstance(x, module.Future)]
        sizes.append(len(cloudpickle.dumps((function, sent))))
        return submit(self, function, *arguments, **options)

    monkeypatch.setattr(module.Client, "submit", weighed)
    path = tmp_path / "runs.csv"
    wrong = make_run("onnx_int8", fit__float_layers=["nope"], **QUICK)
    ((run, reason),) = sweep(path, inputs, runs=[wrong, *RUNS])
    assert run == wrong
    assert reason.startswith("fit.float_layers must name layers out of conv2d")
    assert path.read_bytes() == expected
    assert len(sizes) == 4 + 1 + len(RUNS)  # runs with the same settings share their quantization
    assert max(sizes) < 10_000  # the data are sent apart


@pytest.mark.faults
def test_workers_elsewhere_give_the_same_rows_also_when_one_is_killed(
    inputs: Inputs, expected: bytes, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_worker()
    second = cluster.add_worker("--no-nanny")
    path = tmp_path / "runs.csv"

    def kill_the_second(number: int) -> None:
        if number == 1:
            os.kill(second.pid, signal.SIGKILL)

    assert sweep(path, inputs, cluster.address, on_result=kill_the_second) == []
    assert path.read_bytes() == expected


@pytest.mark.faults
def test_interrupted_sweep_computes_only_what_is_missing(
    inputs: Inputs, expected: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "runs.csv"

    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(path, inputs, on_result=interrupt)
    assert len(missing(path)) == 3
    kept = record.read(path)
    sweep(path, inputs)
    assert record.read(path).items() >= kept.items()
    assert path.read_bytes() == expected


@pytest.mark.faults
def test_scheduler_that_goes_away_ends_the_sweep_with_what_is_finished(
    inputs: Inputs,
    expected: bytes,
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = remote.Project.call

    def endless_after_three(self: Any, method: str, *arguments: Any) -> Any:
        if method == "measure":
            (tmp_path / f"measured-{time.monotonic_ns()}").touch()
            while len(list(tmp_path.glob("measured-*"))) > 3:
                time.sleep(1)
        return call(self, method, *arguments)

    def kill_the_scheduler(number: int) -> None:
        if number == 1:
            cluster.kill(cluster.scheduler)

    cluster.add_worker()
    path = tmp_path / "runs.csv"
    with monkeypatch.context() as patched:
        patched.setattr(remote.Project, "call", endless_after_three)
        with pytest.raises(ClusterError, match=r"went away \(tcp://127.*finished runs are kept"):
            sweep(path, inputs, cluster.address, on_result=kill_the_scheduler)
    assert 3 <= len(missing(path)) <= 4
    sweep(path, inputs)
    assert path.read_bytes() == expected


@pytest.mark.faults
def test_run_that_kills_its_workers_is_given_up_and_the_others_go_on(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = remote.Project.call

    def deadly(self: Any, method: str, *arguments: Any) -> Any:
        if method == "fit" and arguments[0]["calibrate"]["seed"] == 1:
            os._exit(1)
        return call(self, method, *arguments)

    monkeypatch.setattr(remote.Project, "call", deadly)
    path = tmp_path / "runs.csv"
    failed = sweep(path, inputs)
    failed_runs = [run for run, _ in failed]
    # Dask may also blame a run that waited on the same workers.
    assert all(run in failed_runs for run in RUNS if run.settings.calibrate.seed == 1)
    assert {reason for _, reason in failed} == {
        "each worker that tried died; is there too little memory?"
    }
    assert len(record.read(path)) == len(RUNS) - len(failed)


def test_address_without_a_scheduler_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1.0)
    before = threading.active_count()
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "tcp://[", "127.0.0.1"):
        with (
            dask.config.set({"scheduler-address": address}),
            pytest.raises(ClusterError, match="must be the address of a Dask scheduler, got"),
            open_client(n_workers=1),
        ):
            pass
    assert threading.active_count() == before  # no client is left for Python to collect


def test_worker_that_comes_late_gets_the_data_and_one_with_other_libraries_makes_no_run(
    inputs: Inputs, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, messages = tmp_path / "runs.csv", []  # type: ignore[var-annotated]

    def say(message: str) -> None:
        if not messages:
            cluster.add_worker()
        messages.append(message)

    with monkeypatch.context() as patched:
        patched.setattr(module, "PATIENCE_SECONDS", 0.0)
        with pytest.raises(ClusterError, match="must have workers, got none for"):
            sweep(path, inputs, cluster.address)
    assert sweep(path, inputs, cluster.address, runs=RUNS[:2], report=say) == []
    assert messages[0].startswith("0 workers at tcp://127.0.0.1")
    assert missing(path) == RUNS[2:]

    monkeypatch.setattr(module, "identify_libraries", lambda: "numpy==0.1")
    failed = sweep(path, inputs, cluster.address, runs=RUNS[2:4])
    assert len(failed) == 2
    assert "install requirements.txt there: ImportError: needs numpy==0.1" in failed[0][1]


def test_watch_reports_each_change_of_the_number_of_workers_and_gives_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client: Any = SimpleNamespace(status="running", scheduler=SimpleNamespace(address="x"))
    now, messages = 0.0, []  # type: ignore[var-annotated]
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    watch = module._watch(client, messages.append)
    none = "0 workers at x; waiting 10 minutes for one"
    for seconds, n_workers, expected in (
        (0, 2, ["2 workers at x"]),
        (500, 2, []),
        (500, 1, ["1 worker at x"]),
        (500, 0, [none]),
        (99, 0, []),
        (99, 1, ["1 worker at x"]),
        (500, 0, [none]),  # starts anew with each worker that comes
        (99, 0, []),
    ):
        now += seconds
        client.nthreads = lambda count=n_workers: dict.fromkeys(range(count), 1)
        messages.clear()
        next(watch)
        assert messages == expected
    now += 2
    with pytest.raises(ClusterError, match="must have workers, got none for 10 minutes"):
        next(watch)
