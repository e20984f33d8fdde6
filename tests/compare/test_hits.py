"""Bits of right answers that go through Git and come back the same."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet8.compare.hits import describe_correctness, read_correctness
from resnet8.core.dataset import TestSet

NAMES = ("cat", "dog", "frog")


def described(labels: list[int], guesses: list[int]) -> dict[str, Any]:
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    probabilities = np.eye(3, dtype=np.float32)[guesses]
    return describe_correctness({"v": probabilities}, TestSet(images, np.array(labels), NAMES))


def test_bits_are_those_of_the_class_in_the_order_of_the_test_set() -> None:
    description = described([0, 1, 0, 0, 1], [0, 1, 2, 0, 0])
    assert description["n_images"] == {"cat": 3, "dog": 2}  # no frog among the images
    assert base64.b64decode(description["correct"]["v"]["cat"]) == bytes([0b10100000])
    assert base64.b64decode(description["correct"]["v"]["dog"]) == bytes([0b10000000])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=70))
def test_read_correctness_gives_back_every_bit(pairs: list[tuple[int, int]]) -> None:
    labels, guesses = (list(x) for x in zip(*pairs, strict=True))
    correctness = read_correctness(described(labels, guesses))
    for k, name in enumerate(NAMES):
        expected = [guess == k for label, guess in pairs if label == k]
        assert correctness.by_class["v"].get(name, np.array([], bool)).tolist() == expected


def test_checksum_changes_with_a_pixel_a_label_a_name_and_the_order() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    other = images.copy()
    other[1, 2, 3, 0] = 1
    cases = [
        (images, [0, 1], NAMES), (other, [0, 1], NAMES), (other[::-1], [0, 1], NAMES),
        (images, [0, 2], NAMES), (images, [0, 1], ("cat", "dog", "toad")),
    ]  # fmt: skip
    test_sets = [TestSet(pixels, np.array(labels), names) for pixels, labels, names in cases]
    checksums = {describe_correctness({}, x)["test_set_sha256"] for x in test_sets}
    assert len(checksums) == len(cases)
    again = TestSet(images.copy(), np.array([0, 1]), NAMES)
    assert describe_correctness({}, again)["test_set_sha256"] in checksums


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct": {"v": {"cat": "gA=="}}}, "must have the classes of n_images"),
        ({"correct": {"v": {"cat": "gA==", "dog": "gA==", "cow": "gA=="}}}, "the classes of"),
        ({"correct": {"v": {"cat": "?", "dog": "gA=="}}}, "must be base64"),
        ({"correct": {"v": {"cat": "", "dog": "gA=="}}}, "bits must be 2, got 0 bytes"),
        ({"correct": {"v": {"cat": "gAA=", "dog": "gA=="}}}, "bits must be 2, got 2 bytes"),
        ({"correct": {"v": {"cat": "/w==", "dog": "gA=="}}}, "bits must be 2, got 1 bytes"),
        ({"correct": {"v": {"cat": 1}}}, "correct.v.cat = 1"),
        ({"test_set_sha256": "abc"}, "test_set_sha256 = 'abc'"),
        ({"n_images": {}}, "n_images = "),
        ({"n_images": {"cat": 0}}, "n_images.cat = 0"),
        ({"n_images": {"cat": 2.0}}, "n_images.cat = 2.0"),
        ({"more": 1}, "more = 1"),
    ],
)
def test_read_correctness_refuses_damaged_bits_and_another_form(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_correctness(described([0, 0, 1], [0, 1, 1]) | change)
