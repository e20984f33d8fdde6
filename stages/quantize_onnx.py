"""Quantizes the ONNX model with ONNX Runtime to one 8-bit type.

Reads: artifacts/models/onnx_fp32.onnx, data/calibration/images.npy
Writes: artifacts/models/onnx_<type>.onnx
Params: quantize_onnx
"""

import argparse
from pathlib import Path

from resnet8 import onnx_model
from resnet8.dataset import read_images
from resnet8.files import write_bytes
from resnet8.onnx_quantization import QUANT_TYPES, quantize
from resnet8.params import load_params
from resnet8.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--type", choices=QUANT_TYPES, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    params = load_params(args.params).quantize_onnx

    model = onnx_model.load_model(args.model)
    images = read_images(args.images)

    quantized = quantize(model, images, quant_type=args.type, per_channel=params.per_channel)
    content = quantized.SerializeToString(deterministic=True)

    write_bytes(args.out, content)
    print(f"ONNX {args.type}: {len(content)} bytes, calibrated on {len(images)} images")


if __name__ == "__main__":
    run_stage(main)
