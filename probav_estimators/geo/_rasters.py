"""GeoTIFFs and other rasters: files of one site on one grid, read window by window."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..raster_files import (
    band_of_name,
    check_one_band,
    close_with,
    find_files,
    group_paths,
    is_remote,
    names_of_bands,
    open_raster,
    scene_name,
)
from ..scenes import MaskStack
from ._alpha import above_zero, find_alpha
from ._encoding import check_options, holds, read_encoding
from ._frame_metadata import (
    marks_of_tags,
    time_of_file,
    times_of_folders,
    warn_of_position,
    without_date,
)
from ._grid import (
    WARP_COMMAND,
    FileOnGrid,
    Grid,
    GridRequest,
    common_grid,
    is_box,
    overlap,
    put_on_grid,
    resample,
    resample_validity,
    same_crs,
    warn_of_resampling,
)
from ._imagery import Imagery
from ._masks import check_mask_type, mask_stack, mask_type_of_name, match_dates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._masks import MaskType

    Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    Window = tuple[slice, slice] | None
    Box = tuple[float, float, float, float] | None
    Factor = float | Sequence[float] | NDArray[Any] | None

__all__ = ["RasterStack", "band_name", "grid_like", "open_bands", "open_masks", "open_rasters"]


@dataclass(frozen=True)
class RasterStack:
    """One band of several raster files: a Stack that pickles as its paths.

    Parameters
    ----------
    paths : sequence of str
    band : int
        Number of the band; the first is 1.
    size : tuple of two ints
        (h, w) of the part that is used.
    dtype : numpy dtype
    places : sequence of FileOnGrid
        Of each file on the grid.
    origin : tuple of two ints, default=(0, 0)
        Row and column of the grid where that part starts.
    validity : bool, default=False
        Whether values are those of GDAL's masks, 0 = no data, in place of the band.
    fill : float, default=0
        Value where a file is not.
    nodata : float, default=None
        Stored value of no data of files that are resampled; NaN of floats without one.
    """

    paths: Sequence[str]
    band: int
    size: tuple[int, int]
    dtype: np.dtype[Any]
    places: Sequence[FileOnGrid]
    origin: tuple[int, int] = (0, 0)
    validity: bool = False
    fill: float = 0
    nodata: float | None = None

    def __post_init__(self) -> None:
        close_with(self, self.paths)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.paths), *self.size

    def read(self, index: Sequence[int], window: tuple[slice, slice]) -> NDArray[Any]:
        sizes = [part.stop - part.start for part in window]
        stored = np.full((len(index), *sizes), self.fill, self.dtype)
        for position, number in enumerate(index):
            inside, wanted = self._in_file(number, window)
            if all(low < high for low, high in wanted):
                stored[position, *inside] = self._read_file(number, wanted)
        return stored

    def _read_file(self, number, window):
        """Read a window in pixels of a file, or of its footprint if it is resampled."""
        onto = self.places[number].onto
        with open_raster(self.paths[number]) as file:
            if onto is not None:
                part = onto.window(*(slice(*ends) for ends in window))
                if self.validity:
                    return resample_validity(file, part)
                return resample(file, self.band, part, self.nodata)
            read = file.read_masks if self.validity else file.read
            return read(self.band, window=window)

    def _in_file(self, number, window):
        """Part of a window that a file covers, in pixels of the window and of the file."""
        inside, wanted = [], []
        footprint = self.places[number].footprint
        for start, part, covered in zip(self.origin, window, footprint, strict=True):
            first, last = start + part.start, start + part.stop
            low, high = max(first, covered.start), min(last, covered.stop)
            inside.append(slice(low - first, max(low, high) - first))
            wanted.append((low - covered.start, high - covered.start))
        return inside, tuple(wanted)

    def take(self, numbers: Sequence[int]) -> RasterStack:
        paths = [self.paths[number] for number in numbers]
        return replace(self, paths=paths, places=[self.places[number] for number in numbers])

    def where(self, number: int) -> str:
        path = self.paths[number]
        return path if self.band == 1 else f"{path}, band {self.band}"


class _Header(NamedTuple):
    """Metadata of a file."""

    path: str
    grid: Grid
    dtypes: tuple[str, ...]
    nodatavals: tuple[float | None, ...]
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    time: datetime | None
    colors: tuple[str, ...]
    has_masks: bool
    fraction: tuple[float, float]
    resampled: bool

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture of 8 bits in red, green and blue."""
        return set(self.dtypes) == {"uint8"} and self.colors[:3] == ("red", "green", "blue")


