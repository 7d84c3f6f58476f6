"""Outlines and their rasters: parcels, paths, anti-aliased polygons and strokes.

Lengths are in cells of the raster; points are (row, column).
"""

from __future__ import annotations

import math

import numpy as np

from ..compiling import njit


class Frame:
    """Rotated coordinate frame over a raster, bent by up to `bend` cells."""

    def __init__(self, rng, shape, bend=0.0):
        # Off-centre, as divisions start in the middle.
        diagonal = np.hypot(*shape)
        self.extent = 1.4 * diagonal + 200 + 4 * bend
        self._centre = np.array(shape) / 2 + rng.uniform(-1, 1, 2) * (0.14 * diagonal + 70)
        angle = rng.uniform(0, np.pi)
        self.axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._bend = bend
        self._waves = rng.normal(0, 2 * np.pi / 600, (3, 2))
        self._phases = rng.uniform(0, 2 * np.pi, (3, 2))

    def to_ground(self, points):
        """(..., 2) frame coordinates, 0 to `extent`, to (..., 2) raster coordinates."""
        ground = (points - self.extent / 2) @ self.axes
        moved = ground + self._centre
        if self._bend:
            for wave, phase in zip(self._waves, self._phases, strict=True):
                moved += self._bend / 2 * np.sin((ground @ wave)[..., None] + phase)
        return moved


def split_land(rng, extent, area, *, elongation=1.0, spread=0.5, unevenness=0.2):
    """Divide a square of side `extent` recursively into parcels of a typical area.

    `elongation` is the typical ratio of a parcel's sides, `spread` the standard deviation of the
    logarithm of the final area, and `unevenness` the greatest distance of a cut from the middle, as
    a fraction of the side. Returns parcels as first and last corners (n, 2, 2), and the lines of
    division of each round, a list of (m, 2, 2).
    """
    open_parcels = np.array([[[0.0, 0.0], [extent, extent]]])
    lengthwise = np.array([elongation])
    parcels, cuts = [], []
    while len(open_parcels):
        sides = open_parcels[:, 1] - open_parcels[:, 0]
        limits = 1.5 * area * rng.lognormal(0, spread, len(sides))
        finished = sides.prod(1) < limits
        parcels.append(open_parcels[finished])
        open_parcels, sides, lengthwise = (
            values[~finished] for values in (open_parcels, sides, lengthwise)
        )
        # Large parcels choose the direction of their strips at random.
        turned = (sides.prod(1) > 20 * area) & (rng.uniform(size=len(sides)) < 0.5)
        lengthwise = np.where(turned, 1 / lengthwise, lengthwise)
        axis = np.where(sides[:, 0] * lengthwise > sides[:, 1], 0, 1)
        index = np.arange(len(axis))
        where = rng.uniform(0.5 - unevenness, 0.5 + unevenness, len(axis))
        position = open_parcels[index, 0, axis] + where * sides[index, axis]
        lower, upper = open_parcels.copy(), open_parcels.copy()
        lower[index, 1, axis] = upper[index, 0, axis] = position
        cuts.append(open_parcels.copy())
        cuts[-1][index, :, axis] = position[:, None]
        open_parcels = np.concatenate([lower, upper])
        lengthwise = np.concatenate([lengthwise, lengthwise])
    return np.concatenate(parcels), cuts


def corners_of(boxes):
    """(n, 2, 2) first and last corners to (n, 4, 2) corners in turn."""
    (top, left), (bottom, right) = np.moveaxis(boxes, 0, -1)
    turns = [(top, left), (top, right), (bottom, right), (bottom, left)]
    return np.stack([np.stack(corner, -1) for corner in turns], 1)


