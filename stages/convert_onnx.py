"""Converts the Keras model to ONNX with tf2onnx and verifies that both agree.

Reads: data/raw/ (the model), data/cifar10/train_images.npy, data/cifar10/labels.json
Writes: artifacts/models/onnx_fp32.onnx, metrics/verify_onnx.json
Params: convert_onnx, fetch.model
"""

import hashlib

from resnet8.core.arguments import parse_paths
from resnet8.core.errors import naming
from resnet8.core.files import find_model, read_array, read_json, write_bytes, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.models import keras_conversion, keras_folding, keras_model, onnx_model
from resnet8.models.parity import PARITY_IMAGES, check_conversion


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params raw data out verification")
    params = load_params(args.params)
    opset = params.convert_onnx.opset

    n_classes = len(read_json(args.data / "labels.json")["label_names"])
    images = read_array(args.data / "train_images.npy")[:PARITY_IMAGES]
    path = find_model(args.raw)
    with naming(params.fetch.model, path):
        keras = keras_model.load_model(path, n_classes=n_classes)
        model = keras_conversion.convert(keras, opset=opset, n_classes=n_classes)
        parity = check_conversion(
            keras_model.make_predictor(keras),
            onnx_model.make_predictor(model),
            images,
            names=("Keras", "ONNX"),
        )
        verification = onnx_model.describe(model) | {
            "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "parameters": {
                "converted": onnx_model.count_parameters(model),
                "expected": keras_folding.count_folded_parameters(keras),
                "original": keras.count_params(),
            },
            "parity_with_keras": parity,
            "unmatched_layers": keras_conversion.unmatched_layers(model),
        }

    write_bytes(args.out, model.SerializeToString(deterministic=True))
    write_json(args.verification, verification)
    print(f"ONNX opset {opset}: probabilities within {parity['max_abs_probability_diff']:.1e}")


if __name__ == "__main__":
    run_stage(main)
