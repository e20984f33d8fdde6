"""The README leads somewhere, and its generated parts say what metrics hold."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet8.core.errors import PipelineError
from resnet8.core.params import Params, check_params
from resnet8.sweep.summary import summarize
from samples import layer_kinds
from tests.parameters import TEST_PARAMS
from tests.report_inputs import make_inputs, make_summary
from tests.sweep.results import CHANCE, USUAL, make_selection
from tools import update_readme
from tools.update_readme import METRICS, model_sizes, render, replace_part

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def params(**fetch: Any) -> Params:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    raw["fetch"] |= fetch
    return check_params(raw)


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    evidence = make_inputs()
    found = {
        "comparison": evidence.comparison,
        "decision": evidence.decision,
        "layers": {"activations": {}},
        "sensitivity": {"variants": {}},
        "sweep": make_summary(),
        "verify_onnx": {"parameters": {"original": 78_666}},
    }
    assert set(found) == set(METRICS)
    return found


def rendered(metrics: dict[str, Any], **fetch: Any) -> str:
    return render(README, metrics, params=params(**fetch), sizes={}, dag="graph")


def part(text: str, name: str) -> str:
    return text.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->", maxsplit=1)[0].strip()


def test_results_name_model_parameters_and_images(metrics: dict[str, Any]) -> None:
    n_images = f"{metrics['comparison']['n_images']:,}"
    assert part(rendered(metrics), "results").startswith(
        f"MLPerf Tiny's pretrained ResNet8 (78,666 parameters) on the {n_images} test images of "
        "CIFAR-10,\nquantized with 1,000 training images:\n\n| variant |"
    )
    own = rendered(metrics, model="/somewhere/mine.keras")
    assert part(own, "results").startswith("`mine.keras` (78,666 parameters)")


def test_results_begin_with_a_baseline_that_is_chance(metrics: dict[str, Any]) -> None:
    assert "Warning" not in part(rendered(metrics), "results")
    comparison = metrics["comparison"] | {"baseline_is_chance": True}
    found = part(rendered(metrics | {"comparison": comparison}), "results")
    assert found.startswith("> **Warning:** keras_fp32 is not measurably better than chance: ")


def test_results_name_files_that_quantization_made_larger(metrics: dict[str, Any]) -> None:
    assert "Larger than" not in part(rendered(metrics), "results")
    sizes = {"onnx_fp32": 10_000, "onnx_int8": 12_500}
    found = render(README, metrics, params=params(), sizes=sizes, dag="graph")
    assert "Larger than the float model's file: onnx_int8 by 2.5 kB;" in part(found, "results")


def test_results_say_what_share_of_kl_ten_images_have(metrics: dict[str, Any]) -> None:
    share = metrics["comparison"]["variants"]["onnx_int8"]["kl_top10_share"]
    found = part(rendered(metrics), "results")
    assert f"largest KL divergence make up {100 * share:.1f}% (onnx_int8), " in found


def test_sweep_has_its_answer_note_table_and_picture(metrics: dict[str, Any]) -> None:
    found = part(rendered(metrics), "sweep")
    assert found.startswith(f"> {metrics['sweep']['answer']}\n\n{metrics['sweep']['note']}\n\n|")
    assert "(docs/sweep.png)" in found


def test_a_model_without_a_sweep_has_neither_table_nor_picture(metrics: dict[str, Any]) -> None:
    none = summarize(make_selection([], n_other_model=278), USUAL, n_runs=4, chance=CHANCE)
    assert part(rendered(metrics | {"sweep": none}), "sweep") == none["note"]
    assert none["note"].endswith("278 runs of the record are of another model, and not shown.")


def test_check_fails_with_the_difference_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("old\nsame\n")
    monkeypatch.setattr(update_readme, "README", readme)
    monkeypatch.setattr(update_readme, "render_from_checkout", lambda text: "new\nsame\n")
    with pytest.raises(PipelineError, match=r"README.md must hold .* Run `make renew`"):
        update_readme.main(["--check"])
    assert readme.read_text() == "old\nsame\n"
    assert capsys.readouterr().out.splitlines()[-2:] == ["-old", "+new"]
    update_readme.main([])
    assert readme.read_text() == "new\nsame\n"
    update_readme.main(["--check"])


def test_layers_are_those_that_a_test_tries() -> None:
    assert part(README, "layers") == layer_kinds.table()


def test_first_commands_are_demo_and_test() -> None:
    commands = re.findall(r"^    (make .*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert (
        set(re.findall(r"(?:^    |`)(?:\S+=\S+ )?make ([a-z-]+)", README, re.MULTILINE)) <= targets
    )


def test_every_package_is_in_the_tree() -> None:
    rooms = [x for x in (ROOT / "resnet8").iterdir() if x.suffix == ".py" or x.is_dir()]
    names = {f"{x.name}{'/' if x.is_dir() else ''}" for x in rooms} - {
        "__init__.py",
        "__pycache__/",
    }
    assert {name for name in names if f"      {name}" not in README} == set()


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
