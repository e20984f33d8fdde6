"""Inspects the layers of all variants: values, operations, exact arithmetic, sensitivity.

Reads: all models, artifacts/quantization/, data/cifar10/test_{images,labels}.npy,
    data/cifar10/labels.json, data/calibration/images.npy
Writes: artifacts/inspection/ (statistics, histograms, captures), artifacts/verification/,
    metrics/layers.json, metrics/layer_parity.json, metrics/network.json,
    metrics/sensitivity.json, metrics/verify_quantized.json
Params: inspect, quantize_onnx.types, quantize_torch.types
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_test_set
from resnet8.core.files import read_array, write_arrays, write_json
from resnet8.core.input_spec import InputSpec
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.core.variants import Variant
from resnet8.inspection import inputs, isolation, recording, summaries, watch
from resnet8.inspection.capture import Watched
from resnet8.models import onnx_network, parity
from resnet8.quantize import storage
from resnet8.reference import results
from resnet8.reference.check import check, open_runtime
from resnet8.reference.network import Network

Models = Mapping[Variant, Any]  # loaded
Images = NDArray[np.uint8]  # (N, 32, 32, 3)


def main(argv: list[str] | None = None) -> None:
    names = "params raw models quantization data calibration out verification metrics"
    args = parse_paths(argv, __doc__, names)
    params = load_params(args.params)

    spec, test_set = InputSpec.parse(params.inspect.input), read_test_set(args.data)
    calibration = read_array(args.calibration / "images.npy")
    chosen = inputs.choose(spec, {"test": test_set.images, "calibration": calibration})
    models = watch.load_variants(
        params.variants, args.models, raw=args.raw, n_classes=len(test_set.label_names)
    )

    verified = test_set.images[: params.inspect.verified_images]
    checked = verify(models, args.quantization, verified)
    watched = watch.watch_variants(models, args.models)
    layers, rows = inspect(watched, calibration[: params.inspect.images], chosen, spec.in_words)
    network = onnx_network.describe(models[Variant.ONNX_FP32])
    tried = calibration[: params.inspect.sensitivity_images]
    ranking = isolation.rank_variants(models, args.models, tried, progress=show_progress)

    write_json(args.out / "layers.json", layers)
    for name, model in watched.items():
        captures = recording.capture(model, chosen[: recording.SAVED_IMAGES])
        write_arrays(args.out / f"{name}.npz", captures)
    described = {name: results.describe(result) for name, result in checked.items()}
    summarized = {name: results.summarize(result) for name, result in checked.items()}
    write_json(args.verification, {"n_images": len(verified), "variants": described})
    metrics = {
        "layers": summaries.statistics_only(layers),
        "layer_parity": {"rtol": parity.RTOL_LAYER, "layers": rows},
        "network": network,
        "sensitivity": {"n_images": len(tried), "variants": ranking},
        "verify_quantized": {"n_images": len(verified), "variants": summarized},
    }
    for name, content in metrics.items():
        write_json(args.metrics / f"{name}.json", content)
    worst = max(row["relative"] for row in rows.values())
    print(f"{network['macs']:,} multiply-accumulates")
    print(f"{len(rows)} layers: Keras, ONNX and PyTorch within {worst:.1e} of each layer's peak")
    for name, result in checked.items():
        print(results.in_words(name, result))
    for name, ranked in ranking.items():
        first = min(ranked["layers"], key=lambda layer: ranked["layers"][layer]["rank"])
        print(f"{name}: quantizing {first} alone costs most")


def verify(models: Models, quantization: Path, images: Images) -> dict[str, results.Checked]:
    """Compares the codes of quantized variants with exact arithmetic.

    Raises:
        ParityError: codes differ by more than rounding explains.
    """
    network = Network(models[Variant.ONNX_FP32], storage.read(quantization))
    runtimes = {str(x): open_runtime(model) for x, model in models.items() if not x.is_float}
    progress = partial(show_progress, desc="exact arithmetic", unit="batches")
    checked = check(network, runtimes, images, progress=progress)
    for name, result in checked.items():
        results.refuse_unexplained(name, result)
    return checked


def inspect(
    watched: dict[str, Watched], calibration: Images, chosen: Images, described: str
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Returns statistics of all layers, and the differences between the float variants."""
    streamed = show_progress(inputs.batches(calibration), desc="layers", unit="batches")
    records = recording.inspect(watched, streamed)
    by_images = {
        "calibration": records,
        "input": recording.inspect(watched, inputs.batches(chosen)),
    }
    n_images = {"calibration": len(calibration), "input": len(chosen)}
    layers = summaries.layers_json(watched, by_images, described, n_images)
    return layers, recording.check_conversions(records)


if __name__ == "__main__":
    run_stage(main)
