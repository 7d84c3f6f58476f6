"""Landscapes: random compositions of land forms of random strength and size.

Every painter takes the random generator, the `Land` so far and the scene's palette, and changes
the land in place. Seasonal change is drawn by the land's `Season` with its own generator, so that
it does not alter the initial land. Lengths are in cells.
"""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace

import numpy as np

from ._noise import fractal_field, smooth_field, soft_threshold, standardize
from ._sensors import draw
from ._shapes import (
    Frame,
    corners_of,
    label_polygons,
    paint_polygons,
    segments_of,
    split_land,
    stroke_coverage,
    wandering_path,
)

#: Cells per side of an HR pixel; finer than any image, to anti-alias edges.
CELLS = 2

# Response to vegetation: 0 as in visible red, 1 as in the near infrared.
_VEGETATION_RESPONSE = {"BLUE": 0.0, "RED": 0.0, "NIR": 1.0, "SWIR": 0.6}


# Least and greatest radiance of each material on the 14-bit scale, in RED and in NIR.
_MATERIALS = {
    "vegetation": ((600, 1400), (2600, 4600)),
    "forest": ((450, 900), (1700, 3000)),
    "soil": ((1800, 3700), (1700, 3600)),
    "sand": ((2600, 5200), (2800, 5200)),
    "water": ((300, 900), (150, 600)),
    "built": ((1500, 3800), (1600, 3600)),
}


def _draw_palette(rng, band):
    """Radiance of each material in one scene; unknown bands are between RED and NIR."""
    response = _VEGETATION_RESPONSE.get(str(band).upper(), 0.5)
    light = rng.lognormal(0.25, 0.2)
    return SimpleNamespace(
        **{
            name: light * ((1 - response) * rng.uniform(*red) + response * rng.uniform(*nir))
            for name, (red, nir) in _MATERIALS.items()
        }
    )


class Land:
    """Radiance of the ground on the 14-bit scale, now and after seasonal change.

    `states` are one or, of real images, those of several dates. With a season, they are the initial
    and the final state, `courses` (uint8) is the time course of each cell from the first to the
    second, 0 where it is constant, and `shading` the relative radiance of slopes and shadows in the
    first state, proportional to the cotangent of the sun's elevation.
    """

    def __init__(self, states, season=None):
        self.season = season
        self.shape = states.shape[1:]
        self.states = states if season is None else np.concatenate([states, states])
        if season is not None:
            self.courses = np.zeros(self.shape, np.uint8)
            self.shading = np.zeros(self.shape, np.float32)

    @property
    def change(self):
        """Difference of the states."""
        return self.states[1] - self.states[0]


def draw_land(rng, shape, band, season=None, texture=0.0):
    """Draw the `Land` of one scene in `shape` cells, and its change.

    `texture` as of `texture_land`. The first state does not depend on `season`, and the land forms
    not on `texture`.
    """
    palette = _draw_palette(rng, band)
    humid = rng.uniform()
    land = Land(_open_country(rng, shape, palette, humid)[None], season)
    painters = [
        (_mountains, 0.45),
        (_dunes, 0.4 * (1 - humid) ** 2),
        (_drainage, 0.5 - 0.3 * humid),
        (_fields, 0.3 + 0.4 * humid),
        (_pivots, 0.25 * (1 - humid)),
        (_forest, 0.2 + 0.5 * humid),
        (_settlement, 0.4),
        (_roads, 0.7),
        (_river, 0.2 + 0.25 * humid),
        (_lakes_or_coast, 0.1 + 0.25 * humid),
    ]
    for paint, probability in painters:
        if rng.uniform() < probability:
            paint(rng, land, palette)
    _through_the_air(rng, land)
    texture_land(rng, land, texture)
    return land


def texture_land(rng, land, texture):
    """Add texture of this strength, or of one drawn from a range, to the land, in place."""
    # Its own stream keeps the others unchanged.
    (of_texture,) = rng.spawn(1)
    strength = draw(of_texture, texture)
    if strength:
        add_texture(of_texture, land, strength)


def add_texture(rng, land, strength):
    """Add grain, clumps, specks and creases of random size to the land, in place.

    `strength` is the greatest standard deviation of each of one to three layers, relative to the
    radiance.
    """
    for _ in range(rng.integers(1, 4)):
        layer = fractal_field(
            rng,
            land.shape,
            rng.uniform(0.6, 3.2),
            outer=CELLS * np.exp(rng.uniform(np.log(3), np.log(200))),
            stretch=rng.lognormal(0, 0.5),
            angle=rng.uniform(0, np.pi),
        )
        layer = standardize(_TEXTURES[rng.integers(len(_TEXTURES))](layer))
        layer *= np.float32(strength * rng.uniform() ** 1.5) * _extent(rng, land.shape)
        land.states *= np.maximum(1 + layer, np.float32(0.25))


