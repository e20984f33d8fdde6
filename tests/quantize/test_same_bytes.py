"""`fit` gives the same bytes with other kernels of BLAS and NumPy."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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
points = find_points(model, symmetric=False)
for i, text in enumerate(sys.argv[2:]):
    settings = Fit.model_validate_json(text)
    quantization = fit(model, np.load("images.npy"), settings, points=points)
    storage.write(pathlib.Path(sys.argv[1], str(i)), quantization, {})
kernels = {x["architecture"] for x in threadpoolctl.threadpool_info() if "architecture" in x}
print(json.dumps([sorted(kernels), __cpu_features__.get("X86_V3", False)]))
"""
PRESENT = " ".join(name for name in FEATURES if __cpu_features__.get(name))
KERNELS = {
    "haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "plain": {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": PRESENT},
}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"activation_range": "entropy", "histogram_bins": 256, "equalization": 1.0},
]


def test_fit_gives_the_same_bytes_with_other_kernels(
    onnx_fp32: Any, fit_settings: Any, tmp_path: Path
) -> None:
    onnx.save(onnx_fp32, tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", draw_batch(1, size=IMAGES)[0])
    settings = [fit_settings.model_copy(update=x).model_dump_json() for x in SETTINGS]
    kernels, files = [], []
    for name, environment in KERNELS.items():
        done = subprocess.run(
            [sys.executable, "-c", FIT, name, *settings],
            cwd=tmp_path, check=True, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )  # fmt: skip
        kernels.append(done.stdout.splitlines()[-1])
        folder = tmp_path / name
        paths = sorted(x for x in folder.rglob("*") if x.is_file())
        files.append({str(x.relative_to(folder)): x.read_bytes() for x in paths})
    assert kernels[0] != kernels[1]  # or nothing is shown
    assert len(files[0]) == 2 * len(SETTINGS)
    assert files[0] == files[1]
