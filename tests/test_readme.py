"""The README says what the checkout holds."""

import json
import re
from pathlib import Path

import pytest
import yaml

from resnet8.common.params import load_params
from tools.update_readme import model_sizes, render_from_checkout, replace_part

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_generated_parts_are_those_of_metrics_lock_and_dvc_dag() -> None:
    assert render_from_checkout(README) == README, "run `make readme`"


def test_sweep_that_it_shows_is_finished() -> None:
    found = json.loads((ROOT / "metrics" / "sweep.json").read_text())
    n_runs = len(load_params(ROOT / "params.yaml").runs)
    assert found["n_finished"] == found["n_runs"] == n_runs, "run `make sweep`"
    assert f"The {n_runs} runs of the grid" in README


def test_first_commands_are_demo_and_test() -> None:
    commands = re.findall(r"^    (make .*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert (
        set(re.findall(r"(?:^    |`)(?:\S+=\S+ )?make ([a-z-]+)", README, re.MULTILINE)) <= targets
    )


def test_every_module_is_in_the_tree() -> None:
    modules = {p.name for p in (ROOT / "resnet8").glob("*.py")} - {
        "__init__.py",
        "errors.py",
        "files.py",
    }
    assert {name for name in modules if name not in README} == set()


def test_calibration_size_is_that_of_params_yaml() -> None:
    size = yaml.safe_load((ROOT / "params.yaml").read_text())["calibrate"]["size"]
    assert f"{size:,} training images" in README


def test_every_local_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (ROOT / target.split("#")[0]).exists(), target


def test_replace_part_needs_its_marks_once() -> None:
    with pytest.raises(ValueError, match="must have one part <!-- x -->"):
        replace_part("no marks", "x", "y")


def test_replace_part_keeps_what_is_around() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    assert replace_part(text, "x", "new") == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb"


def test_model_sizes_come_from_the_lock_file() -> None:
    outs = [{"path": "artifacts/models/onnx_int8.onnx", "size": 7}, {"path": "data/raw", "size": 9}]
    assert model_sizes({"stages": {"a": {"outs": outs}, "b": {}}}) == {"onnx_int8": 7}
