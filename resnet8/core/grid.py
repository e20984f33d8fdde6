"""The grid of a sweep: blocks that give parameters lists of values, and what can be wrong in them.

All combinations of a block's values are runs; resnet8/sweep/grid.py lists them.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import Field, ValidationError

from resnet8.core.errors import shown
from resnet8.core.param_errors import describe_fault
from resnet8.core.sections import Calibrate, Fit, Section
from resnet8.core.variants import QUANTIZED_VARIANTS

MAX_RUNS = 100_000
VARIANT = "variant"
# Images are drawn from the batches that the pipeline fetched.
KNOBS = ("calibrate.size", "calibrate.seed", *(f"fit.{name}" for name in Fit.model_fields))

Block = Mapping[str, Sequence[Any]]


class Settings(Section):
    """What decides the numbers of a quantization."""

    calibrate: Calibrate = Field(description="a section")
    fit: Fit = Field(description="a section")

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """With other values for some knobs.

        Raises:
            pydantic.ValidationError: a value is none that the parameter may have.
        """
        raw = self.model_dump()
        for knob, value in changes.items():
            section, _, name = knob.partition(".")
            raw[section][name] = value
        return Settings.model_validate(raw)

    def values(self) -> dict[str, Any]:
        """Value by knob, in the order of `KNOBS`."""
        raw = self.model_dump()
        parts = (knob.partition(".") for knob in KNOBS)
        return {f"{section}.{name}": raw[section][name] for section, _, name in parts}


def combinations(block: Block) -> Iterator[dict[str, Any]]:
    """Each choice of one value for each knob, the last knob changing fastest."""
    knobs = [knob for knob in block if knob != VARIANT]
    for values in product(*(block[knob] for knob in knobs)):
        yield dict(zip(knobs, values, strict=True))


def find_faults(
    grid: Sequence[Block], settings: Settings | None, between: Callable[[Settings], list[str]]
) -> list[str]:
    """Says what is wrong with a grid.

    Args:
        grid: the blocks.
        settings: for what a block does not name, None where they have faults themselves.
        between: finds faults that only show when two parameters are seen together.
    """
    faults = [fault for n, block in enumerate(grid) for fault in _faults_of_block(n, block)]
    n_runs = sum(math.prod(map(len, block.values())) for block in grid)
    if n_runs > MAX_RUNS:
        faults.append(f"sweep.grid must have at most {MAX_RUNS} runs, got {n_runs}.")
    if not faults and settings:
        faults = [
            f"sweep.grid[{n}]: {fault}"
            for n, block in enumerate(grid)
            for changes in combinations(block)
            for fault in _faults_of(settings, changes, between)
        ]
    return list(dict.fromkeys(faults))


def _faults_of_block(number: int, block: Block) -> Iterator[str]:
    known = (*KNOBS, VARIANT)
    for knob, values in block.items():
        where = f"sweep.grid[{number}].{knob if knob.isprintable() else shown(knob)}"
        if knob not in known:
            close = difflib.get_close_matches(knob, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
            yield f"{where} is not a parameter of runs. {hint}"
        repeated = any(value in values[:n] for n, value in enumerate(values))
        if repeated or not values:
            yield f"{where} must be a list of different values, at least one, got {shown(values)}."
        if knob == VARIANT:
            wrong = [value for value in values if value not in QUANTIZED_VARIANTS]
            names = ", ".join(QUANTIZED_VARIANTS)
            yield from (f"{where} must be out of {names}, got {shown(x)}." for x in wrong)


def _faults_of(
    settings: Settings, changes: Mapping[str, Any], between: Callable[[Settings], list[str]]
) -> list[str]:
    try:
        return between(settings.changed(changes))
    except ValidationError as exc:
        return [describe_fault(error, Settings) for error in exc.errors(include_url=False)]
