"""Describes the machine by what its speed depends on."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Instructions for dot products of 8-bit numbers, by what Linux calls them.
_INSTRUCTIONS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "asimddp": "NEON dot products",
}


def describe(packages: Sequence[str]) -> dict[str, Any]:
    """Cores, architecture, 8-bit instructions (as far as Linux tells) and versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text(encoding="utf-8").split()) if cpu.is_file() else set()
    return {
        "cores": cores,
        "architecture": platform.machine(),
        "instructions": [name for flag, name in _INSTRUCTIONS.items() if flag in flags],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def sentence(machine: dict[str, Any]) -> str:
    """The description in one sentence."""
    instructions = ", ".join(machine["instructions"]) or "no 8-bit instructions known"
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return (
        f"{machine['cores']} cores, {machine['architecture']} ({instructions}); "
        f"Python {machine['python']}, {packages}."
    )
