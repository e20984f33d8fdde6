"""Runs one variant over the test set, once, and scores it.

Reads: the variant's model, data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json
Writes: artifacts/predictions/<variant>.npy, metrics/<variant>.json
Params: evaluate
"""

from functools import partial
from importlib import import_module

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_test_set
from resnet8.core.evaluation import predict, score
from resnet8.core.files import write_array, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.core.variants import Variant


def main(argv: list[str] | None = None) -> None:
    variant = {"type": Variant, "choices": list(Variant), "required": True}
    names = "params model data predictions metrics"
    args = parse_paths(argv, __doc__, names, variant=variant)
    batch_size = load_params(args.params).evaluate.batch_size

    test_set = read_test_set(args.data)
    # By name, so that only Keras variants load TensorFlow and only PyTorch ones PyTorch.
    runtime = import_module(f"resnet8.models.{args.variant.runtime}_model")
    model = runtime.load_model(args.model, n_classes=len(test_set.label_names))

    progress = partial(show_progress, desc=args.variant, unit="batches")
    predictor = runtime.make_predictor(model)
    probabilities = predict(predictor, test_set.images, batch_size=batch_size, progress=progress)
    scores = score(probabilities, test_set.labels, label_names=test_set.label_names)
    saturates = args.variant.runtime == "onnx" and runtime.saturates(model)

    write_array(args.predictions, probabilities)
    named = {"variant": args.variant, "saturating_products": saturates}
    write_json(args.metrics, named | scores)
    note = "; 8-bit products saturate on this CPU, which has no VNNI" if saturates else ""
    print(f"{args.variant}: top-1 accuracy {scores['top1_accuracy']:.4f}{note}")


if __name__ == "__main__":
    run_stage(main)