# Maps of a Gaussian field to grain, clumps with soft and with sharp edges, bright and dark specks,
# and creases.
_TEXTURES = (
    lambda field: field,
    lambda field: np.tanh(2 * field),
    lambda field: np.tanh(8 * field - 3),
    lambda field: np.exp(field),
    lambda field: -np.exp(field),
    lambda field: -np.abs(field),
)


def _through_the_air(rng, land):
    """Apply uneven light, and haze that reduces contrast."""
    # Change keeps its relative size: daily haze is in the frames' gains and offsets.
    growth = land.change / np.maximum(land.states[0], 1) if land.season else None
    image = land.states[0]
    image *= 1 + np.float32(rng.uniform(0, 0.06)) * smooth_field(rng, land.shape, 300 * CELLS)
    mean = image.mean()
    contrast = np.float32(rng.uniform(0.85, 1.35))
    image = mean + contrast * (image - mean)
    land.states[0] = np.maximum(image, np.float32(40), out=image)
    if land.season:
        land.states[1] = land.states[0] * (1 + growth)


def _blend(image, layer, weight):
    image += weight * (np.asarray(layer, np.float32) - image)


def _extent(rng, shape, low=0.15):
    """Coverage by a land form: patches over a random fraction of the scene, or all of it."""
    fraction = rng.uniform(low, 1.3)
    if fraction >= 1:
        return np.float32(1)
    length = CELLS * rng.uniform(50, 160)
    field = smooth_field(rng, shape, length)
    field += np.float32(rng.uniform(0.15, 0.5)) * smooth_field(rng, shape, length / 4)
    field += np.float32(rng.uniform(0.02, 0.15)) * smooth_field(rng, shape, length / 15)
    return soft_threshold(field, fraction)


def _open_country(rng, shape, palette, humid):
    """Bare soil and vegetation in a fractal mixture."""
    field = fractal_field(
        rng,
        shape,
        rng.uniform(1.6, 3.6),
        outer=CELLS * rng.uniform(60, 400),
        stretch=rng.lognormal(0, 0.35),
        angle=rng.uniform(0, np.pi),
    )
    mixture = 1 / (1 + np.exp(-rng.uniform(0.4, 1.6) * field - 2 * (humid - 0.5)))
    tone = palette.soil + (palette.vegetation - palette.soil) * mixture
    # Soil, stones and plants vary on every scale.
    fine = fractal_field(rng, shape, rng.uniform(1.6, 2.8), outer=CELLS * rng.uniform(4, 60))
    strengths = rng.uniform(0.05, 0.13, 2).astype(np.float32)
    return tone * (1 + strengths[0] * field + strengths[1] * fine)


def _ridges(rng, shape):
    """Heights with sharp crests, or sharp valley lines, of several sizes; unit variance."""
    length, persistence = CELLS * rng.uniform(30, 140), rng.uniform(0.35, 0.6)
    height = np.zeros(shape, np.float32)
    for octave in range(5):
        # Folding a smooth field makes the sharp lines that erosion leaves.
        fold = np.abs(smooth_field(rng, shape, length / 2**octave))
        height -= np.float32(persistence**octave) * fold
    return standardize(rng.choice([-1, 1, 1]) * height)


def _mountains(rng, land, palette):
    """Ridges and valleys lit from one side, with a cover that depends on height."""
    height = _ridges(rng, land.shape)
    sun = rng.uniform(0, 2 * np.pi)
    slope = np.zeros_like(height)
    slope[1:, 1:] = np.sin(sun) * (height[1:, 1:] - height[:-1, 1:])
    slope[1:, 1:] += np.cos(sun) * (height[1:, 1:] - height[1:, :-1])
    slope[0], slope[:, 0] = slope[1], slope[:, 1]
    shade = np.tanh(0.8 * standardize(slope))
    extent = _extent(rng, land.shape)
    cover = rng.choice([palette.forest, palette.soil, palette.vegetation])
    _blend(land.states, cover, extent * (np.float32(rng.uniform(0, 0.6)) * (height > 0.3)))
    shade = extent * np.float32(rng.uniform(0.1, 0.45)) * shade
    land.states *= 1 + shade
    if land.season:
        land.shading += shade / (1 + shade)


