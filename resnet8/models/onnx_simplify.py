"""Simplifies ONNX graphs as exporters write them, and names them after the Keras layers."""

from collections.abc import Iterator, Sequence
from itertools import chain, count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.files import scratch_folder
from resnet8.core.names import INPUT
from resnet8.models.onnx_graph import attributes, infer_shapes, remove_unused, with_outputs
from resnet8.models.onnx_model import BATCH, OUTPUT, open_session

# Suffixes of the names that ONNX Runtime's quantizer, and this project, derive from a tensor's.
_SUFFIXES = (
    "_DequantizeLinear", "_DequantizeLinear_Output", "_QuantizeLinear", "_QuantizeLinear_Output",
    "_quantized", "_quantized_scale", "_quantized_zero_point", "_scale", "_zero_point",
    "/codes", "/in_float", "/rounded", "/scale", "/zero_point",
)  # fmt: skip
_PARAMETERS = {1: "weight", 2: "bias"}  # of Conv and Gemm, by position among the inputs


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds constants and batch normalization, and joins MatMul with its bias to Gemm.

    What is quantized later is then what runs. ONNX Runtime's preprocessing does this once no
    Reshape computes its shape at run time.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    _replace_operators(model)
    _make_reshapes_static(model)
    with scratch_folder() as folder:
        before, after = folder / "before.onnx", folder / "after.onnx"
        onnx.save(model, before)
        quant_pre_process(before, after, skip_symbolic_shape=True)
        folded = onnx.load(after)
    _use_gemm(folded)
    return folded


def _replace_operators(model: onnx.ModelProto) -> None:
    """Replaces operators that onnx2torch or quantizers lack by equivalent ones."""
    graph, shapes = model.graph, infer_shapes(model)
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        source = node.input[0] if node.input else ""
        options, size = attributes(node), shapes.get(source, [])[2:]
        if node.op_type == "GlobalMaxPool" and size and all(size):
            _replace(node, "MaxPool", kernel_shape=size)
        if options.get("coordinate_transformation_mode") == b"tf_half_pixel_for_nn":  # deprecated
            options["coordinate_transformation_mode"] = "half_pixel"
            _replace(node, **options | {"nearest_mode": "round_prefer_ceil"})
        if node.op_type == "Split" and all(shapes.get(x) for x in node.output):
            graph.node.extend(_split_by_slicing(graph, node, shapes))
        else:
            graph.node.append(node)
        if node.op_type == "ConvTranspose":
            graph.node.extend(_crop_by_slicing(graph, graph.node[-1], shapes))


def _replace(node: onnx.NodeProto, operator: str = "", **options: Any) -> None:
    """Gives a node another operator and other attributes."""
    operator = operator or node.op_type
    node.CopyFrom(helper.make_node(operator, node.input, node.output, node.name, **options))


def _crop_by_slicing(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: dict[str, list[int]]
) -> list[onnx.NodeProto]:
    """Returns a Slice in place of a transposed convolution's padding, if its ends differ."""
    options, size = attributes(node), shapes.get(node.output[0], [0])[2:]
    pads = options.pop("pads", [])
    half = len(pads) // 2
    if pads[:half] == pads[half:] or not all(size) or options.get("output_shape"):
        return []
    output, whole = node.output[0], f"{node.output[0]}/whole"
    node.output[0] = whole
    _replace(node, **options)
    ranges = [(pads[i], pads[i] + size[i], i + 2) for i in range(half)]
    return [_slice(graph, whole, output, ranges)]


def _split_by_slicing(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: dict[str, list[int]]
) -> Iterator[onnx.NodeProto]:
    """A Slice for each output of a Split: only nodes of one output are quantized and watched."""
    axis = attributes(node).get("axis", 0) % len(shapes[node.output[0]])
    end = 0
    for output in node.output:
        start, end = end, end + shapes[output][axis]
        yield _slice(graph, node.input[0], output, [(start, end, axis)])


def _slice(
    graph: onnx.GraphProto, tensor: str, output: str, ranges: list[tuple[int, int, int]]
) -> onnx.NodeProto:
    """A Slice of (start, end, axis) ranges, whose constants are added to the graph."""
    constants = zip(("starts", "ends", "axes"), zip(*ranges, strict=True), strict=True)
    inputs = [_add_constant(graph, f"{output}/{name}", x) for name, x in constants]
    return helper.make_node("Slice", [tensor, *inputs], [output], name=f"{output}/slice")


