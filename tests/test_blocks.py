"""Blocks that cover an image, each with its halo, and sums over windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probav_estimators.imaging import block_sums, plan_blocks, window_sums

LENGTHS = st.integers(1, 700)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS, st.sampled_from([None, 64, 100, 256]), st.integers(2, 4))
def test_every_pixel_is_in_one_block(height, width, size, scale):
    count = np.zeros((height, width), int)
    large = np.zeros((scale * height, scale * width), bool)
    blocks = plan_blocks((height, width), size)
    for number, block in enumerate(blocks):
        assert block.number == number
        count[block.rows, block.columns] += 1
        large[block.place(scale)] = True
    assert (count == 1).all()
    assert large.all()


@settings(max_examples=60, deadline=None)
@given(LENGTHS, LENGTHS, st.sampled_from([64, 100, 256]))
def test_windows_lie_on_the_grid_of_layers_and_hold_64_pixels_around(height, width, size):
    for block in plan_blocks((height, width), size):
        for part, wide, length in zip(
            (block.rows, block.columns), block.window, (height, width), strict=True
        ):
            assert wide.start % 8 == part.start % 8 == 0
            assert part.stop - part.start <= size + 8
            assert wide.start == 0 or wide.start == part.start - 64
            assert (length - wide.stop) % 8 == 0
            assert wide.stop == length or 64 <= wide.stop - part.stop < 72


def test_a_block_is_found_in_the_image_of_its_window():
    image = np.random.default_rng(0).random((3 * 300, 3 * 140))
    for block in plan_blocks((300, 140), 96):
        window = tuple(slice(3 * part.start, 3 * part.stop) for part in block.window)
        np.testing.assert_array_equal(image[window][block.inside(3)], image[block.place(3)])


@pytest.mark.parametrize(("size", "dtype"), [((1, 1), int), ((3, 5), np.int32), ((9, 7), float)])
def test_sums_of_windows_are_those_of_each_window(size, dtype):
    images = np.random.default_rng(0).integers(0, 9, (2, 9, 7))
    expected = np.lib.stride_tricks.sliding_window_view(images, size, (1, 2)).sum(axis=(-2, -1))
    sums = window_sums(images, size, dtype)
    np.testing.assert_array_equal(sums, expected)
    assert sums.dtype == dtype


@pytest.mark.parametrize("side", [1, 4, 9])
def test_sums_of_blocks_include_the_smaller_ones_at_the_ends(side):
    images = np.random.default_rng(0).integers(0, 9, (2, 9, 7)).astype(np.float32)
    rows, columns = (np.arange(0, length, side) for length in images.shape[1:])
    expected = np.add.reduceat(np.add.reduceat(images, rows, axis=1), columns, axis=2)
    np.testing.assert_array_equal(block_sums(images, side), expected)
