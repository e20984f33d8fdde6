"""The benchmarks: what they compute from durations, what they hand to peers, what they run."""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import inference, loops, machine, sweep, tables
from benchmarks.peers import __main__ as peers_main
from benchmarks.peers import runs, scores
from benchmarks.peers.environments import make_environment
from benchmarks.timing import interleave, rate, ratio
from resnet8.core.dataset import TestSet
from resnet8.core.errors import PipelineError
from resnet8.core.files import write_array

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
INPUTS = runs.Inputs(model=Path("m.onnx"), calibration=Path("c.npy"), held_out=Path("held_out"))


def ticking(*seconds: float) -> Callable[[], float]:
    """A clock with which runs take these seconds, one after the other."""
    times = [0.0]
    for duration in seconds:
        times += [times[-1] + duration, times[-1] + duration]
    return iter(times).__next__


def test_interleave_takes_turns_and_drops_the_warm_up() -> None:
    order: list[str] = []
    durations = interleave(
        {name: lambda name=name: order.append(name) for name in "ab"},
        repeats=2,
        clock=ticking(9.0, 9.0, 1.0, 2.0, 3.0, 4.0),
    )
    assert order == list("ababab")
    assert durations == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_interleave_without_warm_up_counts_every_round() -> None:
    durations = interleave({"a": list}, repeats=2, warm_up=False, clock=ticking(1.0, 5.0))
    assert durations == {"a": [1.0, 5.0]}


def test_rate_is_at_the_median() -> None:
    assert rate(100, [1.0, 50.0, 2.0]) == 50.0


def test_ratio_is_the_median_of_quotients_within_rounds() -> None:
    # 2/1, 30/10 and 4/4; the quotient of the medians would be 4/4.
    assert ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]) == 2.0


def test_ratio_refuses_rounds_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def a_loop(way: str, n_images: int = 100, variant: str = "onnx_fp32") -> loops.Loop:
    return loops.Loop(variant, way, 10, n_images, list, bare=way.startswith("bare"))


def test_summarize_takes_the_fastest_bare_loop_of_the_variant_as_the_floor() -> None:
    found = [
        a_loop("pipeline"),
        a_loop("bare, slow"),
        a_loop("bare, fast"),
        a_loop("bare", variant="torch_fp32"),
    ]
    seconds = [[3.0, 3.0], [4.0, 4.0], [2.0, 2.0], [1.0, 1.0]]
    durations = {loop.name: x for loop, x in zip(found, seconds, strict=True)}
    rows = inference.summarize(found, durations)
    assert [row["times_floor"] for row in rows] == [1.5, 2.0, 1.0, 1.0]
    assert [row["images_per_second"] for row in rows] == pytest.approx([100 / 3, 25, 50, 100])


def test_summarize_counts_the_time_for_an_image_where_numbers_of_images_differ() -> None:
    found = [a_loop("one by one", n_images=2), a_loop("bare", n_images=100)]
    durations = {found[0].name: [1.0], found[1].name: [5.0]}
    # Half a second for an image against a twentieth.
    assert inference.summarize(found, durations)[0]["times_floor"] == pytest.approx(10.0)


def test_bare_loops_run_whole_batches() -> None:
    images = np.zeros((70, 32, 32, 3), np.float32)
    seen: list[int] = []
    best = loops._at_best_batch_size("onnx_fp32", "x", lambda x: seen.append(len(x)), images)
    assert set(seen) == {32, 64}
    assert best.n_images == 64
    seen.clear()
    best.run()
    assert sum(seen) == 64


def test_pipeline_and_bare_loops_run_a_model(onnx_fp32: Any, tmp_path: Path) -> None:
    path = tmp_path / "onnx_fp32.onnx"
    path.write_bytes(onnx_fp32.SerializeToString())
    images = np.zeros((40, 32, 32, 3), np.uint8)
    assert loops.find_models(tmp_path, tmp_path)["onnx_fp32"] == path
    own = loops.pipeline_loop("onnx_fp32", path, images, batch_size=16, n_classes=10)
    assert np.shape(own.run()) == (40, 10)
    (bare,) = loops.bare_loops("onnx_fp32", path, images.astype(np.float32), n_classes=10)
    bare.run()
    assert (bare.way, bare.batch_size, bare.n_images) == ("session.run", 32, 32)
    assert bare.bare
    assert not own.bare


def test_inference_refuses_no_rounds() -> None:
    with pytest.raises(PipelineError, match=r"--repeats must be at least 1, got 0\."):
        inference.main(["--repeats", "0"])


def test_held_out_images_exclude_those_that_calibrate() -> None:
    chosen = runs.held_out_indices(6, np.array([4, 0, 2]), size=2)
    assert chosen.tolist() == [1, 3]


def test_held_out_needs_images_that_do_not_calibrate() -> None:
    with pytest.raises(PipelineError, match=r"got all 2\. Choose a smaller one"):
        runs.held_out_indices(2, np.arange(2), size=5)


