"""Keras: what is accepted, what is refused, what is counted."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.core.files import find_model
from resnet8.models import keras_folding, keras_model
from samples.dataset import SAMPLE_MODEL
from samples.train import build_resnet8

keras = keras_model.keras


def test_build_resnet8_has_the_parameters_of_the_reference() -> None:
    # 78,666: MLPerf Tiny's ResNet8, as its README and the pretrained file have it.
    assert build_resnet8().count_params() == 78_666


def test_it_can_be_imported_after_keras_has_computed_something() -> None:
    script = "import keras; keras.ops.ones(1); import resnet8.models.keras_model"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_sample_model_has_the_parameters_of_the_reference(keras_fp32: Any) -> None:
    assert keras_fp32.count_params() == 78_666


def test_predictor_gives_what_keras_predict_gives(keras_fp32: Any, test_set: Any) -> None:
    images = test_set[0][:50].astype(np.float32)
    expected = keras_fp32.predict(images, verbose=0)
    np.testing.assert_allclose(keras_model.make_predictor(keras_fp32)(images), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_load_model_takes_both_formats(tmp_path: Path, suffix: str) -> None:
    build_resnet8(4).save(tmp_path / f"model{suffix}")
    assert keras_model.load_model(tmp_path / f"model{suffix}", n_classes=10).count_params() > 0


def test_load_model_refuses_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"no HDF5")
    with pytest.raises(ArtifactError, match=r"model\.h5 must be a Keras model .* got: .*"):
        keras_model.load_model(tmp_path / "model.h5", n_classes=10)


def test_load_model_refuses_a_damaged_keras_file(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    build_resnet8(4).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.keras must be a Keras model .* got: .*"):
        keras_model.load_model(path, n_classes=10)


def test_load_model_refuses_another_image_size(tmp_path: Path) -> None:
    inputs = keras.Input((28, 28, 1))
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    with pytest.raises(
        ArtifactError,
        match=r"input must be one float32 tensor of shape \(None, 32, 32, 3\), "
        r"got \(None, 28, 28, 1\) float32",
    ):
        keras_model.load_model(tmp_path / "model.keras", n_classes=10)


def test_load_model_refuses_another_number_of_classes(tmp_path: Path) -> None:
    build_resnet8(4).save(tmp_path / "model.keras")
    with pytest.raises(ArtifactError, match=r"output .* shape \(None, 7\), got \(None, 10\)"):
        keras_model.load_model(tmp_path / "model.keras", n_classes=7)


def test_load_model_refuses_a_fixed_batch_size(tmp_path: Path) -> None:
    inputs = keras.Input(batch_shape=(1, 32, 32, 3))
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    with pytest.raises(ArtifactError, match=r"got \(1, 32, 32, 3\) float32"):
        keras_model.load_model(tmp_path / "model.keras", n_classes=10)


def test_load_model_refuses_two_outputs(tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Flatten()(inputs)
    heads = [keras.layers.Dense(10, activation="softmax")(flat) for _ in range(2)]
    keras.Model(inputs, heads).save(tmp_path / "model.keras")
    with pytest.raises(ArtifactError, match="output must be one float32 tensor"):
        keras_model.load_model(tmp_path / "model.keras", n_classes=10)


def test_find_model_refuses_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"must hold one model, got \[\]"):
        find_model(tmp_path)


def test_count_folded_parameters_of_the_sample_by_hand(keras_fp32: Any) -> None:
    # Kernels and biases of nine convolutions and the dense layer; the seven batch
    # normalizations disappear. (kernel area, channels in, channels out)
    convolutions = [(9, 3, 16), (9, 16, 16), (9, 16, 16), (9, 16, 32), (9, 32, 32), (1, 16, 32)]
    convolutions += [(9, 32, 64), (9, 64, 64), (1, 32, 64)]
    expected = sum((area * c_in + 1) * c_out for area, c_in, c_out in convolutions) + 65 * 10
    assert keras_folding.count_folded_parameters(keras_fp32) == expected == 77_706
    assert keras_fp32.count_params() == 78_666


@pytest.mark.parametrize(
    "between",
    [
        [keras.layers.LayerNormalization()],
        [keras.layers.Rescaling([0.1, 0.2, 0.3])],
        [keras.layers.BatchNormalization()],
        [keras.layers.Conv2D(3, 1), keras.layers.Dropout(0.1), keras.layers.BatchNormalization()],
        [keras.layers.Conv2D(3, 1, activation="relu"), keras.layers.BatchNormalization()],
        [keras.layers.Conv2D(3, 1, activation="hard_swish")],
        [keras.layers.ReLU(max_value=3)],
    ],
)
def test_count_folded_parameters_does_not_guess(between: list[Any]) -> None:
    x = inputs = keras.Input((32, 32, 3))
    for layer in between:
        x = layer(x)
    outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(x))
    assert keras_folding.count_folded_parameters(keras.Model(inputs, outputs)) is None


def test_sample_model_is_small_enough_for_git() -> None:
    assert SAMPLE_MODEL.stat().st_size < 500_000
