"""Runs of a sweep's grid, and faults in it."""

from typing import Any

import pytest
import yaml

from resnet8.core.errors import ParamsError
from resnet8.core.grid import MAX_RUNS, expand
from resnet8.core.params import Params, check_params, load_params
from tests.parameters import TEST_PARAMS

USUAL = load_params(TEST_PARAMS).settings
DISTINCT = "must be a list of different values, at least one, got"
VARIANTS = "must be out of onnx_int8, onnx_uint8, onnx_uint8_int8, torch_int8, got"


def with_grid(grid: Any, **sections: Any) -> Params:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    for name, values in sections.items():
        raw[name].update(values)
    return check_params(raw | {"sweep": {"grid": grid}})


def faults_of(grid: Any, **sections: Any) -> list[str]:
    with pytest.raises(ParamsError, match="fault") as caught:
        with_grid(grid, **sections)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_expand_combines_all_values_of_a_block_and_leaves_other_settings() -> None:
    block = {"calibrate.size": [10, 20], "fit.per_channel": [True, False], "variant": ["a", "b"]}
    runs = expand([block], USUAL, variants=["c"])
    assert [(x.settings.values(), x.variant) for x in runs] == [
        (USUAL.values() | {"calibrate.size": size, "fit.per_channel": per_channel}, variant)
        for size in (10, 20)
        for per_channel in (True, False)
        for variant in ("a", "b")
    ]


def test_expand_counts_runs_of_several_blocks_once() -> None:
    blocks = [{"calibrate.size": [10, 20]}, {"calibrate.size": [20, 30]}, {"variant": ["c"]}]
    runs = expand(blocks, USUAL, variants=["c"])
    assert [x.settings.calibrate.size for x in runs] == [10, 20, 30, USUAL.calibrate.size]


def test_differences_are_those_from_the_usual_settings() -> None:
    changes = {"calibrate.size": 10, "fit.per_channel": False, "fit.float_layers": ["a", "b"]}
    assert USUAL.differences(USUAL) == []
    assert USUAL.changed(changes).differences(USUAL) == [
        "size 10", "per_channel false", "float_layers [a, b]",
    ]  # fmt: skip


def test_runs_have_the_types_that_the_pipeline_makes() -> None:
    params = with_grid([{}], quantize_onnx={"types": ["uint8"]})
    assert [run.variant for run in params.runs] == ["onnx_uint8", "torch_int8"]


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        (
            {"calibrate.sizes": [1]},
            ".calibrate.sizes is not a parameter of runs. Did you mean calibrate.size?",
        ),
        ({"calibrate.size": []}, f".calibrate.size {DISTINCT} []."),
        ({"calibrate.seed": [1, 1]}, f".calibrate.seed {DISTINCT} [1, 1]."),
        ({"variant": ["int8"]}, f".variant {VARIANTS} 'int8'."),
        ({"variant": [3]}, f".variant {VARIANTS} 3."),
        (
            {"calibrate.size": [10, 0]},
            ": calibrate.size must be a number from 1 to 50000, got 0.",
        ),
        (
            {"calibrate.size": [10_001]},
            ": calibrate.size must be from 1 to 10000, the training images in calibrate.batches "
            "[1] of cifar10, got 10001.",
        ),
        (
            {"fit.activation_range": ["mse", "max"]},
            ": fit.activation_range must be minmax, percentile, entropy or mse, got 'max'.",
        ),
        (
            {"fit.weight_symmetric": [False, True], "fit.per_channel": [True, False]},
            ": fit.weight_symmetric must be true with fit.per_channel: true, got false: kernels "
            "take one zero point for all channels.",
        ),
    ],
    ids=lambda x: str(x)[:40],
)
def test_fault_of_a_grid_is_named_with_its_block(block: Any, fault: str) -> None:
    (found,) = faults_of([{"calibrate.size": [10]}, block])
    assert found.startswith(f"sweep.grid[1]{fault}")


@pytest.mark.parametrize(
    "grid", [None, 3, {"calibrate.size": [1]}, [3], [{"variant": 3}], [{3: [1]}]]
)
def test_params_refuse_what_is_no_grid(grid: Any) -> None:
    assert all(fault.startswith("sweep.grid") for fault in faults_of(grid))


def test_params_refuse_a_huge_grid_without_making_it() -> None:
    numbers = list(range(1, 1001))
    (found,) = faults_of([{"calibrate.size": numbers, "calibrate.seed": numbers}])
    assert found == f"sweep.grid must have at most {MAX_RUNS} runs, got 1000000."


def test_faults_of_the_grid_come_along_with_others() -> None:
    assert len(faults_of([{"variant": ["x"]}], calibrate={"size": 0})) == 2