def _dunes(rng, land, palette):
    """Sand in long waves with one steep side."""
    shape = land.shape
    angle, wavelength = rng.uniform(0, 2 * np.pi), CELLS * rng.uniform(7, 40)
    wander = smooth_field(rng, shape, 5 * wavelength) + 0.35 * smooth_field(
        rng, shape, 1.5 * wavelength
    )
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    phase = (np.sin(angle) * rows + np.cos(angle) * columns) / wavelength
    phase = 2 * np.pi * phase.astype(np.float32) + np.float32(rng.uniform(0.8, 3.0)) * wander
    wave = np.sin(phase + np.float32(rng.uniform(0.2, 0.8)) * np.sin(phase))
    height = np.clip(1 + 0.5 * smooth_field(rng, shape, 3 * wavelength), 0, None)
    sand = palette.sand * (1 + np.float32(rng.uniform(0.05, 0.2)) * wave * height)
    sand += (
        palette.sand
        * np.float32(rng.uniform(0.02, 0.08))
        * fractal_field(rng, shape, rng.uniform(1.8, 3.0))
    )
    _blend(land.states, sand, _extent(rng, shape, low=0.3))


def _drainage(rng, land, palette):
    """Thin winding lines where a field passes zero: dry valleys, gullies, wet ground."""
    shape = land.shape
    length, width = CELLS * rng.uniform(12, 60), CELLS * rng.uniform(0.5, 2.5)
    field = smooth_field(rng, shape, length)
    field += np.float32(rng.uniform(0.1, 0.6)) * smooth_field(rng, shape, length / 3)
    field += np.float32(rng.uniform(0.02, 0.2)) * smooth_field(rng, shape, length / 8)
    lines = np.exp(-np.square(field * np.float32(0.5 * length / width)))
    bed = rng.choice([palette.sand, palette.forest, palette.vegetation, palette.soil])
    _blend(land.states, bed, _extent(rng, shape) * lines * np.float32(rng.uniform(0.2, 0.9)))


def _fields(rng, land, palette):
    """Parcels in up to three districts of different divisions."""
    for _ in range(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])):
        district = copy(land)
        district.states = land.states.copy()
        if land.season:
            district.courses = land.courses.copy()
        _paint_parcels(rng, district, palette)
        extent = _extent(rng, land.shape, low=0.3)
        _blend(land.states, district.states, extent)
        if land.season:
            np.copyto(land.courses, district.courses, where=np.asarray(extent) > 0)


def _paint_parcels(rng, land, palette):
    frame = Frame(rng, land.shape, bend=CELLS * rng.choice([0, rng.uniform(0, 12)]))
    area = np.exp(rng.uniform(np.log(50), np.log(1200))) * CELLS**2
    parcels, cuts = split_land(
        rng,
        frame.extent,
        area,
        elongation=np.exp(rng.uniform(0, 1.6)),
        spread=rng.uniform(0.2, 1.2),
        unevenness=rng.uniform(0.02, 0.3),
    )
    outlines = corners_of(parcels)
    slack = rng.choice([0, rng.uniform(0.01, 0.1)]) * np.ptp(parcels, axis=1).min(1)
    outlines += slack[:, None, None] * rng.standard_normal(outlines.shape)
    corners = frame.to_ground(outlines)
    corners = corners[_touches(corners, land.shape)]
    n = len(corners)
    # The beta distribution varies from few outlying parcels to all different ones.
    bare = rng.beta(rng.uniform(0.4, 2), rng.uniform(0.6, 4), n)
    tones = palette.vegetation + (palette.soil - palette.vegetation) * bare
    tones = tones * rng.lognormal(0, rng.uniform(0.05, 0.3), n)
    ramps = rng.normal(0, rng.uniform(0, 0.08), (n, 2)) * tones[:, None] / np.sqrt(area)
    rows = _crop_rows(rng, frame, tones)
    grain = fractal_field(rng, land.shape, rng.uniform(1.0, 2.6), outer=CELLS * 40)
    strengths = tones * rng.uniform(0.01, rng.uniform(0.04, 0.15), n)
    overlap = rng.choice([0.5, -0.3])
    paint_polygons(land.states[0], corners, tones, ramps, rows, grain, strengths, overlap)
    if land.season:
        growth, courses = land.season.plan_fields(n, palette)
        rows = rows * np.column_stack([np.ones((n, 2)), growth])
        tones, ramps, strengths = tones * growth, ramps * growth[:, None], strengths * growth
        paint_polygons(land.states[1], corners, tones, ramps, rows, grain, strengths, overlap)
        label_polygons(land.courses, corners, courses, overlap)
    if rng.uniform() < 0.5:
        _boundaries(rng, land, palette, frame, cuts)


