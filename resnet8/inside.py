"""Shows the layers of a model in a notebook.

    inside = look(model, images=pixels)   # from resnet8 import look
    inside                                # a table of all layers
    inside["conv2d_1"]                    # the layer's output, (N, C, H, W)
    inside.histogram("conv2d_1")          # Matplotlib figures, which a notebook shows
    inside.feature_maps("conv2d_1")
    inside.ranges()
    inside.compare(other)                 # errors of all layers, as a table and as figures

Shape letters: N images, H and W pixels, C channels, O outputs and I inputs of a layer.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resnet8.compare import rendering
from resnet8.compare.tables import ON_PURPOSE, layer_cells
from resnet8.core.variants import FLOAT_VARIANTS
from resnet8.inspection import recording, summaries
from resnet8.inspection.capture import Watched, comparable
from resnet8.inspection.inputs import CHANNELS, Layout, take_images
from resnet8.inspection.watch import open_model
from resnet8.report.figures import feature_maps, histograms, layer_figures
from resnet8.report.figures.canvas import Drawing, Figure
from resnet8.report.figures.catalog import layer_drawings

COLUMNS = ("mean", "std", "min", "max", "zero %", "levels")
Model = torch.nn.Module | torch.export.ExportedProgram | str | Path
ERROR_COLUMNS = ("SQNR dB", "cosine", "max error", "std", "clip %", "levels")


def look(
    model: Model,
    images: Any,
    *,
    layout: Layout | None = None,
    size: tuple[int, ...] | None = None,
    data: str | Path = "data",
) -> "Inside":
    """Runs a model on images once and keeps the outputs of all its layers in memory.

    A module runs in evaluation mode, and its state is restored. Values are passed as they are,
    integers and pictures as floats from 0 to 255: normalize them in the model, or before the call.

    Args:
        model: a PyTorch module or exported program, or the path of a `.h5`, `.keras`, `.onnx` or
            `.pt2` file. Only a file contains the equalization factors of a model.
        images: arrays or tensors (N, C, H, W), (N, H, W, C) or a single image; paths of PNG or
            JPEG pictures; `test:7`, `test:3,5` or `calibration:0` of the pipeline's data, or
            `random:0`, noise with this seed. A module gets them as (N, C, H, W).
        layout: `NCHW` or `NHWC`, of `images` whose shape is ambiguous.
        size: of one image as the model takes it, such as (3, 224, 224), or (32, 32, 3) for a
            module that takes (N, H, W, C). Files and programs contain it.
        data: the pipeline's data folder.

    Raises:
        ValueError: the shape of the images does not fit the model or does not determine the
            layout, or the model has no layers.
        PipelineError: a file is missing, damaged or of an unknown kind.
    """
    if size is not None and np.shape(size) != (3,):
        raise ValueError(f"size must be that of one image, such as (3, 224, 224), got {size}.")
    threads = torch.get_num_threads()
    try:
        opened = open_model(model)
        takes_any_size = not opened.size or None in opened.size
        shape = size if size and takes_any_size else opened.size
        is_channels_last = len(shape) == 3 and shape[-1] in CHANNELS and shape[0] not in CHANNELS
        hwc = shape if is_channels_last else (*shape[1:], *shape[:1])
        pixels, over = take_images(images, layout, hwc, Path(data))  # (N, H, W, C)
        if not np.isfinite(pixels).all():
            raise ValueError(f"images must be finite numbers, got some in {over} that are not.")
        given = pixels if is_channels_last else pixels.transpose(0, 3, 1, 2)
        if any(want not in (None, got) for want, got in zip(shape, given.shape[1:], strict=False)):
            raise ValueError(f"{opened.name} takes images {shape}, got {given.shape[1:]}.")
        watched = opened.capture(given)
    finally:
        torch.set_num_threads(threads)
    if not watched.points:
        raise ValueError(
            f"{opened.name} must call modules that are its layers, got none. Of an exported "
            "program, give the program itself."
        )
    return Inside({opened.name: watched}, pixels, over)


@dataclass(frozen=True, eq=False, repr=False)
class Inside:
    """The layers of one model for some images, compared with those of a reference, if any.

    models: the reference, if any, and the model by name; their `run` returns captured outputs.
    images: (N, H, W, C).
    over: description of the images.
    reference: name of the model that the other one is compared with.
    """

    models: Mapping[str, Watched]
    images: NDArray[Any]
    over: str
    reference: str | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return list(self.models)[-1]

    @property
    def _model(self) -> Watched:
        return self.models[self.name]

    @cached_property
    def _outputs(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Dequantized outputs by model and layer."""
        return {name: x.dequantize(x.run(self.images)) for name, x in self.models.items()}

    @cached_property
    def inspection(self) -> dict[str, Any]:
        """Statistics and histograms, as in artifacts/inspection/layers.json."""
        compared = {"reference": self.reference}
        records, models = recording.inspect(self.models, [self.images], **compared)
        counts = {"input": len(self.images)}
        layers = summaries.layers_json(models, {"input": records}, self.over, counts, **compared)
        return layers | compared

    @property
    def layers(self) -> list[str]:
        """The captured layers in the order of computation."""
        return list(self.inspection["layers"])

    @property
    def absent(self) -> dict[str, str]:
        """Reasons why other layers are not captured."""
        return dict(self.inspection["absent"][self.name])

    @property
    def output(self) -> NDArray[np.float32]:
        """The model's output, (N, ...)."""
        return self._model.run(self.images).probabilities.copy()

    def __getitem__(self, layer: str) -> NDArray[np.float32]:
        """Returns a layer's output (N, ...), dequantized; minus the reference's, if any."""
        outputs = self._outputs[self.name]
        if self._known(layer) not in outputs:
            raise KeyError(f"{layer} is not in {self.name}.")
        return outputs[layer] - (self._outputs[self.reference][layer] if self.reference else 0)

    def parameters(self, layer: str) -> dict[str, NDArray[np.float32]]:
        """Returns the `weight` (O, I, ...) and `bias` (O,) that a layer has."""
        stored = self._model.parameters
        kinds = stored.get(layer if layer in stored else self._known(layer), {})
        return {kind: parameter.values.copy() for kind, parameter in kinds.items()}

    def statistics(self, layer: str, of: str = "output") -> dict[str, Any]:
        """Returns figures of a layer's `output`, `weight` or `bias` (docs/statistics.md)."""
        outputs = self.inspection["activations"]["input"][self._known(layer)]
        rows = self.inspection["parameters"].get(layer, {}) | {"output": outputs}
        if self.name not in rows.get(of, {}):
            raise KeyError(f"{layer} of {self.name} has no {of}. It has: {', '.join(rows)}.")
        return dict(rows[of][self.name]["statistics"])

    def compare(self, reference: "Inside | Model") -> "Inside":
        """Compares each layer with that of a reference, such as the float model.

        Args:
            reference: returned by `look`, or a model, which then runs on the same images.

        Raises:
            ValueError: the images differ, or no layer has the name and shape of one here.
        """
        if not isinstance(reference, Inside):
            reference = look(reference, self.images, layout="NHWC")
        if not np.array_equal(self.images, reference.images):
            raise ValueError(
                f"Both models must run on equal images, got {self.over} of shape "
                f"{self.images.shape} and {reference.over} of shape {reference.images.shape}."
            )
        shared = comparable(self._model, reference._model)
        if not shared.points:
            raise ValueError(
                f"{self.name} and {reference.name} must have layers of one name and shape, got "
                f"{', '.join(self.layers[:5])} and {', '.join(reference.layers[:5])}."
            )
        is_clear = self.name not in (reference.name, *FLOAT_VARIANTS)
        name = self.name if is_clear else f"{self.name} (compared)"
        models = {reference.name: reference._model, name: shared}
        return Inside(models, self.images, self.over, reference.name)

    def select(self, pattern: str) -> "Inside":
        """Selects the layers that a shell pattern such as `conv2d_*` matches; commas join several.

        Raises:
            ValueError: a pattern matches nothing.
        """
        selected: set[str] = set()
        for part in map(str.strip, pattern.split(",")):
            matched = [layer for layer in self.layers if fnmatchcase(layer, part)]
            if not matched:
                raise ValueError(
                    f"the layer pattern must match a layer, got {part!r}. "
                    f"Layers: {', '.join(self.layers)}."
                )
            selected.update(matched)
        models = {
            name: model._replace(
                points={x: point for x, point in model.points.items() if x in selected},
                parameters={x: kinds for x, kinds in model.parameters.items() if x in selected},
            )
            for name, model in self.models.items()
        }
        return replace(self, models=models)

    def histogram(self, layer: str) -> Figure:
        """Draws the distributions of a layer's output, weight and bias."""
        layer = self._known(layer)
        return histograms.draw_layer(layer, self.inspection, data="input")

    def feature_maps(self, layer: str, image: int = 0) -> Figure:
        """Draws all channels of a layer's output for one image, by its number."""
        layer = self._known(layer)
        if not 0 <= image < len(self.images):
            raise IndexError(f"image must be from 0 to {len(self.images) - 1}, got {image}.")
        words = self.over if len(self.images) == 1 else f"images[{image}] of {self.over}"
        outputs = {name: x[layer][image] for name, x in self._outputs.items() if layer in x}
        return feature_maps.draw_feature_maps(layer, outputs, image=words, reference=self.reference)

    def ranges(self) -> Figure:
        """Draws the range of each layer's values, and the range of its 8-bit codes."""
        return layer_figures.draw_ranges(self.inspection, data="input")

    def sqnr(self) -> Figure:
        """Draws the signal-to-quantization-noise ratio of each compared layer."""
        return layer_figures.draw_sqnr(self.inspection, data="input")

    def drawings(self) -> dict[str, Drawing]:
        """Returns functions that draw all figures, by file name."""
        return layer_drawings(self.inspection, self._outputs, data="input")

    def _known(self, layer: str) -> str:
        """Returns a layer that is captured; raises a KeyError with suggestions for any other."""
        if layer in self.layers:
            return layer
        joined = self.absent.get(layer, "").removeprefix("computed together with ")
        near = [joined] if joined in self.layers else get_close_matches(layer, self.layers)
        why = f" ({self.absent[layer]})" if layer in self.absent else ""
        hint = f"Near: {', '.join(near)}." if near else f"Layers: {', '.join(self.layers)}."
        raise KeyError(f"layer must be one that is captured, got {layer!r}{why}. {hint}")

    def _table(self) -> tuple[str, list[list[str]], str]:
        """Returns title, lines beginning with the header, and notes."""
        rows = self.inspection["activations"]["input"]
        cells = {
            layer: layer_cells(row[self.name]["statistics"])
            for layer, row in rows.items()
            if self.name in row
        }
        wanted = COLUMNS if self.reference is None else ERROR_COLUMNS
        columns = [x for x in wanted if any(row[x] for row in cells.values())]
        lines = [[layer, *(row[x] for x in columns)] for layer, row in cells.items()]
        against = f" against {self.reference}" if self.reference else ""
        notes = [ON_PURPOSE] if any("*" in row["clip %"] for row in cells.values()) else []
        if self.absent:
            notes.append(f"Not captured: {len(self.absent)} (why: .absent).")
        title = f"{self.name}{against} over {self.over}"
        return title, [["layer", *columns], *lines], " ".join(notes)

    def __repr__(self) -> str:
        return rendering.as_text(*self._table(), width=shutil.get_terminal_size().columns)

    def _repr_html_(self) -> str:
        return rendering.as_html(*self._table())
