"""Which runs a grid has, and what can be wrong with it."""

from typing import Any

import pytest
import yaml

from resnet8.core.errors import ParamsError
from resnet8.core.grid import KNOBS, MAX_RUNS, Settings, expand
from resnet8.core.params import check_params, load_params
from resnet8.core.sections import Fit
from tests.parameters import TEST_PARAMS


@pytest.fixture(scope="module")
def usual() -> Settings:
    return load_params(TEST_PARAMS).settings


def with_grid(grid: Any, **sections: Any) -> Any:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    for name, values in sections.items():
        raw[name].update(values)
    return raw | {"sweep": {"grid": grid}}


def faults_of(grid: Any, **sections: Any) -> list[str]:
    with pytest.raises(ParamsError, match="fault") as caught:
        check_params(with_grid(grid, **sections))
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_knobs_are_all_that_fit_reads_and_the_draw() -> None:
    assert set(KNOBS) == {
        "calibrate.size", "calibrate.seed", *(f"fit.{name}" for name in Fit.model_fields)
    }  # fmt: skip


def test_expand_combines_all_values_of_a_block(usual: Settings) -> None:
    block = {"calibrate.size": [10, 20], "fit.per_channel": [True, False], "variant": ["a", "b"]}
    found = expand([block], usual, variants=["c"])
    assert [(x.settings.calibrate.size, x.settings.fit.per_channel, x.variant) for x in found] == [
        (size, per_channel, variant)
        for size in (10, 20)
        for per_channel in (True, False)
        for variant in ("a", "b")
    ]


def test_expand_leaves_what_a_block_does_not_name(usual: Settings) -> None:
    (run,) = expand([{"calibrate.seed": [7]}], usual, variants=["c"])
    assert run.variant == "c"
    assert run.settings.values() == usual.values() | {"calibrate.seed": 7}


def test_expand_counts_runs_of_several_blocks_once(usual: Settings) -> None:
    blocks = [{"calibrate.size": [10, 20]}, {"calibrate.size": [20, 30]}, {"variant": ["c"]}]
    found = expand(blocks, usual, variants=["c"])
    assert [x.settings.calibrate.size for x in found] == [10, 20, 30, usual.calibrate.size]


def test_expand_makes_no_run_of_an_empty_grid(usual: Settings) -> None:
    assert expand([], usual, variants=["c"]) == []


def test_describe_tells_only_what_is_not_usual(usual: Settings) -> None:
    block = {"calibrate.size": [10], "fit.per_channel": [False], "fit.float_layers": [["a", "b"]]}
    (run,) = expand([block], usual, variants=["onnx_int8"])
    assert run.describe(usual) == "onnx_int8, size 10, per_channel false, float_layers [a, b]"


def test_params_take_the_types_that_the_pipeline_makes() -> None:
    params = check_params(with_grid([{}], quantize_onnx={"types": ["uint8"]}))
    assert [run.variant for run in params.runs] == ["onnx_uint8", "torch_int8"]


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
            "sweep.grid[0]: fit.activation_range must be minmax or percentile or entropy or mse, "
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
