"""Writes test vectors for devices: `python -m resnet8.test_vectors --input test:0,1,2`.

They contain the codes of every layer for the chosen images, weights, biases, scales and zero
points, all exact, in a network.json and raw binary files (docs/test-vectors.md).
"""

import argparse
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from resnet8.core.errors import ParamsError
from resnet8.core.files import remove, write_bytes, write_json
from resnet8.core.input_spec import FORMS
from resnet8.core.processes import run_stage
from resnet8.core.variants import Variant
from resnet8.inspection.inputs import read_chosen
from resnet8.models import onnx_model
from resnet8.quantize import storage
from resnet8.reference import vectors
from resnet8.reference.network import Network

NETWORK = "network.json"


def write(folder: Path, network: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Writes test vectors, network.json last: if it exists, all other files are complete."""
    remove(folder / NETWORK)
    for name, array in arrays.items():
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        write_bytes(folder / name, little_endian.tobytes())
    write_json(folder / NETWORK, network)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m resnet8.test_vectors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", default="test:0", help=FORMS.replace("%", "%%"))
    parser.add_argument("--type", choices=["uint8", "int8"], default="uint8", help="of codes")
    parser.add_argument("--models", type=Path, default=Path("artifacts/models"))
    parser.add_argument("--quantization", type=Path, default=Path("artifacts/quantization"))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the pipeline")
    parser.add_argument("--out", type=Path, default=Path("build/vectors"))
    args = parser.parse_args(argv)

    try:
        images = read_chosen(args.input, args.data)
    except ValueError as exc:
        raise ParamsError(f"--input: {exc}") from exc
    model = onnx_model.load_model(Variant.ONNX_FP32.path(args.models))
    network = Network(model, storage.read(args.quantization))

    result = vectors.compute(network, images)
    write(args.out, *vectors.describe(result, dtype=args.type, chosen=args.input))
    print(
        f"{args.out / NETWORK}: {len(result.operations)} operations, {len(images)} images, "
        f"{sum(x.size for x in result.codes.values()):,} codes"
    )


if __name__ == "__main__":
    run_stage(main)
