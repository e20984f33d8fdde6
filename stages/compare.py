"""Compares each variant with the baseline, image by image, and prints the table.

Reads: artifacts/predictions/, data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json
Writes: metrics/comparison.json, metrics/correct.json, metrics/summary/<variant>.json
Params: compare, quantize_onnx.types, quantize_torch.types
"""

from resnet8.compare.chance import describe_chance
from resnet8.compare.comparison import compare
from resnet8.compare.hits import describe_correctness
from resnet8.compare.tables import print_classes, print_headline, summarize
from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.files import write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params predictions data out correct summary")
    params = load_params(args.params)

    test_set = read_test_set(args.data)
    predictions = read_predictions(args.predictions, params.variants, shape=test_set.shape)

    baseline = predictions[params.compare.baseline]
    rows = {
        name: compare(baseline, probabilities, test_set.labels, label_names=test_set.label_names)
        for name, probabilities in predictions.items()
    }
    comparison = {
        "baseline": params.compare.baseline,
        "n_images": len(test_set.labels),
        **describe_chance(baseline.argmax(axis=1) == test_set.labels, test_set.labels),
        "variants": rows,
    }
    correctness = describe_correctness(predictions, test_set)

    write_json(args.out, comparison)
    write_json(args.correct, correctness)
    for name, row in rows.items():
        write_json(args.summary / f"{name}.json", summarize(name, row))
    print_headline(comparison)
    print_classes(comparison)


if __name__ == "__main__":
    run_stage(main)
