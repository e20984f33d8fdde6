"""Made-up runs and results."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from resnet8.compare.comparison import compare_correct
from resnet8.core.grid import Run
from resnet8.core.params import load_params
from resnet8.sweep.identity import Identity
from resnet8.sweep.record import key_of
from resnet8.sweep.result import Result
from resnet8.sweep.selection import Selection, select
from tests.parameters import TEST_PARAMS

USUAL = load_params(TEST_PARAMS).settings
IDENTITY = Identity(
    model_sha256="ab" * 32, data="0123456789abcdef", code="fedcba9876543210",
    libraries="numpy==2.4.6 torch==2.13.0", opset=17, batch_size=128, baseline="keras_fp32",
)  # fmt: skip
N_IMAGES = 1000
BASELINE = 0.8
CHANCE = 0.1


def make_run(variant: str = "onnx_int8", **changes: Any) -> Run:
    """A run with the usual settings except for some, `section__name=value`."""
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
    changed = [*lost, *won, *other]
    unchanged = [i for i in range(n_images) if i not in set(changed)]
    both = round(BASELINE * n_images) - len(lost)
    old, new = np.zeros((2, n_images), bool)
    old[[*unchanged[:both], *lost]] = True
    new[[*unchanged[:both], *won]] = True
    row = compare_correct({"all": old}, {"all": new})
    return Result(
        n_images=n_images,
        agreement=1 - len(changed) / n_images,
        kl_divergence=kl_divergence,
        saturating_products=False,
        file_bytes=file_bytes,
        lost=list(lost),
        won=list(won),
        other=list(other),
        **{name: row[name] for name in Result._fields if name in row},
    )


def make_selection(
    rows: Iterable[tuple[Run, Result]], *, n_earlier: int = 0, **others: int
) -> Selection:
    """Finished runs, the first of an earlier version, and counts of other runs of the record."""
    runs = list(rows)
    earlier = IDENTITY._replace(code="0" * 16)
    finished = {
        key_of(run, earlier if number < n_earlier else IDENTITY): result
        for number, (run, result) in enumerate(runs)
    }
    selection = select(finished, [run for run, _ in runs], IDENTITY, usual=USUAL, n_images=N_IMAGES)
    return selection._replace(**others)