def open_rasters(
    paths: Paths,
    *,
    window: Window = None,
    bbox: Box = None,
    name: str = "paths",
    request: GridRequest | None = None,
    **options: Factor | Mapping[str, Any],
) -> Imagery:
    """Read the headers of raster files of one site, one a date; see :func:`open_scene`.

    Parameters
    ----------
    paths : path-like or sequence of path-likes
        Files, glob patterns (``**`` for folders at any depth) or folders.
    window : tuple of two slices, default=None
        Rows and columns to use.
    bbox : tuple of four floats, default=None
        In place of `window`: left, bottom, right, top in units of the CRS.
    name : str
        Name of `paths` in messages.
    request : GridRequest, default=None
        None: the union of the files on the grid of the first.
    **options
        The `scale_factor`, `add_offset` and `nodata` of stored values.

    Returns
    -------
    Imagery
        Bands have the names of their descriptions; without, "1", "2", ... or, of a single one, that
        in the name of the file, else "band".
    """
    request = request or GridRequest()
    request.check()
    if request.bounds is not None and (window is not None or bbox is not None):
        raise ValueError(
            "bounds and the window or bbox both say what part to use: give one of them"
        )
    headers = [_read_header(path) for path in find_files(paths, name)]
    first = headers[0].path
    if len(headers) == 1:
        warnings.warn(
            f"{name} is one file, {first}: it is sharpened by itself, and nothing is gained from "
            "other dates",
            stacklevel=2,
        )
    if palettes := [header.path for header in headers if "palette" in header.colors]:
        raise ValueError(
            f"{palettes[0]} holds numbers of colours in a palette, which are no values of pixels: "
            "give the files of the bands, or write its colours by gdal_translate -expand rgb"
        )
    if all(header.is_picture for header in headers):
        warnings.warn(
            f"{first} is a picture of 8 bits in red, green and blue: its values were stretched "
            "for display, and what was cut off is lost; the files of the bands themselves hold "
            "more",
            stacklevel=2,
        )
    like = None if request.like is None else grid_like(request.like)
    whole, places = _common_grid(headers, request, like)
    imagery = _imagery_of(headers, whole, places, window, bbox, options)
    resampled = np.array([place.onto is not None for place in places])
    warn_of_resampling(resampled, [header.path for header in headers])
    return imagery


def _common_grid(headers, request, like):
    """The grid of files that are alike, and the place of each on it."""
    for header in headers[1:]:
        _check_alike(headers[0], header)
    files, grids = [header.path for header in headers], [header.grid for header in headers]
    return common_grid(files, grids, request, like)


def grid_like(path: str | os.PathLike[str]) -> Grid:
    """Return the grid of a file that others come onto; a ValueError if it has none."""
    file, *others = find_files(path, "like")
    if others:
        raise ValueError(f"like is {path}, which are {1 + len(others)} files: give one")
    with open_raster(file) as opened:
        grid = _header_of(opened, file).grid
    if grid.transform == Grid.of_pixels(grid.shape).transform:
        raise ValueError(
            f"{file} has no georeference, and like gives the grid of the image: give a file that "
            "has one"
        )
    grid.check_usable(file, WARP_COMMAND)
    return grid


