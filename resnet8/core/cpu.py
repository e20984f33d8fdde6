"""Makes libraries choose kernels that give the same bits on every CPU with AVX2 and FMA.

Measurements: docs/reproducibility.md.
"""

import os
import platform
import sys
from pathlib import Path

NEEDED = {"avx2", "fma"}  # instruction sets, as Linux calls them


def find_difference(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Explains why results differ in their last bits on this CPU; None if they do not.

    Only Linux lists the CPU's instruction sets, in `cpuinfo`.
    """
    machine = platform.machine()
    missing = set()
    if sys.platform == "linux":
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith("flags")), "")
        missing = NEEDED - set(flags.split())
    if machine.lower() not in ("x86_64", "amd64"):
        kind = f"an {machine} CPU"
    elif missing:
        kind = f"an x86-64 CPU without {' and '.join(sorted(missing)).upper()}"
    else:
        return None
    return (
        f"Results will differ from the committed ones in their last bits: this is {kind}, whose "
        "kernels add in another order than those of x86-64 CPUs with AVX2 and FMA "
        "(docs/reproducibility.md)."
    )


def hold_kernels() -> None:
    """Makes PyTorch, oneDNN and MKL give the same bits on all CPUs with AVX2.

    Must be called before PyTorch is imported. By default, these libraries choose kernels by the
    CPU's vendor and vector width, which differ in their order of summation. TensorFlow gets one
    thread for each operation, because batches run concurrently.

    Source: https://www.intel.com/content/www/us/en/docs/onemkl/developer-guide-linux (conditional
    numerical reproducibility) for MKL_CBWR, https://uxlfoundation.github.io/oneDNN (CPU dispatcher
    control) for ONEDNN_MAX_CPU_ISA.
    """
    has_avx2 = find_difference() is None
    os.environ["ATEN_CPU_CAPABILITY"] = "avx2" if has_avx2 else "default"
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    os.environ["MKL_CBWR"] = "COMPATIBLE"
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
