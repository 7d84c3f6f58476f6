"""Raw grids and resampling against analytic results."""

import numpy as np
import pytest
from scipy import integrate

from probav_estimators.simulation._raw_grid import (
    Placement,
    RawGrid,
    blur,
    resample,
    sample_raw,
)

CELLS, MARGIN = 6, 48
SHAPE = (24, 30)
GROUND_SHAPE = tuple(CELLS * n + 2 * MARGIN for n in SHAPE)
GRIDS = {
    "map": RawGrid.of_map(SHAPE),
    "upright": RawGrid.around(SHAPE, (0.7, 1.15), 0.0, (0.2, 0.7)),
    "turned": RawGrid.around(SHAPE, (0.65, 1.1), np.deg2rad(10), (0.6, 0.1)),
    "turned back": RawGrid.around(SHAPE, (1.2, 0.8), np.deg2rad(-15), (0.4, 0.9)),
}


def positions(grid):
    """Centres of the raw pixels in LR pixels, (2, rows, columns), from the definition."""
    rows, columns = np.indices(grid.shape)
    down, along = rows * grid.pixel[0], columns * grid.pixel[1]
    cos, sin = np.cos(grid.rotation), np.sin(grid.rotation)
    return np.stack(
        [
            grid.origin[0] + cos * down - sin * along,
            grid.origin[1] + sin * down + cos * along,
        ]
    )


def inside(grid):
    """Raw pixels whose PSF support is within the ground."""
    y, x = positions(grid)
    return (y > -1) & (y < SHAPE[0] + 1) & (x > -1) & (x < SHAPE[1] + 1)


def ground_of(function):
    """Transposed ground with a function of the position in LR pixels."""
    rows, columns = np.indices(GROUND_SHAPE)
    place = (np.stack([rows, columns]) + 0.5 - MARGIN) / CELLS
    return np.ascontiguousarray(function(*place).T.astype(np.float32))


def amplitude_and_phase(image, angle):
    """Fit amplitude and phase of a cosine of known angle by least squares."""
    waves = np.column_stack([np.cos(angle), np.sin(angle), np.ones_like(angle)])
    even, odd, _ = np.linalg.lstsq(waves, image, rcond=None)[0]
    return np.hypot(even, odd), np.arctan2(odd, even)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    ("sigma", "frequency"), [(0.5, (0.1, 0.0)), (0.17, (0.3, 0.2)), (0.05, (0.0, 0.45))]
)
def test_waves_pass_by_the_transfer_function_of_optics_and_pixel(name, sigma, frequency):
    grid = GRIDS[name]
    shift = (0.3, -0.7)
    wave = ground_of(lambda y, x: np.cos(2 * np.pi * (frequency[0] * y + frequency[1] * x)))
    ground = blur(wave, max((CELLS * sigma) ** 2 - 1 / 12, 0))
    seen = sample_raw(ground, grid, Placement(CELLS, MARGIN, shift), SHAPE[0])

    use = inside(grid)
    y, x = positions(grid)[:, use]
    angle = 2 * np.pi * (frequency[0] * (y - shift[0]) + frequency[1] * (x - shift[1]))
    amplitude, phase = amplitude_and_phase(seen[use], angle)
    cos, sin = np.cos(grid.rotation), np.sin(grid.rotation)
    upwards = cos * frequency[0] + sin * frequency[1]
    sideways = cos * frequency[1] - sin * frequency[0]
    optics = np.exp(-2 * (np.pi * sigma) ** 2 * np.square(frequency).sum())
    pixel = np.sinc(grid.pixel[0] * upwards) * np.sinc(grid.pixel[1] * sideways)
    assert amplitude == pytest.approx(optics * pixel, rel=0.03, abs=0.01)
    assert phase == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("variance", [0.05, 0.3, 0.5, 4.0, 10.0])
def test_blur_has_the_variance_asked_for(variance):
    spot = np.zeros((61, 61), np.float32)
    spot[30, 30] = 1
    blurred = blur(spot, variance).astype(float)
    offsets = np.arange(61) - 30
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    for axis in (0, 1):
        assert (blurred.sum(axis) * offsets**2).sum() == pytest.approx(variance, rel=0.03)


