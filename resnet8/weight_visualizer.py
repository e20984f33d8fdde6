"""Looks into one model by hand: `python -m resnet8.weight_visualizer MODEL`.

Prints the statistics of its layers for some images, and saves pictures of their weights,
biases and activations. A quantized model is compared with the float model of its runtime in
the same folder, or with another one that is given.

From Python or a notebook:

    watched = watch_models(Path("artifacts/models/torch_int8.pt2"))
    arrays = recording.capture(watched["torch_int8"], images)  # by layer, (N, C, H, W) float32
    found = look(watched, images)  # statistics and histograms
    captures = {name: recording.capture(model, images[:1]) for name, model in watched.items()}
    drawings = layer_drawings(found, captures, data="input")
    drawings["histograms/conv2d"]()  # a Matplotlib figure
"""

import argparse
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet8.compare import tables
from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.core.files import write_bytes
from resnet8.core.input_spec import FORMS, InputSpec
from resnet8.core.processes import run_stage
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.inspection import inputs, recording, summaries, watch
from resnet8.inspection.capture import Watched, only, select_layers
from resnet8.report.figures.canvas import draw_all
from resnet8.report.figures.catalog import layer_drawings

RUNTIMES = {".onnx": "onnx", ".pt2": "torch"}  # Keras otherwise


def watch_models(path: Path, *, reference: Path | None = None) -> dict[str, Watched]:
    """Watches a model and, where it is quantized, the float model that it was made from.

    Args:
        path: a `.h5`, `.keras`, `.onnx` or `.pt2` file.
        reference: the float model; None for `<runtime>_fp32` in the same folder, if there.

    Returns:
        Both by variant, such as `torch_fp32` and `torch_int8`, the float one first.

    Raises:
        ArtifactError: a file is missing or no model, or the reference is not a float model of
            the same runtime.
    """
    watched = watch.watch_file(path)
    name = _variant(path, watched)
    beside = path.with_name(f"{name.original}{path.suffix}")
    if reference is None and (name.is_float or not beside.is_file()):
        return {name: watched}
    original = watch.watch_file(reference or beside)
    if _variant(reference or beside, original) != name.original:
        raise ArtifactError(
            f"The reference must be a float model of the same runtime as {path.name}, "
            f"got {reference}."
        )
    return {name.original: original, name: watched}


def look(
    watched: Mapping[str, Watched], images: NDArray[np.uint8], *, label: str = "these images"
) -> dict[str, Any]:
    """Statistics and histograms of every layer.

    Args:
        watched: by variant.
        images: (N, 32, 32, 3) uint8.
        label: what the images are, in words.

    Returns:
        As artifacts/inspection/layers.json, with activations over `input`, these images.
    """
    records = recording.inspect(watched, inputs.batches(images))
    return {
        "input": label,
        "n_images": {"input": len(images)},
        "layers": recording.layer_order(records),
        "absent": {name: model.absent for name, model in watched.items()},
        "activations": {"input": summaries.activations_json(records)},
        "parameters": summaries.parameters_json(watched),
    }


def _variant(path: Path, watched: Watched) -> Variant:
    """The variant that a file is, by what is in it, or by its name where types are mixed."""
    runtime = RUNTIMES.get(path.suffix, "keras")
    quantized = (point.quantization for point in watched.points.values())
    dtype = next((found.dtype for found in quantized if found), None)
    if dtype is None:
        return Variant(f"{runtime}_fp32")
    if path.stem in QUANTIZED_VARIANTS:
        return Variant(path.stem)
    return Variant.TORCH_INT8 if runtime == "torch" else Variant(f"onnx_{dtype}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m resnet8.weight_visualizer",
        description=str(__doc__).partition("From Python")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help=".h5, .keras, .onnx or .pt2")
    parser.add_argument("--reference", type=Path, help="float model to compare with")
    parser.add_argument("--input", default="test:0", help=FORMS.replace("%", "%%"))
    parser.add_argument("--layers", default="*", help="pattern, such as 'conv2d_*' or 'add,dense'")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the pipeline")
    parser.add_argument("--out", type=Path, default=Path("build/visualizer"))
    parser.add_argument("--show", action="store_true", help="open the pictures when saved")
    args = parser.parse_args(argv)

    images = inputs.choose_images(args.input, args.data)
    watched = watch_models(args.model, reference=args.reference)
    every = list(dict.fromkeys(layer for model in watched.values() for layer in model.points))
    try:
        layers = select_layers(every, args.layers)
    except ValueError as exc:
        raise ParamsError(f"--layers: {exc}") from exc
    chosen = {name: only(model, layers) for name, model in watched.items()}
    found = look(chosen, images, label=InputSpec.parse(args.input).in_words)
    captures = {name: recording.capture(model, images[:1]) for name, model in chosen.items()}

    tables.print_layers(found)
    drawings = layer_drawings(found, captures, data="input")
    for name, picture in draw_all(drawings):
        path = args.out / f"{name}.png"
        write_bytes(path, picture)
        print(path)
        if args.show:
            webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    run_stage(main)
