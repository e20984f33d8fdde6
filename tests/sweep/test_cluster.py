"""Runs on Dask: the same rows wherever they are computed and whatever dies on the way."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from resnet8.core.errors import ClusterError
from resnet8.sweep import cluster as module
from resnet8.sweep import record
from resnet8.sweep.cluster import WorkerWatch, compute, open_client, scheduler_address
from resnet8.sweep.grid import Run
from resnet8.sweep.measure import Inputs, Workbench
from resnet8.sweep.record import key_of
from resnet8.sweep.runs import describe_failures, keep, missing_runs
from tests.sweep.dask_commands import Cluster, dask_cluster
from tests.sweep.results import IDENTITY, USUAL, make_run

RUNS = [
    make_run(variant, calibrate__size=20, calibrate__seed=seed)
    for seed in range(3)
    for variant in ("onnx_uint8", "onnx_int8")
]
KEYS = {key_of(run, IDENTITY): run for run in RUNS}
OnResult = Callable[[int], None]


def sweep(
    path: Path,
    inputs: Inputs,
    address: str | None,
    *,
    keys: Any = KEYS,
    on_result: OnResult | None = None,
    said: list[str] | None = None,
) -> tuple[list[Run], list[tuple[Run, str]]]:
    """A sweep as the stage makes it: the runs that were missing, and those that failed."""

    def progress(outcomes: Any) -> Iterator[Any]:
        for number, outcome in enumerate(outcomes):
            yield outcome
            if on_result:
                on_result(number)

    path.touch()
    missing = missing_runs(path, keys)
    say = (said if said is not None else []).append
    with open_client(address, n_workers=2) as client:
        outcomes = compute(client, missing, inputs, say=say)
        return missing, keep(path, outcomes, IDENTITY, progress=progress)


@pytest.fixture(scope="module")
def expected(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The record of a plain loop in one process."""
    path = tmp_path_factory.mktemp("loop") / "runs.csv"
    path.touch()
    workbench = Workbench(inputs)
    for key, run in KEYS.items():
        result = workbench.measure(workbench.fit(run.settings), run.variant)
        record.append(path, record.Finished(key, result))
    record.tidy(path, IDENTITY)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy takes its time to answer."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 120.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler without workers."""
    with dask_cluster(tmp_path) as cluster:
        yield cluster


