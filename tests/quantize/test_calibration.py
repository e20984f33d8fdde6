"""Choice of calibration images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet8.quantize.calibration import draw_balanced

POOLS = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(np.array)


def fair_counts(pool: list[int], size: int) -> list[int]:
    """Sorted numbers of images per class if classes take turns until `size` are drawn."""
    left = {k: pool.count(k) for k in set(pool)}
    dealt = dict.fromkeys(left, 0)
    while sum(dealt.values()) < size:
        k = min((k for k in left if left[k]), key=lambda k: (dealt[k], k))
        left[k] -= 1
        dealt[k] += 1
    return sorted(dealt.values())


@given(labels=POOLS, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_draw_balanced_deals_distinct_images_in_turn_and_nests(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    drawn = draw_balanced(labels, size, seed=seed).tolist()
    assert (len(drawn), len(set(drawn))) == (size, size)
    classes = labels[drawn].tolist()
    counts = sorted(classes.count(k) for k in set(labels.tolist()))
    assert counts == fair_counts(labels.tolist(), size)
    assert drawn == draw_balanced(labels, len(labels), seed=seed)[:size].tolist()


def test_draw_balanced_draws_from_all_over_the_pool_and_other_images_with_another_seed() -> None:
    labels = np.tile(np.arange(10), 1000)
    drawn, other = (draw_balanced(labels, 1000, seed=seed) for seed in (0, 1))
    quarters = np.bincount(drawn // 2500, minlength=4)
    assert quarters.min() > 200  # 250 expected, with a deviation of 14
    assert len(np.intersect1d(drawn, other)) < 200  # 100 expected


@pytest.mark.parametrize("size", [0, -1, 31])
def test_draw_balanced_refuses_a_size_out_of_range_and_names_both(size: int) -> None:
    with pytest.raises(ValueError, match=rf"^size must be from 1 to 30, got {size}\.$"):
        draw_balanced(np.arange(30) % 10, size, seed=0)