def wandering_path(rng, through, length, *, step, heading, swing, wavelength):
    """Sine-generated curve (Langbein and Leopold 1966): meander or, with small `swing`, road.

    Its points (n, 2) are `step` apart; the middle one is `through`.
    """
    way = np.arange(-length / 2, length / 2 + step, step)
    waves = wavelength * np.exp(rng.uniform(-0.4, 1.2, 3))
    phases = rng.uniform(0, 2 * np.pi, 3)
    headings = heading + swing * np.sin(2 * np.pi * way[:, None] / waves + phases).mean(1) * 1.7
    points = np.cumsum(step * np.stack([np.sin(headings), np.cos(headings)], 1), 0)
    return points - points[len(points) // 2] + through


def segments_of(points, half_width):
    """Rows (row, column, row, column, half width, half width) of a path for `stroke_coverage`."""
    widths = np.broadcast_to(half_width, len(points))[:, None]
    return np.hstack([points[:-1], points[1:], widths[:-1], widths[1:]])


@njit(cache=True)
def paint_polygons(image, corners, tones, ramps, rows, grain, grain_strengths, overlap):
    """Paint convex, anti-aliased quadrilaterals (n, 4, 2) over a float32 `image`, in order.

    `ramps` (n, 2) is the change of the tone per cell, downwards and to the right; `rows` (n, 3) are
    wave numbers (down, right) and amplitude of a row texture. All share the texture `grain`, with
    `grain_strengths`. A polygon covers its neighbours by `overlap` cells; 0.5 leaves no gap.
    """
    height, width = image.shape
    normals = np.empty((4, 3))
    for k in range(len(corners)):
        polygon = corners[k]
        top, left, bottom, right = height, width, 0, 0
        centre_y = centre_x = 0.0
        for edge in range(4):
            after = (edge + 1) % 4
            y0, x0, y1, x1 = (
                polygon[edge, 0],
                polygon[edge, 1],
                polygon[after, 0],
                polygon[after, 1],
            )
            length = math.sqrt((y1 - y0) ** 2 + (x1 - x0) ** 2) + 1e-9
            normal_y, normal_x = (x1 - x0) / length, (y0 - y1) / length
            normals[edge, 0] = normal_y
            normals[edge, 1] = normal_x
            normals[edge, 2] = -normal_y * y0 - normal_x * x0
            top, bottom = min(top, int(y0 - overlap)), max(bottom, int(y0 + overlap) + 2)
            left, right = min(left, int(x0 - overlap)), max(right, int(x0 + overlap) + 2)
            centre_y += y0 / 4
            centre_x += x0 / 4
        for y in range(max(top, 0), min(bottom, height)):
            for x in range(max(left, 0), min(right, width)):
                inside = 1.0
                for edge in range(4):
                    distance = normals[edge, 0] * y + normals[edge, 1] * x + normals[edge, 2]
                    inside = min(inside, 0.5 + overlap + distance)
                    if inside <= 0:
                        break
                if inside <= 0:
                    continue
                tone = tones[k] + grain_strengths[k] * grain[y, x]
                tone += ramps[k, 0] * (y - centre_y) + ramps[k, 1] * (x - centre_x)
                if rows[k, 2] != 0:
                    tone += rows[k, 2] * math.sin(rows[k, 0] * y + rows[k, 1] * x)
                image[y, x] += inside * (tone - image[y, x])


@njit(cache=True)
def label_polygons(labels, corners, numbers, overlap):
    """Label cells (uint8) by the last quadrilateral (n, 4, 2) that fills half of them, in place."""
    height, width = labels.shape
    for k in range(len(corners)):
        rows, columns = corners[k, :, 0], corners[k, :, 1]
        top, bottom = max(int(rows.min()) - 1, 0), min(int(rows.max()) + 2, height)
        left, right = max(int(columns.min()) - 1, 0), min(int(columns.max()) + 2, width)
        for y in range(top, bottom):
            for x in range(left, right):
                inside = True
                for edge in range(4):
                    y0, x0 = rows[edge], columns[edge]
                    down, along = rows[(edge + 1) % 4] - y0, columns[(edge + 1) % 4] - x0
                    distance = along * (y - y0) - down * (x - x0)
                    inside = inside and distance >= -overlap * math.sqrt(down**2 + along**2)
                if inside:
                    labels[y, x] = numbers[k]


@njit(cache=True)
def stroke_coverage(shape, segments, softness):
    """Coverage of each cell of a raster by thick lines, float32 in [0, 1].

    `segments` (n, 6) are rows of `segments_of`. `softness` is the width of the edge in cells; 1 is
    a sharp, anti-aliased one.
    """
    height, width = shape
    coverage = np.zeros((height, width), np.float32)
    for k in range(len(segments)):
        y0, x0, y1, x1 = segments[k, 0], segments[k, 1], segments[k, 2], segments[k, 3]
        width0, width1 = segments[k, 4], segments[k, 5]
        reach = max(width0, width1) + softness
        top, bottom = max(int(min(y0, y1) - reach), 0), min(int(max(y0, y1) + reach) + 2, height)
        left, right = max(int(min(x0, x1) - reach), 0), min(int(max(x0, x1) + reach) + 2, width)
        length2 = (y1 - y0) ** 2 + (x1 - x0) ** 2 + 1e-9
        for y in range(top, bottom):
            for x in range(left, right):
                along = ((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / length2
                along = min(max(along, 0.0), 1.0)
                off_y, off_x = y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0)
                distance2 = off_y * off_y + off_x * off_x
                if distance2 > reach * reach:
                    continue
                half_width = width0 + along * (width1 - width0)
                cover = min(
                    0.5 + (half_width - math.sqrt(distance2)) / softness, min(1.0, 2 * half_width)
                )
                if cover > coverage[y, x]:
                    coverage[y, x] = cover
    return coverage
