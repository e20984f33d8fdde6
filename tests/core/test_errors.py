"""Values and addresses as messages show them."""

import pytest

from resnet8.core.errors import PipelineError, shown, without_secrets


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("many", "'many'"),
        (0, "0"),
        (None, "None"),
        ("a\nb", r"'a\nb'"),
        (10**5000, "a huge int"),
        ("https://host/a.zip?token=hidden", "'https://host/a.zip?***'"),
    ],
    ids=lambda x: str(x)[:20] if isinstance(x, str) else "",
)
def test_shown_writes_a_value_as_python_does_in_one_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_shown_cuts_what_is_long_after_it_has_replaced_secrets() -> None:
    assert len(shown("x" * 10_000)) < 100
    nested: list[object] = []
    for _ in range(40):
        nested = [nested] * 9
    assert len(shown(nested)) < 1000
    assert "hidden" not in shown(["https://me:hidden@host/a/long/path/to/a.h5"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host/a.h5 must be there.", "https://host/a.h5 must be there."),
        ("https://me:a/b@c@host/a.h5: gone", "https://***@host/a.h5: gone"),
        ("at https://host/a.h5?t=a/b?c#d now", "at https://host/a.h5?*** now"),
        ("https://host?t=a and ftp://me@host#b", "https://host?*** and ftp://***@host?***"),
        ("exceeded with url: /a.h5?t=a (why)", "exceeded with url: /a.h5?*** (why)"),
        ("Did you mean int8? See #4.", "Did you mean int8? See #4."),
        ("/home/me/#1/a@b.h5 must exist.", "/home/me/#1/a@b.h5 must exist."),
    ],
)
def test_without_secrets_replaces_users_and_queries(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
    assert str(PipelineError(text)) == expected
