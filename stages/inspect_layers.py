"""Inspects the layers of all variants: values, operations, exact arithmetic, sensitivity.

Reads: all models, artifacts/quantization/, data/cifar10/test_{images,labels}.npy,
    data/cifar10/labels.json, data/calibration/images.npy
Writes: artifacts/inspection/ (statistics, histograms, captures), artifacts/verification/,
    metrics/{layers,layer_parity,network,sensitivity,verify_quantized}.json
Params: inspect, quantize_onnx.types, quantize_torch.types
"""

from resnet8.core.arguments import parse_paths
from resnet8.core.dataset import read_test_set
from resnet8.core.files import read_array, write_arrays, write_json
from resnet8.core.input_spec import InputSpec
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.core.progress import show_progress
from resnet8.core.variants import Variant
from resnet8.inspection import inputs, isolation, recording, summaries, watch
from resnet8.models import onnx_network, parity
from resnet8.quantize import storage
from resnet8.reference import check, results
from resnet8.reference.network import Network


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

    network = Network(models[Variant.ONNX_FP32], storage.read(args.quantization))
    verified = test_set.images[: params.inspect.verified_images]
    checked = check.check_variants(network, models, verified, progress=show_progress)
    watched = watch.watch_variants(models, args.models)
    observed = calibration[: params.inspect.images]
    batches = show_progress(inputs.batches(observed), desc="layers", unit="batches")
    records, watched = recording.inspect(watched, batches)
    at_input, watched = recording.inspect(watched, inputs.batches(chosen))
    counts = {"calibration": len(observed), "input": len(chosen)}
    by_images = {"calibration": records, "input": at_input}
    layers = summaries.layers_json(watched, by_images, spec.in_words, counts)
    rows = recording.check_conversions(records)
    ranked_on = calibration[: params.inspect.sensitivity_images]
    rankings = isolation.rank_variants(models, args.models, ranked_on, progress=show_progress)

    write_json(args.out / "layers.json", layers)
    for name, model in watched.items():
        captures = recording.capture(model, chosen[: recording.SAVED_IMAGES])
        write_arrays(args.out / f"{name}.npz", captures)
    write_json(args.verification, results.to_json(checked, results.describe, len(verified)))
    metrics = {
        "layers": summaries.statistics_only(layers),
        "layer_parity": {"rtol": parity.RTOL_LAYER, "layers": rows},
        "network": onnx_network.describe(models[Variant.ONNX_FP32]),
        "sensitivity": {"n_images": len(ranked_on), "variants": rankings},
        "verify_quantized": results.to_json(checked, results.summarize, len(verified)),
    }
    for name, content in metrics.items():
        write_json(args.metrics / f"{name}.json", content)
    worst = max(row["relative"] for row in rows.values())
    print(f"{metrics['network']['macs']:,} multiply-accumulates")
    print(f"{len(rows)} layers: Keras, ONNX and PyTorch within {worst:.1e} of each layer's peak")
    for variant, ranking in rankings.items():
        first = min(ranking["layers"], key=lambda layer: ranking["layers"][layer]["rank"])
        print(results.in_words(variant, checked[variant]))
        print(f"{variant}: quantizing {first} alone costs most")


if __name__ == "__main__":
    run_stage(main)
