"""The benchmarks: what they compute from durations, what they hand to peers, what they run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from scipy import stats

from benchmarks import inference, loops, methods, sweep, tables
from benchmarks.peers import __main__ as peers_main
from benchmarks.peers import runs, scores
from benchmarks.timing import interleave, rate, ratio
from resnet8.core.dataset import TestSet
from resnet8.core.errors import PipelineError
from resnet8.core.files import write_array
from resnet8.core.params import load_params
from samples.shapes import draw_batch
from tests.parameters import TEST_PARAMS
from tests.quantize.graphs import small_resnet

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


def test_rate_and_ratio_are_medians() -> None:
    assert rate(100, [1.0, 50.0, 2.0]) == 50.0
    # Of quotients within rounds, 2/1, 30/10 and 4/4; the quotient of the medians would be 4/4.
    assert ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]) == 2.0
    ours, loop = sweep.Timed("make sweep", 48, 120.0), sweep.Timed("one process", 24, 120.0)
    assert sweep.format_row(loop, ours) == ("one process", "24", "120", "12.0", "2.00")


def a_loop(way: str, n_images: int = 100, variant: str = "onnx_fp32") -> loops.Loop:
    return loops.Loop(variant, way, 10, n_images, list, bare=way.startswith("bare"))


def test_summarize_takes_the_fastest_bare_loop_of_the_variant_as_the_floor() -> None:
    durations = {
        a_loop("pipeline"): 3.0,
        a_loop("bare, slow"): 4.0,
        a_loop("bare, fast"): 2.0,
        a_loop("bare", variant="torch_fp32"): 1.0,
        a_loop("one by one", n_images=2): 1.0,  # half a second for an image
    }
    rows = inference.summarize(list(durations), {x.name: [s, s] for x, s in durations.items()})
    assert [row["times_floor"] for row in rows] == pytest.approx([1.5, 2.0, 1.0, 1.0, 25.0])
    expected = [100 / 3, 25, 50, 100, 2]
    assert [row["images_per_second"] for row in rows] == pytest.approx(expected)


def test_loops_run_a_model_and_the_baseline_itself_has_an_exact_score(
    test_set: Any, tmp_path: Path
) -> None:
    path, (images, _) = tmp_path / "onnx_fp32.onnx", test_set
    onnx.save(small_resnet(), path)
    images, labels = images[:40], np.arange(40) % 4
    assert loops.find_models(tmp_path, tmp_path)["onnx_fp32"] == path
    pipeline = loops.pipeline_loop("onnx_fp32", path, images, batch_size=16, n_classes=4)
    (bare,) = loops.bare_loops("onnx_fp32", path, images.astype(np.float32), n_classes=4)
    bare.run()
    assert (bare.way, bare.batch_size, bare.n_images) == ("session.run", 32, 32)
    assert (pipeline.bare, bare.bare) == (False, True)
    baseline: Any = pipeline.run()
    assert np.shape(baseline) == (40, 4)
    labelled = TestSet(images, labels, list("abcd"))
    row = scores.score({"it": path}, labelled, baseline=baseline, batch_size=16)["it"]
    assert (row["agreement"], row["kl_divergence"], row["times_float_speed"]) == (1.0, 0.0, 1.0)
    assert row["bytes"] == path.stat().st_size


def test_peers_get_held_out_training_images_with_their_labels_and_no_test_image(
    tmp_path: Path,
) -> None:
    images = np.zeros((5, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = range(5)
    write_array(tmp_path / "cifar10" / "train_images.npy", images)
    write_array(tmp_path / "cifar10" / "train_labels.npy", np.array([9, 8, 7, 6, 5]))
    write_array(tmp_path / "calibration" / "indices.npy", np.array([3, 0]))
    peers_main.write_held_out(tmp_path, tmp_path / "out")
    written = np.load(tmp_path / "out" / "images.npy")
    assert written[:, 0, 0, 0].tolist() == [1, 2, 4]
    assert np.load(tmp_path / "out" / "labels.npy").tolist() == [8, 7, 5]
    assert runs.held_out_indices(6, np.array([4, 0, 2]), size=2).tolist() == [1, 3]
    with pytest.raises(PipelineError, match=r"got all 2\. Choose a smaller one"):
        runs.held_out_indices(2, np.arange(2), size=5)
    for run in runs.peer_runs({peer: Path("python") for peer in runs.PEERS}, INPUTS, tmp_path):
        words = [word for command in run.commands for word in command]
        assert [word for word in words if word.endswith(".npy")] == ["c.npy"]
        assert not [word for word in words if "test_images" in word]


USUAL_FIT = load_params(TEST_PARAMS).fit


def test_methods_are_compared_in_pairs_of_images() -> None:
    rng = np.random.default_rng(0)
    usual = rng.exponential(size=(1, 200))
    values = usual + rng.normal(0.01, 0.1, size=usual.shape)
    above, error = methods.compare_pairs(values, usual)
    # A paired t-test is the mean over its standard error.
    assert above / error == pytest.approx(stats.ttest_rel(values[0], usual[0]).statistic)


def test_methods_with_several_draws_add_the_variances_of_images_and_of_draws() -> None:
    # By hand: differences 1 3 / 5 11; means of images 3 and 7, of draws 2 and 8.
    values = np.array([[1.0, 3.0], [5.0, 11.0]])
    above, error = methods.compare_pairs(values, np.zeros((2, 2)))
    assert above == 5.0
    assert error == pytest.approx((8.0 / 2 + 18.0 / 2) ** 0.5)


def test_the_default_is_the_method_with_the_settings_of_the_parameters() -> None:
    default, settings = methods.list_settings(USUAL_FIT)
    assert settings[default] == USUAL_FIT
    assert default in methods.METHODS
    other = USUAL_FIT.model_copy(update={"equalization": 0.3, "percentile": 99.5})
    default, settings = methods.list_settings(other)
    assert (default, settings[default]) == ("params.yaml", other)
    assert set(settings) == {*methods.METHODS, "params.yaml"}


def a_draw(values: Any) -> methods.Draw:
    return methods.Draw(np.array(values), agreement=0.9, accuracy_delta_pp=-0.1, seconds=1.0)


def test_methods_are_judged_against_the_default() -> None:
    kl = np.random.default_rng(0).exponential(0.001, size=100)
    wiggle = 0.0001 * np.resize([1.0, -1.0], 100)
    draws = {
        "usual": [a_draw(kl)],
        "alike": [a_draw(kl - wiggle)],
        "good": [a_draw(0.5 * kl)],
        "bad": [a_draw(2 * kl)],
    }
    rows = methods.summarize(draws, "usual")
    assert {name: row.verdict for name, row in rows.items()} == {
        "usual": "default", "alike": "tie", "good": "better", "bad": "worse",
    }  # fmt: skip
    verdicts = {2.1: "worse", 1.9: "tie", 0.0: "tie", -1.9: "tie", -2.1: "better"}
    assert {x: methods.judge(x, 1.0) for x in verdicts} == verdicts  # in standard errors
    assert rows["bad"].above == pytest.approx(kl.mean())
    assert rows["bad"].above_error == pytest.approx(stats.sem(kl))
    assert rows["usual"].top_share == pytest.approx(np.sort(kl)[-10:].sum() / kl.sum())
    assert methods.conclude(rows) == (
        "Ties with the default, within 2 standard errors: alike. Lowest KL: good (better)."
    )


def test_methods_run_with_the_same_held_out_images_for_all_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = draw_batch(1, size=40)
    write_array(tmp_path / "train_images.npy", images)
    write_array(tmp_path / "train_labels.npy", np.array(labels) % 4)
    (tmp_path / "labels.json").write_text('{"label_names": ["a", "b", "c", "d"]}')
    onnx.save(small_resnet(), tmp_path / "model.onnx")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- methods -->\nold\n<!-- /methods -->\n")
    monkeypatch.setattr(tables, "README", readme)
    monkeypatch.setattr(methods, "METHODS", {"it": {}, "minmax": methods.PLAIN})
    scored: list[int] = []
    measure = methods.measure

    def watch(settings: Any, calibration: Any, inputs: methods.Inputs) -> methods.Draw:
        chosen = {x.tobytes() for x in inputs.images}
        assert not chosen & {x.tobytes() for x in calibration}
        scored.append(hash(inputs.images.tobytes()))
        return measure(settings, calibration, inputs)

    monkeypatch.setattr(methods, "measure", watch)
    paths = {"data": tmp_path, "model": tmp_path / "model.onnx", "params": TEST_PARAMS}
    options = [word for key, path in paths.items() for word in (f"--{key}", str(path))]
    methods.main([*options, "--size=8", "--seeds=2", "--held-out=15", "--readme"])
    assert len(scored) == 4
    assert len(set(scored)) == 1
    assert "…" not in capsys.readouterr().out
    table = readme.read_text()
    assert table.startswith(f"<!-- methods -->\n\n| {' | '.join(methods.COLUMNS)} |")
    assert re.search(r"^\| it \| .+ \|  \| default \|", table, re.MULTILINE)
    number = r"[+-]0\.\d{6}"
    row = rf"^\| minmax \| .+ \| {number} ± 0\.\d{{6}} \| (tie|better|worse) \|"
    assert re.search(row, table, re.MULTILINE)
    assert "scored on 15 other training images." in table
