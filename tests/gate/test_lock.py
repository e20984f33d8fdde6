"""A lock file that DVC wrote is taken, with and without the data, until something changes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from resnet8.core.errors import GateError
from resnet8.gate.lock import check_lock
from tests.gate.project import commit, git
from tests.pipeline.commands import ROOT, repro

PARAMS = {"look": "plain", "count": 2, "more": {"types": ["a", "b"], "rate": 0.5, "off": None}}
METRICS = ["metrics/all.json"]
PIPELINE = """
stages:
  draw:
    foreach: ${more.types}
    do:
      cmd: mkdir -p data/drawn && echo ${item} > data/drawn/${item}.txt
      outs: ["data/drawn/${item}.txt"]
  split:
    cmd: mkdir -p data/raw && echo x > data/raw/x && echo y > data/raw/y
    outs: [data/raw]
  compare:
    cmd: mkdir -p metrics/rows && cat data/drawn/* > metrics/all.json && echo 1 > metrics/rows/1
    deps: [data/drawn, data/raw/x, code, code/a.py]
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
def project(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "project", symlinks=True)


def test_what_dvc_recorded_is_taken_also_without_the_data(project: Path) -> None:
    check_lock(project, PARAMS, METRICS)
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    check_lock(project, PARAMS, METRICS)


def test_dvc_stages_no_lock_without_its_metrics(made: Path) -> None:
    assert git(made, "diff", "--cached", "--name-only") == ""
    git(made, "add", "--all")
    staged = git(made, "diff", "--cached", "--name-only").split()
    assert staged == ["dvc.lock", "metrics/all.json", "metrics/page.json", "metrics/rows/1"]
    git(made, "reset", "--quiet")


def append(name: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return edit


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
    ],
)
def test_what_determines_nothing_is_no_change(project: Path, edit: Callable[[Path], None]) -> None:
    edit(project)
    check_lock(project, PARAMS, METRICS)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (append("code/a.py", "1"), "code, code/a.py"),
        (append("code/new.py", "1"), "code"),
        (lambda folder: (folder / "code/t.jinja").rename(folder / "code/u.jinja"), "code"),
        (append("metrics/rows/2", "2"), "metrics/rows"),
        (append("metrics/all.json", "2"), "metrics/all.json"),
    ],
)
def test_what_determines_the_metrics_is_named(
    project: Path, edit: Callable[[Path], None], named: str
) -> None:
    edit(project)
    with pytest.raises(GateError, match=f"records of: {named}. Run `dvc repro`"):
        check_lock(project, PARAMS, METRICS)


def test_a_stage_behind_the_comparison_needs_no_run_but_its_definition(project: Path) -> None:
    (project / "shown.py").write_text("2")
    check_lock(project, PARAMS | {"look": "fancy"}, METRICS)
    for edit, named in (
        (append("metrics/page.json", "2"), "metrics/page.json"),
        (replaced("cat shown.py", "cat"), "the command of show"),
        (replaced("[shown.py, ", "["), "shown.py"),
        (replaced("[look]", "[look, count]"), "count"),
    ):
        before = {x: (project / x).read_text() for x in ("metrics/page.json", "dvc.yaml")}
        edit(project)
        with pytest.raises(GateError, match=f"records of: {named}. Run `dvc repro`"):
            check_lock(project, PARAMS, METRICS)
        for name, text in before.items():
            (project / name).write_text(text)


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / "dvc.yaml").read_text()
        assert text.count(old) == 1
        (folder / "dvc.yaml").write_text(text.replace(old, new))

    return edit


def test_another_parameter_is_named(project: Path) -> None:
    for changed, named in (({"count": 3}, "count"), ({"more": {"types": ["a"]}}, "more")):
        with pytest.raises(GateError, match=f"records of: {named}. Run `dvc repro`"):
            check_lock(project, PARAMS | changed, METRICS)


@pytest.mark.parametrize("types", [["a"], []])
def test_fewer_types_need_a_run_and_leave_their_entries(project: Path, types: list[str]) -> None:
    fewer = PARAMS | {"more": {**PARAMS["more"], "types": types}}  # type: ignore[dict-item]
    (project / "params.yaml").write_text(yaml.safe_dump(fewer))
    if not types:
        for old, new in (("data/drawn, ", ""), ("cat data/drawn/*", "echo none")):
            replaced(old, new)(project)
    with pytest.raises(GateError, match="records of: data/drawn, more"):
        check_lock(project, fewer, METRICS)
    shutil.rmtree(project / "data/drawn")
    assert repro(project).returncode == 0
    assert "draw@b" in (project / "dvc.lock").read_text()
    check_lock(project, fewer, METRICS)