def _touches(corners, shape):
    inside = (corners.max(1) > 0) & (corners.min(1) < np.array(shape))
    return inside.all(1)


def _crop_rows(rng, frame, tones):
    """Stripes along or across the parcels in some of them."""
    n = len(tones)
    striped = rng.uniform(size=n) < rng.choice([0, 0, 0.2, 0.6])
    wave_numbers = 2 * np.pi / (CELLS * rng.uniform(2, 8, n))
    directions = frame.axes[rng.integers(0, 2, n)]
    amplitudes = striped * tones * rng.uniform(0.02, 0.15, n)
    return np.column_stack([wave_numbers[:, None] * directions, amplitudes])


def _boundaries(rng, land, palette, frame, cuts):
    """Tracks or hedges along the older lines of division."""
    first = rng.integers(2, 6)
    oldest = np.concatenate(cuts[: first + rng.integers(1, 5)])
    if len(oldest) == 0:
        return
    lines = [frame.to_ground(np.linspace(a, b, 12)) for a, b in oldest]
    half_width = CELLS * rng.uniform(0.25, 0.8)
    coverage = stroke_coverage(
        land.shape, np.concatenate([segments_of(line, half_width) for line in lines]), 1.0
    )
    tone = rng.choice([palette.built, palette.soil, palette.forest])
    _blend(land.states, tone, coverage * np.float32(rng.uniform(0.3, 0.9)))


def _pivots(rng, land, palette):
    """Circles of centre-pivot irrigation in a square survey, some of them sectors."""
    frame = Frame(rng, land.shape)
    pitch = CELLS * rng.uniform(8, 32)
    steps = np.arange(0.5, frame.extent / pitch)
    nodes = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2) * pitch
    centres = frame.to_ground(nodes)
    dense = smooth_field(rng, land.shape, CELLS * 90)
    threshold = rng.uniform(-0.5, 1.2)
    for centre in centres:
        row, column = np.clip(centre.astype(int), 0, np.array(land.shape) - 1)
        if dense[row, column] > threshold and rng.uniform() < 0.85:
            _paint_pivot(rng, land, palette, centre, pitch * rng.uniform(0.42, 0.5))


def _paint_pivot(rng, land, palette, centre, radius):
    first = np.maximum(np.floor(centre - radius - 1).astype(int), 0)
    last = np.maximum(np.ceil(centre + radius + 2).astype(int), 0)
    window = (slice(first[0], last[0]), slice(first[1], last[1]))
    height, width = land.states[0][window].shape
    rows = np.arange(first[0], first[0] + height)[:, None] - centre[0]
    columns = np.arange(first[1], first[1] + width)[None, :] - centre[1]
    inside = np.clip(0.5 + radius - np.hypot(rows, columns), 0, 1)
    bare = rng.beta(0.5, 0.8, 2)
    tones = palette.vegetation + (palette.soil - palette.vegetation) * bare
    angle = rng.uniform(0, 2 * np.pi)
    half = np.clip(0.5 + np.sin(angle) * rows + np.cos(angle) * columns, 0, 1)
    tone = tones[0] + (tones[1] - tones[0]) * half if rng.uniform() < 0.3 else tones[0]
    _blend_window(land.states[0][window], tone, inside)
    if land.season:
        (growth,), (course,) = land.season.plan_fields(1, palette)
        _blend_window(land.states[1][window], tone * growth, inside)
        land.courses[window][inside > 0] = course


def _blend_window(window, tone, inside):
    window += (inside * (tone - window)).astype(np.float32)


def _forest(rng, land, palette):
    """Clumps of trees with grain of crowns and clearings."""
    shape = land.shape
    clumps = fractal_field(rng, shape, rng.uniform(2.0, 3.4), outer=CELLS * rng.uniform(15, 120))
    # From plantations with sharp edges to savanna that thins out.
    openness = np.float32(np.exp(rng.uniform(np.log(0.08), np.log(1.2))))
    level = np.quantile(clumps[::4, ::4], 1 - rng.uniform(0.05, 0.7))
    cover = np.clip(0.5 + (clumps - np.float32(level)) / (2 * openness), 0, 1)
    grain = fractal_field(rng, shape, rng.uniform(0.3, 1.8), outer=CELLS * 8)
    crowns = palette.forest * (1 + np.float32(rng.uniform(0.05, 0.2)) * grain)
    cover = cover * np.float32(rng.uniform(0.5, 1)) * _extent(rng, shape)
    _blend(land.states, crowns, cover)
    if land.season:
        land.shading -= land.season.cast_shadows(cover)


