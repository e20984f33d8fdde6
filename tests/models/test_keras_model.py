"""Keras models: limits and predictions. Refusals are in tests/hostile/test_keras.py."""

import importlib
from typing import Any

import numpy as np
import pytest

from resnet8.models import keras_file, keras_library, keras_model

keras = keras_model.keras
layers = keras.layers


def test_library_can_be_imported_after_keras_has_computed_something() -> None:
    keras.ops.ones(1)
    assert importlib.reload(keras_library).keras is keras


def test_predictor_gives_what_keras_predict_gives(keras_fp32: Any, test_set: Any) -> None:
    images = test_set[0][:50].astype(np.float32)
    expected = keras_fp32.predict(images, verbose=0)
    np.testing.assert_allclose(keras_model.make_predictor(keras_fp32)(images), expected, atol=1e-6)


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
    keras_file.check_model(lambda: doubled(4))
    with pytest.raises(ValueError, match="128 tensors between layers, more than 127"):
        keras_file.check_model(lambda: doubled(7))


def test_check_model_allocates_no_weight() -> None:
    outputs: list[Any] = []
    keras_file.check_model(lambda: outputs.append(layers.Dense(9)(keras.Input((9,)))))
    layer = outputs[0]._keras_history.operation
    assert layer.kernel.shape == (9, 9)
    assert layer.kernel._value is None
    keras.Model(*[keras.Input((9,))] * 2).compute_output_shape((1, 9))  # leaves a scope of Keras
    assert layer.kernel._value is None
