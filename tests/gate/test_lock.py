"""A lock file that DVC wrote is accepted, with and without the data, until something changes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet8.core.errors import GateError, ParamsError
from resnet8.gate.lock import check_lock
from tests.gate.project import (
    DROP,
    Edit,
    append,
    bomb,
    both,
    commit,
    entry,
    git,
    remove,
    replaced,
    write,
)
from tests.pipeline.commands import ROOT, repro

PARAMS: dict[str, Any] = {
    "look": "plain",
    "count": 2,
    "more": {"types": ["a", "b"], "rate": 0.5, "none": None},
}
METRICS = ["metrics/all.json"]
PIPELINE = """
stages:
  draw:
    foreach: ${more.types}
    do:
      cmd: mkdir -p data/drawn && echo ${item} > data/drawn/${item}.txt
      outs: ["data/drawn/${item}.txt"]
  label:
    cmd: echo 1 > data/labels.npy
    outs: [data/labels.npy]
  split:
    cmd: mkdir -p data/raw && echo x > data/raw/x && echo y > data/raw/y
    outs: [data/raw]
  compare:
    cmd: mkdir -p metrics/rows && cat data/drawn/* > metrics/all.json && echo 1 > metrics/rows/1
    deps: [data/drawn, data/labels.npy, data/raw/x, code, code/a.py]
    params: [count, more]
    outs: [metrics/all.json: {cache: false}]
    metrics: [metrics/rows: {cache: false}]
  show:
    cmd: mkdir -p metrics && cat shown.py metrics/all.json > metrics/page.json
    deps: [shown.py, metrics/all.json]
    params: [look]
    outs: [metrics/page.json: {cache: false}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `dvc repro`, with DVC's settings and ignored files of this one."""
    folder = tmp_path_factory.mktemp("lock") / "project"
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".gitignore").write_text("/data\n__pycache__\n.*.tmp*\n")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    # Names whose order is another as paths, what is compiled, and what is being written.
    for name in ("a/b.py", "a-b.py", "a.py", "t.jinja", "__pycache__/b.pyc", ".x.py.tmp1"):
        path = folder / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "shown.py").write_text("1")
    git(folder, "init", "--quiet")
    commit(folder)
    done = repro(folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(made, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def change_params(folder: Path, **changed: Any) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS | changed))


def test_a_lock_file_of_dvc_is_accepted_also_without_the_data(project: Path) -> None:
    check_lock(METRICS)
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    check_lock(METRICS)


def test_dvc_stages_no_lock_without_its_metrics(made: Path) -> None:
    assert git(made, "diff", "--cached", "--name-only") == ""
    git(made, "add", "--all")
    staged = git(made, "diff", "--cached", "--name-only").split()
    assert staged == ["dvc.lock", "metrics/all.json", "metrics/page.json", "metrics/rows/1"]
    git(made, "reset", "--quiet")


@pytest.mark.parametrize(
    "edit",
    [
        append("dvc.yaml", "# a comment\n"),
        append("params.yaml", "\n\n# a comment\n"),
        append("dvc.lock", "# a comment\n"),
        append("README.md", "A page.\n"),
        append("code/__pycache__/c.pyc", "compiled"),
        append("code/.y.tmp2", "half"),
        append("data/raw/x", "data that Git does not have"),
        append("shown.py", "code of a stage behind the comparison"),
    ],
)
def test_an_edit_that_affects_no_metric_is_no_change(project: Path, edit: Edit) -> None:
    edit(project)
    change_params(project, look="fancy")
    check_lock(METRICS)


def recorded(*keys: Any, to: Any = DROP) -> Edit:
    """Edits an entry of dvc.lock by hand."""
    return entry("dvc.lock", "stages", *keys, to=to)


COMPARE_DEPS = "code, code/a.py, data/drawn, data/labels.npy, data/raw/x"


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (append("code/a.py", "1"), "code, code/a.py"),
        (append("code/new.py", "1"), "code"),
        (lambda folder: (folder / "code/t.jinja").rename(folder / "code/u.jinja"), "code"),
        (remove("code/a.py"), "code, code/a.py"),
        (append("metrics/rows/2", "2"), "metrics/rows"),
        (append("metrics/all.json", "2"), "metrics/all.json"),
        (append("metrics/page.json", "2"), "metrics/page.json"),
        # A metric that DVC is to cache.
        (both(append("metrics/all.json", "2"), replaced("dvc.yaml", "all.json: {cache: false}",
              "all.json")), "metrics/all.json"),
        (replaced("dvc.yaml", "echo 1 > metrics", "echo 2 > metrics"), "the command of compare"),
        (replaced("dvc.yaml", "cat shown.py", "cat"), "the command of show"),
        (replaced("dvc.yaml", "[shown.py, ", "["), "shown.py"),
        (replaced("dvc.yaml", "code/a.py]", "code/a.py, shown.py]"), "shown.py"),
        (replaced("dvc.yaml", " data/raw/x,", ""), "data/raw/x"),
        (replaced("dvc.yaml", "[look]", "[look, count]"), "count"),
        (replaced("dvc.yaml", "[count, more]", "[count, look, more]"), "look"),
        (replaced("dvc.yaml", "  show:", "  extra: {cmd: z}\n  show:"), "the command of extra"),
        (recorded("compare", "deps"), COMPARE_DEPS),
        (recorded("compare", "params"), "count, more"),
        (recorded("compare", "deps", 3, "md5"), "data/labels.npy"),
        (recorded("label", "outs"), "data/labels.npy"),
        (recorded("draw@a", "outs"), "data/drawn, data/drawn/a.txt"),
        (both(recorded("label", "outs", 0, "md5", to=""),
              recorded("compare", "deps", 3, "md5", to="")), "data/labels.npy"),
        (recorded("label", "outs", 0, "md5", to="3" * 32), "data/labels.npy"),  # of another run
        (recorded("show"),
         "look, metrics/all.json, metrics/page.json, shown.py, the command of show"),
    ],
)  # fmt: skip
def test_an_edit_that_affects_the_metrics_is_named(project: Path, edit: Edit, named: str) -> None:
    edit(project)
    with pytest.raises(GateError, match=f"does not record: {named}. Run `dvc repro`"):
        check_lock(METRICS)


def test_another_parameter_and_a_metric_that_no_judged_stage_makes_are_named(
    project: Path,
) -> None:
    for changed, metrics, named in (
        ({"count": 3}, METRICS, "count"),
        ({"more": {"types": ["b", "a"]}}, METRICS, "more"),
        ({"count": None}, METRICS, "count"),
        ({}, ["metrics/page.json"], "metrics/page.json"),
    ):
        change_params(project, **changed)
        with pytest.raises(GateError, match=f"does not record: {named}. Run `dvc repro`"):
            check_lock(metrics)


def repeat_dependency(folder: Path) -> None:
    deps = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["compare"]["deps"]
    recorded("compare", "deps", to=[*deps, deps[0]])(folder)


UNREADABLE = r"dvc\.yaml, dvc\.lock and \.dvc must be readable for DVC, got: .+ `git restore`"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (remove("dvc.lock"), r"dvc\.lock must be there"),
        (remove("dvc.yaml"), r"dvc\.yaml must be there"),
        (lambda folder: shutil.rmtree(folder / ".dvc"), UNREADABLE),
        (write("dvc.yaml", PIPELINE.partition("  show:")[0].encode()),
         r"dvc\.lock must record the stages of dvc\.yaml, got show, too\. .+`dvc remove`"),
        (repeat_dependency, UNREADABLE),
        (replaced("dvc.lock", "  show:", "  show: {cmd: z}\n  show:"), UNREADABLE),
        (replaced("dvc.lock", "    cmd: ", "    <<: *a\n    cmd: "), UNREADABLE),
        (write("dvc.lock", b"stages: [}"), UNREADABLE),
        (write("dvc.lock", b""), UNREADABLE),
        (write("dvc.lock", b"schema: '2.0'\nstages: {a: 1}"), UNREADABLE),
        (write("dvc.lock", b"schema: '2.0'\nstages: {}"), r"does not record: .+metrics/all\.json"),
        (write("dvc.lock", b"stages: " + b"[" * 100_000), r"dvc\.lock must be nested at most 100"),
        (write("dvc.yaml", b"stages:\n  " + b"- " * 50_000), r"dvc\.yaml must be nested at most"),
        (write("dvc.lock", f"{bomb()}\nschema: '2.0'\nstages: *a11\n".encode()), "must be"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_with_a_remedy(project: Path, edit: Edit, message: str) -> None:
    edit(project)
    with pytest.raises((GateError, ParamsError), match=message) as caught:
        check_lock(METRICS)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("place", ["cmd", "deps", "params", "params.yaml"])
def test_a_lock_of_references_ends_soon(project: Path, place: str) -> None:
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    compare = lock["stages"]["compare"]
    (compare["params"] if place == "params.yaml" else compare)[place] = "BOMB"
    text = f"{bomb()}\n{yaml.safe_dump(lock)}".replace("BOMB", "*a11")
    (project / "dvc.lock").write_text(text)
    with pytest.raises(GateError, match="must be") as caught:
        check_lock(METRICS)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("types", [["a"], []])
def test_fewer_types_need_a_run_and_leave_their_entries(project: Path, types: list[str]) -> None:
    change_params(project, more={**PARAMS["more"], "types": types})
    if not types:
        for old, new in (("data/drawn, ", ""), ("cat data/drawn/*", "echo none")):
            replaced("dvc.yaml", old, new)(project)
    with pytest.raises(GateError, match="does not record: data/drawn, more"):
        check_lock(METRICS)
    shutil.rmtree(project / "data/drawn")
    assert repro(project).returncode == 0
    assert "draw@b" in (project / "dvc.lock").read_text()
    check_lock(METRICS)
