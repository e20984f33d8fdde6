"""Converts the ONNX model to PyTorch with onnx2torch and verifies that both agree.

Reads: artifacts/models/onnx_fp32.onnx, data/cifar10/train_images.npy
Writes: artifacts/models/torch_fp32.pt2, metrics/verify_torch.json
Params: fetch.model
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.errors import naming
from resnet8.core.files import read_array, write_bytes, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.models import onnx_model, torch_conversion, torch_model
from resnet8.models.parity import PARITY_IMAGES, check_conversion


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params model images out verification")

    source = load_params(args.params).fetch.model
    images = read_array(args.images)[:PARITY_IMAGES]
    model = onnx_model.load_model(args.model)
    n_parameters = onnx_model.count_parameters(model)

    with naming(source, args.model):
        program = torch_conversion.to_program(model)
        content = torch_model.encode(program)
        parity = check_conversion(
            onnx_model.make_predictor(model),
            torch_model.make_predictor(program),
            images,
            names=("ONNX", "PyTorch"),
        )
    verification = torch_model.describe(program) | {
        "parameters": {
            "converted": torch_model.count_parameters(program),
            "expected": n_parameters,
            "original": n_parameters,
        },
        "parity_with_onnx": parity,
    }

    write_bytes(args.out, content)
    write_json(args.verification, verification)
    print(f"PyTorch: probabilities within {parity['max_abs_probability_diff']:.1e} of ONNX")


if __name__ == "__main__":
    run_stage(main)
