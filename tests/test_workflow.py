"""The workflows of GitHub Actions: pinned, with few rights, and made of the Makefile's commands."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / ".github/workflows/ci.yaml").read_text()
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
NIGHTLY_TEXT = (ROOT / ".github/workflows/long-tests.yaml").read_text()
NIGHTLY: dict[Any, Any] = yaml.safe_load(NIGHTLY_TEXT)
NIGHTLY_STEPS = [step for job in NIGHTLY["jobs"].values() for step in job["steps"]]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_actions_are_pinned_to_commits_that_a_comment_explains() -> None:
    used = re.findall(r"uses: (.+)", TEXT + NIGHTLY_TEXT)
    assert len(used) >= 6
    for line in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_version() -> None:
    pins = dict.fromkeys(x["uses"] for x in (*STEPS, *NIGHTLY_STEPS) if "uses" in x)
    assert len({pin.split("@")[0] for pin in pins}) == len(pins)


def test_rights_are_given_job_by_job_and_only_comment_and_signature_may_write() -> None:
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "test": {"contents": "read"},
        "cpus": {"contents": "read"},
        "results": {"contents": "read"},
        "attest": {"contents": "read", "id-token": "write", "attestations": "write"},
        "comment": {"pull-requests": "write"},
    }


def test_long_tests_are_run_once_a_night_and_on_demand_with_no_right_but_to_read() -> None:
    assert set(NIGHTLY[True]) == {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* \*", NIGHTLY[True]["schedule"][0]["cron"])
    assert NIGHTLY["permissions"] == {}
    assert [job["permissions"] for job in NIGHTLY["jobs"].values()] == [{"contents": "read"}]
    assert NIGHTLY_STEPS[-1]["run"] == "make test-faults"


def test_long_tests_are_where_the_makefile_looks_for_them() -> None:
    (arguments,) = re.findall(r"pytest -m faults (.+)", MAKEFILE)
    places = [ROOT / x for x in arguments.split() if x.startswith("tests/")]
    marked = re.compile(r"^ *(@|pytestmark = )?pytest\.mark\.faults\b", re.MULTILINE)
    files = [x for x in (ROOT / "tests").rglob("test_*.py") if marked.search(x.read_text())]
    assert len(files) > 10
    assert [x for x in files if not any(x.is_relative_to(place) for place in places)] == []


def test_the_job_that_may_write_runs_no_code_of_the_pull_request() -> None:
    used = [step.get("uses", "").split("@")[0] for step in JOBS["comment"]["steps"]]
    assert "actions/checkout" not in used
    assert "pull_request_target" not in TEXT


def test_the_job_that_signs_runs_no_code_of_the_repository() -> None:
    steps = JOBS["attest"]["steps"]
    used = [step.get("uses", "").split("@")[0] for step in steps]
    assert used == ["actions/download-artifact", "actions/attest"]
    assert not [step for step in steps if "run" in step]


def test_only_results_of_main_in_public_repositories_are_signed() -> None:
    assert WORKFLOW[True]["push"] == {"branches": ["main"]}
    condition = "github.event_name == 'push' && !github.event.repository.private"
    assert JOBS["attest"]["if"] == condition
    assert JOBS["attest"]["needs"] == "results"


def test_all_that_is_published_is_signed() -> None:
    (made,) = [x for x in JOBS["results"]["steps"] if x.get("with", {}).get("name") == "results"]
    assert made["with"]["path"].split() == [
        "artifacts/report",
        "artifacts/figures",
        "metrics",
        "build/sbom.json",
    ]
    download, attest = (step["with"] for step in JOBS["attest"]["steps"])
    assert download == {"name": "results", "path": "results"}
    assert attest == {"subject-path": "results/**"}


@pytest.mark.parametrize("job", ["test", "results"])
def test_commands_are_the_makefiles(job: str) -> None:
    commands = [step["run"] for step in JOBS[job]["steps"] if "run" in step]
    targets = [match[1] for x in commands if (match := re.match(r"make (?:-s )?([a-z-]+)", x))]
    assert set(targets) <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    others = [x for x in commands if not x.startswith("make ")]
    said = "build/recompute.md build/gate.md build/metrics-diff.md"
    shown = f'cat {said} >> "$GITHUB_STEP_SUMMARY"'
    assert others == ([] if job == "test" else [shown])


def test_the_comment_begins_with_numbers_that_the_code_does_not_make() -> None:
    commands = [step["run"] for step in JOBS["comment"]["steps"] if "run" in step]
    assert commands[0] == "cat recompute.md gate.md metrics-diff.md > comment.md"
    assert "--body-file comment.md" in commands[1]
    (made,) = [x for x in JOBS["results"]["steps"] if x.get("with", {}).get("name") == "gate"]
    said = ["build/gate.*", "build/metrics-diff.md", "build/recompute.md"]
    assert made["with"]["path"].split() == said


def test_the_gate_judges_what_is_committed_and_not_what_is_recomputed() -> None:
    names = [step.get("name") for step in JOBS["results"]["steps"]]
    assert names.index("make gate") < names.index("make metrics-diff")
    assert names.index("make metrics-diff") < names.index("make recompute")
    steps = {step.get("name"): step for step in JOBS["results"]["steps"]}
    assert steps["make recompute"]["if"] == "${{ !cancelled() }}"


def test_lint_tests_pipeline_difference_and_gate_are_run() -> None:
    commands = " ".join(step.get("run", "") for step in STEPS)
    for target in (
        "lint",
        "check-generated",
        "test",
        "test-cpus",
        "recompute",
        "metrics-diff",
        "gate",
        "sbom",
    ):
        assert re.search(rf"make (-s )?{target}\b", commands), target


def test_nothing_hides_a_failure_of_the_gate() -> None:
    assert "continue-on-error" not in TEXT
    assert "|| true" not in TEXT
    (gate,) = [step for step in STEPS if step.get("run", "").startswith("make gate")]
    assert set(gate) == {"name", "run"}


def test_the_gate_has_the_whole_history() -> None:
    (checkout,) = [x for x in JOBS["results"]["steps"] if "checkout" in x.get("uses", "")]
    assert checkout["with"]["fetch-depth"] == 0


def test_what_comes_from_outside_reaches_commands_through_the_environment_only() -> None:
    assert not [x["run"] for x in (*STEPS, *NIGHTLY_STEPS) if "${{" in x.get("run", "")]


def test_lint_checks_the_workflow() -> None:
    assert "check-jsonschema --builtin-schema vendor.github-workflows" in MAKEFILE
    assert "zizmor --offline" in MAKEFILE
