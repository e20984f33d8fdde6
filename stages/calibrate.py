"""Draws the calibration images: class-balanced, seeded, from training data only.

Reads: data/cifar10/train_{images,labels}.npy
Writes: data/calibration/{images,labels,indices}.npy (indices into the training pool)
Params: calibrate
"""

import argparse
from pathlib import Path

import numpy as np

from resnet8.core.dataset import read_images, read_labels
from resnet8.core.files import write_array
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage
from resnet8.quantize.calibration import draw_balanced


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    params = load_params(args.params).calibrate

    images, labels = read_images(args.images), read_labels(args.labels)

    indices = draw_balanced(labels, params.size, seed=params.seed)

    write_array(args.out / "indices.npy", indices)
    write_array(args.out / "images.npy", images[indices])
    write_array(args.out / "labels.npy", labels[indices])
    print(f"{params.size} images, per class {np.bincount(labels[indices]).tolist()}")


if __name__ == "__main__":
    run_stage(main)
