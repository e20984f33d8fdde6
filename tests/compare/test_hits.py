"""Bits of right answers that go through Git and come back the same."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from resnet8.compare.hits import Record, describe_correctness, read_correctness
from resnet8.core.dataset import TestSet

NAMES = ("cat", "dog", "frog")


def described(labels: list[int], guesses: list[int]) -> dict[str, Any]:
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    probabilities = np.eye(3, dtype=np.float32)[guesses]
    return describe_correctness({"v": probabilities}, TestSet(images, np.array(labels), NAMES))


def test_bits_are_those_of_the_class_in_the_order_of_the_test_set() -> None:
    found = described([0, 1, 0, 0, 1], [0, 1, 2, 0, 0])
    assert found["n_images"] == {"cat": 3, "dog": 2}  # no frog among the images
    assert base64.b64decode(found["correct"]["v"]["cat"]) == bytes([0b10100000])
    assert base64.b64decode(found["correct"]["v"]["dog"]) == bytes([0b10000000])


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=70))
def test_read_correctness_gives_back_every_bit(pairs: list[tuple[int, int]]) -> None:
    labels, guesses = (list(x) for x in zip(*pairs, strict=True))
    found = read_correctness(Record.model_validate(described(labels, guesses)))
    for k, name in enumerate(NAMES):
        expected = [guess == k for label, guess in pairs if label == k]
        assert found.by_class["v"].get(name, np.array([], bool)).tolist() == expected


def fingerprint(images: NDArray[np.uint8], labels: list[int], names: tuple[str, ...]) -> str:
    probabilities = np.eye(3, dtype=np.float32)[labels]
    test_set = TestSet(images, np.array(labels), names)
    return str(describe_correctness({"v": probabilities}, test_set)["test_set_sha256"])


def test_checksum_changes_with_a_pixel_a_label_a_name_and_the_order() -> None:
    images = np.zeros((2, 32, 32, 3), np.uint8)
    other = images.copy()
    other[1, 2, 3, 0] = 1
    found = {
        fingerprint(images, [0, 1], NAMES),
        fingerprint(other, [0, 1], NAMES),
        fingerprint(other[::-1], [0, 1], NAMES),
        fingerprint(images, [0, 2], NAMES),
        fingerprint(images, [0, 1], ("cat", "dog", "toad")),
    }
    assert len(found) == 5
    assert fingerprint(images.copy(), [0, 1], NAMES) in found


def damaged(change: dict[str, Any]) -> Record:
    return Record.model_validate(described([0, 0, 1], [0, 1, 1]) | change)


@pytest.mark.parametrize(
    ("correct", "message"),
    [
        ({"cat": "gA=="}, "must have the classes of n_images"),
        ({"cat": "gA==", "dog": "gA==", "cow": "gA=="}, "must have the classes of n_images"),
        ({"cat": "?", "dog": "gA=="}, "must be base64"),
        ({"cat": "", "dog": "gA=="}, "bits must be 2, got 0 bytes"),
        ({"cat": "gAA=", "dog": "gA=="}, "bits must be 2, got 2 bytes"),
        ({"cat": "/w==", "dog": "gA=="}, "bits must be 2, got 1 bytes"),  # more than two are set
    ],
)
def test_read_correctness_refuses_damaged_bits(correct: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_correctness(damaged({"correct": {"v": correct}}))


@pytest.mark.parametrize(
    "change",
    [
        {"test_set_sha256": "abc"},
        {"n_images": {}},
        {"n_images": {"cat": 0}},
        {"n_images": {"cat": 2.0}},
        {"correct": {"v": {"cat": 1}}},
        {"more": 1},
    ],
)
def test_record_refuses_another_form(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="validation error"):
        damaged(change)
