"""A run gives what the pipeline's stages give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.compare.comparison import compare
from resnet8.core.evaluation import Predictor, predict
from resnet8.models import onnx_model, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.calibration import draw_balanced
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization
from resnet8.sweep.measure import Inputs, Workbench
from tests.sweep.results import make_run

SETTINGS = make_run(calibrate__size=60, calibrate__seed=3).settings


@pytest.fixture(scope="module")
def workbench(inputs: Inputs) -> Workbench:
    return Workbench(Inputs.unpack(inputs.pack()))


@pytest.fixture(scope="module")
def found(workbench: Workbench) -> Quantization:
    return workbench.fit(SETTINGS)


@pytest.fixture(scope="module")
def expected(inputs: Inputs, onnx_fp32: Any) -> Quantization:
    drawn = draw_balanced(inputs.pool_labels, 60, seed=3)
    points = onnx_writer.find_points(onnx_fp32, symmetric=False)
    return fit(onnx_fp32, inputs.pool_images[drawn], SETTINGS.fit, points=points)


def test_pack_and_unpack_lose_nothing(inputs: Inputs) -> None:
    back = Inputs.unpack(inputs.pack())
    for name, value in inputs._asdict().items():
        np.testing.assert_array_equal(getattr(back, name), value)
    assert isinstance(back.label_names, list)
    assert isinstance(back.batch_size, int)


def test_fit_decides_the_quantization_of_the_stage(
    found: Quantization, expected: Quantization
) -> None:
    assert found.activations == expected.activations
    assert found.metadata == expected.metadata
    assert found.equalization.outputs
    assert found.layers.keys() == expected.layers.keys()
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(found.codes[name], expected.codes[name])
        np.testing.assert_array_equal(found.layers[name].weight.values, layer.weight.values)
        np.testing.assert_array_equal(found.layers[name].bias, layer.bias)


def test_fit_reads_no_test_image(inputs: Inputs, found: Quantization) -> None:
    without: Any = inputs._replace(test_images=None, test_labels=None, baseline=None)
    again = Workbench(without).fit(SETTINGS)
    assert again.activations == found.activations


@pytest.fixture(params=["onnx_int8", "onnx_uint8", "onnx_uint8_int8", "torch_int8"])
def by_stages(
    request: pytest.FixtureRequest, found: Quantization, inputs: Inputs, tmp_path: Path
) -> tuple[str, Predictor, int]:
    """A variant, the model that the stages write, and the size of its file."""
    runtime, _, quant_type = request.param.partition("_")
    before, after = tmp_path / "float", tmp_path / "quantized"
    if runtime == "onnx":
        before.write_bytes(inputs.model)
        model = onnx_writer.quantize(onnx_model.load_model(before), found, quant_type=quant_type)
        after.write_bytes(model.SerializeToString(deterministic=True))
        predictor = onnx_model.load_predictor(after, n_classes=len(inputs.label_names))
    else:
        before.write_bytes(inputs.program)
        module = torch_writer.quantize(torch_model.load(before), found)
        metadata = found.metadata
        after.write_bytes(torch_model.encode(torch_model.export(module), metadata))
        predictor = torch_model.load_predictor(after, n_classes=len(inputs.label_names))
    return request.param, predictor, after.stat().st_size


def test_measure_compares_what_the_stages_make(
    workbench: Workbench, found: Quantization, inputs: Inputs, by_stages: tuple[str, Predictor, int]
) -> None:
    variant, predictor, n_bytes = by_stages
    probabilities = predict(predictor, inputs.test_images, batch_size=inputs.batch_size)
    row = compare(
        inputs.baseline, probabilities, inputs.test_labels, label_names=inputs.label_names
    )

    result = workbench.measure(found, variant)

    same = {name: row[name] for name in result._fields if name in row}
    assert {name: getattr(result, name) for name in same} == same
    assert set(same) > {"top1_accuracy", "agreement", "kl_divergence", "ci95_low_pp"}
    assert result.file_bytes == n_bytes
    assert result.n_images == 500


def test_measure_names_the_images_that_changed(workbench: Workbench, inputs: Inputs) -> None:
    rough = make_run(
        calibrate__size=2, fit__weight_rounding="nearest", fit__per_channel=False,
        fit__bias_correction=False, fit__equalization=0.0, fit__activation_range="minmax",
    )  # fmt: skip
    quantization = workbench.fit(rough.settings)
    result = workbench.measure(quantization, "onnx_uint8")
    model = onnx_writer.quantize(workbench.model, quantization, quant_type="uint8")
    new = predict(onnx_model.make_predictor(model), inputs.test_images, batch_size=100)
    old_class, new_class = inputs.baseline.argmax(axis=1), new.argmax(axis=1)
    expected: dict[str, list[int]] = {"lost": [], "won": [], "other": []}
    for number, (old, now, true) in enumerate(
        zip(old_class, new_class, inputs.test_labels, strict=True)
    ):
        if old != now:
            name = "lost" if old == true else "won" if now == true else "other"
            expected[name].append(number)
    assert {name: getattr(result, name) for name in expected} == expected
    assert sum(map(len, expected.values())) == round((1 - result.agreement) * 500) > 0


def test_measure_takes_one_model_for_all_runs(workbench: Workbench, found: Quantization) -> None:
    before = workbench.model.SerializeToString(deterministic=True)
    first = workbench.measure(found, "onnx_int8")
    workbench.measure(found, "torch_int8")
    assert workbench.measure(found, "onnx_int8") == first
    assert workbench.model.SerializeToString(deterministic=True) == before
