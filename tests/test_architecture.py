"""The project's structure: imports, dependencies of DVC's stages, and how tests and CI are run."""

import ast
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from resnet8.sweep import identity
from samples.demo import make_project
from tests.parameters import TEST_PARAMS

ROOT = Path(__file__).parents[1]
STAGE_SCRIPTS = sorted(p for p in (ROOT / "stages").glob("*.py") if p.name != "__init__.py")
LIBRARY = sorted(p for p in (ROOT / "resnet8").rglob("*.py") if p.name != "__init__.py")
SOURCES = [*STAGE_SCRIPTS, *LIBRARY]
CORE = ROOT / "resnet8" / "core"
FIGURES = ROOT / "resnet8" / "report" / "figures"
# A package imports from those before it.
PACKAGES = (
    "core", "models", "quantize", "compare", "inspection", "reference", "sweep", "gate",
    "decision", "report",
)  # fmt: skip
LOCAL = ("resnet8", "samples", "stages", "tests")


@cache
def imported(path: Path) -> frozenset[str]:
    """All modules that a file imports, anywhere in it, with `from a import b` as a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


# Sections of the parameters that are read behind an expression.
BEHIND = {
    "params.variants": {"quantize_onnx", "quantize_torch"},
    "params.quantized": {"quantize_onnx", "quantize_torch"},
    "params.runs": {"sweep", "calibrate", "fit", "quantize_onnx", "quantize_torch"},
    "check_limits(": {"calibrate", "compare", "gate", "quantize_onnx", "quantize_torch"},
    "params.settings": {"calibrate", "fit"},
    "identify(params": {"calibrate", "compare", "convert_onnx", "evaluate", "fit"},
}


@cache
def local_files(path: Path) -> frozenset[Path]:
    """The local modules that a file imports, directly or not."""
    files = set()
    for name in imported(path):
        module = ROOT / f"{name.replace('.', '/')}.py"
        if name.split(".")[0] in LOCAL and module.is_file():
            files |= {module, *local_files(module)}
    return frozenset(files)


def third_party(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)} - set(LOCAL)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The stages as DVC resolves them, templates filled in from the tests' parameters."""
    folder = tmp_path_factory.mktemp("architecture")
    make_project(folder, TEST_PARAMS)
    with Repo(folder) as repo:
        return list(repo.index.stages)


def importers(*packages: str) -> set[str]:
    """Names of the library's modules and the stages that import from top-level packages."""
    return {x.stem for x in SOURCES if {name.split(".")[0] for name in imported(x)} & {*packages}}


def test_no_stage_is_imported_and_one_module_imports_each_framework() -> None:
    assert importers("stages") == set()
    assert importers("samples") == {"fetch"}
    for framework in ("tensorflow", "torchao", "onnx2torch", "requests", "matplotlib", "PIL"):
        assert len(importers(framework)) == 1, framework


def test_packages_are_those_listed_and_import_downward_only() -> None:
    folders = {path.parent.name for path in (ROOT / "resnet8").glob("*/__init__.py")}
    assert folders == set(PACKAGES)
    for position, package in enumerate(PACKAGES):
        for path in (ROOT / "resnet8" / package).rglob("*.py"):
            names = {x.split(".")[1] for x in imported(path) if x.startswith("resnet8.")}
            assert names <= set(PACKAGES[: position + 1]), path
    for path in FIGURES.glob("*.py"):
        report = {x for x in imported(path) if x.startswith("resnet8.report.")}
        assert all(x.startswith("resnet8.report.figures") for x in report), path


@pytest.mark.parametrize("package", ["core", "compare", "gate", "decision", "report"])
def test_pure_packages_import_no_framework(package: str) -> None:
    paths = set((ROOT / "resnet8" / package).rglob("*.py"))
    behind = set().union(*(third_party(x) for x in paths.union(*map(local_files, paths))))
    assert not behind & {"tensorflow", "keras", "onnx", "onnxruntime"}, package


def test_every_stage_has_a_script_of_its_name_and_every_script_a_stage(stages: list[Any]) -> None:
    names = {stage.name.split("@")[0] for stage in stages}
    # One script evaluates for all three stages that differ in what they are repeated over.
    names -= {"evaluate_onnx", "evaluate_torch"}
    assert names == {path.stem for path in STAGE_SCRIPTS}


def script_of(stage: Any) -> Path:
    return ROOT / "stages" / f"{re.search(r'-m stages[.]([a-z_]+)', stage.cmd)[1]}.py"


def declared(stage: Any) -> set[str]:
    return {str(dep) for dep in stage.deps if not hasattr(dep, "params")}


def test_deps_name_every_package_that_a_stage_imports_from(stages: list[Any]) -> None:
    for stage in stages:
        script = script_of(stage)
        needed = {script, *local_files(script)}
        if script.stem == "evaluate":  # imports the runtime by name
            needed |= local_files(CORE.parent / "models" / "keras_model.py")
            needed.add(CORE.parent / "models" / "keras_model.py")
        if identity.__name__ in imported(script):  # it reads the code that figures depend on
            needed |= set(identity.code_files())
        code = {
            x for x in declared(stage) if x.split("/")[0] in ("resnet8", "samples", "stages")
        } - {"samples/resnet8_shapes.h5"}
        assert code == {str(unit(path).relative_to(ROOT)) for path in needed}, stage.addressing


def unit(path: Path) -> Path:
    """DVC's dependency for a module: its package, or the module."""
    packages = [FIGURES, *((ROOT / "resnet8" / name) for name in PACKAGES)]
    return next((folder for folder in packages if path.is_relative_to(folder)), path)