def open_masks(
    paths: Paths, mask_type: MaskType, imagery: Imagery, request: GridRequest | None = None
) -> MaskStack:
    """Return the quality maps of frames from raster files of masks; see :func:`mask_stack`.

    `mask_type` None: by the name of the first file, else a mask, 1 = clear. `request` is that
    of `imagery`. If frames or masks are on several grids, each mask comes onto the pixels of its
    frame.
    """
    # Refuses an unknown kind before anything is read.
    check_mask_type(mask_type)
    headers = [_read_header(path) for path in find_files(paths, "mask")]
    whole, places = _common_grid(headers, GridRequest(), None)
    masks = _imagery_of(headers, whole, places)
    if mask_type is None:
        mask_type = mask_type_of_name(os.path.basename(headers[0].path))
    if len(masks) == len(imagery) > 1 and masks.times is None and imagery.times is None:
        warn_of_position(masks.label, "masks are matched")
    asked = request is not None and request.is_given
    several = masks.is_of_several_grids or imagery.is_of_several_grids
    several |= imagery.whole.signs != whole.signs
    several |= not same_crs(imagery.whole.crs, whole.in_crs_of(imagery.whole).crs)
    if (asked or several) and imagery.whole.placed and whole.placed:
        masks = _masks_of_frames(masks, headers, imagery)
    return mask_stack(masks, mask_type, imagery)


def _masks_of_frames(masks, headers, imagery):
    """Masks that come onto the pixels of their frames, one for each.

    A ValueError is raised if a mask shows nothing of its frame.
    """
    headers = [headers[number] for number in match_dates(masks, imagery)]
    places = []
    for frame, header in enumerate(headers):
        own = imagery.whole.shifted(*imagery.fractions[frame])
        path = imagery.first.where(frame)
        place = put_on_grid(own, header.grid, path, header.path, of_mask=True)
        if not overlap(place.footprint, imagery.first.places[frame].footprint):
            raise ValueError(
                f"{header.path} lies within {header.grid.bounds} of {header.grid.crs_name} and "
                f"shows nothing of {path}: give the masks of these frames"
            )
        places.append(place)
    found = _imagery_of(headers, imagery.whole, places)
    return replace(found, dates=imagery.dates)


def open_bands(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], bands: Any, **options: Any
) -> Imagery:
    """Open the files of several bands.

    `paths` are files of one site, one a date, or patterns, each of the files of one band; `bands`
    are numbers, the first is 1, or names. The options are those of :func:`open_rasters`.
    """
    groups = [open_rasters(one, **options) for one in group_paths(paths)]
    first = groups[0]
    if len(groups) == 1:
        names = first.bands if bands is None else [band_name(first, band) for band in bands]
        return replace(first, bands={name: first.bands[name] for name in names})
    if bands is not None:
        raise ValueError(
            "bands picks of files that hold several, and each pattern stands for one band: leave "
            "bands out"
        )
    for other in groups[1:]:
        _check_same_frames(first, other)
    names = names_of_bands([one.label for one in groups])
    own = [band_name(one, None) for one in groups]
    parts = [*zip(names, groups, own, strict=True)]
    moved = [one.resampled for one in groups if one.resampled is not None]
    return replace(
        first,
        bands={name: one.bands[band] for name, one, band in parts},
        encodings={name: one.encodings[band] for name, one, band in parts},
        valid={name: one.valid[band] for name, one, band in parts if one.valid},
        labels={name: one.labels[band] for name, one, band in parts},
        resampled=np.logical_or.reduce(moved),
        named=all(one.named for one in groups),
    )


def band_name(imagery: Imagery, band: int | str | None) -> str:
    """Return the name of a band by number or name; None: the only one."""
    names = list(imagery.bands)
    if band is None and len(names) == 1:
        return names[0]
    if isinstance(band, str) and band in names:
        return band
    if isinstance(band, (int, np.integer)) and 1 <= band <= len(names):
        return names[int(band) - 1]
    shown = ", ".join(f"{number} ({name})" for number, name in enumerate(names, start=1))
    raise ValueError(
        f"band is {band!r} and {imagery.label} has the bands {shown}: give the number or the name "
        "of one"
    )


