"""Parsing of `inspect.input`, and its description in words."""

import pytest

from resnet8.core.input_spec import InputSpec


@pytest.mark.parametrize(
    "text", ["", "test", "test:", "test:-1", "test:1,", "training:0", "random:x", "test:0\n"]
)
def test_parse_refuses_other_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"the input must be test:<index>.*, got "):
        InputSpec.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("test:0", "test image 0"),
        ("test:3,5", "test images 3, 5"),
        ("calibration:2", "calibration batch 2"),
        ("random:7", "random pixels with seed 7"),
    ],
)
def test_in_words_describes_the_input(text: str, words: str) -> None:
    assert InputSpec.parse(text).in_words == words
