"""Draws the calibration images: class-balanced, seeded, from training data only.

Reads: data/cifar10/train_{images,labels}.npy
Writes: data/calibration/{images,labels,indices}.npy (indices into the training pool)
Params: calibrate
"""

import numpy as np

from resnet8.core.arguments import parse_paths
from resnet8.core.files import read_array, write_array
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.quantize.calibration import draw_balanced


def main(argv: list[str] | None = None) -> None:
    args = parse_paths(argv, __doc__, "params images labels out")
    params = load_params(args.params).calibrate

    images, labels = read_array(args.images), read_array(args.labels)

    indices = draw_balanced(labels, params.size, seed=params.seed)

    write_array(args.out / "indices.npy", indices)
    write_array(args.out / "images.npy", images[indices])
    write_array(args.out / "labels.npy", labels[indices])
    print(f"{params.size} images, per class {np.bincount(labels[indices]).tolist()}")


if __name__ == "__main__":
    run_stage(main)
