"""Runs of a sweep's grid; tests/core/test_params.py has its faults."""

import yaml

from resnet8.core.grid import expand
from resnet8.core.params import check_params, load_params
from tests.parameters import TEST_PARAMS

USUAL = load_params(TEST_PARAMS).settings


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
    raw = yaml.safe_load(TEST_PARAMS.read_text())
    changes = {"sweep": {"grid": [{}]}, "quantize_onnx": {"types": ["uint8"]}}
    assert [run.variant for run in check_params(raw | changes).runs] == ["onnx_uint8", "torch_int8"]
