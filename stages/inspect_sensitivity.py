"""Ranks the layers of each quantized variant by the effect of quantizing each one alone.

Reads: artifacts/models/, data/calibration/images.npy
Writes: metrics/sensitivity.json
Params: inspect.sensitivity_images, quantize_onnx.types, quantize_torch.types
"""

from functools import partial

from resnet8.core.arguments import parse_paths
from resnet8.core.files import read_array, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.inspection import isolation


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params models images out")
    params = load_params(args.params)

    images = read_array(args.images)[: params.inspect.sensitivity_images]

    ranking = {
        name: isolation.rank(
            *isolation.load(name, args.models),
            images,
            progress=partial(show_progress, desc=name, unit="layers"),
        )
        for name in params.quantized
    }

    write_json(args.out, {"n_images": len(images), "variants": ranking})
    for name, ranked in ranking.items():
        first = min(ranked["layers"], key=lambda layer: ranked["layers"][layer]["rank"])
        print(f"{name}: quantizing {first} alone costs most")


if __name__ == "__main__":
    run_stage(main)
