"""Every package of the environment, also those that others bring along, has one exact version."""

import re
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# Installers, which the environment comes with or `make lock` brings; they change no result.
INSTALLERS = {"pip", "setuptools", "uv", "wheel"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, set[str]]:
    """The versions that constraints.txt allows here, by package."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                versions = {x.version for x in requirement.specifier if x.operator == "=="}
                found.setdefault(canonical(requirement.name), set()).update(versions)
    return found


def test_constraints_pin_one_exact_version_of_each_package() -> None:
    assert {name: x for name, x in locked().items() if len(x) != 1} == {}


def test_every_installed_package_has_the_locked_version() -> None:
    installed = {
        canonical(x.name): x.version.split("+")[0]  # torch 2.13.0+cpu
        for x in distributions()
        if canonical(x.name) not in INSTALLERS
    }
    assert len(installed) > 100
    allowed = locked()
    assert {k: v for k, v in installed.items() if allowed.get(k) != {v}} == {}
