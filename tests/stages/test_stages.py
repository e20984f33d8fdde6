"""Stage scripts: what they say, write and refuse, run as DVC runs them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.quantize import storage
from samples.shapes import LABEL_NAMES, draw_batch
from stages import calibrate, candidate, compare, fetch, fit, prepare, quantize_onnx, validate
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import ROOT, run
from tests.quantize.graphs import small_resnet


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """Parameters for the sample with few calibration images."""
    content = yaml.safe_load(TEST_PARAMS.read_text())
    content["fetch"] = {"dataset": "sample", "model": "sample", "model_sha256": None}
    content["calibrate"] = {"size": 50, "seed": 3, "batches": [2]}
    content["sweep"] = {"grid": []}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def arguments(**paths: object) -> list[str]:
    return [part for key, value in paths.items() for part in (f"--{key}", str(value))]


@pytest.fixture
def fetched(tmp_path: Path, params: Path) -> Path:
    (tmp_path / "linked").mkdir()
    fetch.main(arguments(params=params, linked=tmp_path / "linked", out=tmp_path / "raw"))
    return tmp_path / "raw"


def test_fetch_brings_only_the_batches_that_are_asked_for(fetched: Path) -> None:
    names = {path.name for path in (fetched / "cifar-10-batches-py").iterdir()}
    assert names == {"batches.meta", "test_batch", "data_batch_2"}


def test_fetch_drops_batches_that_are_not_asked_for_any_more(
    fetched: Path, tmp_path: Path, params: Path
) -> None:
    content = yaml.safe_load(params.read_text())
    content["calibrate"]["batches"] = [1]
    params.write_text(yaml.safe_dump(content))
    fetch.main(arguments(params=params, linked=tmp_path / "linked", out=fetched))
    assert not (fetched / "cifar-10-batches-py" / "data_batch_2").exists()


def test_prepare_writes_what_was_drawn(fetched: Path, tmp_path: Path, params: Path) -> None:
    raw, out = fetched / "cifar-10-batches-py", tmp_path / "arrays"
    prepare.main(arguments(params=params, raw=raw, out=out))
    images, labels = draw_batch(2, size=2000)
    np.testing.assert_array_equal(np.load(out / "train_images.npy"), images)
    np.testing.assert_array_equal(np.load(out / "train_labels.npy"), labels)
    assert json.loads((out / "labels.json").read_text()) == {"label_names": list(LABEL_NAMES)}


def test_calibrate_writes_images_with_their_labels(tmp_path: Path, params: Path) -> None:
    images, labels = draw_batch(2, size=200)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    calibrate.main(
        arguments(
            params=params,
            images=tmp_path / "images.npy",
            labels=tmp_path / "labels.npy",
            out=tmp_path / "out",
        )
    )
    drawn, of_class, indices = (
        np.load(tmp_path / "out" / f"{name}.npy") for name in ("images", "labels", "indices")
    )
    np.testing.assert_array_equal(drawn, images[indices])
    np.testing.assert_array_equal(of_class, np.array(labels)[indices])
    assert np.bincount(of_class).tolist() == [5] * 10


@pytest.fixture
def fit_arguments(tmp_path: Path, params: Path) -> dict[str, object]:
    """A small model, images and settings that take no time."""
    content = yaml.safe_load(params.read_text())
    content["fit"] |= {"activation_range": "minmax", "weight_rounding": "nearest"}
    params.write_text(yaml.safe_dump(content))
    onnx.save(small_resnet(), tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", draw_batch(1, size=10)[0])
    places = {"model": tmp_path / "model.onnx", "images": tmp_path / "images.npy"}
    return {"params": params, **places, "out": tmp_path / "quantization"}


def test_fit_writes_a_quantization_to_read_and_arrays(fit_arguments: dict[str, Any]) -> None:
    fit.main(arguments(**fit_arguments))
    folder = fit_arguments["out"]
    assert {path.name for path in folder.iterdir()} == {"quantization.json", "parameters.npz"}
    quantization = storage.read(folder)
    assert sorted(quantization.layers) == ["conv0", "conv1", "conv2", "conv3", "dense"]
    settings = json.loads((folder / "quantization.json").read_text())["settings"]
    assert (settings["images"], settings["weight_rounding"]) == (10, "nearest")


def test_fit_gives_the_same_bytes_twice(fit_arguments: dict[str, Any]) -> None:
    folders = [fit_arguments["out"] / name for name in "ab"]
    for folder in folders:
        fit.main(arguments(**fit_arguments | {"out": folder}))
    for name in ("quantization.json", "parameters.npz"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second


def test_fit_says_what_it_decided(
    fit_arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fit.main(arguments(**fit_arguments))
    out, err = capsys.readouterr()
    assert out == "9 tensors and 5 layers in 8 bits, 3 groups of tensors equalized\n"
    assert "warning" not in err


def test_fit_warns_of_options_without_an_effect(
    fit_arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_resnet()
    kept = [node for node in model.graph.node if not node.name.endswith(("1", "2", "3"))]
    for node in kept:  # one layer, read by a pool and a dense layer that no factor can pass
        if node.op_type == "GlobalAveragePool":
            node.input[0] = "relu0"
        elif node.op_type == "Relu":
            node.op_type = "Sigmoid"
    del model.graph.node[:]
    model.graph.node.extend(x for x in kept if x.op_type != "Add")
    arrays = {x.name: x for x in model.graph.initializer}
    for name, array in {
        "dense.weight": np.ones((6, 4), np.float32),
        "flatten.constant1": np.array([-1, 6]),
    }.items():
        arrays[name].CopyFrom(onnx.numpy_helper.from_array(array, name))
    onnx.save(model, fit_arguments["model"])
    fit.main(arguments(**fit_arguments))
    lines = capsys.readouterr().err.splitlines()
    assert "note: fit.equalization: 0.75 had no effect on this model." in lines


def test_fit_names_the_layers_where_one_of_float_layers_is_none(
    fit_arguments: dict[str, Any], params: Path
) -> None:
    content = yaml.safe_load(params.read_text())
    content["fit"]["float_layers"] = ["conv9"]
    params.write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=r"out of permute, conv0, .+, probabilities, got conv9"):
        fit.main(arguments(**fit_arguments))
    assert not fit_arguments["out"].exists()


@pytest.mark.parametrize("quant_type", ["int8", "uint8", "uint8_int8"])
def test_quantize_onnx_writes_a_model_with_the_quantization_of_fit(
    fit_arguments: dict[str, Any], tmp_path: Path, quant_type: str
) -> None:
    fit.main(arguments(**fit_arguments))
    places = {"model": fit_arguments["model"], "quantization": fit_arguments["out"]}
    out = tmp_path / "quantized.onnx"
    quantize_onnx.main(arguments(type=quant_type, **places, out=out))
    scales = {x.name: x for x in onnx.load(out).graph.initializer}
    given = storage.read(fit_arguments["out"]).activations
    for tensor, parameters in given.items():
        if tensor in ("relu0", "pool"):
            scale = onnx.numpy_helper.to_array(scales[f"{tensor}_scale"])
            assert float(scale) == parameters.scale


def test_quantize_onnx_says_where_the_file_is_larger_than_in_float(
    fit_arguments: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit.main(arguments(**fit_arguments))
    places = {"model": fit_arguments["model"], "quantization": fit_arguments["out"]}
    out = tmp_path / "quantized.onnx"
    quantize_onnx.main(arguments(type="uint8", **places, out=out))
    before, after = (path.stat().st_size for path in (fit_arguments["model"], out))
    assert after > before  # about a thousand weights
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(
        f"ONNX uint8: {after} bytes, {after - before} more than the float model: the quantization "
    )


def write_predictions(folder: Path, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{name}.npy", rng.dirichlet([1] * 10, 30).astype(np.float32))


def write_labels(folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "test_images.npy", np.zeros((30, 32, 32, 3), np.uint8))
    np.save(folder / "test_labels.npy", np.arange(30) % 10)
    (folder / "labels.json").write_text(json.dumps({"label_names": list(LABEL_NAMES)}))


VARIANTS = ("keras_fp32", "onnx_fp32", "torch_fp32", "onnx_int8", "onnx_uint8", "torch_int8")


def test_compare_writes_every_variant_and_prints_the_table(
    tmp_path: Path, params: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(tmp_path / "predictions", VARIANTS)
    write_labels(tmp_path / "data")
    out, correct = tmp_path / "comparison.json", tmp_path / "correct.json"
    folders = {name: tmp_path / name for name in ("predictions", "data", "summary")}
    compare.main(arguments(params=params, **folders, out=out, correct=correct))
    bits = json.loads(correct.read_text())
    assert set(bits["correct"]) == set(VARIANTS)
    assert bits["n_images"] == dict.fromkeys(LABEL_NAMES, 3)
    found = json.loads(out.read_text())
    assert (found["baseline"], tuple(found["variants"])) == ("keras_fp32", tuple(sorted(VARIANTS)))
    assert set(found["variants"]["onnx_int8"]) >= {
        "top1_accuracy", "accuracy_delta_pp", "ci95_low_pp", "ci95_high_pp", "mcnemar_p",
        "agreement", "kl_divergence", "kl_standard_error", "kl_top10_share",
        "max_abs_probability_diff", "per_class_delta_pp",
    }  # fmt: skip
    assert {path.name for path in folders["summary"].iterdir()} == {f"{x}.json" for x in VARIANTS}
    for name, row in found["variants"].items():
        assert json.loads((folders["summary"] / f"{name}.json").read_text()) == {
            "variant": name,
            "top1_accuracy": row["top1_accuracy"],
            "accuracy_delta_pp": row["accuracy_delta_pp"],
            "agreement": row["agreement"],
            "kl_divergence": row["kl_divergence"],
        }
    assert "30 test images, compared with keras_fp32" in capsys.readouterr().out


@pytest.mark.parametrize(("n_right", "is_chance"), [(30, False), (5, True)])
def test_compare_begins_with_a_baseline_that_is_chance(
    tmp_path: Path,
    params: Path,
    capsys: pytest.CaptureFixture[str],
    n_right: int,
    is_chance: bool,
) -> None:
    write_predictions(tmp_path / "predictions", VARIANTS)
    write_labels(tmp_path / "data")
    # Right on the first images, and on every other wrong: classes are 0 to 9 in turns.
    classes = (np.arange(30) + (np.arange(30) >= n_right)) % 10
    np.save(tmp_path / "predictions" / "keras_fp32.npy", np.eye(10, dtype=np.float32)[classes])
    out, correct = tmp_path / "comparison.json", tmp_path / "correct.json"
    folders = {name: tmp_path / name for name in ("predictions", "data", "summary")}
    compare.main(arguments(params=params, **folders, out=out, correct=correct))
    assert json.loads(out.read_text())["baseline_is_chance"] is is_chance
    assert json.loads(out.read_text())["chance_accuracy"] == 0.1
    said = capsys.readouterr().out
    assert said.startswith("WARNING: keras_fp32 is not measurably") is is_chance


def test_compare_names_predictions_that_are_missing(tmp_path: Path, params: Path) -> None:
    write_predictions(tmp_path / "predictions", VARIANTS[:-1])
    write_labels(tmp_path / "data")
    with pytest.raises(ArtifactError, match=r"torch_int8\.npy must be a NumPy array file"):
        compare.main(
            arguments(
                params=params,
                predictions=tmp_path / "predictions",
                data=tmp_path / "data",
                out=tmp_path / "comparison.json",
                correct=tmp_path / "correct.json",
                summary=tmp_path / "summary",
            )
        )


def test_candidate_copies_the_summary(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"variant": "onnx_int8", "top1_accuracy": 0.5}')
    candidate.main(arguments(summary=tmp_path / "a.json", out=tmp_path / "b.json"))
    assert json.loads((tmp_path / "b.json").read_text())["variant"] == "onnx_int8"


def validate_arguments(tmp_path: Path, params: Path) -> list[str]:
    folders: dict[str, Any] = {
        name: tmp_path / name for name in ("linked", "predictions", "metrics", "models")
    }
    for folder in folders.values():
        folder.mkdir()
    return arguments(params=params, out=tmp_path / "schema.json", **folders)


def test_validate_writes_the_same_for_all_valid_parameters(tmp_path: Path, params: Path) -> None:
    command = validate_arguments(tmp_path, params)
    validate.main(command)
    first = (tmp_path / "schema.json").read_bytes()
    params.write_text(re.sub(r"size: 50", "size: 60", params.read_text()))
    validate.main(command)
    assert (tmp_path / "schema.json").read_bytes() == first


def test_validate_removes_nothing_when_it_refuses(tmp_path: Path, params: Path) -> None:
    command = validate_arguments(tmp_path, params)
    (tmp_path / "metrics" / "onnx_uint8_int8.json").write_text("{}")
    params.write_text(re.sub(r"size: 50", "size: 0", params.read_text()))
    with pytest.raises(ParamsError, match=r"calibrate\.size must be .*, got 0"):
        validate.main(command)
    assert (tmp_path / "metrics" / "onnx_uint8_int8.json").exists()
    assert not (tmp_path / "schema.json").exists()


def test_validate_removes_variants_that_are_not_asked_for_and_nothing_else(
    tmp_path: Path, params: Path
) -> None:
    command = validate_arguments(tmp_path, params)
    for name in ("onnx_int8", "onnx_uint8_int8", "onnx_mine", "comparison", "verify_onnx"):
        (tmp_path / "metrics" / f"{name}.json").write_text("{}")
    validate.main(command)
    left = {path.stem for path in (tmp_path / "metrics").iterdir()}
    assert left == {"onnx_int8", "onnx_mine", "comparison", "verify_onnx"}


def test_validate_removes_models_that_are_not_asked_for(tmp_path: Path, params: Path) -> None:
    command = validate_arguments(tmp_path, params)
    for name in ("onnx_fp32.onnx", "onnx_int8.onnx", "onnx_uint8_int8.onnx", "torch_int8.pt2"):
        (tmp_path / "models" / name).write_bytes(b"")
    validate.main(command)
    left = {path.name for path in (tmp_path / "models").iterdir()}
    assert left == {"onnx_fp32.onnx", "onnx_int8.onnx", "torch_int8.pt2"}


def test_check_only_says_on_which_cpu_bits_differ(
    tmp_path: Path,
    params: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(validate.cpu, "find_difference", lambda: "Results will differ.")
    validate.main([*validate_arguments(tmp_path, params), "--check-only"])
    assert capsys.readouterr().err == "warning: Results will differ.\n"


def test_check_only_writes_nothing(tmp_path: Path, params: Path) -> None:
    validate.main([*validate_arguments(tmp_path, params), "--check-only"])
    assert not (tmp_path / "schema.json").exists()


def test_a_stage_run_as_a_command_ends_with_one_sentence_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("fetch: 3\n")
    python = "import sys; from stages import validate; validate.run_stage(validate.main)"
    done = run(ROOT, "python", "-c", python, "--check-only", f"--params={tmp_path}/params.yaml")
    assert done.returncode == 1
    assert done.stdout.startswith(f"error: {tmp_path}/params.yaml has ")
    assert "Traceback" not in done.stdout
