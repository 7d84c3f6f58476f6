"""The two upscalings agree with the libraries that define them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import rescale
from torch.nn.functional import interpolate

from probav_estimators.imaging import clearest_mean, upscale_bicubic, upscale_spline

# Eight products of pixels in [0, 1] and kernel values in [-0.3, 1.3], rounded to float32.
FLOAT32 = 3e-7


def random_frames(shape, seed=0, n_frames=2):
    """Half noise, half steps from 0 to 1, where a cubic overshoots."""
    rng = np.random.default_rng(seed)
    frames = rng.random((n_frames, *shape), np.float32)
    frames[0] = frames[0] > 0.5
    return frames


def rescaled(frames, scale):
    return np.stack(
        [rescale(frame, scale, order=3, mode="edge", anti_aliasing=False) for frame in frames]
    )


def interpolated(frames, scale):
    """Torch's interpolation, whose float32 weights are less accurate on longer axes."""
    stack = torch.from_numpy(np.ascontiguousarray(frames))
    return interpolate(stack[None], scale_factor=scale, mode="bicubic")[0].numpy()


def torch_error(shape):
    """Error of torch, for positions that are half a unit in the last place off and slopes <= 2."""
    return 1e-6 + 2 * np.spacing(np.float32(max(shape)))


def keys(distance):
    """Keys' cubic convolution kernel with a = -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def keys_matrix(length, scale):
    """Weights (scale * length, length) of an axis in float64, pixel by pixel."""
    matrix = np.zeros((scale * length, length))
    for row in range(scale * length):
        centre = (row + 0.5) / scale - 0.5
        for pixel in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[row, min(max(pixel, 0), length - 1)] += keys(centre - pixel)
    return matrix


def upscaled_by_keys(frames, scale):
    down, right = (keys_matrix(length, scale) for length in frames.shape[-2:])
    return down @ frames.astype(np.float64) @ right.T


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 5), st.integers(0, 99))
def test_spline_equals_scikit_image_at_any_size(height, width, scale, seed):
    frames = random_frames((height, width), seed)
    np.testing.assert_allclose(
        upscale_spline(frames, scale), rescaled(frames, scale), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(1024, 3), (1025, 3), (3, 1300)])
def test_long_axes_are_upscaled_the_same_way(shape):
    frames = random_frames(shape, n_frames=2)
    np.testing.assert_allclose(upscale_spline(frames, 3), rescaled(frames, 3), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        upscale_bicubic(frames, 3), upscaled_by_keys(frames, 3), rtol=0, atol=FLOAT32
    )


def test_upscaling_leaves_the_frames_as_they_are():
    frames = random_frames((9, 11))
    before = frames.copy()
    for upscale in (upscale_spline, upscale_bicubic):
        upscale(frames, 2)
        np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(("shape", "scale"), [((1, 5), 2), ((33, 20), 3), ((128, 128), 4)])
def test_bicubic_equals_torch_within_the_error_of_torch(shape, scale):
    frames = random_frames(shape)
    upscaled = upscale_bicubic(frames, scale)
    assert upscaled.dtype == np.float32
    np.testing.assert_allclose(
        upscaled, interpolated(frames, scale), rtol=0, atol=torch_error(shape)
    )


@pytest.mark.parametrize("scale", [2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (7, 17), (33, 129)])
def test_bicubic_equals_the_formula_of_keys_in_float64(shape, scale):
    for seed in range(3):
        frames = random_frames(shape, seed)
        np.testing.assert_allclose(
            upscale_bicubic(frames, scale), upscaled_by_keys(frames, scale), rtol=0, atol=FLOAT32
        )


def test_bicubic_takes_one_image_and_any_leading_axes():
    frames = random_frames((6, 7), n_frames=6)
    expected = upscaled_by_keys(frames, 3)
    np.testing.assert_allclose(upscale_bicubic(frames[1], 3), expected[1], rtol=0, atol=FLOAT32)
    np.testing.assert_allclose(
        upscale_bicubic(frames.reshape(2, 3, 6, 7), 3).reshape(expected.shape),
        expected,
        rtol=0,
        atol=FLOAT32,
    )


@st.composite
def windows(draw, length):
    start = draw(st.integers(0, length - 1))
    return slice(start, draw(st.integers(start + 1, length)))


@settings(deadline=None, max_examples=60)
@given(windows(13), windows(9), st.integers(2, 5))
def test_a_window_of_bicubic_is_the_crop_of_the_whole(rows, columns, scale):
    frames = random_frames((13, 9))
    crop = tuple(slice(scale * part.start, scale * part.stop) for part in (rows, columns))
    np.testing.assert_array_equal(
        upscale_bicubic(frames, scale, (rows, columns)), upscale_bicubic(frames, scale)[:, *crop]
    )


@pytest.mark.parametrize("rows", [slice(0, 5), slice(600, 640), slice(1094, 1100)])
def test_a_window_on_a_long_axis_is_the_crop_of_the_whole(rows):
    frames = random_frames((1100, 6), n_frames=1)
    np.testing.assert_array_equal(
        upscale_bicubic(frames, 3, (rows, slice(1, 4))),
        upscale_bicubic(frames, 3)[:, 3 * rows.start : 3 * rows.stop, 3:12],
    )


def test_baseline_image_is_the_mean_of_the_clearest_frames_alone():
    frames = random_frames((8, 10), n_frames=4)
    maps = np.ones(frames.shape, bool)
    maps[1, 0, 0] = maps[2, 5, 5] = maps[2, 5, 6] = False
    expected = rescaled(frames[[0, 3]].astype(np.float64), 3).mean(axis=0)
    np.testing.assert_allclose(clearest_mean(frames, maps, 3), expected, rtol=0, atol=1e-6)
