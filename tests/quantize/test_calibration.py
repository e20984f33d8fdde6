"""Which images the quantizers see."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet8.quantize.calibration import draw_balanced

FEW = settings(max_examples=50, deadline=None, database=None, derandomize=True)
POOLS = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(np.array)
SEEDS = st.integers(0, 2**32 - 1)


def even_pool(per_class: int, classes: int = 10) -> NDArray[np.int64]:
    """Each class equally often, in a shuffled order."""
    labels = np.repeat(np.arange(classes), per_class)
    return np.random.default_rng(7).permutation(labels)


def fair_counts(pool: list[int], size: int) -> list[int]:
    """Sorted numbers of images per class if classes take turns until `size` are drawn."""
    left = {k: pool.count(k) for k in set(pool)}
    dealt = dict.fromkeys(left, 0)
    while sum(dealt.values()) < size:
        k = min((k for k in left if left[k]), key=lambda k: (dealt[k], k))
        left[k] -= 1
        dealt[k] += 1
    return sorted(dealt.values())


@FEW
@given(labels=POOLS, seed=SEEDS, data=st.data())
def test_draw_balanced_draws_distinct_indices_of_the_pool(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    drawn = draw_balanced(labels, size, seed=seed).tolist()
    assert (len(drawn), len(set(drawn))) == (size, size)
    assert set(drawn) <= set(range(len(labels)))


@FEW
@given(labels=POOLS, seed=SEEDS, data=st.data())
def test_draw_balanced_deals_classes_in_turn_and_fills_up_with_the_others(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    drawn = labels[draw_balanced(labels, size, seed=seed)].tolist()
    counts = sorted(drawn.count(k) for k in set(labels.tolist()))
    assert counts == fair_counts(labels.tolist(), size)


@FEW
@given(labels=POOLS, seed=SEEDS, data=st.data())
def test_draw_balanced_begins_a_larger_draw_with_the_smaller_one(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    everything = draw_balanced(labels, len(labels), seed=seed)
    assert draw_balanced(labels, size, seed=seed).tolist() == everything[:size].tolist()


def test_draw_balanced_draws_other_images_with_another_seed() -> None:
    labels = even_pool(100)
    first, second = (set(draw_balanced(labels, 50, seed=seed).tolist()) for seed in (3, 4))
    assert len(first & second) < 20  # five of them by chance


def test_draw_balanced_draws_from_all_over_the_pool() -> None:
    labels = np.tile(np.arange(10), 1000)
    drawn = draw_balanced(labels, 1000, seed=0)
    quarters = np.bincount(drawn // 2500, minlength=4)
    assert quarters.min() > 200  # 250 expected, with a deviation of 14


@pytest.mark.parametrize("size", [0, -1, 31])
def test_draw_balanced_refuses_a_size_out_of_range_and_tells_both(size: int) -> None:
    with pytest.raises(ValueError, match=rf"^size must be from 1 to 30, got {size}\.$"):
        draw_balanced(even_pool(3), size, seed=0)
