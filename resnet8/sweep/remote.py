"""Code that Dask runs on its workers.

Dask sends this module by value, so it imports nothing of the project at its top: the project's
code follows in an archive. A worker needs the libraries of requirements.txt, but no copy of the
project.
"""

import ctypes
import importlib
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin, get_worker

_GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
# Dask's nannies set MALLOC_TRIM_THRESHOLD_, so that each freed array goes back to the system and
# the next one is cleared again: evaluation takes three times as long. With these numbers, glibc's
# own upper limits, arrays are reused within a run; after it, everything goes back.
# Source: https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html, and
# malloc.h for the options: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD.
_MALLOC = {-1: 2**26, -3: 2**25}
# Where PyTorch and torchao keep every model that was exported; by module, what empties it.
CACHES = (
    ("torch._subclasses.fake_tensor", "FakeTensorMode.cache_clear"),
    ("torch.ao.quantization.fx.utils", "assert_and_get_unique_device.cache_clear"),
    ("torch.fx.graph_module", "_loader.eval_cache.clear"),
    ("torchao.utils", "_assert_and_get_unique_device.cache_clear"),
)


class Project(WorkerPlugin):  # type: ignore[misc]
    """Brings code and data to each worker, once; the scheduler gives it to new ones too.

    Args:
        name: of the plugin, different for each sweep.
        archive: the project's library, a zip file that Python imports from.
        inputs: what all runs start from, packed.
        versions: public ones, of the libraries that can change a figure.
    """

    def __init__(
        self, name: str, *, archive: bytes, inputs: bytes, versions: Mapping[str, str]
    ) -> None:
        self.name = name
        self._archive, self._inputs, self._versions = archive, inputs, versions
        self.fault = ""
        self.workbench: Any = None
        self.settings: Any = None
        self._turn: Any = None

    def setup(self, worker: Any) -> None:
        try:
            self.fault = self._other_versions() or self._load(Path(worker.local_directory))
        except Exception as exc:
            # Dask would only log it; its runs shall say it.
            self.fault = f"cannot load the project: {type(exc).__name__}: {exc}"

    def _other_versions(self) -> str:
        others = [
            f"{library} {found}, expected {expected}"
            for library, expected in self._versions.items()
            if (found := _version(library)) != expected
        ]
        remedy = "has other libraries; install requirements.txt there: "
        return remedy + "; ".join(others) if others else ""

    def _load(self, folder: Path) -> str:
        self._path = folder / f"{self.name}.zip"
        self._path.write_bytes(self._archive)
        for module in [name for name in sys.modules if name.partition(".")[0] == "resnet8"]:
            del sys.modules[module]  # an earlier sweep's
        sys.path.insert(0, str(self._path))
        measure = importlib.import_module("resnet8.sweep.measure")
        self.settings = importlib.import_module("resnet8.core.grid").Settings
        self.workbench = measure.Workbench(measure.Inputs.unpack(self._inputs))
        self._archive = self._inputs = b""
        self._turn = threading.Lock()
        # For all threads of the worker, and for good: sums must not depend on their number.
        importlib.import_module("threadpoolctl").threadpool_limits(limits=1, user_api="blas")
        if _GLIBC:
            libc = ctypes.CDLL(None)
            for option, n_bytes in _MALLOC.items():
                libc.mallopt(option, n_bytes)
        return ""

    @contextmanager
    def take_turn(self) -> Iterator[None]:
        """Waits for other threads of the worker: libraries change global state."""
        with self._turn:
            yield
            for module, clear in CACHES:
                if module in sys.modules:
                    attrgetter(clear)(sys.modules[module])()
            if _GLIBC:
                ctypes.CDLL(None).malloc_trim(0)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        if self.workbench:
            sys.path.remove(str(self._path))
            self._path.unlink()
            self.workbench = None


def tasks(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns the functions that workers run: fitting a quantization, and measuring a run.

    Args:
        name: of the plugin on the workers.
    """

    def fit(settings: Mapping[str, Any]) -> Any:
        project = _project(name)
        with project.take_turn():
            return project.workbench.fit(project.settings.model_validate(settings))

    def measure(quantization: Any, variant: str) -> tuple[Any, ...]:
        project = _project(name)
        with project.take_turn():
            return tuple(project.workbench.measure(quantization, variant))

    return fit, measure


def _project(name: str) -> Project:
    worker = get_worker()
    project: Project = worker.plugins[name]
    if project.fault:
        raise RuntimeError(f"the worker {worker.address} {project.fault}")
    return project


def _version(library: str) -> str:
    try:
        return version(library).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "nothing"