def _settlement(rng, land, palette):
    """Streets and small blocks, dense in the middle of towns, scattered around them."""
    shape = land.shape
    frame = Frame(rng, shape, bend=CELLS * rng.uniform(0, 15))
    density = smooth_field(rng, shape, CELLS * rng.uniform(40, 140))
    density += 0.5 * smooth_field(rng, shape, CELLS * rng.uniform(10, 30))
    level = np.quantile(density[::8, ::8], 1 - rng.beta(1, 2.5))
    density = np.clip((density - level) * np.float32(rng.uniform(0.4, 1.5)), 0, 1)
    blocks, cuts = split_land(
        rng,
        frame.extent,
        rng.uniform(40, 300) * CELLS**2,
        elongation=np.exp(rng.uniform(-0.7, 0.7)),
        spread=0.5,
        unevenness=rng.uniform(0.02, 0.2),
    )
    blocks = blocks[_touches(frame.to_ground(corners_of(blocks)), shape)]
    layers = land.states.copy()
    _paint_blocks(rng, layers, palette, frame, blocks)
    _blend(land.states, layers, density * np.float32(rng.uniform(0.2, 1)))
    _paint_houses(rng, land.states, palette, frame, blocks, density)
    lines = np.concatenate(cuts)
    streets = np.hstack([frame.to_ground(lines[:, 0]), frame.to_ground(lines[:, 1])])
    half_width = np.full((len(streets), 2), CELLS * rng.uniform(0.15, 0.5))
    coverage = stroke_coverage(shape, np.hstack([streets, half_width]), 1.0)
    tone = palette.built * rng.choice([0.6, 1.3])
    _blend(land.states, tone, coverage * (density > 0.1) * np.float32(rng.uniform(0.2, 0.9)))


def _paint_blocks(rng, layers, palette, frame, blocks):
    """Built-up blocks and parks of uniform tone, separated by streets."""
    corners = frame.to_ground(corners_of(blocks))
    n = len(corners)
    tones = palette.built * rng.lognormal(-0.15, rng.uniform(0.1, 0.35), n)
    tones = np.where(rng.uniform(size=n) < rng.uniform(0, 0.4), palette.vegetation, tones)
    none = np.zeros((n, 3))
    strengths = 0.1 * tones
    grain = fractal_field(rng, layers.shape[1:], rng.uniform(1.6, 2.4), outer=CELLS * 20)
    gap = -CELLS * rng.uniform(0, 0.6)
    for layer in layers:
        paint_polygons(layer, corners, tones, none[:, :2], none, grain, strengths, gap)


def _paint_houses(rng, layers, palette, frame, blocks, density):
    """Small bright and dark boxes, parallel to the streets of their block."""
    size = CELLS * rng.uniform(0.7, 2.5)
    sides = blocks[:, 1] - blocks[:, 0]
    counts = rng.poisson(np.minimum(sides.prod(1) / size**2 * rng.uniform(0.1, 0.8), 60))
    owner = np.repeat(np.arange(len(blocks)), counts)
    middles = blocks[owner, 0] + sides[owner] * rng.uniform(0.08, 0.92, (len(owner), 2))
    places = np.rint(frame.to_ground(middles)).astype(int)
    within = ((places >= 0) & (places < np.array(density.shape))).all(1)
    built = np.zeros(len(owner), bool)
    rows, columns = places[within].T
    built[within] = rng.uniform(size=len(rows)) < density[rows, columns]
    middles = middles[built]
    halves = 0.5 * np.maximum(size * rng.lognormal(0, 0.45, middles.shape), 1.0)
    n = len(middles)
    corners = frame.to_ground(corners_of(np.stack([middles - halves, middles + halves], 1)))
    tones = palette.built * rng.lognormal(rng.uniform(-0.4, 0.2), rng.uniform(0.2, 0.6), n)
    none = np.zeros((n, 3))
    for layer in layers:
        paint_polygons(layer, corners, tones, none[:, :2], none, layer, none[:, 0], 0.0)


