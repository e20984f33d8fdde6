"""Writes the model card of the variant to ship, for a model hub or a colleague.

Reads: metrics/{comparison,decision,network,quantization_lint,verify_quantized}.json,
    metrics/correct.json, metrics/<variant>.json, data/calibration/images.npy, all models
Writes: artifacts/model_card.md
Params: fetch, convert_onnx, calibrate, fit, candidate
"""

import argparse
from pathlib import Path

from resnet8.core.files import read_json, write_bytes
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.provenance import fingerprint
from resnet8.core.variants import Variant
from resnet8.decision.model_card import CardInputs, choose_variant, write_card


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    params = load_params(args.params)

    decision = read_json(args.metrics / "decision.json")
    variant = choose_variant(decision, params.candidate)
    inputs = CardInputs(
        comparison=read_json(args.metrics / "comparison.json"),
        decision=decision,
        lint=read_json(args.metrics / "quantization_lint.json"),
        network=read_json(args.metrics / "network.json"),
        scores=read_json(args.metrics / f"{variant}.json"),
        verification=read_json(args.metrics / "verify_quantized.json"),
        settings={
            "fetch": params.fetch.model_dump(),
            "convert_onnx": params.convert_onnx.model_dump(),
            "calibrate": params.calibrate.model_dump(),
            "fit": params.fit.model_dump(),
        },
        model=fingerprint(variant.path(args.models, raw=args.raw)),
        original=fingerprint(Variant.KERAS_FP32.path(args.models, raw=args.raw)),
        calibration=fingerprint(args.calibration),
        test_set_sha256=read_json(args.metrics / "correct.json")["test_set_sha256"],
    )

    card = write_card(variant, inputs)

    write_bytes(args.out, card.encode())
    print(f"{args.out} is about {variant}")


if __name__ == "__main__":
    run_stage(main)
