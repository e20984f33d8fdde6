"""Quantizes the ONNX model with ONNX Runtime to one 8-bit type.

Reads: artifacts/models/onnx_fp32.onnx, artifacts/quantization/
Writes: artifacts/models/onnx_<type>.onnx
Params: none beside the type, which names the stage
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.files import write_bytes
from resnet8.core.processes import run_stage
from resnet8.models import onnx_model
from resnet8.quantize import storage
from resnet8.quantize.onnx_writer import QUANT_TYPES, quantize


def main(argv: list[str] | None = None) -> None:
    quant_type = {"choices": QUANT_TYPES, "required": True}
    args = parse_paths(argv, __doc__, "model quantization out", type=quant_type)

    model = onnx_model.load_model(args.model)
    quantization = storage.read(args.quantization)

    quantized = quantize(model, quantization, quant_type=args.type)
    content = quantized.SerializeToString(deterministic=True)

    write_bytes(args.out, content)
    before = args.model.stat().st_size
    print(f"ONNX {args.type}: {len(content)} bytes instead of {before}")


if __name__ == "__main__":
    run_stage(main)
