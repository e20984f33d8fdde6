"""`fit` gives the same bytes with other kernels of BLAS and NumPy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import threadpoolctl
from numpy._core._multiarray_umath import __cpu_features__

from resnet8.core.sections import Fit
from resnet8.models import onnx_model
from resnet8.quantize import storage
from resnet8.quantize.fit import fit
from samples.shapes import draw_batch
from tests.quantize.graphs import QUICK

ROOT = Path(__file__).parents[2]
IMAGES = 20  # so few that neighbouring weights tie, which more images hide
# NumPy's feature groups beyond SSE4, as far as this CPU has them
FEATURES = ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")
PRESENT = " ".join(name for name in FEATURES if __cpu_features__.get(name))
OLD_CPU = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": PRESENT}
SETTINGS: list[dict[str, Any]] = [
    {},
    QUICK | {"activation_range": "entropy", "histogram_bins": 256, "equalization": 1.0},
]


def write(folder: Path, out: str) -> None:
    """Writes the quantizations of a folder's model, and the names of the kernels, into `out`."""
    model, images = onnx_model.load_model(folder / "model.onnx"), np.load(folder / "images.npy")
    for i, settings in enumerate(json.loads((folder / "settings.json").read_text())):
        quantization = fit(model, images, Fit.model_validate(settings))
        storage.write(folder / out / str(i), quantization, {})
    kernels = [x.get("architecture") for x in threadpoolctl.threadpool_info()]
    (folder / f"{out}.json").write_text(json.dumps([kernels, __cpu_features__.get("X86_V3")]))


def test_fit_gives_the_same_bytes_with_other_kernels(
    onnx_fp32: Any, fit_settings: Any, tmp_path: Path
) -> None:
    onnx.save(onnx_fp32, tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", draw_batch(1, size=IMAGES)[0])
    settings = [fit_settings.model_dump() | changes for changes in SETTINGS]
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    write(tmp_path, "here")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **OLD_CPU}
    arguments = [sys.executable, "-m", "tests.quantize.test_same_bytes", str(tmp_path)]
    subprocess.run(arguments, cwd=ROOT, check=True, env=environment)
    assert (tmp_path / "here.json").read_text() != (tmp_path / "old.json").read_text()
    paths = sorted(x for x in (tmp_path / "here").rglob("*") if x.is_file())
    assert len(paths) == 2 * len(SETTINGS)
    for path in paths:
        other = tmp_path / "old" / path.relative_to(tmp_path / "here")
        assert path.read_bytes() == other.read_bytes(), path


if __name__ == "__main__":
    write(Path(sys.argv[1]), "old")
