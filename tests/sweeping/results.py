"""Runs and results that tests make up."""

from pathlib import Path
from typing import Any

from resnet8.common.grid import Run
from resnet8.common.params import load_params
from resnet8.sweeping.result import Result

USUAL = load_params(Path(__file__).parents[2] / "params.yaml").settings
N_IMAGES = 1000
BASELINE = 0.8


def make_run(variant: str = "onnx_int8", **changes: Any) -> Run:
    """A run with the usual settings but for some, `section__name=value`."""
    knobs = {name.replace("__", "."): value for name, value in changes.items()}
    return Run(variant, USUAL.changed(knobs))


def make_result(
    *,
    lost: Any = (),
    won: Any = (),
    other: Any = (),
    file_bytes: int = 100_000,
    kl_divergence: float = 0.001,
    n_images: int = N_IMAGES,
) -> Result:
    """A result in which these images changed."""
    changed = len(lost) + len(won) + len(other)
    return Result(
        n_images=n_images,
        top1_accuracy=BASELINE + (len(won) - len(lost)) / n_images,
        accuracy_delta_pp=100 * (len(won) - len(lost)) / n_images,
        ci95_low_pp=-0.1,
        ci95_high_pp=0.1,
        mcnemar_p=1.0,
        agreement=1 - changed / n_images,
        kl_divergence=kl_divergence,
        saturating_products=False,
        file_bytes=file_bytes,
        lost=list(lost),
        won=list(won),
        other=list(other),
    )
