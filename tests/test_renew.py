"""Differences between generated files and their sources."""

from typing import Any

import pytest

from tools.renew import stale_stages


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{"changed deps": {"data/cifar10/images.npy": "deleted"}}], []),  # a clone without data
        ([{"changed outs": {"artifacts/models": "not in cache"}}], []),
        (
            [{"changed outs": {"metrics/a.json": "deleted"}}],
            ["fit: changed outs: metrics/a.json deleted"],
        ),
        (
            [{"changed deps": {"resnet8/fit.py": "modified"}}],
            ["fit: changed deps: resnet8/fit.py modified"],
        ),
        (["changed command"], ["fit: changed command"]),
        (
            [{"changed deps": {"params.yaml": {"fit": "modified"}}}, "changed checksum"],
            ["fit: changed deps: params.yaml fit modified", "fit: changed checksum"],
        ),
    ],
)
def test_stale_stages_are_those_that_differ_in_more_than_missing_data(
    changes: Any, expected: list[str]
) -> None:
    assert list(stale_stages({"fit": changes})) == expected
