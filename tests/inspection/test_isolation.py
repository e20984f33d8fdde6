"""Models with some quantized layers, in both runtimes, and the ranking of layers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from resnet8.compare.comparison import kl_divergence
from resnet8.core.evaluation import Predictor
from resnet8.core.variants import Variant
from resnet8.inspection import isolation, watch
from resnet8.models import onnx_model, torch_model

# Without saturating products, whose error depends on the CPU.
VARIANTS = (Variant.ONNX_INT8, Variant.ONNX_UINT8, Variant.TORCH_INT8)
SHIFTS = {"first": 0.1, "second": -2.0, "third": 0.5, "none": 0.0}  # of the first class's logit
IMAGES = np.zeros((4, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_layers_are_the_float_model_and_all_layers_the_quantized_one(
    models_folder: Path, onnx_fp32: Any, calibration_images: NDArray[np.uint8], variant: Variant
) -> None:
    images = calibration_images[:20].astype(np.float32)
    original = onnx_model.make_predictor(onnx_fp32)(images)
    model = watch.load_variants([variant], models_folder, raw=models_folder, n_classes=10)[variant]
    quantized = (
        onnx_model.make_predictor(model, as_written=True)
        if variant.runtime == "onnx"
        else torch_model.make_predictor(model)
    )(images)
    models = {Variant.ONNX_FP32: onnx_fp32, variant: model}
    layers, isolate, _ = isolation.open_variant(variant, models, models_folder)
    np.testing.assert_array_equal(isolate(layers)(images), quantized)
    for layer in ("conv2d_1", "conv2d_4", "dense"):
        assert layer in layers
        alone = isolate([layer])(images)
        assert 0 < np.abs(alone - original).mean() < 0.01, layer
        assert not np.array_equal(alone, quantized)
    np.testing.assert_allclose(isolate([])(images), original, atol=1e-4)  # equalized


def test_each_quantized_tensor_belongs_to_one_layer(
    onnx_fp32: Any, onnx_quantized: Any, torch_int8: Any
) -> None:
    _, quantized = onnx_quantized
    in_onnx, isolate_onnx = isolation.isolate_onnx(onnx_fp32, quantized)
    in_torch, isolate_torch = isolation.isolate_torch(onnx_fp32, torch_int8)
    assert in_onnx[0] == in_torch[0] == "input"
    assert {"conv2d", "add", "average_pooling2d", "dense"} <= {*in_onnx}
    # A ReLU's output is quantized in place of its convolution's.
    assert not [layer for layer in in_onnx if layer.startswith(("activation", "flatten"))]
    assert {"conv2d", "conv2d_8", "add", "dense"} <= {*in_torch}
    assert in_torch == [layer for layer in in_onnx if layer in in_torch]

    def steps(*models: Any) -> int:
        return sum(x.op_type == "QuantizeLinear" for model in models for x in model.graph.node)

    def rounds(*modules: Any) -> int:
        return sum("round" in str(x.target) for module in modules for x in module.graph.nodes)

    assert steps(*(isolate_onnx([layer]) for layer in in_onnx)) == steps(quantized)
    assert rounds(*(isolate_torch([x]) for x in in_torch)) == rounds(torch_int8.module())


def probabilities(*layers: str, n: int = 4) -> NDArray[np.float32]:
    """Known amounts that quantized layers add to a logit."""
    logits = np.tile(np.array([1.0, 0.5, -1.0], np.float32), (n, 1))
    logits[:, 0] += sum(SHIFTS[layer] for layer in layers)
    return softmax(logits, axis=1)


def isolate(layers: Sequence[str]) -> Predictor:
    return lambda images: probabilities(*layers, n=len(images))


def test_rank_measures_each_layer_alone_and_spared_against_the_float_model() -> None:
    ranking = isolation.rank(list(SHIFTS), isolate, IMAGES)
    layers = ranking["layers"]
    ranked = sorted(layers, key=lambda layer: layers[layer]["rank"])
    assert ranked == ["second", "third", "first", "none"]
    for row, quantized in (
        (layers["third"]["alone"], ["third"]),
        (layers["second"]["spared"], ["first", "third"]),
    ):
        expected = kl_divergence(probabilities(), probabilities(*quantized))
        assert row["kl_divergence"] == pytest.approx(expected, rel=1e-3)
    assert layers["none"]["alone"] == {"kl_divergence": 0.0, "agreement": 1.0}
    assert layers["second"]["alone"]["agreement"] == 0.0
    assert layers["none"]["spared"] == ranking["all"]
    assert ranking["n_images"] == 4


def test_onnx_variants_of_equal_numbers_are_ranked_once(
    models_folder: Path, onnx_fp32: Any, calibration_images: NDArray[np.uint8]
) -> None:
    onnx = [Variant.ONNX_INT8, Variant.ONNX_UINT8]
    models = watch.load_variants(onnx, models_folder, raw=models_folder, n_classes=10)
    ranked: list[str] = []

    def progress(layers: Iterable[str], *, desc: str, unit: str) -> Iterable[str]:
        ranked.append(desc)
        return layers

    def rank(*variants: Variant) -> dict[Variant, dict[str, Any]]:
        some = {Variant.ONNX_FP32: onnx_fp32} | {x: models[x] for x in variants}
        return isolation.rank_variants(
            some, models_folder, calibration_images[:2], progress=progress
        )

    together = rank(*onnx)
    assert ranked == [f"sensitivity of {onnx[0]}"]
    assert together == {onnx[0]: together[onnx[0]]} | rank(onnx[1])
