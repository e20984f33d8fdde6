"""Finds silent quantization problems, which accuracy does not show.

Reads: artifacts/models/onnx_fp32.onnx, artifacts/inspection/layers.json,
    artifacts/predictions/, artifacts/quantization/, data/calibration/images.npy,
    data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json
Writes: metrics/quantization_lint.json
Params: quantize_onnx.types, quantize_torch.types
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.files import read_array, read_json, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.models import onnx_model
from resnet8.quantize import lint, storage


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(
        argv, __doc__, "params model layers predictions quantization data calibration out"
    )
    params = load_params(args.params)

    model, quantization = onnx_model.load_model(args.model), storage.read(args.quantization)
    layers = read_json(args.layers)
    test_set, calibration = read_test_set(args.data), read_array(args.calibration)
    predictions = read_predictions(args.predictions, params.variants, shape=test_set.shape)

    counts = {
        "n_images": len(calibration),
        "n_in_test_set": lint.count_test_images(calibration, test_set.images),
    }
    findings = lint.lint_calibration(**counts)
    findings += lint.lint(model, quantization, layers, predictions)

    content = {
        "calibration": counts,
        "float_layers": list(quantization.float_layers),
        "notes": list(quantization.notes),
        "findings": [finding._asdict() for finding in findings],
    }
    write_json(args.out, content)
    print(f"{len(findings)} findings in the quantized models")
    for variant, _, layer, message in findings:
        where = f"{variant}, {layer}" if layer else variant
        print(f"  {where}: {message}")


if __name__ == "__main__":
    run_stage(main)
