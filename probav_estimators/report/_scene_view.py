"""Figures, pictures and charts of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..displays import CalibrationDisplay
from ..imaging import Picture, error_map, scale_greys, upscale_bicubic
from ..names import printable
from ..prediction import Predictor
from ..scenes import Scene, Values
from ._figures import FIGURES
from ._measuring import AlignedFrames, measure_estimator
from ._pictures import (
    Chart,
    EmbeddedImage,
    can_draw,
    colour_bar,
    grey_picture,
    map_limit,
    map_picture,
    spectrum_chart,
)

# Bytes of all pictures of a page, and greatest side of a picture in pixels, as far as the least
# side allows.
_MAX_BYTES = 13e6
_MAX_SIDE = 480
_MIN_SIDE = 128

# Greatest size of a pixel in a PNG file: greys, and colours of a map; growth by base64.
_GREY_BYTES = 1.0
_MAP_BYTES = 0.5
_BASE64 = 4 / 3

# Greatest shift between image and truth, in HR pixels: errors along the edges are unknown.
_BORDER = 3


class MapKind(NamedTuple):
    """Texts and colours of maps; their limits are symmetric if they are `signed`."""

    name: str
    title: str
    alt: str
    note: str
    colours: str
    colours_alt: str
    signed: bool


_ERROR = MapKind(
    "error",
    "Error, truth less image",
    "Error of {} on {}: truth less image, blue where it is negative",
    "hatched: clouded, or too close to the edge",
    "RdBu_r",
    "from blue over white to red",
    signed=True,
)
_STD = MapKind(
    "standard deviation",
    "Standard deviation",
    "Standard deviation of {} on {}, bright where it is large",
    "",
    "viridis",
    "from dark blue over green to yellow",
    signed=False,
)


class MapScale(NamedTuple):
    """Colour scale of the maps of a scene, with the values at its ends."""

    kind: MapKind
    low: str
    high: str
    bar: EmbeddedImage


class Panel(NamedTuple):
    """A picture of a scene, an "image" or a "map", with a text below it."""

    name: str
    kind: str
    picture: EmbeddedImage
    alt: str
    note: str = ""


class SceneView(NamedTuple):
    """A scene's part of a page.

    `shown` and `whole` are the HR pixels of the pictures and of the scene; `records` (of a
    QualityReport) and `coverages` (of `CalibrationDisplay.coverage_of`) are by estimator.
    `grey_scale` has the limits of the grey scale in words.
    """

    name: str
    scene: Scene
    shown: tuple[int, ...]
    whole: tuple[int, ...]
    records: dict[str, dict[str, Any]]
    coverages: dict[str, Any]
    panels: list[Panel]
    grey_scale: str
    unit: str
    map_scales: list[MapScale]
    charts: list[Chart]


def side_of_pictures(n_scenes: int, n_estimators: int, *, n_stds: int, truth: bool) -> int:
    """Greatest side of a picture in pixels; `n_stds` estimators give standard deviations."""
    greys = 1 + n_estimators + truth
    maps = n_stds + truth * n_estimators
    pixel = _BASE64 * (_GREY_BYTES * greys + _MAP_BYTES * maps)
    return min(max(int(np.sqrt(_MAX_BYTES / n_scenes / pixel)), _MIN_SIDE), _MAX_SIDE)


def view_scene(estimators: Mapping[str, Predictor], scene: Scene, side: int) -> SceneView:
    """Predict and measure a scene, and draw its middle, of at most `side` HR pixels per axis."""
    images, stds, records = {}, {}, {}
    # Estimators of one scale share the alignment.
    align = cache(partial(AlignedFrames.of, scene))
    for name, estimator in estimators.items():
        images[name], std, records[name] = measure_estimator(estimator, scene, align=align)
        if std is not None:
            stds[name] = std
    name = "unnamed scene" if scene.name is None else printable(scene.name)
    first, *_ = scales = [record["scale"] for record in records.values()]
    drawing = _Drawing(name, scene, max(scales), _middle(scene.shape, max(side // first, 1)))
    panels, grey_scale = drawing.greys(images, records)
    maps, coverages = [], {}
    if scene.has_hr:
        maps.append((_ERROR, {name: _error(image, scene) for name, image in images.items()}))
        coverages = {
            name: CalibrationDisplay.coverage_of(images[name], std, scene)
            for name, std in stds.items()
        }
    if stds:
        maps.append((_STD, stds))
    map_scales = []
    for kind, arrays in maps:
        map_scale, map_panels = drawing.maps(kind, arrays)
        map_scales.append(map_scale)
        panels += map_panels
    return SceneView(
        name=name,
        scene=scene,
        shown=drawing.shape,
        whole=tuple(max(scales) * length for length in scene.shape),
        records=records,
        coverages=coverages,
        panels=panels,
        grey_scale=grey_scale,
        unit=drawing.values.unit,
        map_scales=map_scales,
        charts=[spectrum_chart(scene, images)] if scene.has_hr and can_draw() else [],
    )


class _Drawing:
    """Draws the arrays of a window of a scene, given in LR pixels."""

    def __init__(self, name, scene, scale, window):
        self.name, self.scene, self.scale, self.window = name, scene, scale, window
        self.values = Values.of(scene)
        self.shape = tuple(scale * (part.stop - part.start) for part in window)

    def greys(self, images, records):
        """Panels of clearest frame, images and truth, and their grey scale in words."""
        frame, clear = self._clearest_frame()
        share = f"{100 * clear.mean():.0f} % clear"
        texts = [("Clearest frame", f"Clearest frame of {self.name}, upscaled", share)]
        pictures = [self._picture(frame, clear)]
        for name, image in images.items():
            alt = f"{name}: super-resolved image of {self.name}"
            texts.append((name, alt, _in_short(records[name])))
            pictures.append(self._picture(self._crop(image)))
        truth = None
        if self.scene.has_hr:
            truth = self._picture(*self.scene.read_truth(self.window))
            texts.append(("Truth", f"Truth: HR image of {self.name}", "HR image"))
            pictures.append(truth)
        drawn = scale_greys(pictures, "auto", truth, self.values.unit)
        panels = []
        for (name, alt, note), grey in zip(texts, drawn, strict=True):
            note = ", ".join(filter(None, [note, grey.note]))
            panels.append(Panel(name, "image", grey_picture(grey.image, *grey.limits), alt, note))
        return panels, _grey_scale_of(drawn, self.values.unit)

    def maps(self, kind, arrays):
        """Common colour scale and panels of maps by name of the estimator."""
        arrays = {name: self.values.span * self._crop(array) for name, array in arrays.items()}
        limit = map_limit(arrays.values())
        high = _rounded(limit)
        low = f"\N{MINUS SIGN}{high}" if kind.signed else "0"
        scale = MapScale(kind, low, high, colour_bar(kind.colours))
        least = -limit if kind.signed else 0
        panels = [
            Panel(
                f"{name}, {kind.name}",
                "map",
                map_picture(array, least, limit, kind.colours),
                kind.alt.format(name, self.name),
            )
            for name, array in arrays.items()
        ]
        return scale, panels

    def _clearest_frame(self):
        clearance = self.scene.frames.read_clear().sum(axis=(1, 2))
        (frame,), (clear,) = self.scene.frames.read([int(clearance.argmax())])
        frame = np.where(np.isfinite(frame), frame, 0)
        upscaled = upscale_bicubic(frame, self.scale, self.window)
        clear = clear[self.window].repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        return upscaled, clear

    def _picture(self, image, clear=None):
        """Values of an image; a mask without a clear pixel is ignored."""
        known = clear is not None and clear.any()
        return Picture(self.values.to_physical(image), clear if known else None)

    def _crop(self, array):
        """The window of an array that covers the scene at any scale."""
        scale = array.shape[0] // self.scene.shape[0]
        return array[tuple(slice(scale * part.start, scale * part.stop) for part in self.window)]


def _error(image, scene):
    """Error map of the size of the image, NaN along the edges."""
    error = error_map(image, scene.hr, scene.sm, border=_BORDER, data_range=scene.data_range)
    return np.pad(error, _BORDER, constant_values=np.nan)


def _middle(shape, length):
    """Window in the middle of a scene, at most `length` LR pixels along each axis."""
    lengths = [min(length, whole) for whole in shape]
    starts = [(whole - part) // 2 for whole, part in zip(shape, lengths, strict=True)]
    return tuple(slice(s, s + part) for s, part in zip(starts, lengths, strict=True))


def _in_short(record):
    """The one or two figures below a picture."""
    if not np.isfinite(record["cpsnr"]):
        return f"consistency {FIGURES['consistency'].text(record['consistency'])}"
    cpsnr, score = (FIGURES[key].text(record[key]) for key in ("cpsnr", "score"))
    return f"cPSNR {cpsnr} dB, score {score}"


def _grey_scale_of(panels, unit):
    """Common limits of some panels in words."""
    if len({panel.limits for panel in panels}) > 1:
        return "Grey: each picture has its own scale, as their levels differ"
    black, white = (_rounded(value, 4) for value in panels[0].limits)
    return f"Grey: black {black}, white {white} {unit}"


def _rounded(value, digits=3):
    """To significant digits, without an exponent where the number is short enough."""
    return f"{float(f'{value:.{digits}g}'):g}"
