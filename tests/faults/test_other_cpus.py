"""8-bit products on this CPU and on emulated ones."""

import platform
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.pipeline.commands import ROOT, run

pytestmark = pytest.mark.faults
PROBE = "from resnet8.models.onnx_model import products_saturate; print(products_saturate())"
EMULATOR = shutil.which("qemu-x86_64")


def saturates(*emulator: str) -> str:
    done = run(ROOT, *emulator, sys.executable, "-c", PROBE)
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()[-1]


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(),
    reason="only Linux on x86-64 lists the CPU's features there",
)
def test_products_saturate_with_avx2_and_without_vnni() -> None:
    features = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    expected = "avx2" in features and not {"avx512_vnni", "avx_vnni"} & features
    assert saturates() == str(expected)


@pytest.mark.skipif(not EMULATOR, reason="qemu-x86_64 is not installed")
@pytest.mark.parametrize(("cpu", "expected"), [("Haswell", "True"), ("Nehalem", "False")])
def test_products_on_an_emulated_cpu(cpu: str, expected: str) -> None:
    # Haswell has AVX2 and no VNNI; Nehalem has no AVX, and multiplies in 32 bits.
    assert saturates(str(EMULATOR), "-cpu", cpu) == expected
