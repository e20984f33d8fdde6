"""Stage scripts write their outputs and refuse bad inputs."""

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


@pytest.fixture
def predicted(tmp_path: Path) -> dict[str, Path]:
    """Arguments of `compare` for 30 test images: a perfect baseline and random variants."""
    rng = np.random.default_rng(0)
    (tmp_path / "predictions").mkdir()
    for name in VARIANTS[1:]:
        random = rng.dirichlet([1] * 10, 30).astype(np.float32)
        np.save(tmp_path / "predictions" / f"{name}.npy", random)
    labels = np.arange(30) % 10
    perfect = np.eye(10, dtype=np.float32)[labels]
    np.save(tmp_path / "predictions" / "keras_fp32.npy", perfect)
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "test_images.npy", np.zeros((30, 32, 32, 3), np.uint8))
    np.save(tmp_path / "data" / "test_labels.npy", labels)
    (tmp_path / "data" / "labels.json").write_text(json.dumps({"label_names": list(LABEL_NAMES)}))
    names = {"out": "comparison.json", "correct": "correct.json"}
    return {x: tmp_path / names.get(x, x) for x in ("predictions", "data", "summary", *names)}


VARIANTS = ("keras_fp32", "onnx_fp32", "torch_fp32", "onnx_int8", "onnx_uint8", "torch_int8")


def test_compare_writes_every_variant_and_prints_the_table(
    predicted: dict[str, Path], params: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main(arguments(params=params, **predicted))
    bits = json.loads(predicted["correct"].read_text())
    assert set(bits["correct"]) == set(VARIANTS)
    assert bits["n_images"] == dict.fromkeys(LABEL_NAMES, 3)
    comparison = json.loads(predicted["out"].read_text())
    assert comparison["baseline"] == "keras_fp32"
    assert tuple(comparison["variants"]) == tuple(sorted(VARIANTS))
    assert set(comparison["variants"]["onnx_int8"]) >= {
        "top1_accuracy", "accuracy_delta_pp", "ci95_low_pp", "ci95_high_pp", "mcnemar_p",
        "agreement", "kl_divergence", "kl_standard_error", "kl_top10_share",
        "max_abs_probability_diff", "per_class_delta_pp",
    }  # fmt: skip
    assert {path.name for path in predicted["summary"].iterdir()} == {f"{x}.json" for x in VARIANTS}
    for name, row in comparison["variants"].items():
        summary = json.loads((predicted["summary"] / f"{name}.json").read_text())
        assert summary.pop("variant") == name
        assert summary.keys() == {
            "top1_accuracy", "accuracy_delta_pp", "agreement", "kl_divergence",
        }  # fmt: skip
        assert summary.items() <= row.items()
    assert "30 test images, compared with keras_fp32" in capsys.readouterr().out


def test_compare_warns_first_of_a_baseline_that_is_chance(
    predicted: dict[str, Path], params: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    perfect = np.load(predicted["predictions"] / "keras_fp32.npy")
    np.save(predicted["predictions"] / "keras_fp32.npy", np.roll(perfect, 1, axis=1))
    compare.main(arguments(params=params, **predicted))
    assert json.loads(predicted["out"].read_text())["baseline_is_chance"]
    assert capsys.readouterr().out.startswith("WARNING: keras_fp32 is not measurably")


def test_compare_names_predictions_that_are_missing(
    predicted: dict[str, Path], params: Path
) -> None:
    (predicted["predictions"] / "torch_int8.npy").unlink()
    with pytest.raises(ArtifactError, match=r"torch_int8\.npy must be"):
        compare.main(arguments(params=params, **predicted))


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


def test_validate_removes_variants_that_params_do_not_name_and_nothing_else(
    tmp_path: Path, params: Path
) -> None:
    command = validate_arguments(tmp_path, params)
    removed = {"metrics/onnx_uint8_int8.json", "models/onnx_uint8_int8.onnx"}
    kept = {
        *(f"metrics/{x}.json" for x in ("onnx_int8", "onnx_mine", "comparison", "verify_onnx")),
        *(f"models/{x}" for x in ("onnx_fp32.onnx", "onnx_int8.onnx", "torch_int8.pt2")),
    }
    for name in removed | kept:
        (tmp_path / name).write_bytes(b"")
    validate.main(command)
    assert not any((tmp_path / name).exists() for name in removed)
    assert all((tmp_path / name).exists() for name in kept)


def test_check_only_warns_of_other_cpus_and_writes_nothing(
    tmp_path: Path,
    params: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(validate.cpu, "find_difference", lambda: "Results will differ.")
    validate.main([*validate_arguments(tmp_path, params), "--check-only"])
    assert capsys.readouterr().err == "warning: Results will differ.\n"
    assert not (tmp_path / "schema.json").exists()


def test_a_stage_run_as_a_command_ends_with_one_sentence_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("fetch: 3\n")
    python = "import sys; from stages import validate; validate.run_stage(validate.main)"
    done = run(ROOT, "python", "-c", python, "--check-only", f"--params={tmp_path}/params.yaml")
    assert done.returncode == 1
    assert done.stdout.startswith(f"error: {tmp_path}/params.yaml has ")
    assert "Traceback" not in done.stdout
