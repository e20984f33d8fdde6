"""Every package of the environment, also those that others bring along, has one exact version.

constraints.txt has those that the pipeline runs with, constraints-dev.txt the others.
"""

import re
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
RUNTIME, DEVELOPMENT = FILES = ("constraints.txt", "constraints-dev.txt")
# Installers, which the environment comes with or people bring; they change no result.
INSTALLERS = {"pip", "setuptools", "uv", "wheel"}
# What PyTorch with CUDA needs; the build for CPUs does not ask for it.
CUDA = re.compile(r"(cuda|nvidia)-.+|triton")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(file: str) -> list[Requirement]:
    text = (ROOT / file).read_text()
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def locked(file: str) -> dict[str, set[str]]:
    """The versions that a file of constraints allows here, by package."""
    pins: dict[str, set[str]] = {}
    for requirement in lines(file):
        if requirement.marker is None or requirement.marker.evaluate():
            versions = {x.version for x in requirement.specifier if x.operator == "=="}
            pins.setdefault(canonical(requirement.name), set()).update(versions)
    return pins


def closure(*files: str) -> set[str]:
    """The packages of requirement files, and all that these need here, without CUDA.

    By what the installed ones say; one that is not installed (a fuzzer) brings nothing along.
    """
    packages: set[tuple[str, str]] = set()  # with an extra, or ""
    waiting = [requirement for file in files for requirement in lines(file)]
    while waiting:
        requirement = waiting.pop()
        for extra in {"", *requirement.extras}:
            package = (canonical(requirement.name), extra)
            if package not in packages:
                packages.add(package)
                waiting += needed(*package)
    return {name for name, _ in packages if not CUDA.fullmatch(name)}


def needed(name: str, extra: str) -> list[Requirement]:
    """Requirements of an installed package here, with an extra or without ("")."""
    try:
        requirements = [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return []
    return [x for x in requirements if x.marker is None or x.marker.evaluate({"extra": extra})]


def test_constraints_pin_one_exact_version_of_each_package_in_order_and_once() -> None:
    for file in FILES:
        assert {name: x for name, x in locked(file).items() if len(x) != 1} == {}
        names = [requirement.name for requirement in lines(file)]
        assert names == sorted(map(canonical, names))
    # Anywhere: here, or where its marker holds.
    assert {x.name for x in lines(RUNTIME)} & {x.name for x in lines(DEVELOPMENT)} == set()


def test_every_installed_package_has_the_locked_version() -> None:
    installed = {
        canonical(x.name): x.version.split("+")[0]  # torch 2.13.0+cpu
        for x in distributions()
        if canonical(x.name) not in {*INSTALLERS, "resnet8"}
    }
    assert len(installed) > 100
    allowed = locked(RUNTIME) | locked(DEVELOPMENT)
    assert {k: v for k, v in installed.items() if allowed.get(k) != {v}} == {}


def test_constraints_are_what_the_requirements_bring_along() -> None:
    runtime = closure("requirements.txt")
    assert len(runtime) > 100
    assert {name for name in locked(RUNTIME) if not CUDA.fullmatch(name)} == runtime
    development = closure("requirements-dev.txt", "requirements-fuzz.txt")
    assert set(locked(DEVELOPMENT)) == development - runtime
    direct = {canonical(Requirement(line).name) for line in requires("resnet8") or []}
    assert direct == set(locked("requirements.txt"))
    allowed = locked(RUNTIME) | locked(DEVELOPMENT)
    for file in ("requirements.txt", "requirements-dev.txt", "requirements-fuzz.txt"):
        pins = {canonical(name): versions for name, versions in locked(file).items()}
        assert {k: v for k, v in pins.items() if allowed.get(k) != v} == {}, file