def test_stages_that_compute_depend_on_the_pinned_libraries(stages: list[Any]) -> None:
    # They check, copy or rearrange what they read.
    without = {stage.name for stage in stages if "constraints.txt" not in declared(stage)}
    assert without == {"validate", "prepare", "candidate"}


def test_params_are_the_ones_that_a_script_reads(stages: list[Any]) -> None:
    known = set(yaml.safe_load(TEST_PARAMS.read_text()))
    for stage in stages:
        script = script_of(stage)
        text = script.read_text()
        read = set(re.findall(r"params(?:\(args\.params\))?\.(\w+)", text)) & known
        for phrase, behind in BEHIND.items():
            read |= behind if phrase in text else set()
        for kind, names in re.findall(r"model_dump\((include|exclude)={(.*?)}\)", text):
            sections = set(re.findall(r'"(\w+)"', names))
            read |= sections if kind == "include" else known - sections
        keys = {name for dep in stage.deps for name in getattr(dep, "params", [])}
        sections = {name.split(".")[0] for name in keys}
        assert sections == (known if stage.name == "validate" else read), stage.addressing


def test_no_parameter_hides_from_the_run_cache(stages: list[Any]) -> None:
    # DVC's run cache leaves out keys with the names of its own file metadata, also inside
    # parameters: a section that has them would give stale results.
    for stage in stages:
        params = [dep for dep in stage.deps if hasattr(dep, "params")]
        values = [value for dep in params for value in dep.read_params().values()]
        sections = [value for value in values if isinstance(value, dict)]
        cached = not any(out.persist for out in stage.outs)
        assert not cached or not {"size", "nfiles"} & set().union(*sections), stage.addressing


def test_outputs_are_ignored_by_git_or_kept_in_metrics(stages: list[Any]) -> None:
    assert "/artifacts/" in (ROOT / ".gitignore").read_text()
    for stage in stages:
        for out in stage.outs:
            path = out.def_path
            assert (path.startswith("metrics/") and not out.use_cache) or (
                path.startswith(("data/", "artifacts/")) and out.use_cache
            ), path
    metrics = {out.def_path for stage in stages for out in stage.outs if out.is_metric}
    assert metrics == {"metrics/summary", "metrics/candidate.json"}


def test_stages_behind_a_model_read_the_whole_test_set_and_no_other_stage_any(
    stages: list[Any],
) -> None:
    files = {f"data/cifar10/{x}" for x in ("labels.json", "test_images.npy", "test_labels.npy")}
    images = files - {"data/cifar10/labels.json"}
    readers = [stage for stage in stages if images & declared(stage)]
    assert not [stage.addressing for stage in readers if files - declared(stage)]
    assert {stage.name.split("@")[0] for stage in readers} == {
        "evaluate", "evaluate_onnx", "evaluate_torch", "compare", "decide", "inspect_layers",
        "lint_quantization", "plots", "report", "summarize_sweep",
        "sweep",  # tests/sweep/test_measure.py has its calibration
    }  # fmt: skip
    for stage in stages:
        assert stage in readers or "read_test_set(" not in script_of(stage).read_text()


def test_plain_repro_runs_no_sweep(stages: list[Any]) -> None:
    (sweep,) = [stage for stage in stages if stage.name == "sweep"]
    assert sweep.path_in_repo == "sweep/dvc.yaml"
    assert sweep.outs == []  # so no other stage can be behind it
    assert {x.path_in_repo for x in stages if x is not sweep} == {"dvc.yaml"}


def test_code_of_a_run_is_all_that_makes_measures_and_checks_a_model() -> None:
    names = ("stages/fit", "stages/quantize_onnx", "stages/quantize_torch", "resnet8/sweep/measure")
    behind = set().union(*(local_files(ROOT / f"{name}.py") for name in names))
    computing = {x for x in behind if x.is_relative_to(CORE.parent) and not x.is_relative_to(CORE)}
    assert set(identity.code_files()) > computing
    # The rest of `core` reads parameters and files, and words messages.
    assert {path.stem for path in identity.code_files() if path.is_relative_to(CORE)} == {
        "digits", "evaluation", "qparams",
    }  # fmt: skip


def test_stages_have_at_most_80_lines_and_modules_300() -> None:
    for paths, limit in ((STAGE_SCRIPTS, 80), (LIBRARY, 300)):
        assert [x for x in paths if len(x.read_text().splitlines()) > limit] == []


def test_every_import_is_a_direct_dependency() -> None:
    distributions = {"yaml": "pyyaml", "google": "protobuf", "PIL": "pillow"}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines}
    for path in [*LIBRARY, *STAGE_SCRIPTS, *(ROOT / "samples").glob("*.py")]:
        needed = {distributions.get(x, x) for x in third_party(path)}
        needed -= sys.stdlib_module_names
        assert needed <= pinned, path


# The commands of people and CI.


def test_long_tests_are_where_the_makefile_looks_for_them() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (arguments,) = re.findall(r"pytest -m faults (.+)", makefile.replace("\\\n", ""))
    places = [ROOT / x for x in arguments.split() if x.startswith("tests/")]
    marked = re.compile(r"\bpytest\.mark\.faults\b")
    files = [x for x in (ROOT / "tests").rglob("test_*.py") if marked.search(x.read_text())]
    assert [x for x in files if not any(x.is_relative_to(place) for place in places)] == []


def test_jobs_with_write_permissions_run_no_code_of_the_repository() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())["jobs"]
    for name, job in jobs.items():
        if "write" in job["permissions"].values():
            actions = [step.get("uses", "") for step in job["steps"]]
            assert not [x for x in actions if x.startswith("actions/checkout")], name
