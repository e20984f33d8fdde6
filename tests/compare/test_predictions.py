"""Confusions and flips against scikit-learn and by hand."""

import numpy as np
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from resnet8.compare.predictions import confusion_matrix, find_flips


def test_confusion_matrix_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 200).astype(np.float32)
    labels = generator.integers(0, 3, 200)  # the last class has no images
    expected = sklearn_confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(4))
    assert np.array_equal(confusion_matrix(probabilities, labels, n_classes=4), expected)


def test_find_flips_puts_the_image_that_moved_most_first() -> None:
    baseline = np.array([[0.9, 0.1], [0.6, 0.4], [0.55, 0.45]], np.float32)
    variant = np.array([[0.8, 0.2], [0.45, 0.55], [0.1, 0.9]], np.float32)
    flips = find_flips(baseline, variant, np.array([0, 0, 1]))
    assert [(flip.image, flip.label) for flip in flips] == [(2, 1), (1, 0)]
    assert {(flip.baseline_class, flip.variant_class) for flip in flips} == {(0, 1)}
    assert np.array_equal(flips[0].variant_p, variant[2])


def test_outcome_of_a_flip_is_lost_won_or_still_wrong() -> None:
    cat, dog, ship = np.eye(3, dtype=np.float32)
    old, new = np.stack([cat, dog, dog, ship]), np.stack([dog, cat, ship, ship])
    flips = find_flips(old, new, np.zeros(4, np.int64))
    assert [flip.outcome for flip in flips] == ["lost", "won", "still wrong"]
