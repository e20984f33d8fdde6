"""Whether this CPU computes 8-bit products exactly.

On x86 CPUs with AVX2 or AVX-512, but without VNNI, ONNX Runtime adds pairs of uint8 x int8
products in 16 bits, and sums beyond 32767 saturate. Models with uint8 activations and int8 weights
then give other results than elsewhere; those with both signed or both unsigned do not.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When and
why do I need to try U8U8?".
"""

import numpy as np
import onnx
import onnxruntime as ort

_TERMS = 64  # enough for any vector width


def products_saturate() -> bool:
    """Whether uint8 x int8 products saturate here, found by computing the largest ones."""
    activations = np.full((1, _TERMS), 255, np.uint8)
    weights = np.full((_TERMS, 16), 127, np.int8)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
        "products",
        [value("activations", onnx.TensorProto.UINT8, activations.shape)],
        [value("sums", onnx.TensorProto.INT32, (1, 16))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opset = onnx.helper.make_opsetid("", 13)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sums = session.run(None, {"activations": activations})[0]
    return bool((sums != _TERMS * 255 * 127).any())


def mixes_signs(model: onnx.ModelProto) -> bool:
    """Whether a model multiplies uint8 activations with int8 weights."""
    types = {x.name: x.data_type for x in model.graph.initializer}
    zero_points = {
        types.get(node.input[2])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and len(node.input) > 2
    }
    weights = {x.data_type for x in model.graph.initializer if len(x.dims) > 1}
    return onnx.TensorProto.UINT8 in zero_points and onnx.TensorProto.INT8 in weights
