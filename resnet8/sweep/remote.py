"""Code that Dask runs on its workers.

Dask sends this module by value, so it imports nothing of the project at its top: the project's
code follows in an archive. A worker needs the libraries of requirements.txt, but no copy of the
project.
"""

import importlib
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin


@dataclass(eq=False, repr=False)
class Project(WorkerPlugin):  # type: ignore[misc]
    """Brings code and data to each worker once; the scheduler also gives it to new workers."""

    name: str  # of the plugin, different for each sweep
    archive: bytes  # the project's library, a zip file that Python imports from
    inputs: Mapping[str, Any]  # fields of `measure.Inputs`
    libraries: str  # `identity.identify_libraries` of the machine that started the sweep
    fault: str = ""
    workbench: Any = None

    def setup(self, worker: Any) -> None:
        self._path = Path(worker.local_directory) / f"{self.name}.zip"
        self._turn = threading.Lock()
        try:
            self._load()
        except Exception as exc:  # Dask would only log it, and give the worker runs
            self.fault = (
                f"the worker {worker.address} must load the project, install requirements.txt "
                f"there: {type(exc).__name__}: {exc}"
            )

    def _load(self) -> None:
        self._path.write_bytes(self.archive)
        sys.path.insert(0, str(self._path))
        for module in [name for name in sys.modules if name.partition(".")[0] == "resnet8"]:
            del sys.modules[module]  # of an earlier sweep, perhaps with other code
        installed = importlib.import_module("resnet8.sweep.identity").identify_libraries()
        if missing := sorted({*self.libraries.split()} - {*installed.split()}):
            raise ImportError(f"needs {', '.join(missing)}")
        # For all threads of the worker, and for good: sums must not depend on their number.
        importlib.import_module("threadpoolctl").threadpool_limits(limits=1, user_api="blas")
        measure = importlib.import_module("resnet8.sweep.measure")
        self.workbench = measure.Workbench(measure.Inputs(**self.inputs))
        del self.archive, self.inputs

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the `measure.Workbench`."""
        if self.fault:
            raise RuntimeError(self.fault)
        with self._turn:  # libraries change global state
            return getattr(self.workbench, method)(*arguments)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        sys.path[:] = [path for path in sys.path if path != str(self._path)]
        self._path.unlink(missing_ok=True)
        self.workbench = None
