"""`fit` gives the same bytes with other kernels of BLAS and NumPy."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy._core._multiarray_umath import __cpu_features__

from samples.shapes import draw_batch

ROOT = Path(__file__).parents[2]
IMAGES = 20  # so few that neighbouring weights tie, which more images hide
# NumPy's feature groups beyond SSE4, as far as this CPU has them
FEATURES = ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")
FIT = """
import json, pathlib, sys, threadpoolctl
import numpy as np
from numpy._core._multiarray_umath import __cpu_features__
from resnet8.models import onnx_model
from resnet8.quantize import storage
from resnet8.core.sections import Fit
from resnet8.quantize.fit import fit
from resnet8.quantize.onnx_writer import find_points
model = onnx_model.load_model(pathlib.Path("model.onnx"))
settings = Fit.model_validate_json(sys.argv[1])
points = find_points(model, symmetric=False)
quantization = fit(model, np.load("images.npy"), settings, points=points)
storage.write(pathlib.Path(sys.argv[2]), quantization, {})
kernels = {x["architecture"] for x in threadpoolctl.threadpool_info() if "architecture" in x}
print(json.dumps([sorted(kernels), __cpu_features__.get("X86_V3", False)]))
"""
KERNELS = {
    "haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "prescott": {"OPENBLAS_CORETYPE": "Prescott"},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "entropy": {"activation_range": "entropy", "histogram_bins": 256, "equalization": 1.0},
}


@pytest.fixture(scope="module")
def folder(onnx_fp32: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    onnx.save(onnx_fp32, folder / "model.onnx")
    np.save(folder / "images.npy", draw_batch(1, size=IMAGES)[0])
    return folder


def fitted(folder: Path, settings: Any, out: str, environment: dict[str, str]) -> tuple[str, str]:
    """The kernels that `fit` ran on, and the SHA-256 of the files that it wrote."""
    command = [sys.executable, "-c", FIT, settings.model_dump_json(), out]
    done = subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    written = [(folder / out / x).read_bytes() for x in ("quantization.json", "parameters.npz")]
    return done.stdout.splitlines()[-1], hashlib.sha256(b"".join(written)).hexdigest()


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_fit_gives_the_same_bytes_with_other_kernels(
    folder: Path, fit_settings: Any, changes: dict[str, Any]
) -> None:
    settings = fit_settings.model_copy(update=changes)
    present = " ".join(name for name in FEATURES if __cpu_features__.get(name))
    plain = KERNELS["prescott"] | {"NPY_DISABLE_CPU_FEATURES": present}
    runs = [fitted(folder, settings, "haswell", KERNELS["haswell"])]
    runs.append(fitted(folder, settings, "plain", plain))
    (one, bytes_of_one), (other, bytes_of_other) = runs
    assert one != other  # or nothing is shown
    assert bytes_of_one == bytes_of_other
