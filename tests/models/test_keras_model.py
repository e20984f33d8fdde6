"""Keras models: limits, predictions and parameters. Refusals are in tests/hostile/test_keras.py."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.models import keras_file, keras_folding, keras_library, keras_model
from samples.train import build_resnet8

keras = keras_model.keras
layers = keras.layers


def test_library_can_be_imported_after_keras_has_computed_something() -> None:
    keras.ops.ones(1)
    assert importlib.reload(keras_library).keras is keras


def test_predictor_gives_what_keras_predict_gives(keras_fp32: Any, test_set: Any) -> None:
    images = test_set[0][:50].astype(np.float32)
    expected = keras_fp32.predict(images, verbose=0)
    np.testing.assert_allclose(keras_model.make_predictor(keras_fp32)(images), expected, atol=1e-6)


def test_load_model_takes_the_keras_format(tmp_path: Path) -> None:
    model = build_resnet8(4)
    model.save(tmp_path / "model.keras")
    loaded = keras_model.load_model(tmp_path / "model.keras", n_classes=10)
    assert loaded.count_params() == model.count_params()


def test_check_model_counts_tensors_of_nested_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(times: int) -> Any:
        """A model that calls a model twice that calls a model twice."""
        inputs = keras.Input((4,))
        model = keras.Model(inputs, layers.ReLU()(inputs))
        for _ in range(times):
            inputs = keras.Input((4,))
            model = keras.Model(inputs, model(model(inputs)))
        return model

    monkeypatch.setattr(keras_file, "MAX_TENSORS", 127)
    keras_file.check_model(lambda: doubled(4), keras)
    with pytest.raises(ValueError, match="128 tensors between layers, more than 127"):
        keras_file.check_model(lambda: doubled(7), keras)


def test_check_model_allocates_no_weight() -> None:
    outputs: list[Any] = []
    keras_file.check_model(lambda: outputs.append(layers.Dense(9)(keras.Input((9,)))), keras)
    layer = outputs[0]._keras_history.operation
    assert layer.kernel.shape == (9, 9)
    assert layer.kernel._value is None
    keras.Model(*[keras.Input((9,))] * 2).compute_output_shape((1, 9))  # leaves a scope of Keras
    assert layer.kernel._value is None


def test_count_folded_parameters_of_the_sample_by_hand(keras_fp32: Any) -> None:
    # Kernels and biases of nine convolutions and the dense layer; the seven batch
    # normalizations disappear. (kernel area, channels in, channels out)
    convolutions = [(9, 3, 16), (9, 16, 16), (9, 16, 16), (9, 16, 32), (9, 32, 32), (1, 16, 32)]
    convolutions += [(9, 32, 64), (9, 64, 64), (1, 32, 64)]
    expected = sum((area * c_in + 1) * c_out for area, c_in, c_out in convolutions) + 65 * 10
    assert keras_folding.count_folded_parameters(keras_fp32) == expected == 77_706
    assert keras_fp32.count_params() == 78_666  # as MLPerf Tiny's README has it


@pytest.mark.parametrize(
    "between",
    [
        [layers.Rescaling([0.1, 0.2, 0.3])],
        [layers.BatchNormalization()],
        [layers.Conv2D(3, 1, activation="relu"), layers.BatchNormalization()],
        [layers.Conv2D(3, 1, activation="hard_swish")],
        [layers.ReLU(max_value=3)],
    ],
)
def test_count_folded_parameters_does_not_guess(between: list[Any]) -> None:
    x = inputs = keras.Input((32, 32, 3))
    for layer in between:
        x = layer(x)
    outputs = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    assert keras_folding.count_folded_parameters(keras.Model(inputs, outputs)) is None
