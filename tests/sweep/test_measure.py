"""A run gives what the pipeline's stages give."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet8.compare.comparison import compare
from resnet8.core.evaluation import predict
from resnet8.models import onnx_model, torch_model
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.calibration import draw_balanced
from resnet8.quantize.fit import fit
from resnet8.sweep.measure import Inputs, Workbench
from tests.sweep.results import make_run


def test_fit_decides_the_quantization_of_the_stage_without_test_images(
    inputs: Inputs, onnx_fp32: Any
) -> None:
    without: Any = inputs._replace(test_images=None, test_labels=None, baseline=None)
    settings = make_run(calibrate__size=60, calibrate__seed=3).settings
    quantization = Workbench(without).fit(settings.model_dump())
    drawn = draw_balanced(inputs.pool_labels, 60, seed=3)
    expected = fit(onnx_fp32, inputs.pool_images[drawn], settings.fit)
    assert quantization.activations == expected.activations
    assert quantization.metadata == expected.metadata
    assert quantization.equalization.outputs
    assert quantization.layers.keys() == expected.layers.keys()
    for name, layer in expected.layers.items():
        actual = quantization.layers[name]
        np.testing.assert_array_equal(quantization.codes[name], expected.codes[name])
        np.testing.assert_array_equal(actual.weight.values, layer.weight.values)
        np.testing.assert_array_equal(actual.bias, layer.bias)


@pytest.fixture(scope="module")
def workbench(inputs: Inputs) -> Workbench:
    return Workbench(inputs)


@pytest.mark.parametrize("variant", ["onnx_int8", "onnx_uint8_int8", "torch_int8"])
def test_measure_compares_the_file_that_the_stages_write(
    workbench: Workbench, inputs: Inputs, tmp_path: Path, variant: str
) -> None:
    rough = make_run(
        calibrate__size=2, fit__weight_rounding="nearest", fit__per_channel=False,
        fit__bias_correction=False, fit__equalization=0.0, fit__activation_range="minmax",
    )  # fmt: skip
    quantization = workbench.fit(rough.settings)
    runtime, _, quant_type = variant.partition("_")
    path, model = tmp_path / "model", workbench.model.SerializeToString(deterministic=True)
    if runtime == "onnx":
        quantized = onnx_writer.quantize(workbench.model, quantization, quant_type=quant_type)
        path.write_bytes(quantized.SerializeToString(deterministic=True))
        predictor = onnx_model.make_predictor(onnx_model.load_model(path))
    else:
        program = torch_model.export(torch_writer.quantize(workbench.program, quantization))
        path.write_bytes(torch_model.encode(program, quantization.metadata))
        predictor = torch_model.make_predictor(torch_model.load_model(path))
    labels, old = inputs.test_labels, inputs.baseline
    new = predict(predictor, inputs.test_images, batch_size=inputs.batch_size)
    expected = compare(old, new, labels, label_names=inputs.label_names)
    changed: dict[str, list[int]] = {"lost": [], "won": [], "other": []}
    for number, (before, now, true) in enumerate(
        zip(old.argmax(axis=1), new.argmax(axis=1), labels, strict=True)
    ):
        if before != now:
            name = "lost" if before == true else "won" if now == true else "other"
            changed[name].append(number)

    result = workbench.measure(quantization, variant)

    same = {name: expected[name] for name in result._fields if name in expected} | changed
    assert set(same) > {"top1_accuracy", "agreement", "kl_divergence", "ci95_low_pp"}
    assert result._asdict().items() >= same.items()
    assert sum(map(len, changed.values())) > 0
    assert (result.file_bytes, result.n_images) == (path.stat().st_size, 200)
    assert workbench.model.SerializeToString(deterministic=True) == model  # is left as it was