def test_peers_get_held_out_training_images_with_their_labels(tmp_path: Path) -> None:
    images = np.zeros((5, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = range(5)
    write_array(tmp_path / "cifar10" / "train_images.npy", images)
    write_array(tmp_path / "cifar10" / "train_labels.npy", np.array([9, 8, 7, 6, 5]))
    write_array(tmp_path / "calibration" / "indices.npy", np.array([3, 0]))
    peers_main.write_held_out(tmp_path, tmp_path / "out")
    found = np.load(tmp_path / "out" / "images.npy")
    assert found[:, 0, 0, 0].tolist() == [1, 2, 4]
    assert np.load(tmp_path / "out" / "labels.npy").tolist() == [8, 7, 5]


def test_no_peer_gets_a_test_image(tmp_path: Path) -> None:
    interpreters = {peer: Path("python") for peer in runs.PEERS}
    for run in runs.peer_runs(interpreters, INPUTS, tmp_path):
        words = [word for command in run.commands for word in command]
        assert [word for word in words if word.endswith(".npy")] == ["c.npy"]
        assert not [word for word in words if "test_images" in word]


def test_our_commands_are_stages_that_exist(tmp_path: Path) -> None:
    for run in runs.our_runs(INPUTS, tmp_path):
        for command in run.commands:
            assert command[:2] == (sys.executable, "-m")
            package, _, stage = command[2].partition(".")
            assert package == "stages"
            assert (ROOT / "stages" / f"{stage}.py").is_file()
            assert "m.onnx" in command
        assert str(run.out) in run.commands[-1]


def test_every_peer_has_a_script_with_its_recipes_and_exact_versions() -> None:
    for peer, recipes in runs.PEERS.items():
        tree = ast.parse((PEERS / peer / "quantize.py").read_text())
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        assert tuple(ast.literal_eval(constants["RECIPES"])) == recipes
        lines = (PEERS / peer / "requirements.txt").read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins), peer


def a_run(folder: Path, code: str) -> runs.Run:
    command = (sys.executable, "-c", code)
    return runs.Run("it", (command,), folder, folder / "model.onnx", folder / "log.txt")


def test_execute_starts_in_an_empty_folder_and_keeps_what_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / "it"
    folder.mkdir()
    (folder / "model.onnx").write_text("of an earlier run")
    code = "import os; print(sorted(os.listdir())); open('model.onnx', 'w').write('new')"
    runs.execute(a_run(folder, code))
    assert (folder / "log.txt").read_text() == "['log.txt']\n"
    assert (folder / "model.onnx").read_text() == "new"


def test_execute_names_the_log_of_what_fails(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^it must end with exit code 0, got 3 \(.*log.txt\)"):
        runs.execute(a_run(tmp_path / "it", "raise SystemExit(3)"))


def test_execute_misses_a_model(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^it must write .*model\.onnx, got no file"):
        runs.execute(a_run(tmp_path / "it", "pass"))


def test_make_environment_names_the_log_of_what_fails(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^The environment of olive must be installable"):
        make_environment("olive", tmp_path, python="false")


def test_score_is_exact_for_the_baseline_itself(
    onnx_fp32: Any, test_set: Any, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_fp32.SerializeToString())
    images, labels = (x[:50] for x in test_set)
    names = [str(k) for k in range(10)]
    run = loops.pipeline_loop("onnx_fp32", path, images, batch_size=50, n_classes=10)
    baseline: Any = run.run()
    labelled = TestSet(images, labels, names)
    row = scores.score({"it": path}, labelled, baseline=baseline, batch_size=50)["it"]
    assert (row["agreement"], row["kl_divergence"], row["times_float_speed"]) == (1.0, 0.0, 1.0)
    assert row["bytes"] == path.stat().st_size


def test_format_row_leaves_empty_what_was_not_measured() -> None:
    row = {"top1_accuracy": 0.8719, "agreement": 0.5, "kl_divergence": 0.00126, "bytes": 98509}
    assert scores.format_row("it", row) == ("it", "87.19", "50.00", "0.0013", "99", "", "", "")
    assert len(scores.format_row("it", row)) == len(peers_main.COLUMNS)


def test_readme_has_both_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(tables.README.read_text())
    monkeypatch.setattr(tables, "README", copy)
    for part in ("inference", "peers"):
        tables.renew_readme(part, f"new {part}")
        assert f"<!-- {part} -->\n\nnew {part}\n\n<!-- /{part} -->" in copy.read_text()


def test_readme_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", tables.README.read_text()):
        assert (tables.README.parent / target.split("#")[0]).exists(), target


def test_machine_is_described_by_properties() -> None:
    described = machine.describe(["numpy"])
    text = machine.sentence(described)
    assert text.endswith(f"numpy {np.__version__}.")
    assert described["cores"] >= 1


def test_builds_are_ignored_by_git() -> None:
    assert "/build/" in (ROOT / ".gitignore").read_text().splitlines()


def test_runs_per_minute_are_compared_with_the_sweep() -> None:
    ours, loop = sweep.Timed("make sweep", 48, 120.0), sweep.Timed("one process", 24, 120.0)
    assert ours.per_minute == 24
    assert sweep.format_row(loop, ours) == ("one process", "24", "120", "12.0", "2.00")
    assert sweep.format_row(ours, ours)[-1] == "1.00"


def test_commands_that_fail_are_shown_with_what_they_said(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "print('broken'); raise SystemExit(3)")
    with pytest.raises(PipelineError, match="must succeed in .*, got: broken"):
        sweep.call(tmp_path, *command)
