"""Writes the list of packages that the pipeline runs with (an SBOM): `python -m tools.make_sbom`.

The list has the packages of constraints.txt in their installed versions, local ones included
(torch 2.13.0+cpu). Packages that are not installed, because only other platforms need them, are
left out. The same environment gives the same bytes.

Source: https://cyclonedx.org/docs/1.6/json/
"""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
SBOM = ROOT / "build" / "sbom.json"


def make_component(name: str, version: str) -> dict[str, str]:
    """Describes a package, with its package URL.

    Source: https://github.com/package-url/purl-spec
    """
    purl = f"pkg:pypi/{name}@{quote(version)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def installed(constraints: str) -> dict[str, str]:
    """Returns the installed version of each package that the text of a constraints file names."""
    found = {}
    for line in constraints.splitlines():
        if line and not line.startswith("#"):
            name = line.split("==")[0]
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found


def make_sbom(versions: dict[str, str]) -> dict[str, Any]:
    """Returns a CycloneDX document of packages, given their versions by name."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "resnet8"}},
        "components": [make_component(*package) for package in sorted(versions.items())],
    }


def main() -> None:
    SBOM.parent.mkdir(exist_ok=True)
    document = make_sbom(installed(CONSTRAINTS.read_text(encoding="utf-8")))
    SBOM.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
