"""Small pictures, decoded again with matplotlib."""

import base64
import io

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from resnet8.report.thumbnails import GAP, channel_grid, png_uri


def decode(uri: str) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3 or 4) from 0 to 1."""
    kind, _, content = uri.partition(",")
    assert kind == "data:image/png;base64"
    pixels: NDArray[np.float32] = matplotlib.image.imread(
        io.BytesIO(base64.b64decode(content)), format="png"
    )
    return pixels


def test_png_uri_keeps_all_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(decode(png_uri(image)) * 255, image, atol=1e-3)


def test_png_uri_lets_the_page_shine_through_one_grey_level() -> None:
    uri = png_uri(np.array([[0, 1, 255]], np.uint8), transparent=0)
    assert b"tRNS" in base64.b64decode(uri.partition(",")[2])


def test_channel_grid_puts_channels_in_rows_with_gaps() -> None:
    values = np.arange(6, dtype=np.float32).reshape(6, 1, 1) * np.ones((1, 2, 2), np.float32)
    grid = channel_grid(values, low=0, high=5, channels=5)
    assert grid.shape == (5, 11)  # two rows of 2 pixels, four columns of 2, and gaps
    assert (grid[2] == GAP).all()
    assert grid[0, [0, 3, 6, 9]].tolist() == [1, 52, 103, 153]  # 1 + 254 * channel / 5, rounded
    assert grid[3, 0] == 204
    assert (grid[3, 3:] == GAP).all()  # no sixth channel: five were asked for


def test_channel_grid_clips_at_the_ends_of_the_scale() -> None:
    values = np.array([[[-9.0, 0.0], [1.0, 9.0]]], np.float32)
    assert channel_grid(values, low=0, high=1, channels=1).tolist() == [[1, 1], [255, 255]]


@pytest.mark.parametrize("shape", [(20,), (20, 1, 1), (4, 5)])
def test_channel_grid_draws_other_shapes_as_a_pixel_each(shape: tuple[int, ...]) -> None:
    values = np.ones(20, np.float32).reshape(shape)
    grid = channel_grid(values, low=0, high=1, channels=1)
    assert grid.shape == (2, 16)
    assert (grid == 255).sum() == 20


def test_channel_grid_thins_out_large_channels() -> None:
    values = np.zeros((1, 200, 100), np.float32)
    assert channel_grid(values, low=0, high=1, channels=1).shape == (50, 25)


def test_channel_grid_takes_values_that_are_all_the_same() -> None:
    values = np.full((1, 2, 2), 3.0, np.float32)
    assert channel_grid(values, low=3, high=3, channels=1).tolist() == [[1, 1], [1, 1]]