def test_workers_of_this_machine_give_the_rows_of_a_loop_and_get_the_data_once(
    inputs: Inputs, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, packed = [], []
    submit, pack = module.Client.submit, Inputs.pack

    def weighed(self: Any, function: Any, *arguments: Any, **options: Any) -> Any:
        sent = [x for x in arguments if not isinstance(x, module.Future)]
        sizes.append(len(cloudpickle.dumps((function, sent))))
        return submit(self, function, *arguments, **options)

    def counted(self: Inputs) -> bytes:
        packed.append(len(pack(self)))
        return pack(self)

    monkeypatch.setattr(module.Client, "submit", weighed)
    monkeypatch.setattr(Inputs, "pack", counted)
    path = tmp_path / "runs.csv"
    missing, failed = sweep(path, inputs, None)
    assert (missing, failed) == (RUNS, [])
    assert path.read_bytes() == expected
    assert len(packed) == 1
    assert len(sizes) == 3 + len(RUNS)  # runs with the same settings share their numbers
    assert max(sizes) < 10_000 < packed[0]


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

    _, failed = sweep(path, inputs, cluster.address, on_result=kill_the_second)
    assert failed == []
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
        sweep(path, inputs, None, on_result=interrupt)
    kept = record.read(path)
    assert len(kept) == 3

    missing, _ = sweep(path, inputs, None)
    assert {key_of(run, IDENTITY) for run in missing} == set(KEYS) - set(kept)
    assert path.read_bytes() == expected


@pytest.mark.faults
def test_scheduler_that_goes_away_ends_the_sweep_with_what_is_finished(
    inputs: Inputs,
    expected: bytes,
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = module.remote.tasks

    def endless_after_three(name: str) -> Any:
        fit, measure = tasks(name)

        def measure_three(numbers: Any, variant: str) -> Any:
            (tmp_path / f"measured-{time.monotonic_ns()}").touch()
            while len(list(tmp_path.glob("measured-*"))) > 3:
                time.sleep(1)
            return measure(numbers, variant)

        return fit, measure_three

    cluster.add_worker()
    path = tmp_path / "runs.csv"

    def kill_the_scheduler(number: int) -> None:
        if number == 1:
            cluster.kill(cluster.scheduler)

    with monkeypatch.context() as patched:
        patched.setattr(module.remote, "tasks", endless_after_three)
        with pytest.raises(ClusterError, match=r"went away \(tcp://127.*finished runs are kept"):
            sweep(path, inputs, cluster.address, on_result=kill_the_scheduler)
    assert 2 <= len(record.read(path)) <= 3
    sweep(path, inputs, None)
    assert path.read_bytes() == expected


@pytest.mark.faults
def test_changed_grid_computes_only_what_is_new(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    few = dict(list(KEYS.items())[:2])
    sweep(path, inputs, None, keys=few)
    before = record.read(path)
    more = dict(list(KEYS.items())[1:4])
    missing, _ = sweep(path, inputs, None, keys=more)
    assert missing == list(more.values())[1:]
    assert record.read(path).items() >= before.items()


def test_failed_run_is_listed_with_its_reason_and_the_others_go_on(
    inputs: Inputs, tmp_path: Path
) -> None:
    wrong = make_run("onnx_int8", calibrate__size=20, fit__float_layers=["nope"])
    keys = {key_of(run, IDENTITY): run for run in (wrong, *RUNS[:2])}
    path = tmp_path / "runs.csv"
    _, failed = sweep(path, inputs, None, keys=keys)
    ((run, reason),) = failed
    assert run == wrong
    assert reason.startswith("fit.float_layers must name layers out of conv2d")
    assert set(record.read(path)) == {key_of(x, IDENTITY) for x in RUNS[:2]}
    assert describe_failures(failed, USUAL).startswith(
        "failed: onnx_int8, size 20, float_layers [nope]\n  fit.float_layers must name"
    )


@pytest.mark.faults
@pytest.mark.parametrize("timeout", ["15s", "0s"])  # Dask's own, and what it comes to under load
def test_run_that_kills_its_workers_is_given_up_and_the_others_go_on(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout: str
) -> None:
    tasks = module.remote.tasks

    def deadly(name: str) -> Any:
        fit, measure = tasks(name)

        def fit_or_die(settings: Any) -> Any:
            if settings["calibrate"]["seed"] == 1:
                os._exit(1)
            return fit(settings)

        return fit_or_die, measure

    monkeypatch.setattr(module.remote, "tasks", deadly)
    path = tmp_path / "runs.csv"
    with module.dask.config.set({"distributed.deploy.lost-worker-timeout": timeout}):
        _, failed = sweep(path, inputs, None)
    failed_runs = [run for run, _ in failed]
    # Dask may also blame a run that waited on the same workers.
    assert all(run in failed_runs for run in RUNS if run.settings.calibrate.seed == 1)
    assert {reason for _, reason in failed} == {
        "each worker that tried died; is there too little memory?"
    }
    assert len(record.read(path)) == len(RUNS) - len(failed)


def test_worker_with_other_libraries_makes_no_run(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "public_version", lambda _library: "0.1")
    _, failed = sweep(tmp_path / "runs.csv", inputs, None, keys=dict(list(KEYS.items())[:1]))
    ((_, reason),) = failed
    assert "numpy" in reason
    assert "expected 0.1" in reason
    assert "install requirements.txt there" in reason


def test_address_where_nobody_answers_is_refused_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 1.0)
    before = threading.active_count()
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "tcp://[", "127.0.0.1"):
        with (
            pytest.raises(ClusterError, match="must be the address of a Dask scheduler, got"),
            open_client(address, n_workers=1),
        ):
            pass
    assert threading.active_count() == before  # no client is left for Python to collect


def test_scheduler_without_workers_is_given_up(
    inputs: Inputs, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    said: list[str] = []
    with pytest.raises(ClusterError, match="must have workers, got none for"):
        sweep(tmp_path / "runs.csv", inputs, cluster.address, said=said)
    assert len(said) == 1
    assert said[0].startswith("0 workers at tcp://127.0.0.1")


def test_worker_that_comes_late_gets_the_data_too(
    inputs: Inputs, cluster: Cluster, tmp_path: Path
) -> None:
    class Late(list):  # type: ignore[type-arg]
        def append(self, line: str) -> None:
            if not self:
                cluster.add_worker()
            super().append(line)

    said = Late()
    few = dict(list(KEYS.items())[:2])
    _, failed = sweep(tmp_path / "runs.csv", inputs, cluster.address, keys=few, said=said)
    assert failed == []
    assert said[0].startswith("0 workers at ")
    assert set(record.read(tmp_path / "runs.csv")) == set(few)


class Watched:
    """A watch of a scheduler that answers what it is told, by a clock that is set by hand."""

    def __init__(self) -> None:
        self.now, self.n_workers, self.status = 0.0, 0, "running"
        self.scheduler = SimpleNamespace(address="tcp://10.0.0.1:8786")
        self.cluster: Any = None
        self.said: list[str] = []
        self.watch = WorkerWatch(self, self.said.append, clock=lambda: self.now)

    def nthreads(self) -> dict[int, int]:
        return dict.fromkeys(range(self.n_workers), 1)

    def look(self, *, after: float, n_workers: int) -> list[str]:
        """Messages of a look after some seconds."""
        self.now += after
        self.n_workers = n_workers
        before = len(self.said)
        self.watch.look()
        return self.said[before:]


def test_watch_tells_each_change_of_the_number_of_workers_once() -> None:
    watched = Watched()
    seconds = module.COUNT_SECONDS
    assert watched.look(after=0, n_workers=2) == ["2 workers at tcp://10.0.0.1:8786"]
    assert watched.look(after=seconds, n_workers=2) == []
    assert watched.look(after=seconds, n_workers=1) == ["1 worker at tcp://10.0.0.1:8786"]
    assert watched.look(after=seconds, n_workers=0) == [
        "0 workers at tcp://10.0.0.1:8786; waiting 10 minutes for one"
    ]


def test_watch_starts_lost_workers_of_this_machine_again() -> None:
    watched, asked = Watched(), []
    watched.cluster = SimpleNamespace(worker_spec={0: {}, 1: {}}, scale=asked.append)
    watched.look(after=0, n_workers=1)
    assert asked == [2]


def test_watch_asks_no_more_often_than_it_needs_to() -> None:
    watched = Watched()
    watched.look(after=0, n_workers=2)
    assert watched.look(after=module.COUNT_SECONDS / 2, n_workers=1) == []
    assert len(watched.look(after=module.COUNT_SECONDS / 2, n_workers=1)) == 1


def test_watch_gives_up_after_ten_minutes_without_a_worker_and_not_before() -> None:
    watched = Watched()
    watched.look(after=500, n_workers=1)
    watched.look(after=500, n_workers=0)
    watched.look(after=99, n_workers=0)
    with pytest.raises(ClusterError, match="must have workers, got none for 10 minutes"):
        watched.look(after=2, n_workers=0)


def test_watch_starts_anew_with_each_worker_that_comes() -> None:
    watched = Watched()
    for n_workers in (0, 1, 0, 1, 0):
        watched.look(after=500, n_workers=n_workers)


def test_watch_ends_with_the_scheduler() -> None:
    watched = Watched()
    watched.status = "closed"
    with pytest.raises(ClusterError, match=r"went away \(tcp://10.0.0.1:8786\)"):
        watched.look(after=0, n_workers=1)


@pytest.mark.parametrize(("name", "clear"), module.remote.CACHES)
def test_caches_of_models_are_where_pytorch_has_them(name: str, clear: str) -> None:
    assert callable(attrgetter(clear)(import_module(name)))


def test_address_comes_from_dask_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("tcp://a:1", "tcp://a:1"), ("", None), (None, None)):
        with module.dask.config.set({"scheduler-address": value}):
            assert scheduler_address() == expected
