"""Images per second of the pipeline's evaluation, beside bare loops around the same libraries.

Run it with `python -m benchmarks.inference` after `dvc repro`.
"""

import argparse
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import loops, machine, tables
from benchmarks.timing import interleave, rate, ratio
from resnet8.core.errors import PipelineError
from resnet8.core.files import read_array, read_json
from resnet8.core.params import load_params
from resnet8.core.processes import run_stage

COLUMNS = ("variant, run by", "batch", "images/s", "x floor")
PACKAGES = ("numpy", "onnxruntime", "torch", "tensorflow", "keras")


def summarize(
    all_loops: Sequence[loops.Loop], durations: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """Puts each loop beside the floor of its variant: the fastest bare loop.

    Args:
        all_loops: the loops of all variants.
        durations: seconds of each round, by name.

    Returns:
        Rows with `images_per_second`, `times_floor` (time for an image, as a multiple of the
        floor's) and the description of the loop.
    """
    speeds = {loop.name: rate(loop.n_images, durations[loop.name]) for loop in all_loops}
    rows = []
    for loop in all_loops:
        rivals = [x for x in all_loops if x.bare and x.variant == loop.variant]
        floor = max(rivals, key=lambda x: speeds[x.name])
        share = floor.n_images / loop.n_images
        times = share * ratio(durations[loop.name], durations[floor.name])
        rows.append(
            {
                "variant": loop.variant,
                "way": loop.way,
                "batch_size": loop.batch_size,
                "n_images": loop.n_images,
                "seconds": list(durations[loop.name]),
                "images_per_second": speeds[loop.name],
                "times_floor": times,
            }
        )
    return rows


def format_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table, a cell for each of `COLUMNS`."""
    speed = row["images_per_second"]
    return (
        f"{row['variant']}, {row['way']}",
        str(row["batch_size"]),
        f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}",
        f"{row['times_floor']:.2f}" if row["times_floor"] < 10 else f"{row['times_floor']:.0f}",
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="test images in each run")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    tables.add_options(parser)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--models", type=Path, default=Path("artifacts/models"))
    args = parser.parse_args(argv)
    for option in ("images", "repeats"):
        if (value := getattr(args, option)) < 1:
            raise PipelineError(f"--{option} must be at least 1, got {value}.")
    # Keras 3 warns of this in models that Keras 2 wrote, whose inputs are a list of one.
    warnings.filterwarnings("ignore", message="The structure of `inputs` doesn't match")
    batch_size = load_params(args.params).evaluate.batch_size

    images = read_array(args.data / "cifar10" / "test_images.npy")[: args.images]
    n_classes = len(read_json(args.data / "cifar10" / "labels.json")["label_names"])
    as_float = images.astype(np.float32)
    all_loops = []
    for variant, path in loops.find_models(args.models, args.data / "raw").items():
        pipeline = loops.pipeline_loop(
            variant, path, images, batch_size=batch_size, n_classes=n_classes
        )
        all_loops += [pipeline, *loops.bare_loops(variant, path, as_float, n_classes=n_classes)]
    all_loops += loops.reference_loops(args.data / "raw", as_float, n_classes=n_classes)

    durations = interleave({loop.name: loop.run for loop in all_loops}, repeats=args.repeats)
    rows = summarize(all_loops, durations)
    described = machine.describe(PACKAGES)

    lines = [COLUMNS, *(format_row(row) for row in rows)]
    note = f"{machine.sentence(described)} {len(images):,} images, median of {args.repeats} rounds."
    content = {"machine": described, "runs": rows}
    tables.publish(args, "inference", lines, note=note, content=content)


if __name__ == "__main__":
    run_stage(main)
