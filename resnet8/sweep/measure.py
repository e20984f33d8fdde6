"""Makes the quantized models of a sweep and measures them, on one core.

Shape letters: N images, H = W = 32 pixels, C = 3 channels, K classes.
"""

import io
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from resnet8.compare.comparison import compare
from resnet8.core.evaluation import Predictor, Probabilities, predict
from resnet8.core.files import scratch_folder
from resnet8.core.grid import Settings
from resnet8.core.names import OnnxType
from resnet8.core.variants import Variant
from resnet8.models import onnx_model
from resnet8.quantize import onnx_writer
from resnet8.quantize.calibration import draw_balanced
from resnet8.quantize.fit import fit
from resnet8.quantize.quantization import Quantization
from resnet8.sweep.result import Result

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Inputs(NamedTuple):
    """Inputs of all runs of a sweep.

    model: the float ONNX model.
    program: the float PyTorch program; empty where no run needs it.
    pool_images: (N, H, W, C) training images to draw from.
    pool_labels: (N,) their classes.
    test_images: (N, H, W, C) uint8.
    test_labels: (N,).
    label_names: K names.
    baseline: (N, K) probabilities of the baseline for the test images.
    batch_size: test images that are run at once.
    """

    model: bytes
    program: bytes
    pool_images: Images
    pool_labels: Labels
    test_images: Images
    test_labels: Labels
    label_names: Sequence[str]
    baseline: Probabilities
    batch_size: int

    def pack(self) -> bytes:
        """As one file."""
        file = io.BytesIO()
        np.savez(
            file, allow_pickle=False, **{name: _array(x) for name, x in self._asdict().items()}
        )
        return file.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> "Inputs":
        """From what `pack` made."""
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found: dict[str, Any] = {name: file[name] for name in file.files}
        return cls(**found)._replace(
            model=found["model"].tobytes(),
            program=found["program"].tobytes(),
            label_names=found["label_names"].tolist(),
            batch_size=int(found["batch_size"]),
        )


def _array(value: object) -> NDArray[Any]:
    return np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)


class Workbench:
    """The inputs of all runs, with the models opened once."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs

    @cached_property
    def model(self) -> onnx.ModelProto:
        with scratch_folder() as folder:
            (folder / "model.onnx").write_bytes(self.inputs.model)
            return onnx_model.load_model(folder / "model.onnx")

    @cached_property
    def program(self) -> Any:
        from resnet8.models import torch_model  # noqa: PLC0415

        with scratch_folder() as folder:
            (folder / "program.pt2").write_bytes(self.inputs.program)
            return torch_model.load_model(folder / "program.pt2")

    def fit(self, settings: Settings) -> Quantization:
        """Draws calibration images and decides the quantization, like the stages of these names."""
        calibrate = settings.calibrate
        drawn = draw_balanced(self.inputs.pool_labels, calibrate.size, seed=calibrate.seed)
        points = onnx_writer.find_points(
            self.model,
            symmetric=settings.fit.activation_symmetric,
            float_layers=settings.fit.float_layers,
        )
        images = self.inputs.pool_images[drawn]
        return fit(self.model, images, settings.fit, points=points, cores=1)

    def measure(self, quantization: Quantization, variant: str) -> Result:
        """Writes a quantized model and compares it with the baseline on all test images."""
        make = self._make_onnx if Variant(variant).runtime == "onnx" else self._make_torch
        predictor, n_bytes, saturates = make(quantization, Variant(variant).type)
        inputs = self.inputs
        found = predict(predictor, inputs.test_images, batch_size=inputs.batch_size, cores=1)
        labels = inputs.test_labels
        row = compare(inputs.baseline, found, labels, label_names=inputs.label_names)
        old, new = inputs.baseline.argmax(axis=1), found.argmax(axis=1)
        before, after = old == labels, new == labels
        neither = (old != new) & ~before & ~after
        return Result(
            n_images=len(labels),
            saturating_products=saturates,
            file_bytes=n_bytes,
            lost=np.flatnonzero(before & ~after).tolist(),
            won=np.flatnonzero(~before & after).tolist(),
            other=np.flatnonzero(neither).tolist(),
            **{name: row[name] for name in Result._fields if name in row},
        )

    def _make_onnx(
        self, quantization: Quantization, quant_type: str
    ) -> tuple[Predictor, int, bool]:
        model = onnx_writer.quantize(
            self.model, quantization, quant_type=cast("OnnxType", quant_type)
        )
        content = model.SerializeToString(deterministic=True)
        return onnx_model.make_predictor(model), len(content), onnx_model.saturates(model)

    def _make_torch(
        self, quantization: Quantization, _quant_type: str
    ) -> tuple[Predictor, int, bool]:
        from resnet8.models import torch_model  # noqa: PLC0415
        from resnet8.quantize import torch_writer  # noqa: PLC0415

        quantized = torch_writer.quantize(self.program, quantization)
        program = torch_model.export(quantized)
        torch_writer.check(program, self.program, quantization)
        content = torch_model.encode(program, quantization.metadata)
        return torch_model.make_predictor(program), len(content), False  # multiplies in float