def _add_constant(graph: onnx.GraphProto, name: str, values: Sequence[int]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return name


def _make_reshapes_static(model: onnx.ModelProto) -> None:
    """Replaces each change of shape that keeps the batch by a Reshape to constants, (-1, ...).

    Exporters write it in many ways (Squeeze, or a shape computed from the input's), which other
    tools quantize or convert differently or not at all. The shapes are found by running the model
    on one image and on two.
    """
    changing = [x for x in model.graph.node if x.op_type in ("Reshape", "Squeeze", "Flatten")]
    if not changing:
        return
    tensors, source = [node.output[0] for node in changing], model.graph.input[0].name
    session = open_session(with_outputs(model, tensors))
    images = (np.zeros((n, *IMAGE_SHAPE), np.float32) for n in (1, 2))
    results = zip(*(session.run(tensors, {source: x}) for x in images), strict=True)
    for node, (one, two) in zip(changing, results, strict=True):
        if one.ndim and one.shape[1:] == two.shape[1:] and one.shape[0] != two.shape[0]:
            shape = _add_constant(model.graph, f"{node.name}/shape", (-1, *one.shape[1:]))
            node.input[:] = [node.input[0], shape]
            _replace(node, "Reshape")
    remove_unused(model.graph)


def _use_gemm(model: onnx.ModelProto) -> None:
    """Turns dense layers (N, features) without bias into Gemm, like those with bias."""
    weights = {x.name for x in model.graph.initializer if len(x.dims) == 2}
    shapes = infer_shapes(model)
    for node in model.graph.node:
        is_dense = node.op_type == "MatMul" and node.input[1] in weights
        if is_dense and len(shapes.get(node.input[0], [])) == 2:
            node.op_type = "Gemm"


def name_after_layers(model: onnx.ModelProto, layers: Sequence[str], *, n_classes: int) -> None:
    """Names nodes and tensors after the Keras layers that they came from.

    A layer's first node gets its name and further nodes `<layer>_<operator>`; the output of a node
    has the node's name, weights are `<node>.weight` and `<node>.bias`. The model's input becomes
    `input` (N, 32, 32, 3), its output `probabilities` (N, K). `layers` has a name for each node.
    """
    graph, taken = model.graph, {INPUT, OUTPUT}
    names = {"": "", graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    for node, layer in zip(graph.node, layers, strict=True):
        # A Transpose is never named like the layer, nor `conv2d_transpose`, which is another layer.
        choices = [layer, f"{layer}_{node.op_type.lower()}"]
        is_permutation = node.op_type == "Transpose"
        node.name = _free_name([f"{layer}_permute"] if is_permutation else choices, taken)
        kinds = _PARAMETERS if node.op_type in ("Conv", "Gemm") else {}
        for i, tensor in enumerate(node.input):
            if tensor not in names:  # no earlier node has computed it
                name = f"{node.name}.{kinds.get(i, f'constant{i}')}"
                names[tensor] = _free_name([name], taken)
        for i, tensor in enumerate(node.output):
            names.setdefault(tensor, f"{node.name}.{i}" if i else node.name)
        node.input[:] = [names[tensor] for tensor in node.input]
        node.output[:] = [names[tensor] for tensor in node.output]
    for initializer in graph.initializer:
        initializer.name = names[initializer.name]
    graph.initializer.sort(key=lambda initializer: initializer.name)
    graph.name = "resnet8"
    graph.ClearField("doc_string")
    del graph.value_info[:]
    for value, name, shape in (
        (graph.input[0], INPUT, IMAGE_SHAPE),
        (graph.output[0], OUTPUT, (n_classes,)),
    ):
        value.CopyFrom(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, *shape]))
    for operator_set in [x for x in model.opset_import if x.domain not in ("", "ai.onnx")]:
        model.opset_import.remove(operator_set)


def _free_name(names: Sequence[str], taken: set[str]) -> str:
    """Takes the first free name, or the last one with the first number that makes it free.

    A name is free if neither it, a name derived from it nor one that it derives from is taken.
    """
    numbered = (f"{names[-1]}_{number}" for number in count(1))
    for name in chain(names, numbered):
        related = {x for end in _SUFFIXES for x in (name + end, name.removesuffix(end))}
        if taken.isdisjoint({name, *related}):
            break
    taken.add(name)
    return name
