"""Recommends a variant by stated rules, and writes a model card.

Reads: metrics/{comparison,correct,network,quantization_lint,sweep,verify_onnx,verify_quantized,
    verify_torch}.json, metrics/<variant>.json, data/cifar10/test_{images,labels}.npy,
    data/cifar10/labels.json, data/calibration/images.npy, all models
Writes: metrics/decision.json, artifacts/model_card.md
Params: fetch, convert_onnx, calibrate, fit, quantize_onnx, quantize_torch, compare, gate, candidate
"""

from resnet8.compare.hits import read_correctness
from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_test_set
from resnet8.core.files import fingerprint, read_bytes, read_json, write_bytes, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.variants import Variant
from resnet8.decision import mlperf_tiny, model_card, words
from resnet8.decision.decide import decide
from resnet8.gate.evidence import read_conversion_errors
from resnet8.gate.rules import check_limits


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params metrics models raw data calibration out card")
    params = load_params(args.params)

    paths = {variant: variant.path(args.models, raw=args.raw) for variant in params.variants}
    names = ("comparison", "correct", "network", "quantization_lint", "sweep", "verify_quantized")
    results = {name: read_json(args.metrics / f"{name}.json") for name in names}
    correctness = read_correctness(results["correct"])
    errors = read_conversion_errors(lambda path: read_bytes(args.metrics / path.name))
    _, labels, label_names = read_test_set(args.data)
    is_cifar10 = params.fetch.dataset == mlperf_tiny.DATASET
    scores = mlperf_tiny.scores(correctness.by_class, labels, label_names) if is_cifar10 else None

    limits = check_limits(correctness, errors, params)
    sizes = {variant: path.stat().st_size for variant, path in paths.items()}
    decision = decide(results, limits=limits, sizes=sizes, mlperf_tiny=scores)
    variant = model_card.choose_variant(decision, params.candidate)
    card = model_card.CardInputs(
        results | {"decision": decision, "scores": read_json(args.metrics / f"{variant}.json")},
        settings=params.model_dump(include={"fetch", "convert_onnx", "calibrate", "fit"}),
        model=fingerprint(paths[variant]),
        original=fingerprint(paths[Variant.KERAS_FP32]),
        calibration=fingerprint(args.calibration),
    )

    write_json(args.out, decision)
    write_bytes(args.card, model_card.write_card(variant, card).encode())
    print("\n".join(words.in_lines(decision, results["comparison"])))


if __name__ == "__main__":
    run_stage(main)
