"""Compares every code of the quantized models with exact arithmetic on their parameters.

Reads: artifacts/models/, artifacts/quantization/, data/cifar10/test_{images,labels}.npy,
    data/cifar10/labels.json
Writes: artifacts/verification/quantized.json, metrics/verify_quantized.json
Params: quantize_onnx.types, quantize_torch.types
"""

from functools import partial

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_test_set
from resnet8.core.files import write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.core.variants import Variant
from resnet8.models import onnx_model
from resnet8.quantize import storage
from resnet8.reference import results
from resnet8.reference.check import N_IMAGES, check, load_runtime
from resnet8.reference.network import Network


def main(argv: list[str] | None = None) -> None:
    count = {"type": int, "default": N_IMAGES, "help": "of the test set, at most"}
    names = "params models quantization data out metrics"
    args = parse_paths(argv, __doc__, names, images=count)
    params = load_params(args.params)

    model = onnx_model.load_model(Variant.ONNX_FP32.path(args.models))
    network = Network(model, storage.read(args.quantization))
    images = read_test_set(args.data).images[: args.images]
    runtimes = {str(x): load_runtime(x.path(args.models)) for x in params.quantized}

    progress = partial(show_progress, desc="exact arithmetic", unit="batches")
    checked = check(network, runtimes, images, progress=progress)
    for name, result in checked.items():
        results.refuse_unexplained(name, result)

    described = {name: results.describe(result) for name, result in checked.items()}
    summarized = {name: results.summarize(result) for name, result in checked.items()}
    write_json(args.out, {"n_images": len(images), "variants": described})
    write_json(args.metrics, {"n_images": len(images), "variants": summarized})
    for name, result in checked.items():
        print(results.in_words(name, result))


if __name__ == "__main__":
    run_stage(main)
