"""The runs of a sweep: the combinations of its grid, for each variant.

What a block of the grid does not name is as in the rest of the parameters. Runs that several
blocks have in common are there once.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from resnet8.core.grid import VARIANT, Block, Settings, combinations
from resnet8.core.params import Params


class Run(NamedTuple):
    """One quantized model that is measured."""

    variant: str
    settings: Settings

    def describe(self, usual: Settings) -> str:
        """The variant, and which settings are not the usual ones."""
        return ", ".join([self.variant, *describe_changes(self.settings, usual)])


def describe_changes(settings: Settings, usual: Settings) -> list[str]:
    """Which settings are not the usual ones, as `name value`."""
    before = usual.values()
    return [
        f"{knob.partition('.')[2]} {json.dumps(value)}".replace('"', "")
        for knob, value in settings.values().items()
        if value != before[knob]
    ]


def list_runs(params: Params) -> list[Run]:
    """The runs of the parameters' grid; blocks that name no variants have all quantized ones."""
    quantized = [str(variant) for variant in params.quantized]
    return expand(params.sweep.grid, params.settings, variants=quantized)


def expand(grid: Sequence[Block], settings: Settings, *, variants: Sequence[str]) -> list[Run]:
    """The runs of a grid without faults, in its order.

    Args:
        grid: the blocks.
        settings: for what a block does not name.
        variants: for blocks that name none.
    """
    found: dict[str, Run] = {}
    for block in grid:
        for changes in combinations(block):
            changed = settings.changed(changes)
            for variant in block.get(VARIANT, variants):
                found.setdefault(f"{variant} {changed.values()}", Run(variant, changed))
    return list(found.values())
