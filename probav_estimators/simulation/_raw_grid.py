"""Sampling of the ground by a sensor's raw grid, and resampling to the map grid.

Positions in the product are in LR pixels from the frame's upper left corner, (down, right): pixel i
spans i to i + 1. Positions on the ground are in fine cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..compiling import njit

#: Methods of resampling to the map grid; "none": the raw grid is the map grid.
RESAMPLINGS = ("none", "nearest", "bicubic", "area")

# Tabulated positions of kernels per cell, 1/768 LR pixel apart at scale 3.
_PHASES = 128
# Margin of raw pixels around a frame, for resampling.
_REACH = 3


@dataclass(frozen=True)
class RawGrid:
    """Position of the raw pixels in the product, in LR pixels.

    Rows are along the flight, columns are detectors. `pixel` is height and width of a raw pixel,
    `rotation` that of raw rows against those of the product, in radians from right to up, and
    `origin` the middle of the first raw pixel.
    """

    shape: tuple[int, int]
    pixel: tuple[float, float]
    rotation: float
    origin: tuple[float, float]

    @classmethod
    def of_map(cls, shape):
        """Grid of a frame that is not resampled."""
        return cls(tuple(shape), (1.0, 1.0), 0.0, (0.5, 0.5))

    @classmethod
    def around(cls, shape, pixel, rotation, phase):
        """Smallest grid over a frame whose corner is at `phase` (0 to 1) of its raw pixel."""
        corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * np.array(shape)
        cos, sin = np.cos(rotation), np.sin(rotation)
        turned = corners @ np.array([[cos, -sin], [sin, cos]]) / np.array(pixel)
        first = np.floor(turned.min(0)) - _REACH + np.array(phase)
        size = np.ceil(turned.max(0) - first).astype(int) + _REACH
        row, column = first * np.array(pixel)
        origin = (cos * row - sin * column, sin * row + cos * column)
        return cls((int(size[0]), int(size[1])), tuple(pixel), float(rotation), origin)

    @property
    def halved(self):
        """Grid with twice the number of rows."""
        (row, column), (height, width) = self.origin, self.pixel
        quarter = height / 4
        origin = (row - quarter * np.cos(self.rotation), column - quarter * np.sin(self.rotation))
        return RawGrid(
            (2 * self.shape[0], self.shape[1]), (height / 2, width), self.rotation, origin
        )

    @property
    def numbers(self):
        """Origin and steps along a raw column and along a raw row, for compiled loops."""
        cos, sin = np.cos(self.rotation), np.sin(self.rotation)
        height, width = self.pixel
        return (*self.origin, cos * height, sin * height, -sin * width, cos * width)


@dataclass(frozen=True)
class Placement:
    """Geolocation of a product on the ground: `cells` per LR pixel and `margin` cells around the
    frame.

    `shift` (down, right) moves the content by LR pixels, `distortion` (2, h, w) in addition at
    each.
    """

    cells: float
    margin: float
    shift: tuple[float, float] = (0.0, 0.0)
    distortion: np.ndarray | None = None


def blur(image, variance):
    """Convolve with a Gaussian of `variance` square cells; edges are repeated; float32."""
    if variance <= 0:
        return image
    return _convolve(image, _gaussian_taps(variance))


def _gaussian_taps(variance):
    """Half of a symmetric kernel of exact variance, even below one cell."""
    if variance < 0.36:
        return np.array([1 - variance, variance / 2], np.float32)
    offsets = np.arange(int(np.ceil(4 * np.sqrt(variance))) + 1)
    taps = np.exp(-(offsets**2) / (2 * variance))
    return (taps / (2 * taps.sum() - taps[0])).astype(np.float32)


@njit(cache=True)
def _convolve(image, taps):
    height, width = image.shape
    reach = len(taps) - 1
    down = np.empty_like(image)
    for row in range(height):
        line = down[row]
        line[:] = taps[0] * image[row]
        for t in range(1, reach + 1):
            above, below = image[max(row - t, 0)], image[min(row + t, height - 1)]
            weight = taps[t]
            for column in range(width):
                line[column] += weight * (above[column] + below[column])
    result = np.empty_like(image)
    padded = np.empty(width + 2 * reach, image.dtype)
    for row in range(height):
        padded[:reach] = down[row, 0]
        padded[reach : reach + width] = down[row]
        padded[reach + width :] = down[row, -1]
        line = result[row]
        line[:] = taps[0] * down[row]
        for t in range(1, reach + 1):
            weight = taps[t]
            for column in range(width):
                line[column] += weight * (padded[column + reach - t] + padded[column + reach + t])
    return result


def sample_raw(ground, grid, placement, height):
    """Sample a blurred ground at the raw pixels; float32, 0 in corners that are not needed.

    `ground` is in fine cells, *transposed*, as the first pass runs along its columns; the variance
    of a square cell, 1/12, is part of the point spread function. `height` is that of the frame in
    LR pixels.

    Rotation is by two one-dimensional passes (Catmull and Smith 1980): down the ground's columns to
    the slanted raw rows, then along these. Positions are exact. A rotated pixel is approximated by
    two parallelograms; up to 15 degrees the response below LR Nyquist is accurate within 3 %.
    """
    reach = 1 + 2 * sum(grid.pixel)
    extent = (-reach, height + reach)
    if grid.rotation:
        rows = _sample(ground, grid.halved, placement, extent)
        return (rows[::2] + rows[1::2]) / 2
    return _sample(ground, grid, placement, extent)


def _sample(ground, grid, placement, extent):
    height, width = grid.pixel
    down = _kernel_bank(placement.cells * height)
    along = _kernel_bank(placement.cells * width * np.cos(grid.rotation))
    distortion = placement.distortion
    if distortion is None:
        distortion = np.zeros((2, 0, 0), np.float32)
    where = (placement.cells, placement.margin, *placement.shift)
    numbers = grid.numbers
    lines = _pass_down(
        ground, grid.shape[0], numbers, where, distortion, down, (extent[0] - 1, extent[1] + 1)
    )
    return _pass_along(lines, grid.shape[1], numbers, where, distortion, along, extent)


def _kernel_bank(width):
    """Coverage of cells by a pixel for each phase, (phases + 1, taps)."""
    reach = int(np.ceil((width + 1) / 2))
    phases = np.arange(_PHASES + 1)[:, None] / _PHASES
    edges = np.arange(-reach, reach + 2) - phases
    weights = np.diff(np.clip(edges, -width / 2, width / 2), axis=1)
    return (weights / width).astype(np.float32)


@njit(cache=True, inline="always")
def _bilinear(field, row, column):
    """Interpolate a field at a position; pixel i spans i to i + 1, edges are repeated."""
    height, width = field.shape
    y = min(max(row - 0.5, 0.0), height - 1.0)
    x = min(max(column - 0.5, 0.0), width - 1.0)
    i, j = min(int(y), height - 2), min(int(x), width - 2)
    y, x = y - i, x - j
    upper = field[i, j] + x * (field[i, j + 1] - field[i, j])
    lower = field[i + 1, j] + x * (field[i + 1, j + 1] - field[i + 1, j])
    return upper + y * (lower - upper)


@njit(cache=True, inline="always")
def _weigh(line, position, bank):
    """Kernel-weighted mean of a line of cells around a position."""
    taps = bank.shape[1]
    cell = int(np.floor(position))
    weights = bank[int((position - cell) * _PHASES + 0.5)]
    first = cell - taps // 2
    total = np.float32(0)
    if first >= 0 and first + taps <= len(line):
        for t in range(taps):
            total += weights[t] * line[first + t]
    else:
        for t in range(taps):
            total += weights[t] * line[min(max(first + t, 0), len(line) - 1)]
    return total


# Rows between which a slow distortion is interpolated.
_BLOCK = 4


@njit(cache=True, fastmath={"reassoc", "contract"})
def _pass_down(ground, n_rows, grid, where, distortion, bank, extent):
    top, left, down_y, down_x, right_y, right_x = grid
    cells, margin, shift_y, shift_x = where
    first, last = extent
    distorted = distortion.shape[1] > 0
    n_lines = ground.shape[0]
    lines = np.zeros((n_rows, n_lines), np.float32)
    slant = right_y / right_x
    step = down_y - slant * down_x
    for cell in range(n_lines):
        x = (cell + 0.5 - margin) / cells + shift_x
        start = top + slant * (x - left)
        begin = max(int((first - start) / step), 0)
        end = min(int((last - start) / step) + 1, n_rows)
        for block in range(begin, end, _BLOCK):
            move, growth = 0.0, 0.0
            if distorted:
                move = _bilinear(distortion[0], start + step * block, x)
                after = _bilinear(distortion[0], start + step * (block + _BLOCK), x)
                growth = (after - move) / _BLOCK
            for row in range(block, min(block + _BLOCK, end)):
                y = start + step * row - shift_y - move - growth * (row - block)
                lines[row, cell] = _weigh(ground[cell], margin + cells * y, bank)
    return lines


@njit(cache=True, fastmath={"reassoc", "contract"})
def _pass_along(lines, n_columns, grid, where, distortion, bank, extent):
    top, left, down_y, down_x, right_y, right_x = grid
    cells, margin, _, shift_x = where
    first, last = extent
    distorted = distortion.shape[1] > 0
    n_rows = lines.shape[0]
    result = np.zeros((n_rows, n_columns), np.float32)
    for row in range(n_rows):
        for column in range(n_columns):
            y = top + down_y * row + right_y * column
            x = left + down_x * row + right_x * column
            if y < first or y > last:
                continue
            ground_x = x - shift_x
            if distorted:
                ground_x -= _bilinear(distortion[1], y, x)
            result[row, column] = _weigh(lines[row], margin + cells * ground_x, bank)
    return result


def at_raw_pixels(fields, grid):
    """Interpolate smooth fields of the product, (n, h, w), at raw pixels; float32."""
    return _sample_fields(np.ascontiguousarray(fields, np.float32), *grid.shape, grid.numbers)


@njit(cache=True)
def _sample_fields(fields, n_rows, n_columns, grid):
    top, left, down_y, down_x, right_y, right_x = grid
    result = np.empty((len(fields), n_rows, n_columns), np.float32)
    for row in range(n_rows):
        for column in range(n_columns):
            y = top + down_y * row + right_y * column
            x = left + down_x * row + right_x * column
            for n in range(len(fields)):
                result[n, row, column] = _bilinear(fields[n], y, x)
    return result


def resample(raw, grid, shape, method):
    """Resample raw pixels to the map grid of a frame of `shape` LR pixels; float32.

    "bicubic" is Keys' cubic convolution with a = -0.5, "area" the mean of raw pixels by overlap.
    """
    if method == "none":
        return raw
    reach = tuple(0.5 / side for side in grid.pixel)
    return _resample(raw, grid.numbers, *shape, RESAMPLINGS.index(method), reach)


@njit(cache=True)
def _keys(distance):
    d = abs(distance)
    if d < 1:
        return (1.5 * d - 2.5) * d * d + 1
    if d < 2:
        return ((-0.5 * d + 2.5) * d - 4) * d + 2
    return 0.0


@njit(cache=True)
def _share(middle, reach, pixel):
    """Overlap of a raw pixel with an LR pixel along one axis."""
    return max(min(middle + reach, pixel + 0.5) - max(middle - reach, pixel - 0.5), 0.0)


@njit(cache=True)
def _resample(raw, grid, height, width, method, reach):
    top, left, down_y, down_x, right_y, right_x = grid
    n_rows, n_columns = raw.shape
    # Height and width of a raw pixel squared: the steps are at right angles.
    tall, wide = down_y**2 + down_x**2, right_y**2 + right_x**2
    result = np.empty((height, width), np.float32)
    for i in range(height):
        for j in range(width):
            y, x = i + 0.5 - top, j + 0.5 - left
            row = (down_y * y + down_x * x) / tall
            column = (right_y * y + right_x * x) / wide
            if method == 1:
                r, c = int(np.floor(row + 0.5)), int(np.floor(column + 0.5))
                result[i, j] = raw[min(max(r, 0), n_rows - 1), min(max(c, 0), n_columns - 1)]
                continue
            if method == 2:
                first_r, last_r = int(np.floor(row)) - 1, int(np.floor(row)) + 2
                first_c, last_c = int(np.floor(column)) - 1, int(np.floor(column)) + 2
            else:
                first_r, last_r = (
                    int(np.floor(row - reach[0] + 0.5)),
                    int(np.floor(row + reach[0] + 0.5)),
                )
                first_c, last_c = (
                    int(np.floor(column - reach[1] + 0.5)),
                    int(np.floor(column + reach[1] + 0.5)),
                )
            total, weights = 0.0, 0.0
            for r in range(first_r, last_r + 1):
                down = _keys(row - r) if method == 2 else _share(row, reach[0], r)
                for c in range(first_c, last_c + 1):
                    along = _keys(column - c) if method == 2 else _share(column, reach[1], c)
                    value = raw[min(max(r, 0), n_rows - 1), min(max(c, 0), n_columns - 1)]
                    total += down * along * value
                    weights += down * along
            result[i, j] = total / weights
    return result
