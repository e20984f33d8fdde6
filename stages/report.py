"""Writes the report: one HTML file that opens in any browser without a network.

Reads: metrics/{comparison,layer_parity,quantization_lint,sensitivity,sweep}.json,
    artifacts/{predictions,inspection}/,
    data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json, data/calibration/images.npy,
    all models and requirements.txt (their hashes and pins)
Writes: artifacts/report/index.html
Params: all but candidate, gate and sweep
"""

import argparse
from pathlib import Path

from resnet8.core import choice
from resnet8.core.dataset import read_images, read_label_names, read_labels, read_predictions
from resnet8.core.files import read_arrays, read_bytes, read_json, write_bytes
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.inspection import inputs
from resnet8.report import provenance
from resnet8.report.data import view
from resnet8.report.evidence import Evidence
from resnet8.report.page import render, vega_bundle


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--inspection", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--requirements", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    params = load_params(args.params)

    images = read_images(args.data / "test_images.npy")
    labels = read_labels(args.data / "test_labels.npy")
    label_names = read_label_names(args.data / "labels.json")
    calibration = args.calibration / "images.npy"
    models = provenance.model_paths(params.variants, args.models, raw=args.raw)
    data = [args.data / "test_images.npy", args.data / "test_labels.npy", calibration]
    evidence = Evidence(
        comparison=read_json(args.metrics / "comparison.json"),
        layers=read_json(args.inspection / "layers.json"),
        parity=read_json(args.metrics / "layer_parity.json"),
        sensitivity=read_json(args.metrics / "sensitivity.json"),
        lint=read_json(args.metrics / "quantization_lint.json"),
        sweep=read_json(args.metrics / "sweep.json"),
        captures={name: read_arrays(args.inspection / f"{name}.npz") for name in params.variants},
        chosen=inputs.choose(
            choice.parse(params.inspect.input),
            test_images=images,
            calibration_images=read_images(calibration),
        ),
        predictions=read_predictions(
            args.predictions, params.variants, shape=(len(labels), len(label_names))
        ),
        images=images,
        labels=labels,
        label_names=label_names,
        params=params.model_dump(exclude={"candidate", "gate", "sweep"}),
        models={name: provenance.fingerprint(path) for name, path in models.items()},
        data=[provenance.fingerprint(path) for path in data],
        requirements=read_bytes(args.requirements).decode().splitlines(),
    )

    page = render(view(evidence), vega=vega_bundle()).encode()

    write_bytes(args.out, page)
    print(f"{args.out}: {len(page) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_stage(main)
