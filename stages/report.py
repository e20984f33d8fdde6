"""Writes the report: one HTML file that opens in any browser without a network.

Reads: metrics/{comparison,decision,layer_parity,network,quantization_lint,sensitivity,sweep}.json,
    artifacts/{predictions,inspection}/, artifacts/verification/quantized.json,
    data/cifar10/test_{images,labels}.npy, data/cifar10/labels.json, data/calibration/images.npy,
    all models and requirements.txt (their hashes and pins)
Writes: artifacts/report/index.html
Params: all but candidate, gate and sweep
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.files import (
    fingerprint,
    read_array,
    read_arrays,
    read_bytes,
    read_json,
    write_bytes,
)
from resnet8.core.input_spec import InputSpec
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.inspection.inputs import choose
from resnet8.report.data import ReportInputs, view
from resnet8.report.page import render, vega_bundle


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(
        argv,
        __doc__,
        "params metrics predictions inspection verification models raw data calibration "
        "requirements out",
    )
    params = load_params(args.params)

    test_set = read_test_set(args.data)
    calibration = args.calibration / "images.npy"
    models = {name: name.path(args.models, raw=args.raw) for name in params.variants}
    data = [args.data / "test_images.npy", args.data / "test_labels.npy", calibration]
    names = ("comparison", "decision", "layer_parity", "network", "quantization_lint",
             "sensitivity", "sweep")  # fmt: skip
    results = {name: read_json(args.metrics / f"{name}.json") for name in names}
    results["layers"] = read_json(args.inspection / "layers.json")
    results["verification"] = read_json(args.verification)
    inputs = ReportInputs(
        results,
        captures={name: read_arrays(args.inspection / f"{name}.npz") for name in params.variants},
        chosen=choose(
            InputSpec.parse(params.inspect.input),
            {"test": test_set.images, "calibration": read_array(calibration)},
        ),
        predictions=read_predictions(args.predictions, params.variants, shape=test_set.shape),
        test_set=test_set,
        params=params.model_dump(exclude={"candidate", "gate", "sweep"}),
        models={name: fingerprint(path) for name, path in models.items()},
        data=[fingerprint(path) for path in data],
        requirements=read_bytes(args.requirements).decode().splitlines(),
    )

    page = render(view(inputs), vega=vega_bundle()).encode()

    write_bytes(args.out, page)
    print(f"{args.out}: {len(page) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_stage(main)
