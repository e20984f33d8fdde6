"""Which runs a grid has, and how they are named."""

import pytest
import yaml

from resnet8.core.grid import Settings
from resnet8.core.params import check_params, load_params
from resnet8.sweep.grid import expand, list_runs
from tests.parameters import TEST_PARAMS


@pytest.fixture(scope="module")
def usual() -> Settings:
    return load_params(TEST_PARAMS).settings


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


def test_describe_tells_only_what_is_not_usual(usual: Settings) -> None:
    block = {"calibrate.size": [10], "fit.per_channel": [False], "fit.float_layers": [["a", "b"]]}
    (run,) = expand([block], usual, variants=["onnx_int8"])
    assert run.describe(usual) == "onnx_int8, size 10, per_channel false, float_layers [a, b]"


def test_list_runs_takes_the_types_that_the_pipeline_makes() -> None:
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    raw |= {"sweep": {"grid": [{}]}, "quantize_onnx": {"types": ["uint8"]}}
    assert [run.variant for run in list_runs(check_params(raw))] == ["onnx_uint8", "torch_int8"]
