"""Limits of Keras files; what users see of them is in tests/hostile/test_keras.py."""

from pathlib import Path
from typing import Any

import h5py
import pytest

from resnet8.models import keras_file
from resnet8.models.keras_model import keras
from samples.dataset import SAMPLE_MODEL


def doubled(times: int) -> Any:
    """A model that calls a model twice that calls a model twice."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.ReLU()(inputs))
    for _ in range(times):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, model(model(inputs)))
    return model


def test_check_model_counts_what_is_called_within_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_file, "MAX_TENSORS", 127)
    keras_file.check_model(lambda: doubled(4), keras)
    with pytest.raises(ValueError, match="128 tensors between layers, more than 127"):
        keras_file.check_model(lambda: doubled(7), keras)


def test_check_model_allocates_no_weight() -> None:
    found: list[Any] = []
    keras_file.check_model(lambda: found.append(keras.layers.Dense(9)(keras.Input((9,)))), keras)
    layer = found[0]._keras_history.operation
    assert layer.kernel.shape == (9, 9)
    assert layer.kernel._value is None
    keras.Model(*[keras.Input((9,))] * 2).compute_output_shape((1, 9))  # leaves a scope of Keras
    assert layer.kernel._value is None


def test_check_file_limits_the_objects_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_file, "MAX_OBJECTS", 5)
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.create_group("a/b/c/d/e")
    with pytest.raises(ValueError, match="6 groups and arrays, more than 5"):
        keras_file.check_file(tmp_path / "model.h5")


def test_check_file_takes_the_sample() -> None:
    keras_file.check_file(SAMPLE_MODEL)
