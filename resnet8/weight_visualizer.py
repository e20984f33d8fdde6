"""Shows the layers of one model: `python -m resnet8.weight_visualizer MODEL`.

Prints statistics of its layers for some images, and saves figures of their weights, biases and
activations. A quantized model is compared with the float model of its runtime in the same folder,
or with the one given by --reference. In Python: `from resnet8 import look`.
"""

import argparse
import webbrowser
from pathlib import Path
from typing import Any

from resnet8.compare import tables
from resnet8.core.errors import ArtifactError, ParamsError
from resnet8.core.files import write_bytes
from resnet8.core.input_spec import FORMS
from resnet8.core.pictures import SUFFIXES
from resnet8.core.processes import run_stage
from resnet8.core.variants import QUANTIZED_VARIANTS, Variant
from resnet8.inside import Inside, look
from resnet8.report.figures.canvas import png


def look_beside(model: Path, images: Any, *, reference: Path | None, data: Path) -> Inside:
    """Looks at a model, and compares a quantized one with a float model of its runtime.

    Without a reference, this is `<runtime>_fp32` in the same folder, if present. See `look`.

    Raises:
        ArtifactError: the reference is another kind of model.
    """
    inside = look(model, images, data=data)
    original = Variant(inside.name).original if inside.name in set(Variant) else None
    beside = model.with_name(f"{original}{model.suffix}")
    if reference is None and inside.name in QUANTIZED_VARIANTS and beside.is_file():
        reference = beside
    if reference is None:
        return inside
    other = look(reference, images, data=data)
    if original not in (None, other.name):
        raise ArtifactError(
            f"The reference must be a float model of the same runtime as {model.name}, "
            f"got {reference}."
        )
    return inside.compare(other)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m resnet8.weight_visualizer",
        description=str(__doc__).partition(" In Python:")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help=".h5, .keras, .onnx or .pt2")
    parser.add_argument("--reference", type=Path, help="float model to compare with")
    parser.add_argument("--input", default="test:0", help=f"{FORMS}; or picture.png[,...]")
    parser.add_argument("--layers", default="*", help="pattern, such as 'conv2d*' or 'add,dense'")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the pipeline")
    parser.add_argument(
        "--out", type=Path, default=Path("build/visualizer"), help="folder of pictures"
    )
    parser.add_argument("--show", action="store_true", help="open the pictures when saved")
    args = parser.parse_args(argv)

    is_pictures = args.input.lower().endswith(SUFFIXES)
    images = args.input.split(",") if is_pictures else args.input
    try:
        view = look_beside(args.model, images, reference=args.reference, data=args.data)
    except ValueError as exc:
        raise ParamsError(f"--input: {exc}") from exc
    try:
        view = view.select(args.layers)
    except ValueError as exc:
        raise ParamsError(f"--layers: {exc}") from exc

    tables.print_layers(view.inspection)
    for name, draw in view.drawings().items():
        path = args.out / f"{name}.png"
        write_bytes(path, png(draw()))
        print(path)
        if args.show:
            webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    run_stage(main)
