"""ONNX graphs as exporters write them: simplified, and named after the Keras layers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count

import numpy as np
import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from resnet8.core.batches import IMAGE_SHAPE
from resnet8.core.files import scratch_folder
from resnet8.core.names import INPUT
from resnet8.models.onnx_graph import attributes, infer_shapes, remove_unused, with_outputs
from resnet8.models.onnx_model import BATCH, OUTPUT, open_session

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
    """Writes operators that onnx2torch or quantizers lack with others that compute the same."""
    shapes, nodes = infer_shapes(model), list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        size = shapes.get(node.input[0], [])[2:] if node.input else []
        if node.op_type == "GlobalMaxPool" and size and all(size):
            node.op_type = "MaxPool"
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", size))
        elif node.op_type == "Resize" and attributes(node).get("mode") == b"nearest":
            _name_nearest(node)
        if node.op_type == "ConvTranspose":
            model.graph.node.extend([node, *_pad_by_slicing(model.graph, node, shapes)])
        elif node.op_type == "Split" and all(shapes.get(x) for x in node.output):
            model.graph.node.extend(_split_by_slicing(model.graph, node, shapes))
        else:
            model.graph.node.append(node)
    return model


def _pad_by_slicing(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: Mapping[str, list[int]]
) -> list[onnx.NodeProto]:
    """Lets a transposed convolution compute what its padding cuts off, and a Slice cut it off.

    PyTorch's cuts off as much at the end as at the start.

    Returns:
        The Slice, where one is needed.
    """
    options, after = attributes(node), shapes.get(node.output[0], [0])[2:]
    pads = options.get("pads", [])
    half = len(pads) // 2
    if pads[:half] == pads[half:] or not all(after) or options.get("output_shape"):
        return []
    kept = [x for x in node.attribute if x.name != "pads"]
    del node.attribute[:]
    node.attribute.extend(kept)
    output, whole = node.output[0], f"{node.output[0]}/whole"
    node.output[0] = whole
    ends = [start + n for start, n in zip(pads, after, strict=False)]
    return [_slice(graph, whole, output, pads[:half], ends, range(2, 2 + half))]


def _split_by_slicing(
    graph: onnx.GraphProto, node: onnx.NodeProto, shapes: Mapping[str, list[int]]
) -> list[onnx.NodeProto]:
    """A Slice for each output of a Split: nodes of one output are quantized and watched."""
    axis = attributes(node).get("axis", 0) % len(shapes[node.output[0]])
    slices, start = [], 0
    for output in node.output:
        end = start + shapes[output][axis]
        slices.append(_slice(graph, node.input[0], output, [start], [end], [axis]))
        start = end
    return slices


def _slice(  # noqa: PLR0913, PLR0917
    graph: onnx.GraphProto,
    tensor: str,
    output: str,
    starts: Iterable[int],
    ends: Iterable[int],
    axes: Iterable[int],
) -> onnx.NodeProto:
    """A Slice, whose constants are added to the graph."""
    constants = {"starts": starts, "ends": ends, "axes": axes}
    names = [f"{output}/{name}" for name in constants]
    for name, values in zip(names, constants.values(), strict=True):
        array = np.array(list(values), np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return onnx.helper.make_node("Slice", [tensor, *names], [output], name=f"{output}/slice")


def with_groups(model: onnx.ModelProto, groups: Mapping[str, int]) -> onnx.ModelProto:
    """Writes convolutions that have zeros between groups in groups again.

    Args:
        model: is changed.
        groups: how many, by what is in the names of the nodes.
    """
    constants, done = {x.name: x for x in model.graph.initializer}, set[str]()
    for node in model.graph.node:
        texts = "\n".join((*node.input[1:2], node.name, *node.output))
        count = next((n for name, n in groups.items() if name in texts), 1)
        if node.op_type == "Conv" and count > 1 and node.input[1] in constants:
            stored = constants[node.input[1]]
            if stored.name not in done:  # else it belongs to several nodes
                done.add(stored.name)
                rows = np.split(onnx.numpy_helper.to_array(stored), count)
                parts = [np.split(x, count, axis=1)[i] for i, x in enumerate(rows)]
                grouped = np.concatenate(parts)
                stored.CopyFrom(onnx.numpy_helper.from_array(grouped, stored.name))
            kept = [x for x in node.attribute if x.name != "group"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("group", count)])
    return model


def _name_nearest(node: onnx.NodeProto) -> None:
    """Says in terms that are not deprecated that a Resize takes the pixel at its centre."""
    options = attributes(node)
    if options.get("coordinate_transformation_mode") == b"tf_half_pixel_for_nn":
        options |= {"coordinate_transformation_mode": "half_pixel"}
        options |= {"nearest_mode": "round_prefer_ceil"}
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(*item) for item in options.items())


def _with_static_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes each change of shape but the batch's as a Reshape to constants, (-1, ...).

    Exporters write it in many ways (Squeeze, or a shape computed from the input's), which
    other tools quantize or convert differently or not at all. What the shapes are is seen by
    running the model on one image and on two.
    """
    changing = [x for x in model.graph.node if x.op_type in ("Reshape", "Squeeze", "Flatten")]
    names = [node.output[0] for node in changing]
    session = open_session(with_outputs(model, names))
    one, two = (
        (
            session.run(names, {model.graph.input[0].name: np.zeros((n, *IMAGE_SHAPE), np.float32)})
            for n in (1, 2)
        )
        if names
        else ((), ())
    )
    for node, shape, other in zip(changing, map(np.shape, one), map(np.shape, two), strict=True):
        if shape and shape[1:] == other[1:] and shape[0] != other[0]:
            name = f"{node.name}/shape"
            constant = onnx.numpy_helper.from_array(np.array([-1, *shape[1:]], np.int64), name)
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
    model: onnx.ModelProto, layers: Mapping[str, str], *, n_classes: int
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Names nodes and tensors after the Keras layers that they came from.

    A layer's first node gets its name and further nodes `<layer>_<operator>`; a node's output
    is called like the node, weights are `<node>.weight` and `<node>.bias`.

    Args:
        model: one input, one output.
        layers: name of the Keras layer by a node's first output; `model` stands for none.
        n_classes: K, the length of an output row.

    Returns:
        A new model with input `input` (N, 32, 32, 3) and output `probabilities` (N, K), and the
        new names of nodes by their first output.
    """
    nodes, taken = list(model.graph.node), {INPUT, OUTPUT}
    tensor_names = {model.graph.input[0].name: INPUT, model.graph.output[0].name: OUTPUT}
    constants = {initializer.name for initializer in model.graph.initializer}
    node_names = {}
    for node in nodes:
        node.name = _node_name(layers.get(node.output[0], "model"), node.op_type, taken)
        node_names[node.output[0]] = node.name
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
    return named, node_names


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
