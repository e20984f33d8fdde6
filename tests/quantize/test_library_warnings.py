"""A warning of a quantization library ends the stage, unless it is expected."""

import logging
import warnings
from collections.abc import Callable

import pytest

from resnet8.core.errors import ArtifactError
from resnet8.quantize.library_warnings import no_warnings

EXPECTED = {"Please consider": "a reason"}


@pytest.mark.parametrize(
    "warn", [lambda x: logging.getLogger("some.library").warning("%s.", x), warnings.warn]
)
def test_no_warnings_raises_what_is_logged_or_warned(warn: Callable[[str], None]) -> None:
    message = r"Some library must .+, got: The scale is small\. Leave"
    with (
        pytest.raises(ArtifactError, match=message),
        no_warnings("Some library", expected=EXPECTED),
    ):
        warn("The scale\n  is small")


def test_no_warnings_ignores_expected_warnings_and_lower_levels() -> None:
    with no_warnings("Some library", expected=EXPECTED):
        logging.getLogger("some.library").warning("Please consider this")
        logging.getLogger("some.library").info("The bias was changed.")


def test_no_warnings_passes_on_an_error_and_removes_its_handler() -> None:
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(KeyError, match="mine"), no_warnings("Some library", expected={}):
        {"first": logging.getLogger("some.library").warning("first")}["mine"]
    assert logging.getLogger().handlers == handlers
