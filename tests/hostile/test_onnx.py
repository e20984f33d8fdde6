"""ONNX files, as `evaluate`, `convert_torch`, `fit` and `quantize_onnx` read them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from stages import convert_torch, evaluate, fit, quantize_onnx
from tests.hostile.harness import (
    Case,
    evaluate_arguments,
    refuse,
    table,
    write_arrays,
    write_params,
)
from tests.hostile.onnx_files import (
    CLASSES,
    NONE,
    build,
    constant_shape,
    cycle,
    edited,
    external,
    external_constant,
    made,
    named,
    node,
    raw,
    stored,
    unchanged,
    with_weights,
    without_end,
)

HUGE = NONE.format(r"\d+ numbers in 'made', \d+ so far")
OUTSIDE = NONE.format("data of '.+' in another file")
CASES = (
    # No model.
    raw("empty", ".+", lambda _: b""),
    raw("an error page", ".+", lambda _: b"<!DOCTYPE html>"),
    raw("cut", ".+", lambda content: content[: len(content) // 2]),
    raw("without its last byte", ".+", lambda content: content[:-1]),
    raw("a pickle", ".+", lambda _: b"\x80\x04cos\nsystem\n."),
    Case("nothing", lambda _: None, NONE.format(".*No such file.*")),
    Case("a folder", lambda folder: (folder / "model.onnx").mkdir(), NONE.format(".*Is a dir.*")),
    # Data elsewhere.
    edited("data in a folder above", OUTSIDE, external("../../secret.bin")),
    edited("data at an absolute path", OUTSIDE, external("/etc/passwd")),
    edited("data beside the model", OUTSIDE, external("secret.bin")),
    edited("a constant in another file", OUTSIDE, external_constant),
    # Operators.
    edited(
        "an operator of its own", NONE.format("an operator of 'mine'"), node("Run", domain="mine")
    ),
    edited("Python code", NONE.format(".+"), node("PyOp", domain="ai.onnx.contrib")),
    edited("an operator that is none", NONE.format(".+Nonsense.+"), node("Nonsense")),
    edited("a loop without end", NONE.format("a graph within the graph"), without_end),
    edited("a circle", NONE.format(".+"), cycle),
    edited(
        "a function of its own",
        NONE.format("a graph within the graph"),
        lambda model: model.functions.add(name="f", domain="mine"),
    ),
    edited(
        "an operator set of the future",
        NONE.format(".+"),
        lambda model: setattr(model.opset_import[0], "version", 9999),
    ),
    # Shapes.
    edited("a hundred classes", CLASSES.format(r"\[\['batch', 100\]\]"), unchanged, classes=100),
    edited("a fixed number of images", CLASSES.format(r"\[\[2, 10\]\]"), unchanged, batch=2),
    edited(
        "grey images", NONE.format(".+invalid dimensions.+"), unchanged, shape=["batch", 28, 28, 1]
    ),
    edited("one image at a time", NONE.format(".+"), unchanged, shape=[1, 32, 32, 3]),
    edited("images of bytes", NONE.format(".+"), unchanged, kind=TensorProto.UINT8),
    edited("another name of the input", NONE.format("Required inputs .+"), unchanged, source="x"),
    edited("a shape that does not fit", NONE.format(".+"), constant_shape(7, -1)),
    edited("a shape that says otherwise", NONE.format(".+"), constant_shape(1, 5)),
    edited(
        "dimensions below zero",
        NONE.format(".+"),
        lambda model: model.graph.initializer[0].dims.__setitem__(0, -1),
    ),
    edited(
        "dimensions of a terabyte",
        NONE.format(".+"),
        lambda model: model.graph.initializer[0].dims.__setitem__(0, 2**40),
    ),
    edited(
        "a second output",
        CLASSES.format(r"\[\['batch', 10\], \['batch', 10\]\]"),
        lambda model: model.graph.output.append(
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
        ),
    ),
    # Numbers that are none.
    edited("NaN", NONE.format("NaN in 'weight'"), with_weights(np.nan)),
    edited("infinity", NONE.format("NaN in 'weight'"), with_weights(np.inf)),
    edited("NaN in doubles", NONE.format("NaN in 'stored'"), stored(np.full(2, np.nan))),
    edited("NaN in an attribute", NONE.format("NaN in 'made'"), made("Elu", "flat", alpha=np.nan)),
    edited("complex numbers", NONE.format("data of type 15 in 'stored'"), stored(np.zeros(2, "D"))),
    edited("text", NONE.format("data of type 8 in 'stored'"), stored(np.array(["a"], object))),
    edited("data that is missing", NONE.format("cannot reshape .+"), stored(np.zeros(0), 2**40)),
    edited(
        "sparse data",
        NONE.format("sparse numbers"),
        lambda model: model.graph.sparse_initializer.add(dims=[2**20, 2**20]),
    ),
    # Nodes that readers stumble on.
    edited("a constant that is none", NONE.format("no input .+ 'made'"), made("Constant")),
    edited(
        "a constant of NaN",
        NONE.format("NaN in 'made'"),
        made("Constant", value_floats=[1.0, np.nan]),
    ),
    edited(
        "numbers by chance",
        NONE.format("no input or no output of 'made'"),
        made("RandomNormal", shape=[2**20, 2**20]),
    ),
    edited("an empty output", NONE.format("no input .+"), made("Relu", "flat", outputs=[""])),
    edited("no output", NONE.format("no input .+"), made("Relu", "flat", outputs=[])),
    edited("no name", NONE.format("1 nodes of the name ''"), named("")),
    edited("one name twice", NONE.format("2 nodes of the name 'softmax'"), named("softmax")),
    edited(
        "a line of code as name",
        NONE.format(r"1 nodes of the name 'x\\nimport y'"),
        named("x\nimport y"),
    ),
    # Sizes of what is computed, where no shape is declared.
    edited("a huge constant", HUGE, made("ConstantOfShape", [2**15, 2**15])),
    edited("a small number, repeated", HUGE, made("Expand", np.float32(1), [2**15, 2**15])),
    edited("an image, repeated", HUGE, made("Tile", "flat", [1, 2**15])),
    edited("a huge frame", HUGE, made("Pad", "flat", [0, 0, 0, 2**28])),
    edited("a long count", HUGE, made("Range", np.float32(0), np.float32(2**28), np.float32(1))),
    edited("all pairs", HUGE, made("Mul", np.zeros((2**13, 1), "f4"), np.zeros(2**13, "f4"))),
    edited("a size that images tell", NONE.format("a size of 'made' .+"), made("NonZero", "flat")),
    edited(
        "many large constants",
        NONE.format(r"4194304 numbers in 'made\d+', 67111936 so far"),
        lambda model: [made("ConstantOfShape", [2**22], name=f"made{n}")(model) for n in range(16)],
    ),
)


@table(*CASES)
def test_evaluate_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    case.write(folder)
    arguments = evaluate_arguments(tmp_path, "onnx", folder / "model.onnx")
    refuse(evaluate.main, arguments, capfd, folder=folder, message=case.message)


BOTH = [
    case for case in CASES if case.name in ("cut", "data at an absolute path", "NaN", "grey images")
]


@table(*BOTH)
@pytest.mark.parametrize(
    "stage", [convert_torch, fit, quantize_onnx], ids=["convert", "fit", "quantize"]
)
def test_what_converts_and_quantizes_refuses(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: Case, stage: Any
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write_arrays(tmp_path / "data")
    case.write(folder)
    images = tmp_path / "data" / "train_images.npy"
    others: dict[Any, dict[str, object]] = {
        convert_torch: {"images": images, "verification": tmp_path / "out" / "verify.json"},
        fit: {"images": images, "params": write_params(tmp_path)},
        quantize_onnx: {"type": "int8", "quantization": tmp_path / "quantization"},
    }
    arguments = {"model": folder / "model.onnx", "out": tmp_path / "out" / "model", **others[stage]}
    refuse(stage.main, arguments, capfd, folder=folder, message=case.message)


def test_onnx_runtime_itself_reads_data_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(122_880))
    model = build()
    external("secret.bin")(model)
    onnx.save(model, tmp_path / "model.onnx")
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"input": np.ones((1, 32, 32, 3), np.float32)})
    np.testing.assert_allclose(rows, 0.1, atol=1e-6)  # all weights 0: the file was read
