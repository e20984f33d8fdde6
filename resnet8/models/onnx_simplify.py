"""ONNX graphs as exporters write them: simplified, and named after the Keras layers."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain, count

import numpy as np
import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.files import scratch_folder
from resnet8.core.names import INPUT
from resnet8.models.onnx_graph import infer_shapes, remove_unused
from resnet8.models.onnx_model import BATCH, OUTPUT

# Ends of the names that ONNX Runtime's quantizer, and this project, derive from a tensor's.
_DERIVED = (
    *("_DequantizeLinear", "_DequantizeLinear_Output", "_QuantizeLinear", "_QuantizeLinear_Output"),
    *("_quantized", "_quantized_scale", "_quantized_zero_point", "_scale", "_zero_point"),
    *("/codes", "/in_float", "/rounded", "/scale", "/zero_point"),
)
_PARAMETER_NAMES = {1: "weight", 2: "bias"}  # by input position of Conv and Gemm


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds constants and batch normalization, and joins MatMul with its bias to Gemm.

    What is quantized later is then what runs. ONNX Runtime's own preprocessing does it, once
    no reshape computes its shape while running.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    with scratch_folder() as scratch:
        before, after = scratch / "before.onnx", scratch / "after.onnx"
        onnx.save(_with_static_reshapes(_in_known_operators(model)), before)
        quant_pre_process(before, after, skip_symbolic_shape=True)
        return _with_gemm(onnx.load(after))


def _in_known_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes what ONNX or onnx2torch have no operator for with others that compute the same."""
    shapes, nodes = infer_shapes(model), list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        size = shapes.get(node.input[0], [])[2:] if node.input else []
        if node.op_type == "Erfc":  # of tf2onnx, for 1 - erf
            one, erf = f"{node.name}/one", f"{node.name}/erf"
            constant = onnx.numpy_helper.from_array(np.array(1, np.float32), one)
            model.graph.initializer.append(constant)
            model.graph.node.append(onnx.helper.make_node("Erf", node.input, [erf], name=erf))
            node.op_type, node.input[:] = "Sub", [one, erf]
        elif node.op_type == "GlobalMaxPool" and size and all(size):
            node.op_type = "MaxPool"
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", size))
        model.graph.node.append(node)
    return model


def _with_static_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes each change of shape but the batch's as a Reshape to constants, (-1, ...).

    Exporters write it in many ways (Squeeze, or a shape computed from the input's), which
    other tools quantize or convert differently or not at all.
    """
    shapes = infer_shapes(model)
    for node in model.graph.node:
        batch, *rest = shapes.get(node.output[0]) or [0]
        if node.op_type in ("Reshape", "Squeeze", "Flatten") and not batch and rest and all(rest):
            name = f"{node.name}/shape"
            constant = onnx.numpy_helper.from_array(np.array([-1, *rest], np.int64), name)
            model.graph.initializer.append(constant)
            inputs = [node.input[0], name]
            node.CopyFrom(onnx.helper.make_node("Reshape", inputs, node.output, name=node.name))
    remove_unused(model.graph)
    return model


def _with_gemm(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes a dense layer without bias as Gemm, like one with bias; Gemm takes (N, features)."""
    weights = {x.name for x in model.graph.initializer if len(x.dims) == 2}
    shapes = infer_shapes(model)
    for node in model.graph.node:
        is_dense = node.op_type == "MatMul" and node.input[1] in weights
        if is_dense and len(shapes.get(node.input[0], [])) == 2:
            node.op_type = "Gemm"
    return model


def name_after_layers(
    model: onnx.ModelProto, layer_names: Mapping[str, str], *, n_classes: int
) -> tuple[onnx.ModelProto, dict[str, list[str]]]:
    """Names nodes and tensors after the Keras layers that they came from.

    A layer's first node gets its name and further nodes `<layer>_<operator>`; a node's output
    is called like the node, weights are `<node>.weight` and `<node>.bias`. A convolution
    with folded batch normalization keeps the convolution's name.

    Args:
        model: one input, one output, node names with tokens as `keras_export.export_onnx`
            makes them.
        layer_names: layer name by token.
        n_classes: K, the length of an output row.

    Returns:
        A new model with input `input` (N, 32, 32, 3) and output `probabilities` (N, K), and by
        node the tokens of the layers that its output may belong to, the likeliest first.
    """
    nodes, taken = list(model.graph.node), {INPUT, OUTPUT}
    tensor_names = {model.graph.input[0].name: INPUT, model.graph.output[0].name: OUTPUT}
    constants = {initializer.name for initializer in model.graph.initializer}
    token = re.compile("|".join(layer_names))
    found_in: dict[str, list[str]] = {}
    for node in nodes:
        # Weights first: a folded convolution may be called like its batch normalization.
        weights = [tensor for tensor in node.input if tensor in constants]
        found = next(filter(None, map(token.search, [*weights, node.name, *node.output])), None)
        layer = layer_names[found.group()] if found else "model"
        tokens = [x for text in (*node.output, node.name) for x in token.findall(text)]
        node.name = _node_name(layer, node.op_type, taken)
        # A change of layout rearranges what another node computed.
        found_in[node.name] = [] if node.op_type == "Transpose" else list(dict.fromkeys(tokens))
        for position, tensor in enumerate(node.input):
            if tensor in constants and tensor not in tensor_names:
                kinds = _PARAMETER_NAMES if node.op_type in ("Conv", "Gemm") else {}
                name = f"{node.name}.{kinds.get(position, f'constant{position}')}"
                tensor_names[tensor] = _free([name], taken)
        for position, tensor in enumerate(node.output):
            if tensor:  # else it is optional, and nothing reads it
                name = f"{node.name}.{position}" if position else node.name
                tensor_names.setdefault(tensor, name)
    for node in nodes:
        node.input[:] = [tensor_names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [tensor_names.get(tensor, tensor) for tensor in node.output]
    for initializer in model.graph.initializer:
        initializer.name = tensor_names.get(initializer.name, initializer.name)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "resnet8",
        [value(INPUT, onnx.TensorProto.FLOAT, [BATCH, *IMAGE_SHAPE])],
        [value(OUTPUT, onnx.TensorProto.FLOAT, [BATCH, n_classes])],
        sorted(model.graph.initializer, key=lambda initializer: initializer.name),
    )
    named = onnx.helper.make_model(
        graph,
        opset_imports=[x for x in model.opset_import if x.domain in ("", "ai.onnx")],
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    named.metadata_props.extend(model.metadata_props)  # says that it is preprocessed
    return named, found_in


def _node_name(layer: str, op_type: str, taken: set[str]) -> str:
    # A layout change never stands for its layer; `_permute` because `conv2d_transpose` is
    # what Keras calls another layer.
    suffix = "permute" if op_type == "Transpose" else op_type.lower()
    name = f"{layer}_{suffix}"
    return _free([name] if suffix == "permute" else [layer, name], taken)


def _free(names: Sequence[str], taken: set[str]) -> str:
    """The first name, or the last one numbered, that collides with none.

    Nor may it collide with what ONNX Runtime's quantizer makes of a name.
    """

    def collides(name: str) -> bool:
        derived = (x in taken for end in _DERIVED for x in (name + end, name.removesuffix(end)))
        return name in taken or any(derived)

    numbered = (f"{names[-1]}_{number}" for number in count(1))
    name = next(name for name in chain(names, numbered) if not collides(name))
    taken.add(name)
    return name
