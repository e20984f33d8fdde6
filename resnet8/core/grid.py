"""The grid of a sweep: blocks that give parameters lists of values, and the runs they expand to.

Every combination of a block's values is a run for each of its variants.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, field_validator

from resnet8.core.errors import shown
from resnet8.core.names import Dataset
from resnet8.core.param_errors import ParameterError, describe, suggest
from resnet8.core.sections import Calibrate, Fit, Section
from resnet8.core.variants import QUANTIZED_VARIANTS

MAX_RUNS = 100_000
VARIANT = "variant"
# Not calibrate.batches: a sweep draws from the batches that the pipeline fetched.
KNOBS = ("calibrate.size", "calibrate.seed", *(f"fit.{name}" for name in Fit.model_fields))

Block = Mapping[str, Sequence[Any]]
Grid = list[dict[str, list[Any]]]  # blocks


class Settings(Section):
    """The settings that determine the numbers of a quantization."""

    calibrate: Calibrate
    fit: Fit

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """Returns settings with other values for some knobs.

        Raises:
            pydantic.ValidationError: a value is invalid.
        """
        raw = self.model_dump()
        for knob, value in changes.items():
            section, _, name = knob.partition(".")
            raw[section][name] = value
        return Settings.model_validate(raw)

    def values(self) -> dict[str, Any]:
        """Returns the value of each knob, in the order of `KNOBS`."""
        raw = {f"{section}.{name}": x for section, fields in self for name, x in fields}
        return {knob: raw[knob] for knob in KNOBS}

    def differences(self, usual: "Settings") -> list[str]:
        """Describes the settings that differ from the usual ones, as `name value`."""
        before = usual.values()
        return [
            f"{knob.partition('.')[2]} {json.dumps(value)}".replace('"', "")
            for knob, value in self.values().items()
            if value != before[knob]
        ]


class Sweep(Section):
    """The grid of `make sweep`; see resnet8/core/grid.py."""

    grid: Grid = Field(
        description="a list of mappings from calibrate.size, calibrate.seed, fit.<name> and "
        "variant to lists of values"
    )

    @field_validator("grid")
    @classmethod
    def _check_blocks(cls, grid: Grid) -> Grid:
        faults = [fault for n, block in enumerate(grid) for fault in _block_faults(n, block)]
        n_runs = sum(math.prod(map(len, block.values())) for block in grid)
        if n_runs > MAX_RUNS:
            faults.append(f"sweep.grid must have at most {MAX_RUNS} runs, got {n_runs}.")
        if faults:
            raise ParameterError("\n".join(faults))
        return grid

    def check(self, settings: Settings, dataset: Dataset) -> None:
        """Checks all combinations of values; `settings` has the knobs that a block does not name.

        Raises:
            ParameterError: with all faults, a line each.
        """
        faults = []
        for number, block in enumerate(self.grid):
            for changes in _combinations(block):
                try:
                    settings.changed(changes).calibrate.check(dataset)
                except (ValidationError, ParameterError) as exc:
                    faults += [f"sweep.grid[{number}]: {x}" for x in describe(exc, Settings)]
        if faults:
            raise ParameterError("\n".join(dict.fromkeys(faults)))


class Run(NamedTuple):
    """A quantized model to make and measure."""

    variant: str
    settings: Settings


def expand(grid: Sequence[Block], settings: Settings, *, variants: Sequence[str]) -> list[Run]:
    """Returns the runs of a valid grid in its order; runs that several blocks share appear once.

    `settings` has the knobs that a block does not name; `variants` are those of blocks without.
    """
    runs: dict[str, Run] = {}
    for block in grid:
        for changes in _combinations(block):
            changed = settings.changed(changes)
            for variant in block.get(VARIANT, variants):
                runs.setdefault(f"{variant} {changed.values()}", Run(variant, changed))
    return list(runs.values())


def _combinations(block: Block) -> Iterator[dict[str, Any]]:
    """Yields every combination of values of a block's knobs; the last knob changes fastest."""
    knobs = [knob for knob in block if knob != VARIANT]
    for values in product(*(block[knob] for knob in knobs)):
        yield dict(zip(knobs, values, strict=True))


def _block_faults(number: int, block: Block) -> Iterator[str]:
    known = (*KNOBS, VARIANT)
    for knob, values in block.items():
        where = f"sweep.grid[{number}].{knob if knob.isprintable() else shown(knob)}"
        if knob not in known:
            yield f"{where} is not a parameter of runs.{suggest(knob, known)}"
        repeated = any(value in values[:n] for n, value in enumerate(values))
        if repeated or not values:
            yield f"{where} must be a list of different values, at least one, got {shown(values)}."
        for value in values if knob == VARIANT else ():
            if value not in QUANTIZED_VARIANTS:
                yield f"{where} must be out of {', '.join(QUANTIZED_VARIANTS)}, got {shown(value)}."
