"""Images whose class a variant changed, by hand."""

import numpy as np

from resnet8.compare.predictions import find_flips


def test_find_flips_puts_the_image_that_moved_most_first() -> None:
    baseline = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45]], np.float32)
    variant = np.array([[0.8, 0.2], [0.45, 0.55], [0.1, 0.9]], np.float32)
    first, second = find_flips(baseline, variant, np.array([0, 0, 1]))
    assert (first[:4], second[:4]) == ((2, 1, 0, 1), (1, 0, 0, 1))
    assert np.array_equal(first.baseline_p, baseline[2])
    assert np.array_equal(first.variant_p, variant[2])


def test_outcome_of_a_flip_is_lost_won_or_still_wrong() -> None:
    cat, dog, ship = np.eye(3, dtype=np.float32)
    old, new = np.stack([cat, dog, dog, ship]), np.stack([dog, cat, ship, ship])
    flips = find_flips(old, new, np.zeros(4, np.int64))
    assert [flip.outcome for flip in flips] == ["lost", "won", "still wrong"]
