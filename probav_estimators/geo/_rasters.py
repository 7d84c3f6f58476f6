"""GeoTIFFs and other rasters: files of one site on one grid, read window by window."""

from __future__ import annotations

import glob
import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..scenes import MaskStack, Scene
from ._encoding import Encoding, scene_of_stack
from ._grid import Grid
from ._masks import clear_of, mask_type_of_name, match_mask, warn_of_no_mask
from ._value_ranges import check_value_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._value_ranges import LearnedRange

    Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    MaskType = str | Callable[[NDArray[Any]], NDArray[np.bool_]] | None
    Factor = float | Sequence[float] | NDArray[Any] | None

__all__ = ["RasterStack", "Rasters", "mask_stack", "open_rasters", "open_scene", "scene_of_band"]

_SUFFIXES = (".tif", ".tiff", ".jp2", ".img", ".vrt")

# Files beside a raster that a pattern finds as well.
_SIDECARS = (".aux.xml", ".ovr", ".msk", ".tfw", ".wld", ".prj")

# Files that a thread keeps open, and bytes of decoded blocks of all threads: decoding a block of
# JPEG 2000 takes 0.1 s, and many windows share it.
_MAX_OPEN, _CACHE_BYTES = 64, 128 << 20

# Tags of the acquisition time. The last may be the time when the file was written.
_TIME_TAGS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATE",
    "SENSING_TIME",
    "DATE_ACQUIRED",
    "time_coverage_start",
    "TIFFTAG_DATETIME",
)
_DATE = re.compile(r"(?<!\d)(\d{4})([-:]?)(\d\d)\2(\d\d)(?:[T _]?(\d\d):?(\d\d):?(\d\d))?(?!\d)")
# HLS counts the days of the year: 2022063T100031.
_YEAR_DAY = re.compile(r"(?<!\d)(\d{4})(\d{3})T(\d\d)(\d\d)(\d\d)(?!\d)")

# B04 or B8A in a file's name.
_BAND = re.compile(r"(?<![A-Za-z0-9])B\d{1,2}A?(?![A-Za-z0-9])")


def _import_rasterio():
    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            "GeoTIFFs and other rasters need rasterio: pip install probav_estimators[geo]"
        ) from error
    return rasterio


class _OpenFiles(threading.local):
    """Open datasets of a thread, the last used at the end."""

    def __init__(self):
        self.process = os.getpid()
        self.datasets = OrderedDict()

    def get(self, path):
        if self.process != os.getpid():
            # After a fork both processes would share the position in the file.
            self.__init__()
        stat = os.stat(path) if os.path.exists(path) else None
        key = path, stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if key not in self.datasets:
            self.datasets[key] = _open(path)
        self.datasets.move_to_end(key)
        while len(self.datasets) > _MAX_OPEN:
            self.datasets.popitem(last=False)[1].close()
        return self.datasets[key]


_open_files = _OpenFiles()

# `warnings.catch_warnings` is not thread-safe.
_opening = threading.Lock()


def _open(path):
    rasterio = _import_rasterio()
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path)


@contextmanager
def _reading(path):
    """Re-raise read errors with the path and a remedy."""
    rasterio = _import_rasterio()
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
            yield
    except rasterio.errors.RasterioError as error:
        raise OSError(
            f"{path} cannot be read, it may be cut short or damaged: fetch it again "
            f"({_reason(error)})"
        ) from error


def _reason(error):
    return str(error.__cause__ or error).strip().rstrip(".")


@dataclass(frozen=True)
class RasterStack:
    """One band of several raster files of one size: a Stack that pickles as its paths.

    Parameters
    ----------
    paths : sequence of str
    band : int
        Number of the band; the first is 1.
    size : tuple of two ints
        (h, w) of the part that is used.
    dtype : numpy dtype
    origin : tuple of two ints, default=(0, 0)
        Row and column of the files where that part starts.
    """

    paths: Sequence[str]
    band: int
    size: tuple[int, int]
    dtype: np.dtype[Any]
    origin: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.paths), *self.size

    def read(self, index: Sequence[int], window: tuple[slice, slice]) -> NDArray[Any]:
        sizes = [part.stop - part.start for part in window]
        part = tuple(
            (start + piece.start, start + piece.stop)
            for start, piece in zip(self.origin, window, strict=True)
        )
        stored = np.empty((len(index), *sizes), self.dtype)
        for position, number in enumerate(index):
            path = self.paths[number]
            with _reading(path):
                stored[position] = _open_files.get(path).read(self.band, window=part)
        return stored

    def where(self, number: int) -> str:
        path = self.paths[number]
        return path if self.band == 1 else f"{path}, band {self.band}"


