"""All kinds of Keras layers, from the float model to 8 bits in both runtimes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from resnet8.core.errors import ArtifactError
from resnet8.inspection import keras_capture, onnx_capture, recording, torch_capture
from resnet8.models import (
    keras_conversion,
    keras_model,
    onnx_model,
    torch_conversion,
    torch_model,
)
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.fit import fit
from resnet8.reference.check import check, open_runtime
from resnet8.reference.network import Network
from resnet8.reference.results import refuse_unexplained
from samples.layer_kinds import KINDS, REFUSED, build

ATOL_FLOAT = 1e-4  # of a probability, as the stages allow
QUICK = ("convolutions", "joining", "normalization")  # the others are in the long tests
# Mean difference of probabilities between runtimes: few codes fall to the other side.
MEAN_RUNTIMES = 0.005


class Made(NamedTuple):
    """A Keras model and what becomes of it."""

    original: Any
    float_model: Any
    program: Any
    quantization: Any
    in_onnx: Any
    in_torch: Any


@pytest.fixture(
    scope="module",
    params=[x if x in QUICK else pytest.param(x, marks=pytest.mark.faults) for x in KINDS],
)
def made(request: pytest.FixtureRequest, fit_settings: Any, calibration_images: Any) -> Made:
    original = build(KINDS[request.param])
    float_model = keras_conversion.convert(original, opset=17, n_classes=10)
    program = torch_conversion.to_program(float_model)
    quantization = fit(float_model, calibration_images[:4], fit_settings)
    return Made(
        original,
        float_model,
        torch_model.load_any(torch_model.encode(program)),
        quantization,
        onnx_writer.quantize(float_model, quantization, quant_type="uint8"),
        torch_model.export(torch_writer.quantize(program, quantization)),
    )


def test_float_models_are_the_same_layer_by_layer(made: Made, test_set: Any) -> None:
    watched: Any = {
        "keras_fp32": keras_capture.watch(made.original, made.float_model),
        "onnx_fp32": onnx_capture.watch(made.float_model),
        "torch_fp32": torch_capture.watch(made.program),
    }
    records, _ = recording.inspect(watched, [test_set[0][:4]])
    table = recording.check_conversions(records)
    assert any("keras_onnx" in row and "keras_torch" in row for row in table.values())
    images = test_set[0][:20].astype(np.float32)
    expected = keras_model.make_predictor(made.original)(images)
    assert np.ptp(expected, axis=0).max() > 10 * ATOL_FLOAT  # images make a difference
    for probabilities in (
        onnx_model.make_predictor(made.float_model)(images),
        torch_model.make_predictor(made.program)(images),
    ):
        np.testing.assert_allclose(probabilities, expected, atol=ATOL_FLOAT)


def test_codes_are_those_of_exact_arithmetic_in_both_runtimes(made: Made, test_set: Any) -> None:
    images = test_set[0][:20].astype(np.float32)
    in_onnx = onnx_model.make_predictor(made.in_onnx)(images)
    assert (
        np.abs(torch_model.make_predictor(made.in_torch)(images) - in_onnx).mean() < MEAN_RUNTIMES
    )
    network = Network(made.float_model, made.quantization)
    models = {"onnx_uint8": open_runtime(made.in_onnx), "torch_int8": open_runtime(made.in_torch)}
    for name, result in check(network, models, test_set[0][:3]).items():
        refuse_unexplained(name, result)
        assert len([row for row in result.tensors.values() if row.in_codes]) >= 2


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_taken_is_refused_by_the_name_of_the_layer(name: str, tmp_path: Path) -> None:
    kind, message = REFUSED[name]
    build(kind).save(tmp_path / "model.keras")
    with pytest.raises(ArtifactError, match=rf"^Layer \w+ {message}"):
        load_and_convert(tmp_path / "model.keras")


def load_and_convert(path: Path) -> None:
    model = keras_model.load_model(path, n_classes=10)
    torch_conversion.to_program(keras_conversion.convert(model, opset=17, n_classes=10))
