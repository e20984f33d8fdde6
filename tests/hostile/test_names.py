"""Names of layers and nodes: shown as they are, and never code."""

from pathlib import Path
from typing import Any

import pytest
import torch

from resnet8.inspection import keras_capture, onnx_capture, torch_capture
from resnet8.models import keras_conversion, keras_layers, torch_conversion, torch_model
from resnet8.models.keras_model import keras
from resnet8.models.onnx_graph import copy_of
from resnet8.quantize import onnx_writer, torch_writer
from resnet8.quantize.fit import fit
from samples.layer_kinds import build

layers = keras.layers
NAMES = ("forward", "None", "class", "a.b", "a b|$x$<i>ünï", "c", "training", "_x20_")
NAMES += ("keraslayer0001",)
MOVED = {"input": "input_conv", "probabilities": "probabilities_conv", "c_scale": "c_scale_conv"}


@pytest.fixture
def payload(tmp_path: Path) -> str:
    """The name of a node that creates the file `ran`, once it is code."""
    command = f"touch {tmp_path / 'ran'}"
    return f'x", None) or getattr(__import__("os"), "system")("{command}") or getattr(self, "y'


def renamed(model: Any, name: str) -> Any:
    copy = copy_of(model)
    next(node for node in copy.graph.node if node.name == "add").name = name
    return copy


def test_onnx2torch_itself_runs_the_payload(onnx_fp32: Any, payload: str, tmp_path: Path) -> None:
    module = torch_conversion.onnx2torch.convert(renamed(onnx_fp32, payload))
    with pytest.raises(AttributeError):
        module(torch.zeros(1, 32, 32, 3))
    assert (tmp_path / "ran").exists()


def test_names_of_nodes_are_never_code(onnx_fp32: Any, payload: str, tmp_path: Path) -> None:
    program = torch_conversion.to_program(renamed(onnx_fp32, payload))
    loaded = torch_model.load_any(torch_model.encode(program))
    assert payload in torch_capture.watch(loaded).points
    assert not (tmp_path / "ran").exists()


def test_any_name_stays_through_both_runtimes(fit_settings: Any, calibration_images: Any) -> None:
    def inner(x: Any) -> Any:
        x = layers.AveragePooling2D(4)(x)
        for name in (*NAMES, *MOVED):
            x = layers.Conv2D(4, 1, name=name)(x)
        return x

    model = build(inner)
    shown = {*NAMES, *MOVED.values()}

    converted = keras_conversion.convert(model, opset=17, n_classes=10)
    known = {node: layer.name for node, layer in keras_layers.read(converted).items()}
    assert known.items() >= {*((x, x) for x in NAMES), *((y, x) for x, y in MOVED.items())}
    program = torch_conversion.to_program(converted)
    quantization = fit(converted, calibration_images[:4], fit_settings)
    in_onnx = onnx_writer.quantize(converted, quantization, quant_type="int8")
    quantized = torch_model.export(torch_writer.quantize(program, quantization))
    in_torch = torch_model.load_any(torch_model.encode(quantized))
    torch_writer.check(in_torch, program, quantization)

    assert shown <= quantization.weights.keys()
    for watched in (
        keras_capture.watch(model, converted),
        onnx_capture.watch(in_onnx),
        torch_capture.watch(program),
        torch_capture.watch(in_torch),
    ):
        assert shown <= watched.points.keys()
        assert shown <= watched.run(calibration_images[:2].astype("float32")).outputs.keys()
    assert keras_capture.watch(model, converted).points["input_conv"].place == "layer input"