@dataclass(frozen=True)
class _RepeatedStack:
    """Images of larger pixels, repeated on a window of a finer grid.

    Parameters
    ----------
    stack : Stack
    repeat : int
        Fine pixels for each of the stack's along each axis.
    origin : tuple of two ints
        Fine row and column, counted from the stack's corner, where the part starts.
    size : tuple of two ints
        (h, w) of the part in fine pixels.
    """

    stack: RasterStack
    repeat: int
    origin: tuple[int, int]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.stack.shape[0], *self.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.stack.dtype

    def read(self, index: Sequence[int], window: tuple[slice, slice]) -> NDArray[Any]:
        wanted, inside = [], []
        for first, part in zip(self.origin, window, strict=True):
            start, stop = first + part.start, first + part.stop
            coarse = slice(start // self.repeat, -(-stop // self.repeat))
            wanted.append(coarse)
            inside.append(
                slice(start - coarse.start * self.repeat, stop - coarse.start * self.repeat)
            )
        stored = self.stack.read(index, (wanted[0], wanted[1]))
        return stored.repeat(self.repeat, axis=1).repeat(self.repeat, axis=2)[:, *inside]

    def where(self, number: int) -> str:
        return self.stack.where(number)


class _Header(NamedTuple):
    """Metadata of a file."""

    grid: Grid
    dtypes: tuple[str, ...]
    nodatavals: tuple[float | None, ...]
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    time: datetime | None
    is_rgb: bool


@dataclass
class Rasters:
    """Raster files of one site on one grid; see :func:`open_rasters`.

    Parameters
    ----------
    paths : list of str
    whole : Grid
        Of the files.
    window : tuple of two slices
        Rows and columns that are used, with both ends.
    band_names : list of str
        Descriptions of the bands; "1", "2", ... or, of a single one, "band" where there are none.
    dtype : numpy dtype
    scales, offsets : float64 array of shape (t, bands)
        value = stored * scale + offset, of each file and band.
    nodata : float or None
        Stored value of no data, by the files' tags.
    times : datetime64 array of shape (t,) or None
        None: the time of a file is not known.
    is_rgb_picture : bool
        Whether the files are pictures of 8 bits in red, green and blue.
    described : bool
        Whether the names of the bands are the files' own.
    """

    paths: list[str]
    whole: Grid
    window: tuple[slice, slice]
    band_names: list[str]
    dtype: np.dtype[Any]
    scales: NDArray[np.float64]
    offsets: NDArray[np.float64]
    nodata: float | None = None
    times: NDArray[np.datetime64] | None = None
    is_rgb_picture: bool = False
    described: bool = False

    @property
    def grid(self) -> Grid:
        """Of the window."""
        return self.whole.window(*self.window)

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the files where the window starts."""
        return self.window[0].start, self.window[1].start

    def stack(self, band_number: int) -> RasterStack:
        """The frames of one band; the first is 1."""
        return RasterStack(self.paths, band_number, self.grid.shape, self.dtype, self.origin)

    def band_number(self, band: int | str | None) -> int:
        """Number of a band, the first is 1, by number or name; None: the only one."""
        names = self.band_names
        if band is None and len(names) == 1:
            return 1
        if isinstance(band, str) and names.count(band) == 1:
            return names.index(band) + 1
        if isinstance(band, (int, np.integer)) and 1 <= band <= len(names):
            return int(band)
        shown = ", ".join(f"{number} ({name})" for number, name in enumerate(names, start=1))
        raise ValueError(
            f"band is {band!r} and {self.paths[0]} has the bands {shown}: give the number or the "
            "name of one"
        )


def open_rasters(
    paths: Paths,
    *,
    window: tuple[slice, slice] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    name: str = "paths",
) -> Rasters:
    """Read the headers of raster files of one site.

    Parameters
    ----------
    paths : path-like or sequence of path-likes
        Files, glob patterns (``**`` for folders at any depth) or folders, of which the ``.tif``,
        ``.tiff``, ``.jp2``, ``.img`` and ``.vrt`` are taken. Matches of a pattern are
        sorted by name.
    window : tuple of two slices, default=None
        Rows and columns to use.
    bbox : tuple of four floats, default=None
        In place of `window`: left, bottom, right, top in units of the CRS. All pixels that it
        touches are used.
    name : str
        Name of `paths` in messages.

    Returns
    -------
    Rasters

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For files that are no rasters or differ in grid, bands, type or nodata, grids that are
        rotated or not square, and windows outside of them.
    """
    files = _find_files(paths, name)
    if len(files) == 1:
        warnings.warn(
            f"{name} is one file, {files[0]}: it is sharpened by itself, and nothing is gained "
            "from other dates",
            stacklevel=2,
        )
    return _read_rasters(files, window, bbox)


def _find_files(paths, name):
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    files = [file for item in given for file in _expand(os.fspath(item))]
    if not files:
        shown = ", ".join(repr(os.fspath(item)) for item in given) or "an empty list"
        raise FileNotFoundError(
            f"{name} is {shown}, and there is no raster file: check the folder, and put patterns "
            "such as 'dates/*_B04.tif' in quotes"
        )
    return files


def _expand(item):
    if "://" in item or item.startswith("/vsi"):
        return [item]
    if os.path.isdir(item):
        names = sorted(os.listdir(item))
        found = [os.path.join(item, name) for name in names if name.lower().endswith(_SUFFIXES)]
    elif os.path.exists(item) or not glob.has_magic(item):
        found = [item]
    else:
        found = sorted(glob.glob(item, recursive=True))
        found = [file for file in found if not file.lower().endswith(_SIDECARS)]
    return [os.path.abspath(file) for file in found if not os.path.isdir(file)]


def _read_rasters(files, window, bbox):
    headers = [_read_header(path) for path in files]
    first = headers[0]
    for path, header in zip(files[1:], headers[1:], strict=True):
        _check_alike(first, files[0], header, path)
    _check_one_band(files)
    described = all(first.descriptions) and len(set(first.descriptions)) == len(first.descriptions)
    numbers = [str(number) for number in range(1, len(first.dtypes) + 1)]
    unnamed = numbers if len(numbers) > 1 else ["band"]
    return Rasters(
        paths=files,
        whole=first.grid,
        window=_whole_pixels(first.grid, window, bbox, files[0]),
        band_names=list(first.descriptions) if described else unnamed,
        dtype=np.dtype(first.dtypes[0]),
        scales=np.array([header.scales for header in headers], np.float64),
        offsets=np.array([header.offsets for header in headers], np.float64),
        nodata=first.nodatavals[0],
        times=_times(files, headers),
        is_rgb_picture=all(header.is_rgb for header in headers),
        described=described,
    )


def _read_header(path):
    rasterio = _import_rasterio()
    try:
        with _open(path) as file:
            header = _header_of(file, path)
    except rasterio.errors.RasterioError as error:
        if "://" not in path and not path.startswith("/vsi") and not os.path.exists(path):
            raise FileNotFoundError(f"{path} does not exist: check the name") from error
        raise ValueError(
            f"{path} is no raster, or is cut short: give GeoTIFFs or other rasters that GDAL "
            f"reads, or fetch it again ({_reason(error)})"
        ) from error
    _check_header(header, path)
    return header


def _header_of(file, path):
    crs = file.crs.to_wkt() if file.crs else None
    tags = {**file.tags(), **file.tags(ns="IMAGERY")}
    colors = [color.name for color in file.colorinterp[:3]]
    return _Header(
        grid=Grid(tuple(file.transform)[:6], file.shape, crs),
        dtypes=file.dtypes,
        nodatavals=file.nodatavals,
        descriptions=file.descriptions,
        scales=file.scales,
        offsets=file.offsets,
        time=_time_of(tags, path),
        is_rgb=file.count in (3, 4)
        and set(file.dtypes) == {"uint8"}
        and colors == ["red", "green", "blue"],
    )


def _check_header(header, path):
    if not header.dtypes:
        raise ValueError(
            f"{path} holds several rasters and no bands of its own: give one of those that "
            "gdalinfo lists, as a GeoTIFF by gdal_translate"
        )
    if len(set(header.dtypes)) > 1 or len(set(map(repr, header.nodatavals))) > 1:
        raise ValueError(
            f"{path} has bands of the types {', '.join(header.dtypes)} and with the nodata values "
            f"{', '.join(map(repr, header.nodatavals))}: write them alike, or one band a file"
        )
    if "complex" in header.dtypes[0] or np.dtype(header.dtypes[0]).kind not in "uif":
        raise ValueError(
            f"{path} has values of type {header.dtypes[0]}: give integers or floats, such as the "
            "amplitude of complex numbers"
        )
    if not (np.isfinite([header.scales, header.offsets]).all() and all(header.scales)):
        raise ValueError(
            f"{path} has the scales {header.scales} and offsets {header.offsets} in its tags, "
            "which give no values: set them, such as by rio edit-info or gdal_edit.py"
        )
    header.grid.check_usable(path)


def _check_alike(first, first_path, other, path):
    """Raise a ValueError if two files are not of the same bands on the same grid."""
    for what, one, two in [
        ("number of bands", len(first.dtypes), len(other.dtypes)),
        ("type", first.dtypes[0], other.dtypes[0]),
        ("nodata value", repr(first.nodatavals[0]), repr(other.nodatavals[0])),
    ]:
        if one != two:
            raise ValueError(
                f"{first_path} and {path} differ in their {what}, {one} and {two}: give files of "
                "one product, or write them alike by gdal_translate"
            )
    for one, two in zip(first.descriptions, other.descriptions, strict=True):
        if one and two and _DATE.sub("", one) != _DATE.sub("", two):
            raise ValueError(
                f"{first_path} and {path} have the bands {one!r} and {two!r} at one place: give "
                "files of the same bands in the same order"
            )
    first.grid.check_same(other.grid, first_path, path)


def _check_one_band(files):
    """Raise a ValueError if a pattern or a folder has the bands of a date as several files."""
    seen = {}
    for path in files:
        folder, name = os.path.split(path)
        rest, n_bands = _BAND.subn("", name)
        earlier = seen.setdefault(os.path.join(folder, rest), path)
        if n_bands and earlier != path:
            raise ValueError(
                f"{earlier} and {path} are two bands of one date: give the files of one band, "
                "such as 'dates/*_B04.tif'"
            )


def _whole_pixels(grid, window, bbox, path):
    """Rows and columns to use, as slices with both ends."""
    if window is not None and bbox is not None:
        raise ValueError("window and bbox both say what part to use: give one of them")
    if bbox is not None:
        return _window_of_bbox(grid, bbox, path)
    parts = []
    for part, length in zip(window or (slice(None), slice(None)), grid.shape, strict=True):
        start = 0 if part.start is None else part.start
        stop = length if part.stop is None else part.stop
        if not (0 <= start < stop <= length and part.step in (None, 1)):
            raise ValueError(
                f"window is {window} and {path} has {grid.shape[0]} rows and {grid.shape[1]} "
                "columns: give two slices, of rows and of columns, within them"
            )
        parts.append(slice(int(start), int(stop)))
    return parts[0], parts[1]


def _window_of_bbox(grid, bbox, path):
    left, bottom, right, top = (float(value) for value in bbox)
    if not (left < right and bottom < top and np.isfinite(bbox).all()):
        raise ValueError(f"bbox is {bbox}: give left, bottom, right, top in units of the CRS")
    a, _, c, _, e, f = grid.transform
    parts = []
    for ends, size, start, length in [
        ((bottom, top), e, f, grid.shape[0]),
        ((left, right), a, c, grid.shape[1]),
    ]:
        low, high = sorted((end - start) / size for end in ends)
        # An end between two pixels, with its rounding error, does not reach the next pixel.
        first, last = int(np.floor(low + 1e-6)), int(np.ceil(high - 1e-6))
        parts.append(slice(max(0, first), min(length, last)))
    if any(part.start >= part.stop for part in parts):
        raise ValueError(
            f"bbox is {bbox} and {path} lies within {grid.bounds}, they do not overlap: give left, "
            "bottom, right, top in units of the files' CRS"
        )
    return parts[0], parts[1]


def _times(files, headers):
    """Acquisition times, by tags and names of the files or by names of their folders."""
    times = [header.time for header in headers]
    if None in times:
        times = [_time_in(os.path.basename(os.path.dirname(path))) for path in files]
        # A date of the folder of all files is not one of a frame.
        if None in times or len(set(times)) == 1:
            return None
    return np.array(times, "datetime64[s]")


def _time_of(tags, path):
    named = _time_in(os.path.basename(path))
    tagged = next((time for tag in _TIME_TAGS if (time := _time_in(tags.get(tag, "")))), None)
    # Tags may hold the time when the file was written.
    if tagged is None or (named is not None and abs(tagged - named) >= timedelta(days=2)):
        return named
    return tagged


def _time_in(text):
    """The first plausible date in a text, or None."""
    found = [
        (match.start(), [match[1], match[3], match[4]], "%Y%m%d", match.groups()[4:])
        for match in _DATE.finditer(text)
    ] + [
        (match.start(), [match[1], match[2]], "%Y%j", match.groups()[2:])
        for match in _YEAR_DAY.finditer(text)
    ]
    for _, day, form, clock in sorted(found, key=lambda match: match[0]):
        digits = "".join([*day, *(part or "00" for part in clock)])
        try:
            time = datetime.strptime(digits, f"{form}%H%M%S")
        except ValueError:
            continue
        if 1972 <= time.year <= 2100:
            return time
    return None


@dataclass(frozen=True)
class _Converter:
    """Converts masks of a kind to quality maps; picklable, unlike a lambda."""

    mask_type: Any

    def __call__(self, values, name):
        return clear_of(values, self.mask_type, name)


def mask_stack(
    mask_paths: Paths, mask_type: MaskType, rasters: Rasters, *, name: str = "mask"
) -> MaskStack:
    """Return the quality maps of frames from raster files of masks.

    Parameters
    ----------
    mask_paths : path-like or sequence of path-likes
        As for :func:`open_rasters`: one file a frame, or one for all. They are matched by date
        where all files have one of their own, else by their order. Their pixels are as large as
        the frames' or cover a whole number of them.
    mask_type : str, callable or None
        As for :func:`clear_of`. None: by the name of the first file, else a mask, 1 = clear.
    rasters : Rasters
        The frames.
    name : str
        Name of the masks in messages.

    Returns
    -------
    MaskStack

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        For an unknown kind, masks without a frame or that do not cover it, and what
        :func:`open_rasters` refuses.
    """
    if mask_type is not None and not callable(mask_type):
        # Refuses an unknown kind before anything is read.
        clear_of(np.empty(0, np.uint8), mask_type, name)
    masks = _read_rasters(_find_files(mask_paths, name), None, None)
    if len(masks.band_names) > 1:
        raise ValueError(
            f"{masks.paths[0]} has {len(masks.band_names)} bands, and a mask has one: write the "
            "one to use by itself, such as by gdal_translate -b 1"
        )
    if mask_type is None:
        mask_type = mask_type_of_name(os.path.basename(masks.paths[0]))
    paths = [masks.paths[number] for number in _match(masks, rasters, name)]
    repeat, origin = _mask_grid(masks, rasters)
    stack = replace(masks.stack(1), paths=paths)
    fine = _RepeatedStack(stack, repeat, origin, rasters.grid.shape)
    return MaskStack(fine, _Converter(mask_type))


def _match(masks, rasters, name):
    """Number of the mask of each frame."""
    n_masks, n_frames = len(masks.paths), len(rasters.paths)
    if n_masks == 1:
        return [0] * n_frames
    counts = f"{name} has {n_masks} files and there are {n_frames} frames"
    if masks.times is not None and rasters.times is not None:
        for unit in ("s", "D"):
            wanted, dates = (
                times.astype(f"datetime64[{unit}]").tolist()
                for times in (rasters.times, masks.times)
            )
            distinct = len(set(dates)) == n_masks and len(set(wanted)) == n_frames
            if distinct and set(wanted) <= set(dates):
                return [dates.index(date) for date in wanted]
        if distinct:
            number = next(i for i, date in enumerate(wanted) if date not in dates)
            raise ValueError(
                f"{counts}, and none has the date of {rasters.paths[number]}, {wanted[number]}: "
                "give one mask for each frame, or one for all"
            )
    if n_masks != n_frames:
        alone = (masks if n_masks > n_frames else rasters).paths[min(n_masks, n_frames)]
        what = "without a frame" if n_masks > n_frames else "without a mask"
        raise ValueError(
            f"{counts}, {alone} is the first {what}: give one mask for each frame, in the same "
            "order, or one for all"
        )
    return list(range(n_frames))


def _mask_grid(masks, rasters):
    """Frame pixels a mask pixel covers, and the row and column of these where frames start."""
    mask, image, path = masks.whole, rasters.grid, masks.paths[0]
    if not (mask.placed and rasters.whole.placed):
        repeat, _ = match_mask(mask.shape, rasters.whole.shape, path)
        return repeat, rasters.origin
    image.check_same(replace(image, crs=mask.crs), rasters.paths[0], path)
    times = mask.pixel_size[0] / image.pixel_size[0]
    repeat = max(1, round(times))
    if abs(times - repeat) * max(mask.shape) > 0.01:
        raise ValueError(
            f"{path} has pixels of {mask.pixel_size[0]:.9g} and {rasters.paths[0]} of "
            f"{image.pixel_size[0]:.9g}: each pixel of a mask covers a whole number of the "
            "image's, put it on the image's grid, such as by gdalwarp -r near -tr"
        )
    fine = mask.finer(repeat)
    a, _, c, _, e, f = fine.transform
    row, column = round((image.transform[5] - f) / e), round((image.transform[2] - c) / a)
    (h, w), (mask_h, mask_w) = image.shape, fine.shape
    if min(row, column) < 0 or row + h > mask_h or column + w > mask_w:
        raise ValueError(
            f"{path} lies within {mask.bounds} and does not cover the part of "
            f"{rasters.paths[0]} that is used, {image.bounds}: give the masks of these frames, "
            "or a window that they cover"
        )
    part = fine.window(slice(row, row + h), slice(column, column + w))
    image.check_same(part, rasters.paths[0], path)
    return repeat, (row, column)


def scene_of_band(
    rasters: Rasters,
    band_number: int,
    masks: MaskStack | None,
    *,
    scale_factor: Factor = None,
    add_offset: Factor = None,
    nodata: float | None = None,
    value_range: tuple[float, float] | LearnedRange | None = None,
) -> Scene:
    """Return the scene of one band.

    Parameters
    ----------
    rasters : Rasters
    band_number : int
        The first is 1.
    masks : MaskStack or None
        None: all data are clear.
    scale_factor, add_offset : float or one for each frame, default=None
        Values are stored * scale_factor + add_offset. None: as the files' tags say.
    nodata : float, default=None
        Stored value of no data. None: as the files' tags say.
    value_range : tuple of two floats or LearnedRange, default=None
        Values of pixels of 0 and 1. None: by the type of the values, see :func:`value_range_of`.

    Returns
    -------
    Scene
        Lazy.

    Raises
    ------
    ValueError
        For factors that are not finite numbers, or as many as frames.
    """
    stack = rasters.stack(band_number)
    scale = _factor(scale_factor, rasters.scales[:, band_number - 1], "scale_factor")
    offset = _factor(add_offset, rasters.offsets[:, band_number - 1], "add_offset")
    if not np.all(scale):
        raise ValueError("scale_factor is 0, and every value would be the same: leave it out")
    encoding = Encoding(
        scale=scale,
        offset=offset,
        nodata=rasters.nodata if nodata is None else float(nodata),
        dtype=rasters.dtype,
    )
    name = rasters.band_names[band_number - 1]
    label = f"{rasters.paths[0]}, band {name}" if len(rasters.band_names) > 1 else rasters.paths[0]
    band = name if rasters.described else None
    return scene_of_stack(
        stack,
        encoding,
        masks,
        label,
        name=_scene_name(rasters.paths),
        band=band,
        value_range=value_range,
    )


def _factor(given, tags, name):
    """A number, or one for each frame where they differ."""
    factor = np.asarray(tags if given is None else given, np.float64)
    if factor.shape not in ((), tags.shape) or not np.isfinite(factor).all():
        raise ValueError(
            f"{name} is {given!r}: give a finite number, or one for each of the {len(tags)} frames"
        )
    return factor if np.unique(factor).size > 1 else float(factor.flat[0])


def _scene_name(paths):
    """Common start of the files' names, without a part of a date, or the name of their folder."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    if len(stems) == 1:
        return stems[0]
    # In the order of their letters, the first and the last differ earliest.
    first, last = min(stems), max(stems)
    same = [one == two for one, two in zip(first, last, strict=False)]
    common = first[: [*same, False].index(False)]
    if first != last:
        common = re.sub(r"[^_\-. ]*$", "", common)
    common = re.sub(r"(?:(?:^|[_\-. ]+)\d*)+$", "", common)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return common or os.path.basename(folder) or None


def open_scene(
    paths: Paths,
    *,
    mask: Paths | None = None,
    mask_type: MaskType = None,
    band: int | str | None = None,
    window: tuple[slice, slice] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    scale_factor: Factor = None,
    add_offset: Factor = None,
    nodata: float | None = None,
    value_range: tuple[float, float] | None = None,
) -> Scene:
    """Scene of one band of GeoTIFFs or other rasters, one file a date; windows are read when asked.

    Parameters
    ----------
    paths : path-like or sequence of path-likes
        Files on one grid, a glob pattern such as ``"dates/*_B04.tif"``, or a folder.
    mask : path-like or sequence of path-likes, default=None
        Masks of clear pixels: one file for each of `paths`, matched by date or order, or one for
        all. Their pixels may cover a whole number of the frames'. None: all data are clear, with
        a warning if there is no nodata value either.
    mask_type : str or callable, default=None
        Name of one of `geo.MASK_KINDS`, or a function that takes the values of a mask and returns
        True where it is clear. None: by the masks' names (SCL, QA_PIXEL, ...), else a mask,
        1 = clear.
    band : int or str, default=None
        Number, the first is 1, or name (the description) of the band. None: the only one.
    window : tuple of two slices, default=None
        Rows and columns to use.
    bbox : tuple of four floats, default=None
        In place of `window`: left, bottom, right, top in units of the CRS.
    scale_factor, add_offset : float or one for each frame, default=None
        Values are stored * scale_factor + add_offset. None: as the files' tags say.
    nodata : float, default=None
        Stored value of no data, besides NaN. None: as the files' tags say.
    value_range : tuple of two floats, default=None
        Values of pixels of 0 and 1, with scale and offset: for nets other than FusionNet those of
        the training scenes. None: of the type for 8 and 16 bits, (0, 1) for reflectances in floats,
        else the span of the values.

    Returns
    -------
    Scene

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        Without rasterio: ``pip install probav_estimators[geo]``.
    OSError
        Once pixels are read: if a file is damaged or cut short.
    ValueError
        For files that are no rasters, differ in grid, bands or type, masks that do not fit, and
        windows outside of the files.

    See Also
    --------
    Scene : Scenes of arrays.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import rasterio
    >>> from probav_estimators import open_scene
    >>> grid = {"crs": "EPSG:32634", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5e6)}
    >>> size = {"height": 32, "width": 48, "count": 1, "dtype": "uint16", "nodata": 0}
    >>> folder = tempfile.TemporaryDirectory()
    >>> for date in ("20240105", "20240110", "20240115"):
    ...     path = os.path.join(folder.name, f"lake_{date}_B04.tif")
    ...     with rasterio.open(path, "w", driver="GTiff", **grid, **size) as file:
    ...         file.write(np.full((1, 32, 48), 1200, np.uint16))
    >>> scene = open_scene(os.path.join(folder.name, "*_B04.tif"))
    >>> scene, scene.shape, scene.value_range
    (<Scene 'lake', 3 frames>, (32, 48), (0.0, 65535.0))
    >>> folder.cleanup()
    """
    check_value_range(value_range, {})
    rasters = open_rasters(paths, window=window, bbox=bbox)
    number = rasters.band_number(band)
    masks = None if mask is None else mask_stack(mask, mask_type, rasters)
    scene = scene_of_band(
        rasters,
        number,
        masks,
        scale_factor=scale_factor,
        add_offset=add_offset,
        nodata=nodata,
        value_range=value_range,
    )
    warn_of_no_mask([scene.frames], f"the first of the frames, {rasters.paths[0]},")
    return scene
