"""CPUs on which bits differ are named, and PyTorch is held to kernels that all others have."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from resnet8.core import cpu

HASWELL = "processor: 0\nflags\t\t: fpu sse2 fma avx avx2 rdtscp\n"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    path = tmp_path / "cpuinfo"
    path.write_text(HASWELL)
    return path


def test_find_difference_is_none_with_avx2_and_fma(cpuinfo: Path) -> None:
    assert cpu.find_difference(cpuinfo) is None


@pytest.mark.parametrize(("flag", "name"), [("avx2", "AVX2"), ("fma", "FMA")])
def test_find_difference_names_what_is_missing(cpuinfo: Path, flag: str, name: str) -> None:
    cpuinfo.write_text(HASWELL.replace(f" {flag} ", " "))
    sentence = cpu.find_difference(cpuinfo)
    assert sentence is not None
    assert f"this is an x86-64 CPU without {name}, whose kernels add in another order" in sentence


def test_find_difference_names_another_kind_of_cpu(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    sentence = cpu.find_difference(cpuinfo)
    assert sentence is not None
    assert "this is an aarch64 CPU" in sentence


def test_find_difference_is_none_where_only_linux_would_tell(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert cpu.find_difference(Path("nowhere")) is None


@pytest.mark.parametrize(
    ("difference", "capability"), [(None, "avx2"), ("Results will differ.", "default")]
)
def test_hold_kernels_takes_avx2_where_it_is_there(
    monkeypatch: pytest.MonkeyPatch, difference: str | None, capability: str
) -> None:
    monkeypatch.setattr(cpu, "find_difference", lambda: difference)
    names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "TF_NUM_INTRAOP_THREADS")
    for name in names:
        monkeypatch.setenv(name, "")
    cpu.hold_kernels()
    assert os.environ["ATEN_CPU_CAPABILITY"] == capability
    assert [os.environ[name] for name in names[1:]] == ["AVX2", "COMPATIBLE", "1"]


def test_importing_the_library_holds_pytorch_to_them() -> None:
    script = "import resnet8, torch; print(torch.backends.cpu.get_cpu_capability())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, env={**os.environ, "ATEN_CPU_CAPABILITY": ""},
    )  # fmt: skip
    expected = "DEFAULT" if cpu.find_difference() else "AVX2"
    assert done.stdout.strip() == expected
