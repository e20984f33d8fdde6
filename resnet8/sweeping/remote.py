"""What Dask runs on its workers.

It travels to them as it is written here, so it may use nothing of this project at its top: the
code comes along in an archive. A worker needs the libraries of requirements.txt, but no copy of
the project.
"""

import ctypes
import importlib
import platform
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin, get_worker

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class Project(WorkerPlugin):  # type: ignore[misc]
    """Brings code and data to each worker, once; the scheduler gives it to new ones too.

    Args:
        name: of the plugin, different for each sweep.
        archive: the project's library, a zip file that Python imports from.
        inputs: what all runs start from, packed.
        versions: of the libraries that can change a figure.
    """

    def __init__(
        self, name: str, *, archive: bytes, inputs: bytes, versions: Mapping[str, str]
    ) -> None:
        self.name = name
        self._archive, self._inputs, self._versions = archive, inputs, versions
        self.fault = ""
        self.workbench: Any = None
        self.settings: Any = None
        self.turn: Any = None

    def setup(self, worker: Any) -> None:
        try:
            self.fault = self._other_versions() or self._load(Path(worker.local_directory))
        except Exception as exc:  # noqa: BLE001
            # Dask would only log it; its runs shall say it.
            self.fault = f"cannot load the project: {type(exc).__name__}: {exc}"

    def _other_versions(self) -> str:
        others = [
            f"{library} {found}, expected {expected}"
            for library, expected in self._versions.items()
            if (found := _version(library)) != expected
        ]
        return f"has {'; '.join(others)}. Install requirements.txt there" if others else ""

    def _load(self, folder: Path) -> str:
        self._path = folder / f"{self.name}.zip"
        self._path.write_bytes(self._archive)
        for module in [name for name in sys.modules if name.partition(".")[0] == "resnet8"]:
            del sys.modules[module]  # an earlier sweep's
        sys.path.insert(0, str(self._path))
        measure = importlib.import_module("resnet8.sweeping.measure")
        self.settings = importlib.import_module("resnet8.common.grid").Settings
        self.workbench = measure.Workbench(measure.Inputs.unpack(self._inputs))
        self._archive = self._inputs = b""
        # Libraries change global state, so a worker with several threads takes runs in turn.
        self.turn = threading.Lock()
        # For all threads of the worker, and for good: sums must not depend on their number.
        importlib.import_module("threadpoolctl").threadpool_limits(limits=1, user_api="blas")
        _keep_freed_memory()
        return ""

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        if self.workbench:
            sys.path.remove(str(self._path))
            self._path.unlink()
            self.workbench = None


def tasks(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What workers compute: the numbers of a quantization, and with them a run's result.

    Args:
        name: of the plugin that was brought to them.
    """

    def fit(settings: Mapping[str, Any]) -> Any:
        project = _project(name)
        with project.turn:
            return project.workbench.fit(project.settings.model_validate(settings))

    def measure(numbers: Any, variant: str) -> tuple[Any, ...]:
        project = _project(name)
        with project.turn:
            return tuple(project.workbench.measure(numbers, variant))

    return fit, measure


def _project(name: str) -> Project:
    worker = get_worker()
    project: Project = worker.plugins[name]
    if project.fault:
        raise RuntimeError(f"the worker {worker.address} {project.fault}")
    return project


def _keep_freed_memory() -> None:
    """Has glibc reuse freed memory, as it does on its own where Dask does not set it up otherwise.

    Dask's nannies set MALLOC_TRIM_THRESHOLD_, so that each freed array goes back to the system and
    the next one is cleared again: evaluation then takes three times as long.

    Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html;
    numbers of the options from glibc's malloc.h, values as its own upper limits.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, n_bytes in ((_M_TRIM_THRESHOLD, 2**26), (_M_MMAP_THRESHOLD, 2**25)):
            libc.mallopt(option, n_bytes)


def _version(library: str) -> str:
    try:
        return version(library)
    except importlib.metadata.PackageNotFoundError:
        return "nothing"
