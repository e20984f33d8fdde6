"""Generated parts, links, commands and folders of the README."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from resnet8.core.errors import PipelineError
from resnet8.core.params import Params, check_params
from resnet8.sweep.summary import summarize
from tests.parameters import TEST_PARAMS
from tests.report_inputs import make_inputs, make_summary
from tests.sweep.results import CHANCE, make_selection
from tools import update_readme
from tools.update_readme import PARTS, model_sizes, render_parts, replace_part

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def params(**fetch: Any) -> Params:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    raw["fetch"] |= fetch
    return check_params(raw)


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    evidence = make_inputs()
    return {
        "comparison": evidence.results["comparison"],
        "decision": evidence.results["decision"],
        "layers": {"activations": {}},
        "sensitivity": {"variants": {}},
        "sweep": make_summary(),
        "verify_onnx": {"parameters": {"original": 78_666}},
    }


def rendered(
    metrics: dict[str, Any], *, sizes: dict[str, int] | None = None, **fetch: Any
) -> dict[str, str]:
    return render_parts(metrics, params=params(**fetch), sizes=sizes or {})


def test_every_part_has_its_place_in_a_document(metrics: dict[str, Any]) -> None:
    parts = rendered(metrics)
    assert parts.keys() == PARTS.keys()
    for name, content in parts.items():
        text = (ROOT / PARTS[name]).read_text(encoding="utf-8")
        assert content in replace_part(text, name, content)


def test_results_name_model_parameters_and_images(metrics: dict[str, Any]) -> None:
    n_images = f"{metrics['comparison']['n_images']:,}"
    assert rendered(metrics)["results"].startswith(
        f"MLPerf Tiny's pretrained ResNet8 (78,666 parameters) on the {n_images} test images of "
        "CIFAR-10,\nquantized with 1,000 training images:\n\n| variant |"
    )
    results = rendered(metrics, model="/somewhere/mine.keras")["results"]
    assert results.startswith("`mine.keras` (78,666 parameters)")


def test_results_warn_of_chance_and_of_files_that_quantization_made_larger(
    metrics: dict[str, Any],
) -> None:
    usual = rendered(metrics)["results"]
    assert "Warning" not in usual
    assert "Larger than" not in usual
    share = metrics["comparison"]["variants"]["onnx_int8"]["kl_top10_share"]
    assert f"{100 * share:.1f}% (onnx_int8), " in usual
    comparison = metrics["comparison"] | {"baseline_is_chance": True}
    sizes = {"onnx_fp32": 10_000, "onnx_int8": 12_500}
    results = rendered(metrics | {"comparison": comparison}, sizes=sizes)["results"]
    assert results.startswith("> **Warning:** keras_fp32 is not measurably better than chance: ")
    assert "onnx_int8 by 2.5 kB" in results


def test_sweep_has_its_answer_note_picture_and_table(metrics: dict[str, Any]) -> None:
    parts, summary = rendered(metrics), metrics["sweep"]
    assert parts["sweep"].startswith(f"> {summary['answer']}\n\n{summary['note']}\n\n![")
    assert parts["settings"].startswith("| variant |")


def test_a_model_without_a_sweep_has_neither_table_nor_picture(metrics: dict[str, Any]) -> None:
    none = summarize(make_selection([], n_other_model=278), n_runs=4, chance=CHANCE)
    parts = rendered(metrics | {"sweep": none})
    assert parts["sweep"] == parts["settings"] == none["note"]
    assert "not shown: 278" in none["note"]


def test_check_fails_with_the_difference_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("old\nsame\n")
    monkeypatch.setattr(update_readme, "render_documents", lambda: {readme: "new\nsame\n"})
    with pytest.raises(PipelineError, match=r"README.md must match .* Run `make renew`"):
        update_readme.main(["--check"])
    assert readme.read_text() == "old\nsame\n"
    assert capsys.readouterr().out.splitlines()[-2:] == ["-old", "+new"]
    update_readme.main([])
    assert readme.read_text() == "new\nsame\n"
    update_readme.main(["--check"])


def test_commands_packages_and_stages_that_it_names_exist() -> None:
    commands = re.findall(r"^    (make .*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^    |`)(?:\S+=\S+ )?make ([a-z-]+)", README, re.MULTILINE)
    assert set(named) <= set(targets)
    packages = [x.parent.name for x in ROOT.glob("resnet8/*/__init__.py")]
    assert [name for name in packages if f"      {name}/ " not in README] == []
    graph = README.split("```mermaid")[1].split("```")[0].split("\n", maxsplit=2)[2]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(re.findall(r"[a-z_]+", graph)) <= stages.keys()


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


def test_replace_part_keeps_what_is_around_and_needs_its_marks() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb"
    assert replace_part(text, "x", "new") == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match="must have one part <!-- x -->"):
        replace_part("no marks", "x", "y")


def test_model_sizes_come_from_the_lock_file() -> None:
    outs = [{"path": "artifacts/models/onnx_int8.onnx", "size": 7}, {"path": "data/raw", "size": 9}]
    assert model_sizes({"stages": {"a": {"outs": outs}, "b": {}}}) == {"onnx_int8": 7}
