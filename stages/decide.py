"""Recommends a variant by stated rules, and lists what needs a look.

Reads: metrics/{comparison,correct,quantization_lint,sweep,verify_onnx,verify_quantized,
    verify_torch}.json, data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json,
    all models
Writes: metrics/decision.json
Params: fetch, calibrate.size, quantize_onnx, quantize_torch, compare, gate
"""

import argparse
from pathlib import Path

from resnet8.compare.hits import read_correctness
from resnet8.core.dataset import read_test_set
from resnet8.core.files import read_bytes, read_json, write_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.decision import mlperf_tiny, words
from resnet8.decision.decide import Evidence, decide
from resnet8.gate.evidence import read_proof
from resnet8.gate.rules import check_limits


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    params = load_params(args.params)

    correctness = read_correctness(read_json(args.metrics / "correct.json"))
    proof = read_proof(
        lambda path: read_bytes(args.metrics / Path(path).name),
        correctness,
        params.variants,
        baseline=params.compare.baseline,
    )
    _, labels, label_names = read_test_set(args.data)
    names = ("comparison", "quantization_lint", "sweep", "verify_quantized")
    comparison, lint, sweep, verification = (read_json(args.metrics / f"{x}.json") for x in names)

    decision = decide(
        Evidence(
            comparison=comparison,
            verification=verification,
            lint=lint,
            sweep=sweep,
            limits=check_limits(correctness, proof, params),
            sizes={x: x.path(args.models, raw=args.raw).stat().st_size for x in params.variants},
            mlperf_tiny=mlperf_tiny.scores(correctness.by_class, labels, label_names)
            if params.fetch.dataset == mlperf_tiny.DATASET
            else None,
        )
    )

    write_json(args.out, decision)
    print("\n".join(words.in_lines(decision, comparison)))


if __name__ == "__main__":
    run_stage(main)
