"""The GitHub Actions workflows run the Makefile's commands; `make lint` checks their security."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def jobs(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((WORKFLOWS / name).read_text())["jobs"])


def steps(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def targets(commands: list[str]) -> list[str]:
    return [match[1] for x in commands if (match := re.match(r"make (?:-s )?([a-z-]+)", x))]


def test_make_targets_exist_and_all_checks_are_run() -> None:
    commands = [x for job in jobs("ci.yaml").values() for x in steps(job)]
    assert set(targets(commands)) == {
        "lint", "check-generated", "test", "test-cpus", "recompute", "metrics-diff", "gate", "sbom",
    }  # fmt: skip
    nightly = [x for job in jobs("long-tests.yaml").values() for x in steps(job)]
    assert targets(nightly)[-1] == "test-faults"
    assert set(targets(commands + nightly)) <= TARGETS


def test_long_tests_are_where_the_makefile_looks_for_them() -> None:
    (arguments,) = re.findall(r"pytest -m faults (.+)", MAKEFILE.replace("\\\n", ""))
    places = [ROOT / x for x in arguments.split() if x.startswith("tests/")]
    marked = re.compile(r"\bpytest\.mark\.faults\b")
    files = [x for x in (ROOT / "tests").rglob("test_*.py") if marked.search(x.read_text())]
    assert [x for x in files if not any(x.is_relative_to(place) for place in places)] == []


def test_the_gate_judges_before_anything_is_recomputed_and_nothing_hides_a_failure() -> None:
    assert targets(steps(jobs("ci.yaml")["results"]))[:3] == ["gate", "metrics-diff", "recompute"]
    text = (WORKFLOWS / "ci.yaml").read_text()
    assert "continue-on-error" not in text
    assert "|| true" not in text


def test_jobs_with_write_permissions_run_no_code_of_the_repository() -> None:
    for name, job in jobs("ci.yaml").items():
        if "write" in job["permissions"].values():
            actions = [step.get("uses", "") for step in job["steps"]]
            assert not [x for x in actions if x.startswith("actions/checkout")], name
