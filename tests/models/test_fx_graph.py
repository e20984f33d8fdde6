"""Names of layers become identifiers and come back."""

import keyword

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from resnet8.models.fx_graph import from_identifier, to_identifier


@given(st.text())
@example("_x20_")
@example("\0")
@example("a_x20 ")
@example("forward_x_")
@example("\ufb01")  # Python reads it as `fi`
def test_any_name_comes_back(name: str) -> None:
    identifier = to_identifier(name)
    assert identifier.isidentifier()
    assert identifier.isascii()
    assert not keyword.iskeyword(identifier)
    assert not hasattr(torch.nn.Module(), identifier)
    assert from_identifier(identifier) == name


@pytest.mark.parametrize("name", ["conv2d_3", "stem", "Conv1", "block_6_expand_relu"])
def test_usual_names_stay(name: str) -> None:
    assert to_identifier(name) == name


@pytest.mark.parametrize("name", ["_xffffff_", "_x110000_", "_x0_"])
def test_from_identifier_takes_identifiers_of_other_programs(name: str) -> None:
    assert isinstance(from_identifier(name), str)
