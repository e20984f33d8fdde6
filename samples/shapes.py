"""Draws the sample data set: ten geometric shapes as small noisy RGB images.

A stand-in for CIFAR-10 that needs no download: the same image size, number of
classes and batch layout, drawn from a seed. Contrast, noise, clutter and size
are chosen so that a ResNet8 gets some of it wrong, as it does on photographs.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Shape letters: N images, H = W = 32 pixels, C = 3 channels.
Float = NDArray[np.float64]

SIZE = 32  # pixels
TEST_BATCH = 0  # the number that draws the test set; training batches count from 1


def _radius(u: Float, v: Float) -> Float:
    return np.hypot(u, v)


def _polygon(u: Float, v: Float, sides: int, apothem: float) -> Float:
    angles = 2 * np.pi * np.arange(sides) / sides
    edges = np.array([u * np.cos(a) + v * np.sin(a) for a in angles])
    return np.asarray(edges.max(axis=0) - apothem)


def _cross(u: Float, v: Float) -> Float:
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - 1.0, v - 0.3), np.maximum(v - 1.0, u - 0.3))


# Signed distance of the point (u, v) to the shape's edge, in units of its radius,
# negative inside.
SHAPES: dict[str, Callable[[Float, Float], Float]] = {
    "circle": lambda u, v: _radius(u, v) - 0.9,
    "ring": lambda u, v: np.abs(_radius(u, v) - 0.75) - 0.25,
    "triangle": lambda u, v: _polygon(u, v, 3, 0.55),
    "square": lambda u, v: _polygon(u, v, 4, 0.8),
    "frame": lambda u, v: np.abs(_polygon(u, v, 4, 0.65)) - 0.2,
    "hexagon": lambda u, v: _polygon(u, v, 6, 0.85),
    "cross": _cross,
    "star": lambda u, v: _radius(u, v) - 0.65 - 0.35 * np.cos(5 * np.arctan2(v, u)),
    "crescent": lambda u, v: np.maximum(_radius(u, v) - 1.0, 0.8 - _radius(u - 0.5, v)),
    "stripes": lambda u, v: np.maximum(_radius(u, v) - 1.0, np.abs((1.5 * v) % 1.0 - 0.5) - 0.25),
}
LABEL_NAMES = tuple(SHAPES)


def _coverage(shape: str, rng: np.random.Generator, count: int) -> Float:
    """Share of each pixel that a randomly placed shape covers: (count, H, W) in [0, 1]."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    radius, x, y, turn = (
        rng.uniform(low, high, (count, 1, 1))
        for low, high in ((6.0, 12.0), (11.0, 21.0), (11.0, 21.0), (0.0, 2 * np.pi))
    )
    u = (columns - x) / radius  # (count, H, W)
    v = (rows - y) / radius
    u, v = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    return np.clip(0.5 - SHAPES[shape](u, v) * radius, 0.0, 1.0)


def _clutter(rng: np.random.Generator, count: int) -> Float:
    """Soft coloured blobs behind the shape: (count, H, W, C), zero mean."""
    coarse = rng.normal(0.0, 1.0, (count, 6, 6, 3))
    axis = np.linspace(0, 5, SIZE)
    weights = np.maximum(0.0, 1.0 - np.abs(axis[:, None] - np.arange(6)))  # (H, 6), linear
    return np.asarray(np.einsum("hi,nijc,wj->nhwc", weights, coarse, weights, optimize=True))


def draw_batch(number: int, *, size: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Draws one batch of the sample.

    Args:
        number: `TEST_BATCH` for the test set, from 1 for training data; it is the only seed, so
            a batch can be drawn on its own and is always the same.
        size: images in the batch, a multiple of the number of classes.

    Returns:
        images: (size, 32, 32, 3) uint8, NHWC.
        labels: size integers that index `LABEL_NAMES`, each class equally often.
    """
    if size % len(LABEL_NAMES):
        raise ValueError(f"size must be a multiple of {len(LABEL_NAMES)}, got {size}.")
    rng = np.random.default_rng([2009, number])
    per_class = size // len(LABEL_NAMES)
    coverage = np.concatenate([_coverage(shape, rng, per_class) for shape in LABEL_NAMES])
    background = rng.uniform(60, 195, (size, 1, 1, 3))
    hue = rng.normal(0.0, 1.0, (size, 1, 1, 3))
    hue /= np.linalg.norm(hue, axis=-1, keepdims=True)
    contrast = rng.uniform(48, 155, (size, 1, 1, 1))
    noise = rng.uniform(5, 32, (size, 1, 1, 1))
    images = background + 20 * _clutter(rng, size) + coverage[..., None] * contrast * hue
    images += noise * rng.normal(0.0, 1.0, images.shape)
    order = rng.permutation(size)
    labels = np.repeat(np.arange(len(LABEL_NAMES)), per_class)[order]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)[order], labels.tolist()
