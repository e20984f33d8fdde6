"""Counts what each layer takes: multiply-accumulates, weights, and memory for activations.

Reads: artifacts/models/onnx_fp32.onnx
Writes: metrics/network.json
Params: none
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.files import write_json
from resnet8.core.processes import run_stage
from resnet8.models import onnx_model, onnx_network


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "model out")

    network = onnx_network.describe(onnx_model.load_model(args.model))

    write_json(args.out, network)
    weights, peak = network["weight_bytes"]["int8"], network["peak_activation_bytes"]
    print(f"{network['macs']:,} multiply-accumulates")
    print(f"In 8 bits {weights:,} bytes of weights, {peak['int8']:,} of activations at their peak")


if __name__ == "__main__":
    run_stage(main)
