"""The list of packages (SBOM) says what is installed of what is locked."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.test_requirements import CUDA, locked
from tools import make_sbom


def test_a_component_has_name_version_and_package_url() -> None:
    assert make_sbom.make_component("torch", "2.13.0+cpu") == {
        "type": "library",
        "bom-ref": "pkg:pypi/torch@2.13.0%2Bcpu",
        "name": "torch",
        "version": "2.13.0+cpu",
        "purl": "pkg:pypi/torch@2.13.0%2Bcpu",
    }


def test_versions_are_the_installed_ones_whatever_is_locked() -> None:
    text = "# numpy==1.0\nabsent-package==1.0\npyyaml==1.0 ; sys_platform == 'linux'\n"
    assert make_sbom.installed(text) == {"pyyaml": version("PyYAML")}


def test_the_list_has_every_locked_package_of_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_sbom, "SBOM", tmp_path / "build" / "sbom.json")
    make_sbom.main()
    document = json.loads((tmp_path / "build" / "sbom.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    listed = {x["name"]: {x["version"].split("+")[0]} for x in document["components"]}
    assert len(listed) == len(document["components"]) > 100
    expected = {k: v for k, v in locked("constraints.txt").items() if not CUDA.fullmatch(k)}
    assert {k: v for k, v in listed.items() if not CUDA.fullmatch(k)} == expected


def test_the_same_environment_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name in ("first", "second"):
        monkeypatch.setattr(make_sbom, "SBOM", tmp_path / name / "sbom.json")
        make_sbom.main()
        made.append((tmp_path / name / "sbom.json").read_bytes())
    assert made[0] == made[1]
