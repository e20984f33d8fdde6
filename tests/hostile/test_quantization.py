"""A quantization, as `quantize_onnx` and `quantize_torch` read them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from resnet8.core.qparams import Parameter, QuantizationParameters
from resnet8.models import torch_model
from resnet8.quantize import onnx_writer, storage
from resnet8.quantize.quantization import LayerParameters, Quantization
from stages import quantize_onnx, quantize_torch
from tests.hostile import payloads
from tests.hostile.harness import Case, options, refuse, replaced, table
from tests.hostile.test_onnx import build

NONE = (
    r"\S+/quantization must hold a quantization, got: {}\. "
    r"Run `dvc repro` to make it again\."
)
ANY, MISSING = NONE.format(".+"), NONE.format(".*No such file.+")
OTHER_MODEL = r".+ Run `dvc repro` .+ again\."


def model() -> onnx.ModelProto:
    """A dense layer, as the pipeline's own models have it."""
    made = build()
    made.graph.node[1].op_type = "Gemm"
    return made


def valid(layer: str = "dense") -> Quantization:
    """A quantization of that layer of 3072 inputs and 10 outputs."""
    points = onnx_writer.find_points(model(), symmetric=False)
    codes = np.random.default_rng(0).integers(-127, 128, (10, 3072)).astype(np.int8)
    scales = np.full(10, 1e-6, np.float32)
    parameters = QuantizationParameters.per_channel(scales, "int8", axis=0)
    weight = Parameter(parameters.dequantize(codes), parameters)
    activations = {name: QuantizationParameters.per_tensor(1.0, 0) for name in points}
    return Quantization(activations, {layer: LayerParameters(weight, None)})


def saved(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=True, **arrays)
    return out.getvalue()


