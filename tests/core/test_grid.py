"""Faults in the grid of a sweep."""

from typing import Any

import pytest
import yaml

from resnet8.core.errors import ParamsError
from resnet8.core.grid import MAX_RUNS
from resnet8.core.params import check_params
from tests.parameters import TEST_PARAMS


def with_grid(grid: Any, **sections: Any) -> Any:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    for name, values in sections.items():
        raw[name].update(values)
    return raw | {"sweep": {"grid": grid}}


def faults_of(grid: Any, **sections: Any) -> list[str]:
    with pytest.raises(ParamsError, match="fault") as caught:
        check_params(with_grid(grid, **sections))
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        (
            {"calibrate.sizes": [1]},
            "sweep.grid[0].calibrate.sizes is not a parameter of runs. Did you mean "
            "calibrate.size?",
        ),
        (
            {"calibrate.size": []},
            "sweep.grid[0].calibrate.size must be a list of different values, at least one, "
            "got [].",
        ),
        (
            {"calibrate.seed": [1, 1]},
            "sweep.grid[0].calibrate.seed must be a list of different values, at least one, "
            "got [1, 1].",
        ),
        (
            {"variant": ["int8"]},
            "sweep.grid[0].variant must be out of onnx_int8, onnx_uint8, onnx_uint8_int8, "
            "torch_int8, got 'int8'.",
        ),
        (
            {"variant": [3]},
            "sweep.grid[0].variant must be out of onnx_int8, onnx_uint8, onnx_uint8_int8, "
            "torch_int8, got 3.",
        ),
        (
            {"calibrate.size": [10, 0]},
            "sweep.grid[0]: calibrate.size must be a number from 1 to 50000, got 0.",
        ),
        (
            {"calibrate.size": [10_001]},
            "sweep.grid[0]: calibrate.size must be from 1 to 10000, the training images in "
            "calibrate.batches [1] of cifar10, got 10001.",
        ),
        (
            {"fit.activation_range": ["mse", "max"]},
            "sweep.grid[0]: fit.activation_range must be minmax, percentile, entropy or mse, "
            "got 'max'.",
        ),
        (
            {"fit.weight_symmetric": [False, True], "fit.per_channel": [True, False]},
            "sweep.grid[0]: fit.weight_symmetric must be true with fit.per_channel: true, got "
            "false: kernels take one zero point for all channels.",
        ),
    ],
    ids=lambda x: str(x)[:40],
)
def test_params_name_the_fault_of_a_grid(block: Any, fault: str) -> None:
    (found,) = faults_of([block])
    assert found.startswith(fault)


def test_params_name_the_block_of_a_fault() -> None:
    (found,) = faults_of([{"calibrate.size": [10]}, {"calibrate.size": [-1]}])
    assert found.startswith("sweep.grid[1]: calibrate.size must be")


@pytest.mark.parametrize(
    "grid", [None, 3, {"calibrate.size": [1]}, [3], [{"variant": 3}], [{3: [1]}]]
)
def test_params_refuse_what_is_no_grid(grid: Any) -> None:
    assert all(fault.startswith("sweep.grid") for fault in faults_of(grid))


def test_params_refuse_a_huge_grid_without_making_it() -> None:
    numbers = list(range(1, 1001))
    (found,) = faults_of([{"calibrate.size": numbers, "calibrate.seed": numbers}])
    assert found == f"sweep.grid must have at most {MAX_RUNS} runs, got 1000000."


def test_params_tell_faults_of_the_grid_along_with_others() -> None:
    found = faults_of([{"variant": ["x"]}], calibrate={"size": 0})
    assert len(found) == 2
