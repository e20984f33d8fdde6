"""Makes and measures the quantized models of a sweep, on one core.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.compare.comparison import compare
from resnet8.core.dataset import read_predictions, read_test_set
from resnet8.core.evaluation import Predictor, Probabilities, predict
from resnet8.core.files import read_array, read_bytes
from resnet8.core.grid import Settings
from resnet8.core.names import OnnxType
from resnet8.core.params import Params
from resnet8.core.variants import Variant
from resnet8.models import onnx_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.calibration import draw_balanced
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization
from resnet8.sweep.result import Result

Written = tuple[Predictor, int, bool]  # model, file size in bytes, True if products saturate


class Inputs(NamedTuple):
    """Inputs of all runs of a sweep."""

    model: bytes  # content of the float ONNX model
    program: bytes  # content of the float PyTorch program
    pool_images: NDArray[np.uint8]  # (N, H, W, C) training images to draw from
    pool_labels: NDArray[np.int64]  # (N,) their classes
    test_images: NDArray[np.uint8]  # (N, H, W, C)
    test_labels: NDArray[np.int64]  # (N,)
    label_names: Sequence[str]  # K names
    baseline: Probabilities  # (N, K) of the baseline for the test images
    batch_size: int  # number of test images in a batch


def read_inputs(params: Params, *, models: Path, data: Path, predictions: Path) -> Inputs:
    """Reads the float models, the arrays that `prepare` wrote, and the baseline's predictions.

    Raises:
        ArtifactError: a file is missing or invalid.
    """
    test_set, baseline = read_test_set(data), params.compare.baseline
    return Inputs(
        model=read_bytes(models / "onnx_fp32.onnx"),
        program=read_bytes(models / "torch_fp32.pt2"),
        pool_images=read_array(data / "train_images.npy"),
        pool_labels=read_array(data / "train_labels.npy"),
        test_images=test_set.images,
        test_labels=test_set.labels,
        label_names=test_set.label_names,
        baseline=read_predictions(predictions, [baseline], shape=test_set.shape)[baseline],
        batch_size=params.evaluate.batch_size,
    )


class Workbench:
    """Makes runs from inputs whose models are loaded once."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    @cached_property
    def model(self) -> onnx.ModelProto:
        return onnx.load_model_from_string(self.inputs.model)

    @cached_property
    def program(self) -> Any:
        # Here, so that workers that make no PyTorch variant do not load PyTorch.
        from resnet8.models import torch_model  # noqa: PLC0415

        return torch_model.load_any(self.inputs.program)

    def fit(self, settings: Settings | Mapping[str, Any]) -> Quantization:
        """Draws calibration images and fits a quantization, as the stages do."""
        settings = Settings.model_validate(settings)
        calibrate = settings.calibrate
        drawn = draw_balanced(self.inputs.pool_labels, calibrate.size, seed=calibrate.seed)
        images = self.inputs.pool_images[drawn]
        return fit(self.model, images, settings.fit, cores=1)

    def measure(self, quantization: Quantization, variant: str) -> Result:
        """Writes a quantized model and compares it with the baseline on all test images."""
        write = self._write_onnx if Variant(variant).runtime == "onnx" else self._write_torch
        predictor, n_bytes, saturates = write(quantization, Variant(variant).type)
        inputs, labels = self.inputs, self.inputs.test_labels
        predicted = predict(predictor, inputs.test_images, batch_size=inputs.batch_size, cores=1)
        row = compare(inputs.baseline, predicted, labels, label_names=inputs.label_names)
        old, new = inputs.baseline.argmax(axis=1), predicted.argmax(axis=1)
        before, after = old == labels, new == labels
        return Result(
            n_images=len(labels),
            saturating_products=saturates,
            file_bytes=n_bytes,
            lost=np.flatnonzero(before & ~after).tolist(),
            won=np.flatnonzero(~before & after).tolist(),
            other=np.flatnonzero((old != new) & ~before & ~after).tolist(),
            **{name: row[name] for name in Result._fields if name in row},
        )

    def _write_onnx(self, quantization: Quantization, quant_type: str) -> Written:
        onnx_type = cast("OnnxType", quant_type)
        model = onnx_writer.quantize(self.model, quantization, quant_type=onnx_type)
        content = model.SerializeToString(deterministic=True)
        return onnx_model.make_predictor(model), len(content), onnx_model.saturates(model)

    def _write_torch(self, quantization: Quantization, _quant_type: str) -> Written:
        from resnet8.models import torch_model  # noqa: PLC0415
        from resnet8.quantize import torch_writer  # noqa: PLC0415

        program = torch_model.export(torch_writer.quantize(self.program, quantization))
        torch_writer.check(program, self.program, quantization)
        content = torch_model.encode(program, quantization.metadata)
        return torch_model.make_predictor(program), len(content), False  # multiplies in float