def test_an_edge_is_turned_in_the_raw_grid_by_the_angle_of_the_grid():
    grid = RawGrid.around(SHAPE, (0.7, 0.9), np.deg2rad(6), (0.5, 0.5))
    edge = ground_of(lambda y, x: (x > 15).astype(float) + 0 * y)
    seen = sample_raw(blur(edge, 1.0), grid, Placement(CELLS, MARGIN), SHAPE[0])
    rows = [row for row in range(grid.shape[0]) if inside(grid)[row].sum() > 20]
    # Column at which each row crosses 0.5, by linear interpolation.
    crossings = [np.interp(0.5, seen[row], np.arange(grid.shape[1])) for row in rows]
    slope = np.polyfit(rows, crossings, 1)[0] * grid.pixel[1] / grid.pixel[0]
    assert np.rad2deg(np.arctan(-slope)) == pytest.approx(6, abs=0.15)


def test_distortion_moves_the_content_by_what_it_says_on_top_of_the_shift():
    y, x = np.indices(SHAPE) + 0.5
    distortion = np.stack([0.3 * np.cos(y / 8), 0.25 * np.sin(x / 9)]).astype(np.float32)
    placement = Placement(CELLS, MARGIN, (0.4, -0.6), distortion)
    for axis, ramp in enumerate([lambda y, x: y + 0 * x, lambda y, x: x + 0 * y]):
        seen = sample_raw(ground_of(ramp), RawGrid.of_map(SHAPE), placement, SHAPE[0])
        place = (y, x)[axis]
        assert place - seen == pytest.approx((0.4, -0.6)[axis] + distortion[axis], abs=0.012)


def test_raw_grids_cover_the_frame_and_what_bicubic_needs_around_it():
    for phase in np.random.default_rng(0).uniform(size=(20, 2)):
        for rotation in (-0.3, 0.0, 0.2):
            grid = RawGrid.around(SHAPE, (0.6, 1.2), rotation, phase)
            y, x = positions(grid)
            for corner in [(0, 0), (0, SHAPE[1]), (SHAPE[0], 0), SHAPE]:
                distance = np.hypot(y - corner[0], x - corner[1])
                row, column = np.unravel_index(distance.argmin(), grid.shape)
                assert 2 <= row < grid.shape[0] - 2
                assert 2 <= column < grid.shape[1] - 2


@pytest.mark.parametrize("name", ["upright", "turned", "turned back"])
@pytest.mark.parametrize("method", ["bicubic", "area"])
def test_a_slope_keeps_its_place_when_it_is_resampled(name, method):
    grid = GRIDS[name]
    y, x = positions(grid)
    y_map, x_map = np.indices(SHAPE) + 0.5
    raw = (2 * y - 3 * x).astype(np.float32)
    image = resample(raw, grid, SHAPE, method)
    # Cubic convolution is exact on a ramp; the other methods are off by a fraction of a pixel.
    tolerance = 1e-3 if method == "bicubic" else 0.8
    assert image == pytest.approx(2 * y_map - 3 * x_map, abs=tolerance)
    assert (image - 2 * y_map + 3 * x_map).mean() == pytest.approx(0, abs=0.05)


def test_nearest_takes_the_raw_pixel_whose_middle_is_nearest():
    grid = GRIDS["upright"]
    raw = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
    y, x = positions(grid)
    image = resample(raw, grid, SHAPE, "nearest")
    for i, j in [(0, 0), (5, 17), (23, 29)]:
        # The grid is not rotated, so the nearest pixel is found along each axis separately.
        row, column = np.abs(y[:, 0] - i - 0.5).argmin(), np.abs(x[0] - j - 0.5).argmin()
        assert image[i, j] == raw[row, column]


def test_area_is_the_mean_of_what_lies_below_the_pixel():
    grid = RawGrid((48, 60), (0.5, 0.5), 0.0, (0.25, 0.25))
    raw = np.random.default_rng(0).uniform(size=grid.shape).astype(np.float32)
    mean = raw.reshape(24, 2, 30, 2).mean((1, 3))
    assert resample(raw, grid, SHAPE, "area") == pytest.approx(mean, abs=1e-6)


def keys_cubic(x):
    """Keys (1981), equation 15."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def test_bicubic_keeps_the_part_of_white_noise_that_its_kernel_says():
    rng, shape = np.random.default_rng(0), (150, 150)
    grid = RawGrid.around(shape, (0.77, 1.13), np.deg2rad(7), (0.3, 0.2))
    noise = rng.standard_normal(grid.shape).astype(np.float32)
    along = integrate.quad(lambda x: keys_cubic(x) ** 2, -2, 2, points=[-1, 0, 1])[0]
    kept = {"bicubic": along**2, "nearest": 1.0}
    for method, part in kept.items():
        assert resample(noise, grid, shape, method).var() == pytest.approx(part, rel=0.04)
