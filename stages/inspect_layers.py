"""Captures every layer of every variant, counts operations, and ranks layers by sensitivity.

Reads: all models, data/cifar10/test_{images,labels}.npy (the chosen images),
    data/cifar10/labels.json, data/calibration/images.npy
Writes: artifacts/inspection/ (statistics, histograms, captures), metrics/layers.json,
    metrics/layer_parity.json, metrics/network.json, metrics/sensitivity.json
Params: inspect, quantize_onnx.types, quantize_torch.types
"""

from functools import partial

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


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params raw models data calibration out metrics")
    params = load_params(args.params)

    spec = InputSpec.parse(params.inspect.input)
    test_set = read_test_set(args.data)
    calibration = read_array(args.calibration / "images.npy")
    chosen = inputs.choose(spec, {"test": test_set.images, "calibration": calibration})
    models = watch.load_variants(
        params.variants, args.models, raw=args.raw, n_classes=len(test_set.label_names)
    )
    watched = watch.watch_variants(models, args.models)

    streamed = inputs.batches(calibration[: params.inspect.images])
    records = recording.inspect(watched, show_progress(streamed, desc="layers", unit="batches"))
    at_input = recording.inspect(watched, inputs.batches(chosen))
    n_images = {"calibration": min(len(calibration), params.inspect.images), "input": len(chosen)}
    by_images = {"calibration": records, "input": at_input}
    layers = summaries.layers_json(watched, by_images, spec.in_words, n_images)
    rows = recording.check_conversions(records)
    network = onnx_network.describe(models[Variant.ONNX_FP32])
    tried = calibration[: params.inspect.sensitivity_images]
    ranking = {
        name: isolation.rank(
            *isolation.open_variant(name, models, args.models),
            tried,
            progress=partial(show_progress, desc=f"sensitivity of {name}", unit="layers"),
        )
        for name in params.quantized
    }

    write_json(args.out / "layers.json", layers)
    for name, model in watched.items():
        captures = recording.capture(model, chosen[: recording.SAVED_IMAGES])
        write_arrays(args.out / f"{name}.npz", captures)
    write_json(args.metrics / "layers.json", summaries.statistics_only(layers))
    write_json(args.metrics / "layer_parity.json", {"rtol": parity.RTOL_LAYER, "layers": rows})
    write_json(args.metrics / "network.json", network)
    write_json(args.metrics / "sensitivity.json", {"n_images": len(tried), "variants": ranking})
    worst = max(row["relative"] for row in rows.values())
    print(f"{network['macs']:,} multiply-accumulates")
    print(f"{len(rows)} layers: Keras, ONNX and PyTorch within {worst:.1e} of each layer's peak")
    for name, ranked in ranking.items():
        first = min(ranked["layers"], key=lambda layer: ranked["layers"][layer]["rank"])
        print(f"{name}: quantizing {first} alone costs most")


if __name__ == "__main__":
    run_stage(main)