def edited(file: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(edit((folder / file).read_bytes()))


def description(name: str, message: str, edit: Callable[[Any], object]) -> Case:
    """A valid quantization with another `quantization.json`."""

    def change(content: bytes) -> bytes:
        description = json.loads(content)
        edit(description)
        return json.dumps(description).encode()

    return Case(name, edited("quantization.json", change), message)


def activation(name: str, **changes: Any) -> Case:
    (place,) = changes
    message = NONE.format(rf".*activations\.input\.{place} .+")
    return description(name, message, lambda x: x["activations"]["input"].update(changes))


def layer(name: str, **changes: Any) -> Case:
    return description(name, ANY, lambda x: x["weights"]["dense"].update(changes))


def arrays(name: str, message: str, **values: Any) -> Case:
    """A valid quantization with other arrays; those that stay are the valid ones."""

    def change(content: bytes) -> bytes:
        with np.load(io.BytesIO(content)) as stored:
            return saved(**{**stored, **{f"dense.{key}": x for key, x in values.items()}})

    return Case(name, edited("parameters.npz", change), message)


def npz(name: str, content: bytes | Callable[[Path], bytes]) -> Case:
    return Case(name, replaced("parameters.npz", content), ANY)


def text(name: str, content: bytes) -> Case:
    return Case(name, replaced("quantization.json", content), ANY)


def of_objects(marker: Path) -> bytes:
    payload = np.empty((10, 3072), object)
    payload[0, 0] = payloads.creating(marker)
    return saved(**{"dense.weight": payload})


def an_array(_: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros((10, 3072), np.int8))
    return out.getvalue()


def with_turned_bits(content: bytes) -> bytes:
    """Turns bits within the compressed codes."""
    middle = len(content) // 2
    turned = bytes(x ^ 0xFF for x in content[middle : middle + 64])
    return content[:middle] + turned + content[middle + 64 :]


CASES = (
    # No quantization.
    Case("an empty folder", lambda f: [x.unlink() for x in [*f.iterdir()]], MISSING),
    Case("no description", lambda f: (f / "quantization.json").unlink(), MISSING),
    Case("no arrays", lambda f: (f / "parameters.npz").unlink(), MISSING),
    Case("half of the arrays", edited("parameters.npz", lambda x: x[: len(x) // 2]), ANY),
    text("a page", b"<!DOCTYPE html>"),
    text("bytes that are no text", b"\xff\xfe{}"),
    text("nested without end", b"[" * 100_000),
    # Activations.
    activation("a scale that is NaN", scale=float("nan")),
    activation("a scale below zero", scale=-1.0),
    activation("a scale of zero", scale=0),
    activation("a scale beyond float32", scale=1e300),
    activation("a scale below float32", scale=1e-300),
    activation("a zero point beyond 8 bits", zero_point=256),
    activation("no zero point", zero_point=None),
    description("no ranges", OTHER_MODEL, lambda x: x.update(activations={})),
    # Layers.
    layer("a weight scale beyond float32", scale=[1e300] * 10),
    layer("no weight scales", scale=[]),
    layer("weight scales for fewer outputs", scale=[1.0] * 9),
    layer("a weight's zero point beyond 8 bits", zero_point=128),
    description(
        "a layer that the arrays do not have",
        NONE.format(".*other.weight.*"),
        lambda x: x["weights"].update(other=x["weights"]["dense"]),
    ),
    layer("a zero point beside a scale for each output", zero_point=1),
    layer("two scales for a whole tensor", axis=None, scale=[1.0, 1.0]),
    layer("scales along the inputs", axis=1),
    # Equalization.
    description(
        "a factor of zero",
        NONE.format(r".*equalization.*numerators\.0.+"),
        lambda x: x.update(equalization=[{"numerators": [0], "outputs": [], "inputs": []}]),
    ),
    # Arrays.
    npz("arrays that are a page", b"<!DOCTYPE html>"),
    npz("an archive that is none", b"PK\x03\x04" + bytes(100)),
    npz("a pickle", payloads.as_a_whole),
    npz("an array of objects", of_objects),
    npz("a single array", an_array),
    Case("bits that are turned", edited("parameters.npz", with_turned_bits), ANY),
    npz("arrays of other layers", saved(**{"other.weight": np.zeros((10, 3072), np.int8)})),
    arrays("codes for fewer outputs", ANY, weight=np.zeros((9, 3072), np.int8)),
    arrays("codes of one dimension", ANY, weight=np.zeros(10, np.int8)),
    arrays("codes that are floats", ANY, weight=np.zeros((10, 3072), np.float32)),
    arrays("codes for fewer inputs", OTHER_MODEL, weight=np.zeros((10, 5), np.int8)),
    arrays("codes of a convolution", OTHER_MODEL, weight=np.zeros((10, 3, 3, 3), np.int8)),
    arrays("biases of other outputs", ANY, bias=np.zeros(9, np.float32)),
    arrays("biases that are NaN", ANY, bias=np.full(10, np.nan, np.float32)),
    arrays("biases in double precision", ANY, bias=np.zeros(10)),
    arrays("biases of a layer without", OTHER_MODEL, bias=np.zeros(10, np.float32)),
)


def prepared(
    tmp_path: Path, quantization: Quantization, program: bytes | None = None
) -> dict[str, object]:
    """Writes an ONNX model, or a program, with a quantization; the stage's arguments."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    storage.write(folder / "quantization", quantization, {})
    onnx.save(model(), folder / "model")
    if program:
        (folder / "model").write_bytes(program)
    places = {"model": folder / "model", "quantization": folder / "quantization"}
    return {"type": "int8", **places, "out": tmp_path / "out" / "model"}


@table(*CASES)
def test_quantize_onnx_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case
) -> None:
    arguments = prepared(tmp_path, valid())
    case.write(tmp_path / "inputs" / "quantization")
    refuse(quantize_onnx.main, arguments, capfd, folder=tmp_path / "inputs", message=case.message)


@pytest.fixture(scope="module")
def program() -> bytes:
    module = torch.nn.Sequential()
    module.add_module("flat", torch.nn.Flatten())
    module.add_module("dense", torch.nn.Linear(3072, 10, bias=False))
    module.add_module("softmax", torch.nn.Softmax(1))
    return torch_model.encode(torch_model.export(module.eval()))


@pytest.mark.parametrize("stage", [quantize_onnx, quantize_torch])
def test_a_quantization_of_another_model_is_refused_and_the_valid_one_taken(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], program: bytes, stage: Any
) -> None:
    folder, content = tmp_path / "inputs", program if stage is quantize_torch else None
    arguments = prepared(tmp_path, valid("conv2d"), content)
    refuse(stage.main, arguments, capfd, folder=folder, message=OTHER_MODEL)
    storage.write(folder / "quantization", valid(), {})
    stage.main(options(**arguments))
    assert (tmp_path / "out" / "model").exists()
