"""Fine images of a user's own land, and windows of them on the HR grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..imaging import as_value_range, window_sums
from ..names import printable
from ..raster_files import RASTER_SUFFIXES, find_files, open_raster, suffix_of
from ..scenes import PngImage

# Files of a folder that are taken.
_SUFFIXES = (*RASTER_SUFFIXES, ".png", ".npy")

# 14-bit counts of reflectance 1, and those of the median of images of an unknown unit: about the
# median of drawn land.
_REFLECTANCE_ONE = 10_000.0
_USUAL_COUNTS = 2_500.0

# Medians of reflectance beyond which a value range must be of another unit.
_REFLECTANCES = (0.0005, 1.6)

# Dates of a scene, and the part of a window's pixels that differ from the next.
_MAX_DATES = 4
_LEAST_VARIED = 0.01

# Values of an image from which its median is estimated.
_SAMPLE = 1_000_000


class LandWindow(NamedTuple):
    """Window of an image that becomes the land of a scene.

    The HR image of `shape` pixels begins at row and column `first` of some `dates` of the image,
    with `margin` HR pixels around it (0 where some of them have no data), and `reduction` image
    pixels along each side of an HR pixel. `values`, `black` and `gain` are those of the image.
    """

    values: NDArray[Any]
    dates: NDArray[np.intp]
    first: tuple[int, int]
    shape: tuple[int, int]
    margin: int
    reduction: float
    black: float
    gain: float

    def read(self) -> NDArray[np.float32]:
        """14-bit counts on the HR grid with its margin, (t, H, W); mirrored beyond the image."""
        sizes = [_n_pixels(n, self.reduction) for n in self.shape]
        pad = _n_pixels(self.margin, self.reduction)
        part = _read_around(self.values, self.dates, self.first, sizes, pad).astype(np.float32)
        counts = (part - np.float32(self.black)) * np.float32(self.gain)
        if self.reduction == 1:
            return counts
        for axis, n in enumerate(self.shape, start=1):
            steps = np.arange(-self.margin, n + self.margin + 1) * self.reduction
            counts = _area_means(counts, pad + steps, axis)
        return counts


@dataclass(frozen=True, eq=False)
class LandImage:
    """One band of an image of one or several dates, (t, h, w).

    `label` is its name in messages, `band` as it was asked for (None: the only one), and `usable`
    False where there is no data. 14-bit counts are ``(values - black) * gain``.
    """

    label: str
    band: str | None
    values: NDArray[Any]
    usable: NDArray[np.bool_]
    black: float
    gain: float
    _places: dict[Any, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    def draw_window(
        self, rng: np.random.Generator, shape: tuple[int, int], margin: int, reduction: float
    ) -> LandWindow:
        """Draw a window without nodata, and up to four successive dates of it.

        The `margin` is used if all of it has data. Raises ValueError if there is no such window.
        """
        sizes = tuple(_n_pixels(n, reduction) for n in shape)
        places = self._places_of(sizes)
        n_dates = places.sum(0)
        if not n_dates.any():
            raise ValueError(
                f"{self.label} has no window of {sizes[0]} x {sizes[1]} pixels in which all have "
                f"data and some differ ({self.usable.mean():.1%} of its pixels have data): give a "
                "smaller size, another image, or the right nodata"
            )
        row, column = _draw_place(rng, n_dates >= min(2, n_dates.max()))
        dates = np.flatnonzero(places[:, row, column])
        start = rng.integers(0, max(len(dates) - _MAX_DATES, 0) + 1)
        dates, first = dates[start : start + _MAX_DATES], (row, column)
        pad = _n_pixels(margin, reduction)
        if not _read_around(self.usable, dates, first, sizes, pad).all():
            margin = 0
        return LandWindow(
            self.values, dates, first, shape, margin, reduction, self.black, self.gain
        )

    def _places_of(self, sizes):
        """Where windows may begin: bool (t, rows, columns), of the last sizes asked for."""
        if sizes not in self._places:
            whole = window_sums(~self.usable, sizes, np.int32) == 0
            varies = np.diff(self.values, axis=2, append=self.values[..., -1:]) != 0
            varied = window_sums(varies, sizes, np.int32) > _LEAST_VARIED * np.prod(sizes)
            self._places.clear()
            self._places[sizes] = whole & varied
        return self._places[sizes]


def open_land(
    images: Any,
    *,
    bands: Sequence[str | int],
    value_range: tuple[float, float] | None,
    nodata: float | None,
    least: tuple[int, int],
) -> list[LandImage]:
    """Open images of land; see :func:`make_scenes`.

    `least` are the pixels (h, w) that an image has at least. A ValueError names the image that
    cannot be used, a FileNotFoundError what has no images.
    """
    opened = [
        _land_image(label, band, values, usable, value_range, nodata)
        for label, band, values, usable in _each(images, bands)
    ]
    small = [image for image in opened if min(np.subtract(image.values.shape[1:], least)) < 0]
    if small:
        height, width = small[0].values.shape[1:]
        others = f", and {len(small) - 1} others are too small" if len(small) > 1 else ""
        raise ValueError(
            f"{small[0].label} has {height} x {width} pixels{others}, and scenes of this size, "
            f"scale and reduction need at least {least[0]} x {least[1]}: give a smaller size, or "
            "larger images"
        )
    return opened


def _each(images, bands):
    """Label, band, values and mask of data (None: all) of each image and band."""
    single = isinstance(images, str | os.PathLike) or hasattr(images, "shape")
    given = [images] if single else list(images)
    if not given:
        raise ValueError("images is empty: give arrays, files, patterns or folders")
    for number, item in enumerate(given):
        if isinstance(item, str | os.PathLike):
            for path in find_files(item, "images", _SUFFIXES):
                yield from _of_file(path, bands)
        else:
            yield _of_array(item, f"images[{number}]")


def _of_file(path, bands):
    label = printable(path)
    if suffix_of(path) == ".npy":
        yield label, None, _load_npy(path, label), None
    elif suffix_of(path) == ".png" and _is_grey(path):
        yield label, None, PngImage(path).read(), None
    else:
        yield from _of_raster(path, label, bands)


def _is_grey(path):
    """Whether a PNG is read without GDAL, which also reads colours."""
    try:
        return PngImage(path).bits > 0
    except ValueError:
        return False


def _load_npy(path, label):
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{label} does not exist: check the name") from None
    except Exception as error:  # headers are parsed as Python
        raise ValueError(f"{label} is no .npy file of one array, or is cut short: {error}") from (
            error
        )


def _of_raster(path, label, bands):
    with open_raster(path) as file:
        colors = [color.name for color in file.colorinterp]
        if "palette" in colors:
            raise ValueError(
                f"{label} holds numbers of colours in a palette, which are no values of pixels: "
                "give the files of the bands, or write its colours by gdal_translate -expand rgb"
            )
        numbers = [number for number, color in enumerate(colors, start=1) if color != "alpha"]
        names = {number: file.descriptions[number - 1] or colors[number - 1] for number in numbers}
        for number, band in _chosen(names, bands, label):
            # The scale and offset of GDAL: value = stored * scale + offset.
            scale, offset = file.scales[number - 1], file.offsets[number - 1]
            values = file.read(number)
            if (scale, offset) != (1, 0):
                values = (values * scale + offset).astype(np.float32)
            shown = label if band is None else f"{label}, band {band}"
            yield shown, band, values, file.read_masks(number) > 0


def _chosen(names, bands, label):
    """Numbers of the requested bands of a file, and the names they were requested by."""
    if len(names) == 1:
        return [(number, None) for number in names]
    found = []
    for band in bands:
        known = [
            number
            for number, name in names.items()
            if str(band) == str(number) or str(band).casefold() == name.casefold()
        ]
        if not known:
            shown = ", ".join(f"{number} ({name})" for number, name in names.items())
            raise ValueError(
                f"{label} has the bands {shown}, and bands names {band!r}: choose one or several "
                "by their numbers or names, such as bands=[1]"
            )
        found.append((known[0], str(band)))
    return found


def _of_array(item, label):
    dims = tuple(getattr(item, "dims", ()))
    if "band" in dims and item.sizes["band"] > 1:
        raise ValueError(
            f"{label} has {item.sizes['band']} bands: choose one, such as image.isel(band=0)"
        )
    values = item.squeeze("band").values if "band" in dims else item
    usable = None
    if np.ma.isMaskedArray(values):
        usable, values = ~np.ma.getmaskarray(values), values.data
    values = np.asanyarray(values)
    fill = getattr(item, "attrs", {}).get("_FillValue")
    if fill is not None:
        usable = values != fill
    return label, None, values, usable


def _land_image(label, band, values, usable, value_range, nodata):
    _check_array(values, label)
    values = values if values.ndim == 3 else values[None]
    usable = np.ones(values.shape, bool) if usable is None else usable.reshape(values.shape)
    if values.dtype.kind == "f":
        usable = usable & np.isfinite(values)
    if nodata is not None:
        usable = usable & (values != nodata)
    clear = _sample(values, usable)
    if not clear.size:
        raise ValueError(f"{label} has no pixel with data: give another image, or another nodata")
    if not _differ(values, usable):
        raise ValueError(
            f"{label} has one value, {clear[0]:g}, in all pixels with data: give an image of land"
        )
    black, gain = _radiometry(float(np.median(clear)), value_range, label)
    return LandImage(label, band, values, usable, black, gain)


def _check_array(values, label):
    if values.dtype.kind not in "uif":
        raise ValueError(f"{label} is of type {values.dtype}: give integers or floats")
    if values.ndim == 3 and values.shape[2] in (3, 4) and values.shape[0] > 4:
        raise ValueError(
            f"{label} has the shape {values.shape}, which looks like a picture in colours: choose "
            "one band, such as image[..., 0]"
        )
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(
            f"{label} has the shape {values.shape}: give one band as (y, x), or as (time, y, x) "
            "for several dates"
        )


def _sample(values, usable):
    step = 1 + int(np.sqrt(values.size / _SAMPLE))
    clear = values[:, ::step, ::step][usable[:, ::step, ::step]]
    return clear if clear.size else values[usable]


def _differ(values, usable):
    """Whether pixels with data differ."""
    found = [date[where] for date, where in zip(values, usable, strict=True) if where.any()]
    return any((date != found[0].flat[0]).any() for date in found)


def _radiometry(median, value_range, label):
    """Values of 0 counts, and counts of a unit."""
    if value_range is None:
        if not median > 0:
            raise ValueError(
                f"{label} has a median of {median:g}, and its unit is unknown: pass value_range, "
                "the values of reflectance 0 and 1"
            )
        return 0.0, _USUAL_COUNTS / median
    limits = as_value_range(value_range)
    if limits is None:
        raise ValueError(
            f"value_range is {value_range!r}: give the values of reflectance 0 and 1, two finite "
            "numbers, the lower first"
        )
    low, high = limits
    reflectance = (median - low) / (high - low)
    if not _REFLECTANCES[0] <= reflectance <= _REFLECTANCES[1]:
        raise ValueError(
            f"{label} has a median of {median:g}, which is a reflectance of {reflectance:.4g} by "
            f"value_range=({low:g}, {high:g}): give the values of reflectance 0 and 1, such as "
            "(0, 10000)"
        )
    return low, _REFLECTANCE_ONE / (high - low)


def _n_pixels(n, reduction):
    """Image pixels that cover n HR pixels."""
    return int(np.ceil(n * reduction - 1e-9))


def _read_around(values, dates, first, sizes, pad):
    """A window of some dates with `pad` pixels around it, mirrored beyond the image."""
    rows, columns = (
        np.pad(np.arange(length), pad, mode="reflect")[start : start + size + 2 * pad]
        for length, start, size in zip(values.shape[1:], first, sizes, strict=True)
    )
    return values[np.ix_(dates, rows, columns)]


def _area_means(image, edges, axis):
    """Means between fractional `edges` along an axis, by interpolation of cumulative sums."""
    lines = np.moveaxis(image, axis, 0)
    sums = np.cumsum(lines, axis=0, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    before = np.clip(np.floor(edges).astype(int), 0, len(lines) - 1)
    share = (edges - before).reshape(-1, *[1] * (image.ndim - 1))
    means = np.diff(sums[before] + share * (sums[before + 1] - sums[before]), axis=0)
    means /= np.diff(edges).reshape(share[1:].shape)
    return np.moveaxis(means.astype(np.float32), 0, axis)


def _draw_place(rng, places):
    """Row and column of one of the places, all with the same probability."""
    ends = np.cumsum(places.sum(1))
    number = int(rng.integers(ends[-1]))
    row = int(np.searchsorted(ends, number, side="right"))
    before = int(ends[row - 1]) if row else 0
    return row, int(np.flatnonzero(places[row])[number - before])
