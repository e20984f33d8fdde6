"""A warning of a quantization library ends the stage, unless it is expected."""

import logging
import warnings

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.quantize.library_warnings import no_warnings

EXPECTED = {"Please consider": "a reason"}


def test_no_warnings_refuses_what_is_logged() -> None:
    with (
        pytest.raises(
            ArtifactError, match=r"Some library must .+, got: The scale is small\. Leave"
        ),
        no_warnings("Some library", expected=EXPECTED),
    ):
        logging.getLogger("some.library").warning("The scale\n  is %s.", "small")


def test_no_warnings_refuses_what_is_warned_of() -> None:
    with (
        pytest.raises(ArtifactError, match="got: something is odd"),
        no_warnings("Some library", expected=EXPECTED),
    ):
        warnings.warn("something is odd", UserWarning, stacklevel=1)


def test_no_warnings_lets_pass_what_is_expected_and_what_is_below_a_warning() -> None:
    with no_warnings("Some library", expected=EXPECTED):
        logging.getLogger("some.library").warning("Please consider this")
        logging.getLogger("some.library").info("The bias was changed.")


def test_no_warnings_leaves_an_error_as_it_is_and_stops_listening() -> None:
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(KeyError, match="own"), no_warnings("Some library", expected={}):
        {"first": logging.getLogger("some.library").warning("first")}["own"]
    assert logging.getLogger().handlers == handlers