def _check_same_frames(first, other):
    first.grid.check_same(other.grid, first.label, other.label)
    if len(first) == len(other):
        for number in np.flatnonzero(np.abs(first.fractions - other.fractions).max(axis=1) > 0.01):
            raise ValueError(
                f"{first.first.where(number)} and {other.first.where(number)} lie on different "
                "grids: give the bands of each date on one grid"
            )
    for what, one, two in [
        ("number of dates", len(first), len(other)),
        ("type", first.first.dtype, other.first.dtype),
    ]:
        if one != two:
            raise ValueError(
                f"{first.label} and {other.label} differ in their {what}, {one} and {two}: give "
                "the same dates of each band, in one type"
            )
    if first.times is not None and other.times is not None:
        for number in np.flatnonzero(first.times != other.times):
            raise ValueError(
                f"{first.first.where(number)} and {other.first.where(number)} are of different "
                f"dates, {first.times[number]} and {other.times[number]}: give the same dates of "
                "each band"
            )


def _imagery_of(headers, whole, places, window=None, bbox=None, options=None):
    first, options = headers[0], options or {}
    files = [header.path for header in headers]
    if options.get("nodata") is None:
        _check_nodata(headers)
    check_one_band(files)
    fractions = np.array([place.fraction for place in places])
    fractions += [header.fraction for header in headers]
    resampled = np.array([place.onto is not None for place in places])
    full = slice(0, whole.shape[0]), slice(0, whole.shape[1])
    covered = not resampled.any() and all(place.footprint == full for place in places)
    rows, columns = _whole_pixels(whole, window, bbox, files[0])
    grid, origin = whole.window(rows, columns), (rows.start, columns.start)
    dtype = np.dtype(first.dtypes[0])
    layout = {"size": grid.shape, "dtype": dtype, "places": places, "origin": origin}
    stack_of = partial(RasterStack, files, **layout)
    alpha = _alpha_of(headers, stack_of)
    numbers = [number for number in range(len(first.dtypes)) if number != alpha]
    names, named = _band_names([first.descriptions[number] for number in numbers], files[0])
    check_options(options, names)
    several = len(names) > 1
    bands, encodings, valid = {}, {}, {}
    times = _times(headers)
    has_masks = any(header.has_masks for header in headers)
    for number, band in zip(numbers, names, strict=True):
        tags = {
            "scale_factor": [header.scales[number] for header in headers],
            "add_offset": [header.offsets[number] for header in headers],
            "nodata": first.nodatavals[number],
        }
        encodings[band] = read_encoding(tags, options, band, len(files), dtype, times)
        nodata, is_float = encodings[band].nodata, dtype.kind == "f"
        if nodata is not None and not is_float and not holds(dtype, nodata):
            nodata = None
        bands[band] = stack_of(
            number + 1,
            fill=np.nan if is_float else (nodata or 0),
            nodata=np.nan if is_float and nodata is None else nodata,
        )
        own = None
        if has_masks or not (covered or is_float or nodata is not None or alpha is not None):
            masks = stack_of(number + 1, validity=True, dtype=np.dtype(np.uint8))
            own = MaskStack(masks, above_zero)
        if alpha is not None:
            own = MaskStack(stack_of(alpha + 1), above_zero, other=own)
        if own is not None:
            valid[band] = own
    return Imagery(
        bands=bands,
        encodings=encodings,
        valid=valid,
        grid=grid,
        whole=whole,
        origin=origin,
        dates=times,
        label=files[0],
        labels={band: f"{files[0]}, band {band}" if several else files[0] for band in names},
        name=scene_name(files),
        named=named,
        fractions=fractions,
        resampled=resampled | [header.resampled for header in headers],
    )


def _alpha_of(headers, stack_of):
    """Index of the alpha band, by its colour or name in any file or by its values, or None."""
    bands = [str(number) for number in range(1, 1 + len(headers[0].dtypes))]
    if len(bands) == 1:
        # A stack closes its files when it is deleted.
        return None
    texts = {band: [header.descriptions[int(band) - 1] for header in headers] for band in bands}
    for header in headers:
        for band, color in zip(bands, header.colors, strict=True):
            texts[band].append(color if color == "alpha" else None)
    stacks = {band: stack_of(int(band)) for band in bands}
    nodata = dict(zip(bands, headers[0].nodatavals, strict=True))
    found = find_alpha(stacks, texts, nodata, headers[0].path)
    return None if found is None else bands.index(found)


