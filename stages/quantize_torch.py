"""Quantizes the PyTorch model with torchao to 8 bits.

Reads: artifacts/models/torch_fp32.pt2, artifacts/quantization/
Writes: artifacts/models/torch_<type>.pt2
Params: none beside the type, which names the stage
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.files import write_bytes
from resnet8.core.processes import run_stage
from resnet8.models import torch_model
from resnet8.quantize import storage
from resnet8.quantize.torch_writer import TYPES, check, quantize


def main(argv: list[str] | None = None) -> None:
    quant_type = {"choices": TYPES, "required": True}
    args = parse_paths(argv, __doc__, "model quantization out", type=quant_type)

    program = torch_model.load_model(args.model)
    quantization = storage.read(args.quantization)

    quantized = quantize(program, quantization)
    content = torch_model.encode(torch_model.export(quantized), quantization.metadata)
    check(torch_model.load_any(content), program, quantization)

    write_bytes(args.out, content)
    before = args.model.stat().st_size
    print(f"PyTorch {args.type}: {len(content)} bytes instead of {before}")


if __name__ == "__main__":
    run_stage(main)