def _roads(rng, land, palette):
    """A few thin roads, straight or winding."""
    length = 2.5 * np.hypot(*land.shape)
    winding = rng.choice([0.05, 0.35, 0.9])
    segments = []
    for _ in range(1 + rng.poisson(rng.choice([1, 5]))):
        path = wandering_path(
            rng,
            rng.uniform(0, land.shape),
            length,
            step=CELLS * 5,
            heading=rng.uniform(0, 2 * np.pi),
            swing=winding,
            wavelength=CELLS * rng.uniform(60, 300),
        )
        segments.append(segments_of(path, CELLS * (0.35 + 1.1 * rng.uniform() ** 2)))
    coverage = stroke_coverage(land.shape, np.concatenate(segments), 1.0)
    tone = palette.built * rng.choice([0.55, 1.0, 1.5])
    _blend(land.states, tone, coverage * np.float32(rng.uniform(0.3, 0.9)))


def _river(rng, land, palette):
    """A meandering river with tributaries, or several strands between banks of sand."""
    half_width = CELLS * np.exp(rng.uniform(np.log(0.4), np.log(8)))
    strands = rng.choice([1, 1, 1, 3])
    through = rng.uniform(0.1, 0.9, 2) * land.shape
    heading = rng.uniform(0, 2 * np.pi)
    meander = {"swing": rng.uniform(0.4, 1.7), "wavelength": half_width * 12 + CELLS * 25}
    length = 2.5 * np.hypot(*land.shape)
    segments = []
    for _ in range(strands):
        path = wandering_path(rng, through, length, step=CELLS * 2.0, heading=heading, **meander)
        segments.append(segments_of(path, half_width / strands))
        segments += _tributaries(rng, path, heading, half_width / 2, length / 3, levels=2)
    segments = np.concatenate(segments)
    banks = segments.copy()
    banks[:, 4:] = banks[:, 4:] * rng.uniform(1.2, 3) + CELLS * rng.uniform(0.3, 2)
    bank_tone = rng.choice([palette.sand, palette.vegetation, palette.forest])
    bank_cover = stroke_coverage(land.shape, banks, CELLS * rng.uniform(0.5, 4))
    _blend(land.states, bank_tone, np.float32(0.8 * rng.uniform() ** 1.5) * bank_cover)
    cover = stroke_coverage(land.shape, segments, 1.0)
    later = None
    if land.season:
        segments[:, 4:] *= land.season.water
        later = stroke_coverage(land.shape, segments, 1.0)
    _flood(land, rng.uniform(1, 1.8) * palette.water, cover, later)


def _tributaries(rng, path, heading, half_width, length, levels):
    if levels == 0 or half_width < 0.15 * CELLS:
        return []
    segments = []
    for _ in range(rng.poisson(2)):
        n = max(4, int(length / (CELLS * 2)))
        start = path[rng.integers(len(path))]
        own_heading = heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.3)
        branch = wandering_path(
            rng,
            start,
            2 * length,
            step=CELLS * 2.0,
            heading=own_heading,
            swing=rng.uniform(0.4, 1.2),
            wavelength=CELLS * rng.uniform(20, 60),
        )
        branch = branch[len(branch) // 2 :][:n]
        segments.append(segments_of(branch, np.linspace(half_width, 0.3 * half_width, len(branch))))
        segments += _tributaries(rng, branch, own_heading, half_width / 2, length / 2, levels - 1)
    return segments


def _lakes_or_coast(rng, land, palette):
    """Smooth water that fills the low part of a fractal field, with a beach or a reed belt."""
    shape = land.shape
    # A long outer scale makes one coast, a short one many lakes.
    size = rng.uniform(15, 300)
    bed = fractal_field(rng, shape, rng.uniform(3.2, 4.4), outer=CELLS * size)
    fraction = rng.uniform(0.02, 0.1 + size / 700)
    shore = soft_threshold(bed, min(1.0, fraction * rng.uniform(1.02, 1.2)))
    _blend(land.states, rng.choice([palette.sand, palette.vegetation, palette.forest]), 0.7 * shore)
    swell = smooth_field(rng, shape, CELLS * rng.uniform(20, 120))
    water = palette.water * (1 + np.float32(rng.uniform(0.02, 0.25)) * swell)
    later = None
    if land.season:
        later = soft_threshold(bed, min(1.0, fraction * land.season.water))
    _flood(land, water, soft_threshold(bed, fraction), later)


def _flood(land, water, cover, later):
    """Add water to both states."""
    _blend(land.states[0], water, cover)
    if land.season:
        _blend(land.states[1], water, later)
        land.courses[later != cover] = land.season.WATER
        land.shading *= 1 - cover
