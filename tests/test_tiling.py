"""Tiles: together they are the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probav_estimators.imaging import blend_tiles


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 400), st.integers(1, 300), st.integers(2, 4), st.sampled_from([None, 64, 100])
)
def test_tiles_of_an_image_are_the_image(height, width, scale, tile_size):
    image = np.random.default_rng(0).random((2, scale * height, scale * width), np.float32)
    windows = []

    def predict(window):
        windows.append(window)
        rows, columns = (slice(scale * part.start, scale * part.stop) for part in window)
        return image[:, rows, columns]

    out = np.full(image.shape, np.nan, np.float32)
    blend_tiles(predict, (height, width), scale, tile_size, out)
    np.testing.assert_allclose(out, image, atol=1e-5)
    assert all(part.start % 8 == 0 for window in windows for part in window)
    if tile_size is None:
        assert len(windows) == 1


def test_tiles_are_no_larger_than_was_asked_for():
    sizes = []

    def predict(window):
        sizes.append([part.stop - part.start for part in window])
        return np.zeros((1, *(2 * size for size in sizes[-1])), np.float32)

    blend_tiles(predict, (500, 90), 2, 100, np.zeros((1, 1000, 180), np.float32))
    assert max(height for height, _ in sizes) <= 100 + 8 + 2 * (8 + 48)
    assert {width for _, width in sizes} == {90}


@pytest.mark.parametrize("place", [150, 151])
def test_neighbours_fade_into_each_other(place):
    """A tile that differs from the others leaves no edge."""

    def predict(window):
        level = float(window[0].start > 0)
        return np.full((1, *(2 * (part.stop - part.start) for part in window)), level, np.float32)

    out = np.zeros((1, 600, 40), np.float32)
    blend_tiles(predict, (300, 20), 2, 160, out)
    steps = np.abs(np.diff(out[0, :, 0]))
    assert steps.max() < 0.05
    assert out[0, 0, 0] == 0
    assert out[0, -1, 0] == 1
    assert 0 < out[0, 2 * place, 0] < 1
