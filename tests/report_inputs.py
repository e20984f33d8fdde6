"""A small report's worth of made-up results that agree with each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare.chance import describe_chance
from resnet8.compare.comparison import compare
from resnet8.core.dataset import TestSet
from resnet8.core.files import Fingerprint
from resnet8.reference.results import Checked, EndToEnd, TensorCheck, describe
from resnet8.report.data import ReportInputs
from resnet8.sweep.summary import summarize
from tests.sweep.results import CHANCE, make_result, make_run, make_selection

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FLOAT = ("keras_fp32", "onnx_fp32", "torch_fp32")
LAYERS = ("conv", "relu", "dense")
N_IMAGES = 60
Names = tuple[str, ...]


def make_inputs(
    *,
    quantized: Names = ("onnx_int8", "torch_int8"),
    label_names: Names = LABELS,
    layers: Names = LAYERS,
    missing_class: int | None = None,
) -> ReportInputs:
    """Results of the three float variants and some quantized ones.

    `onnx_*` variants compute the first of three or more layers together with the second; the first
    quantized variant has no error at the second layer. Only the first and the last layer have
    weights. The order of sensitivity is that of computation, from the last layer.
    """
    rng = np.random.default_rng(0)
    variants = (*FLOAT, *quantized)
    labels = np.arange(N_IMAGES) % len(label_names)
    if missing_class is not None:
        labels[labels == missing_class] = (missing_class + 1) % len(label_names)
    predictions = _predictions(rng, labels, variants)
    images = rng.integers(0, 256, (N_IMAGES + 1, 32, 32, 3), dtype=np.uint8)
    shapes = [(1, 20, 8, 8)] * (len(layers) - 1) + [(1, 10)]
    captures = {
        name: {
            layer: rng.normal(size=shape).astype(np.float32)
            for layer, shape in zip(layers, shapes, strict=True)
        }
        for name in variants
    }
    baseline = predictions["keras_fp32"]
    rows = {
        name: compare(baseline, x, labels, label_names=label_names)
        for name, x in predictions.items()
    }
    findings = [
        {"variant": name, "rule": rule, "layer": layer, "message": message}
        for name in quantized[:1]
        for rule, layer, message in (
            ("shared_scale", layers[0], "Its output shares <a scale>."),
            ("tied_outputs", None, "3 of 50 images."),
        )
    ]
    comparison = {"baseline": "keras_fp32", "n_images": N_IMAGES, "variants": rows}
    return ReportInputs(
        results={
            "comparison": comparison | describe_chance(baseline.argmax(axis=1) == labels, labels),
            "layers": _layers_json(rng, variants, layers),
            "layer_parity": {"rtol": 1e-4, "layers": {x: _parity(i) for i, x in enumerate(layers)}},
            "verification": {"n_images": 20, "variants": {x: _checks(layers) for x in quantized}},
            "sensitivity": {"n_images": 40, "variants": {x: _ranking(layers) for x in quantized}},
            "quantization_lint": {
                "findings": findings,
                "calibration": {"n_images": 50, "n_in_test_set": 0},
                "float_layers": [],
                "notes": [],
            },
            "decision": _decision(rows, quantized),
            "network": _network(layers),
            "sweep": make_summary(),
        },
        captures=captures,
        chosen=images[:1],
        predictions=predictions,
        test_set=TestSet(images[1:], labels, label_names),
        params={
            "fetch": {"dataset": "sample", "model": "models/mine.h5", "model_sha256": None},
            "calibrate": {"size": 50, "seed": 0, "batches": [1, 2]},
            "candidate": "keras_fp32",
        },
        models={
            name: Fingerprint(f"artifacts/models/{name}", 1000 * (i + 1), f"{i:064x}")
            for i, name in enumerate(variants)
        },
        data=[Fingerprint("data/images.npy", 123_456, "ab" * 32)],
        requirements=["# pins", "numpy==2.4.6", "", "onnx==1.23.2"],
    )


def _predictions(
    rng: np.random.Generator, labels: NDArray[np.int64], variants: Names
) -> dict[str, NDArray[np.float32]]:
    """The float variants agree; the others are noisy enough to change some classes."""
    logits = rng.normal(0, 1, (len(labels), 10))
    logits[np.arange(len(labels)), labels] += 1.5
    predictions = {}
    for name in variants:
        noise = 0 if name in FLOAT else rng.normal(0, 0.8, logits.shape)
        powers = np.exp(logits + noise)
        predictions[name] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return predictions


def _decision(rows: dict[str, Any], quantized: Names) -> dict[str, Any]:
    """The first quantized variant is recommended; the others break a limit and saturate."""
    return {
        "recommended": quantized[0] if quantized else "onnx_fp32",
        "reason": "keeps all limits of the gate",
        "variants": {
            name: rows[name] | {
                "keeps_limits": not i,
                "limits": [{
                    "parameter": "drop_max_pp", "value": 1.25, "limit": 1 if i else 2,
                    "detail": "below keras_fp32, all images", "passed": not i,
                }],
                "file_bytes": 102_999, "float_file_bytes": 316_270, "saturates": bool(i),
                "codes_compared": 5000, "largest_difference_of_codes": i, "findings": 2 * (not i),
            }
            for i, name in enumerate(quantized)
        },
        "warnings": [{"kind": "sweep", "text": "The sweep is <outdated>: `make sweep` renews it."}],
        "mlperf_tiny": None,
    }  # fmt: skip


def _network(layers: Names) -> dict[str, Any]:
    """A chain of layers, the last of which reads the first, too."""
    inputs = [["input"], *([name] for name in layers[:-2]), [layers[-2], layers[0]]]
    return {
        "layers": [
            {"name": name, "operator": "Conv", "shape": [4, 8, 8], "macs": 1000, "weights": 108,
             "biases": 4, "inputs": sources}
            for name, sources in zip(layers, inputs, strict=True)
        ],
        "macs": 1000 * len(layers),
        "n_parameters": 112 * len(layers),
        "weight_bytes": {"float32": 448 * len(layers), "int8": 124 * len(layers)},
        "peak_activation_bytes": {"float32": 3072, "int8": 768, "at": layers[0]},
    }  # fmt: skip


def make_summary(*, n_seeds: int = 3) -> dict[str, Any]:
    """The summary of a sweep of two variants, three numbers of images and a method."""
    size, per_channel = "calibrate__size", "fit__per_channel"
    knobs: list[dict[str, Any]] = [{size: 10}, {size: 100}, {}, {per_channel: False, size: 10}]
    rows = []
    for variant, n_bytes in (("onnx_int8", 100_000), ("torch_int8", 265_000)):
        for place, changes in enumerate(knobs):
            for seed in range(n_seeds):
                run = make_run(variant, calibrate__seed=seed, **changes)
                lost, file_bytes = range(seed + 5 * place), n_bytes - 5000 * (place == 3)
                rows.append((run, make_result(lost=lost, file_bytes=file_bytes)))
    return summarize(make_selection(rows), n_runs=len(rows) + 1, chance=CHANCE)


def _checks(layers: Names) -> dict[str, Any]:
    """Codes of all layers but the last, whose numbers are in float."""
    rows = {
        layer: TensorCheck(layer, layer, in_codes=True, compared=5000, differing=i, farthest=1e-6)
        for i, layer in enumerate(layers[:-1])
    }
    last = layers[-1]
    rows[last] = TensorCheck(last, last, in_codes=False, compared=200, largest=0.2)
    end_to_end = EndToEnd(n_images=20, same_class=19, codes=10_000, differing=12, largest=0.04)
    return describe(Checked(rows, end_to_end))


def _layers_json(rng: np.random.Generator, variants: Names, layers: Names) -> dict[str, Any]:
    quantized = [name for name in variants if name not in FLOAT]
    fused = [name for name in quantized if name.startswith("onnx")]
    activations: dict[str, dict[str, Any]] = {
        layer: {name: _activation(rng, name, i) for name in variants if i or name not in fused}
        for i, layer in enumerate(layers)
    }
    for name in quantized[:1]:
        activations[layers[1]][name]["statistics"] |= {"sqnr_db": None, "max_abs_error": 0.0}
        del activations[layers[1]][name]["error_histogram"]
    absent = {layers[0]: f"computed together with {layers[1]}"}
    return {
        "layers": list(layers),
        "input": "test image 0",
        "n_images": {"calibration": 50, "input": 1},
        "absent": {name: absent if name in fused else {} for name in variants},
        "activations": {"calibration": activations, "input": activations},
        "parameters": {
            layer: {
                kind: {name: _parameter(rng, kind, name) for name in variants[1:]}
                for kind in ("weight", "bias")
            }
            for layer in (layers[0], layers[-1])
        },
    }


def _statistics(n_values: int, **others: Any) -> dict[str, Any]:
    percentiles = ("0.1", "1", "25", "50", "75", "99", "99.9")
    return {
        "n_values": n_values, "mean": 0.25, "std": 1.5, "min": -3.0, "max": 4.0,
        "dynamic_range": 7.0, "zeros_share": 0.125,
        "percentiles": {p: float(i - 3) for i, p in enumerate(percentiles)}, **others,
    }  # fmt: skip


def _histogram(rng: np.random.Generator, reach: float) -> dict[str, Any]:
    counts = rng.integers(0, 1000, 24).astype(float).tolist()
    return {"low": -reach, "high": reach, "counts": counts}


def _activation(rng: np.random.Generator, name: str, position: int) -> dict[str, Any]:
    statistics = _statistics(1000, captured_at=f"hook {position} of {name}")
    row = {"statistics": statistics, "histogram": _histogram(rng, 4.0)}
    if name not in FLOAT:
        statistics |= {
            "reference": f"{name.partition('_')[0]}_fp32", "sqnr_db": 30.0 - position,
            "cosine_similarity": 0.999, "max_abs_error": 0.1, "dtype": "uint8", "scale": 0.03125,
            "zero_point": 96, "clip_low": -3.0, "clip_high": 4.96875, "clipped_low_share": 0.0,
            "clipped_high_share": 0.01, "clipped_share": 0.01, "levels_used": 225,
        }  # fmt: skip
        row["error_histogram"] = _histogram(rng, 0.1)
    elif name != "keras_fp32":
        statistics |= {
            "reference": "keras_fp32", "sqnr_db": 120.0, "cosine_similarity": 1.0,
            "max_abs_error": 1e-6,
        }  # fmt: skip
    return row


def _parameter(rng: np.random.Generator, kind: str, name: str) -> dict[str, Any]:
    shape = [4, 3, 3, 3] if kind == "weight" else [4]
    lows = rng.normal(-1, 0.1, 4).round(4).tolist()
    highs = rng.normal(1, 0.1, 4).round(4).tolist() if kind == "weight" else lows
    statistics = _statistics(int(np.prod(shape)), shape=shape)
    row = {
        "statistics": statistics, "histogram": _histogram(rng, 1.2),
        "channel_min": lows, "channel_max": highs,
    }  # fmt: skip
    if name not in FLOAT:
        statistics |= {
            "dtype": "int8", "sqnr_db": 45.0, "cosine_similarity": 0.9999, "max_abs_error": 0.004,
        }  # fmt: skip
        row |= {
            "scale": [0.01] * 4, "zero_point": [0] * 4, "channel_sqnr_db": [44.0, None, 45.0, 46.0],
        }  # fmt: skip
    return row


def _parity(position: int) -> dict[str, float]:
    pairs = {"keras_onnx": 1e-6 * position, "onnx_torch": 1e-6}
    torch = {"keras_torch": 2e-6} if position else {}
    return pairs | torch | {"magnitude": 8.0, "relative": 1e-7 * (position + 1)}


def _ranking(layers: Names) -> dict[str, Any]:
    free = {"kl_divergence": 0.0, "agreement": 1.0}
    full = {"kl_divergence": 0.004, "agreement": 0.975}
    ranked = {"input": {"alone": free, "spared": full, "rank": len(layers) + 1}}
    for i, layer in enumerate(layers):
        ranked[layer] = {
            "alone": {"kl_divergence": 0.001 * (i + 1), "agreement": 1.0 - 0.01 * i},
            "spared": {"kl_divergence": 0.005 - 0.001 * i, "agreement": 0.98},
            "rank": len(layers) - i,
        }
    return {"n_images": 40, "all": full, "layers": ranked}