def _band_names(found, path):
    """Names of the bands of a file by their descriptions, and whether they are its own."""
    if all(found) and len(set(found)) == len(found):
        return found, True
    if len(found) > 1:
        return [str(number) for number in range(1, len(found) + 1)], False
    return [band_of_name(path) or "band"], False


def _times(headers):
    """Acquisition times, by tags and names of the files or by names of their folders."""
    times = [header.time for header in headers]
    if None in times:
        times = times_of_folders([header.path for header in headers])
    return None if None in times else np.array(times, "datetime64[s]")


def _read_header(path):
    _check_mask_file(path)
    with open_raster(path) as file:
        header = _header_of(file, path)
    _check_header(header)
    return header


def _check_mask_file(path):
    """Refuse masks beside a file that GDAL would read by another driver than GeoTIFF's."""
    for beside in (f"{path}.msk", f"{path}.MSK"):
        if not is_remote(path) and os.path.exists(beside):
            with open_raster(beside):
                pass


def _header_of(file, path):
    if file.transform.is_identity and (file.gcps[0] or file.rpcs):
        raise ValueError(
            f"{path} is placed by {'control points' if file.gcps[0] else 'RPCs'}, and not on a "
            f"grid: put it on one, such as by {WARP_COMMAND}"
        )
    from rasterio.enums import MaskFlags

    tags = {**file.tags(), **file.tags(ns="IMAGERY")}
    fraction, resampled = marks_of_tags(tags)
    return _Header(
        path=path,
        grid=Grid.of_file(file),
        dtypes=file.dtypes,
        # NaN is no data in any case.
        nodatavals=tuple(None if value != value else value for value in file.nodatavals),
        descriptions=file.descriptions,
        scales=file.scales,
        offsets=file.offsets,
        time=time_of_file(tags, path),
        colors=tuple(color.name for color in file.colorinterp),
        has_masks=any(
            MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
            for flags in file.mask_flag_enums
        ),
        fraction=fraction,
        resampled=resampled,
    )


def _check_header(header):
    path = header.path
    if not header.dtypes:
        raise ValueError(
            f"{path} holds several rasters and no bands of its own: give one of those that "
            "gdalinfo lists, as a GeoTIFF by gdal_translate"
        )
    if set(header.colors) == {"alpha"}:
        raise ValueError(f"{path} has an alpha band and no other: give the file of a band")
    if len(set(header.dtypes)) > 1:
        raise ValueError(
            f"{path} has bands of the types {', '.join(header.dtypes)}: write them alike, or one "
            "band a file"
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
    header.grid.check_usable(path, WARP_COMMAND)


def _check_nodata(headers):
    """Raise a ValueError if files have different nodata values."""
    first = headers[0]
    for other in headers:
        if other.nodatavals != first.nodatavals:
            raise ValueError(
                f"{first.path} and {other.path} differ in their nodata value, "
                f"{first.nodatavals[0]} and {other.nodatavals[0]}: pass the one that holds for "
                "all, nodata=..., or write it into the files by gdal_edit.py -a_nodata"
            )


def _check_alike(first, other):
    """Raise a ValueError if two files are not of the same bands."""
    for what, one, two in [
        ("number of bands", len(first.dtypes), len(other.dtypes)),
        ("type", first.dtypes[0], other.dtypes[0]),
    ]:
        if one != two:
            raise ValueError(
                f"{first.path} and {other.path} differ in their {what}, {one} and {two}: give "
                "files of one product, or write them alike by gdal_translate"
            )
    for one, two in zip(first.descriptions, other.descriptions, strict=True):
        if one and two and without_date(one) != without_date(two):
            raise ValueError(
                f"{first.path} and {other.path} have the bands {one!r} and {two!r} at one place: "
                "give files of the same bands in the same order"
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
    if not is_box(bbox):
        raise ValueError(f"bbox is {bbox}: give left, bottom, right, top in units of the CRS")
    rows, columns = (
        slice(max(0, part.start), min(length, part.stop))
        for part, length in zip(grid.pixels_of(bbox), grid.shape, strict=True)
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(
            f"bbox is {bbox} and {path} lies within {grid.bounds}, they do not overlap: give left, "
            "bottom, right, top in units of the files' CRS"
        )
    return rows, columns
