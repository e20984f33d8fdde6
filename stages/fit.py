"""Finds the quantization parameters of all tensors, the rounded weights, the corrected biases.

Reads: artifacts/models/onnx_fp32.onnx, data/calibration/images.npy
Writes: artifacts/quantization/quantization.json (to read) and parameters.npz (codes and biases)
Params: fit
"""

import sys
from functools import partial

from resnet8.core.arguments import parse_paths
from resnet8.core.files import read_array
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.models import onnx_model
from resnet8.quantize import storage
from resnet8.quantize.fit import fit


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params model images out")
    params = load_params(args.params).fit

    model = onnx_model.load_model(args.model)
    images = read_array(args.images)

    progress = partial(show_progress, desc="rounding", unit="tensors")
    quantization = fit(model, images, params, progress=progress)

    storage.write(args.out, quantization, {"images": len(images), **dict(params)})
    for note in quantization.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"{len(quantization.activations)} tensors and {len(quantization.weights)} layers in 8 "
        f"bits, {len(quantization.equalization.groups)} groups of tensors equalized"
    )


if __name__ == "__main__":
    run_stage(main)
