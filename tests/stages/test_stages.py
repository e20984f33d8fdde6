"""Stage scripts write their outputs and refuse bad inputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.core.names import IMAGES_PER_BATCH
from samples.shapes import LABEL_NAMES, draw_batch
from stages import compare, fetch, prepare, validate
from tests.parameters import TEST_PARAMS
from tests.pipeline.commands import set_params

VARIANTS = ("keras_fp32", "onnx_fp32", "torch_fp32", "onnx_int8", "onnx_uint8", "torch_int8")
SUMMARIZED = {"top1_accuracy", "accuracy_delta_pp", "agreement", "kl_divergence"}
SIZE = 100  # images in a batch


@pytest.fixture(autouse=True)
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Parameters for the sample, with small batches and few calibration images."""
    monkeypatch.setitem(IMAGES_PER_BATCH, "sample", SIZE)
    path = tmp_path / "params.yaml"
    path.write_text(TEST_PARAMS.read_text())
    set_params(
        tmp_path,
        fetch={"dataset": "sample", "model": "sample", "model_sha256": None},
        calibrate={"size": 50, "seed": 3, "batches": [2]},
        inspect={"input": "test:0"},
        sweep={"grid": []},
    )
    return path


def call(stage: Any, **paths: object) -> None:
    stage.main([part for key, value in paths.items() for part in (f"--{key}", str(value))])


def test_fetch_brings_the_batches_that_are_asked_for_and_prepare_writes_what_was_drawn(
    tmp_path: Path, params: Path
) -> None:
    (tmp_path / "linked").mkdir()
    raw, out = tmp_path / "raw" / "cifar-10-batches-py", tmp_path / "arrays"
    places = {"params": params, "linked": tmp_path / "linked", "out": tmp_path / "raw"}
    for batch in (1, 2):  # what is not asked for any more is removed
        set_params(tmp_path, calibrate={"batches": [batch]})
        call(fetch, **places)
        names = {path.name for path in raw.iterdir()}
        assert names == {"batches.meta", "test_batch", f"data_batch_{batch}"}
    call(prepare, params=params, raw=raw, out=out)
    images, labels = draw_batch(2, size=SIZE)
    np.testing.assert_array_equal(np.load(out / "train_images.npy"), images)
    np.testing.assert_array_equal(np.load(out / "train_labels.npy"), labels)
    assert json.loads((out / "labels.json").read_text()) == {"label_names": list(LABEL_NAMES)}


@pytest.fixture
def compared(tmp_path: Path, params: Path) -> dict[str, Path]:
    """Arguments of `compare` for 30 test images: a perfect baseline and random variants."""
    rng, labels = np.random.default_rng(0), np.arange(30) % 10
    for name in ("predictions", "data"):
        (tmp_path / name).mkdir()
    for name in VARIANTS:
        random = rng.dirichlet([1] * 10, 30)
        values = np.eye(10)[labels] if name == "keras_fp32" else random
        np.save(tmp_path / "predictions" / f"{name}.npy", values.astype(np.float32))
    np.save(tmp_path / "data" / "test_images.npy", np.zeros((30, 32, 32, 3), np.uint8))
    np.save(tmp_path / "data" / "test_labels.npy", labels)
    (tmp_path / "data" / "labels.json").write_text(json.dumps({"label_names": list(LABEL_NAMES)}))
    places = ("predictions", "data", "summary", "out", "correct")
    return {"params": params} | {name: tmp_path / name for name in places}


def test_compare_writes_every_variant_and_prints_the_table(
    compared: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    call(compare, **compared)
    bits = json.loads(compared["correct"].read_text())
    assert set(bits["correct"]) == set(VARIANTS)
    assert bits["n_images"] == dict.fromkeys(LABEL_NAMES, 3)
    comparison = json.loads(compared["out"].read_text())
    assert comparison["baseline"] == "keras_fp32"
    assert tuple(comparison["variants"]) == tuple(sorted(VARIANTS))
    assert set(comparison["variants"]["onnx_int8"]) >= SUMMARIZED | {
        "ci95_low_pp", "ci95_high_pp", "mcnemar_p", "kl_standard_error", "kl_top10_share",
        "max_abs_probability_diff", "per_class_delta_pp",
    }  # fmt: skip
    for name, row in comparison["variants"].items():
        summary = json.loads((compared["summary"] / f"{name}.json").read_text())
        assert summary == {"variant": name} | {key: row[key] for key in SUMMARIZED}
    assert len(list(compared["summary"].iterdir())) == len(VARIANTS)
    assert "30 test images, compared with keras_fp32" in capsys.readouterr().out


@pytest.fixture
def validated(tmp_path: Path, params: Path) -> dict[str, Path]:
    """Arguments of `validate`, with a file of a variant that the parameters do not name."""
    folders = {name: tmp_path / name for name in ("linked", "predictions", "metrics", "models")}
    for folder in folders.values():
        folder.mkdir()
    (tmp_path / "metrics" / "onnx_uint8_int8.json").write_text("{}")
    return {"params": params, "out": tmp_path / "schema.json"} | folders


def test_validate_writes_the_same_for_all_valid_parameters(
    validated: dict[str, Path], tmp_path: Path
) -> None:
    contents = set()
    for size in (50, 60):
        set_params(tmp_path, calibrate={"size": size})
        call(validate, **validated)
        contents.add(validated["out"].read_bytes())
    assert len(contents) == 1


def test_validate_removes_variants_that_params_do_not_name_and_nothing_else(
    validated: dict[str, Path], tmp_path: Path
) -> None:
    removed = {"metrics/onnx_uint8_int8.json", "models/onnx_uint8_int8.onnx"}
    kept = {
        *(f"metrics/{x}.json" for x in ("onnx_int8", "onnx_mine", "comparison", "verify_onnx")),
        *(f"models/{x}" for x in ("onnx_fp32.onnx", "onnx_int8.onnx", "torch_int8.pt2")),
    }
    for name in removed | kept:
        (tmp_path / name).write_bytes(b"")
    call(validate, **validated)
    assert {name for name in removed | kept if (tmp_path / name).exists()} == kept


def test_check_only_warns_of_other_cpus_and_writes_nothing(
    validated: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(validate.cpu, "find_difference", lambda: "Results will differ.")
    options = [f"--{name}={path}" for name, path in validated.items()]
    validate.main([*options, "--check-only"])
    assert capsys.readouterr().err == "warning: Results will differ.\n"
    assert not validated["out"].exists()
