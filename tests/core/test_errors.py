"""How a value is shown in a message."""

import pytest

from resnet8.core.errors import PipelineError, shown


def test_pipeline_error_is_no_os_error_that_would_be_told_another_way() -> None:
    assert not issubclass(PipelineError, OSError)


@pytest.mark.parametrize(("value", "text"), [("many", "'many'"), (0, "0"), (None, "None")])
def test_shown_writes_a_short_value_as_python_does(value: object, text: str) -> None:
    assert shown(value) == text


def test_shown_stays_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"


def test_shown_cuts_a_long_text() -> None:
    assert len(shown("x" * 10_000)) < 100


def test_shown_cuts_deeply_shared_lists() -> None:
    value: list[object] = []
    for _ in range(40):
        value = [value] * 9
    assert len(shown(value)) < 1000


def test_shown_names_an_integer_too_long_to_write_out() -> None:
    assert shown(10**5000) == "a huge int"
