"""CPUs on which bits differ are named, and PyTorch is held to kernels that all others have."""

import os
import platform
import sys
from pathlib import Path

import pytest
import torch

from resnet8.core import cpu

HASWELL = "processor: 0\nflags\t\t: fpu sse2 fma avx avx2 rdtscp\n"
NAMES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "TF_NUM_INTRAOP_THREADS")


@pytest.mark.parametrize(
    ("machine", "system", "lacks", "kind"),
    [
        ("x86_64", "linux", "nothing", None),
        ("x86_64", "linux", " avx2", "this is an x86-64 CPU without AVX2, whose kernels add in"),
        ("x86_64", "linux", " fma", "this is an x86-64 CPU without FMA, whose kernels add in an"),
        ("aarch64", "linux", "nothing", "this is an aarch64 CPU"),
        ("x86_64", "win32", " avx2", None),  # detected on Linux only
    ],
)
def test_find_difference_names_the_cpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    machine: str,
    system: str,
    lacks: str,
    kind: str | None,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system)
    (tmp_path / "cpuinfo").write_text(HASWELL.replace(f"{lacks} ", " "))
    difference = cpu.find_difference(tmp_path / "cpuinfo")
    assert kind in str(difference) if kind else difference is None


def test_hold_kernels_takes_avx2_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
    for difference, capability in ((None, "avx2"), ("Results will differ.", "default")):
        monkeypatch.setattr(cpu, "find_difference", lambda difference=difference: difference)
        cpu.hold_kernels()
        assert [os.environ[x] for x in NAMES] == [capability, "AVX2", "COMPATIBLE", "1"]


def test_importing_the_library_sets_the_kernels_of_pytorch() -> None:
    # Where the variable is not set, PyTorch takes the widest kernels of the CPU.
    expected = "DEFAULT" if cpu.find_difference() else "AVX2"
    assert torch.backends.cpu.get_cpu_capability() == expected
    assert os.environ["ATEN_CPU_CAPABILITY"] == expected.lower()
