"""Grids of georeferenced images, and the common grid of files and products of several grids.

Files with pixels between those of the common grid are read as they are, and registration starts
from the fraction of a pixel. Files of another CRS or pixel size are resampled by nearest neighbour:
interpolation would blur what super-resolution restores.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, hypot
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    Bounds = tuple[float, float, float, float]
    Transform = tuple[float, float, float, float, float, float]

__all__ = [
    "PIXELS",
    "SAME",
    "WARP_COMMAND",
    "FileOnGrid",
    "Grid",
    "GridRequest",
    "common_grid",
    "is_box",
    "overlap",
    "put_on_grid",
    "resample",
    "resample_validity",
    "same_crs",
    "warn_of_resampling",
]

#: Transform of images without georeference.
PIXELS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

#: Part of a pixel by which grids that are the same may differ.
SAME = 0.01

# Relative difference of the sides of square pixels: the rounding of float32 degrees.
_SQUARE = 1e-3

# Rounding error of the edges of a box, in pixels.
_EDGE = 1e-6

#: Command that puts a file on a grid.
WARP_COMMAND = "gdalwarp -r near -t_srs EPSG:32634 -tr 10 10 IN.tif OUT.tif"

# Greatest ratio of pixel sizes.
_MAX_RATIO = 2.0

# Rounding error of ratios, and of lengths in pixels.
_ROUNDING = 1e-6

# Error of the transform of coordinates in resampling, in pixels: so small that pixels do not depend
# on the window. 0, exact, fails in rasterio.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Grid:
    """Transform, shape and CRS of an image.

    Parameters
    ----------
    transform : tuple of six floats
        The a, b, c, d, e, f of rasterio's ``Affine``: the corner of column `i` and row `j` is at
        x = a i + b j + c, y = d i + e j + f. The sign of e is kept: below 0 north is up, above 0
        y ascends.
    shape : tuple of two ints
        (h, w).
    crs : str, default=None
        WKT of the coordinate reference system; None: not known.
    """

    transform: Transform
    shape: tuple[int, int]
    crs: str | None = None

    @classmethod
    def of_pixels(cls, shape: tuple[int, int]) -> Grid:
        """The grid of an image without georeference."""
        return cls(PIXELS, shape)

    @classmethod
    def of_geobox(cls, geobox: GeoBox) -> Grid:
        """The grid of an odc-geo box."""
        a, b, c, d, e, f = (float(value) for value in geobox.transform[:6])
        crs = None if geobox.crs is None else geobox.crs.to_wkt()
        return cls((a, b, c, d, e, f), (geobox.shape.y, geobox.shape.x), crs)

    @classmethod
    def of_file(cls, file: Any) -> Grid:
        """The grid of an open file of rasterio."""
        return cls(tuple(file.transform)[:6], file.shape, file.crs.to_wkt() if file.crs else None)

    @property
    def placed(self) -> bool:
        """Whether the grid is georeferenced, and not that of bare rows and columns."""
        return self.crs is not None or self.transform != PIXELS

    @property
    def crs_name(self) -> str:
        """EPSG code of the CRS, or the name in its WKT."""
        if self.crs is None:
            return "an unknown CRS"
        from rasterio.crs import CRS

        crs = CRS.from_wkt(self.crs)
        return str(crs.to_string()) if crs.to_epsg() else self.crs.split('"')[1]

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Height and width of a pixel, in units of the CRS."""
        a, b, _, d, e, _ = self.transform
        return hypot(b, e), hypot(a, d)

    @property
    def signs(self) -> tuple[float, float]:
        """Whether y and x ascend, 1, or descend, -1, from pixel to pixel."""
        return float(np.sign(self.transform[4])), float(np.sign(self.transform[0]))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least x, least y, greatest x and greatest y: left, bottom, right, top."""
        x, y = self._corners()
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _corners(self):
        h, w = self.shape
        a, b, c, d, e, f = self.transform
        columns, rows = np.array([[0, w, 0, w], [0, 0, h, h]], float)
        return a * columns + b * rows + c, d * columns + e * rows + f

    def coords(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel centres, as y of the rows and x of the columns: float64 (h,) and (w,)."""
        h, w = self.shape
        a, _, c, _, e, f = self.transform
        rows, columns = np.arange(h, dtype=np.float64), np.arange(w, dtype=np.float64)
        return f + e * (rows + 0.5), c + a * (columns + 0.5)

    def finer(self, scale: int) -> Grid:
        """The grid with pixels `scale` times as small; its corners stay where they are."""
        h, w = self.shape
        a, b, c, d, e, f = self.transform
        transform = (a / scale, b / scale, c, d / scale, e / scale, f)
        return replace(self, transform=transform, shape=(h * scale, w * scale))

    def window(self, rows: slice, columns: slice) -> Grid:
        """The grid of a part of the image."""
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        return self.extended(slice(top, bottom), slice(left, right))

    def position_of(self, other: Grid) -> tuple[float, float] | None:
        """Row and column where another grid starts, or None; whole where it is off by a hundredth.

        It is None if the grids differ in CRS or size of pixels. CRS of different names or origins,
        such as the two hemispheres of a UTM zone, are one if pixels are, and an unknown CRS of
        either is taken to be that of the other.

        Parameters
        ----------
        other : Grid

        Returns
        -------
        tuple of two floats or None
        """
        a, b, c, d, e, f = self.transform
        transform = other.transform
        if not same_crs(self.crs, other.crs):
            transform = _affine_in(self.crs, other)
        if b or d or transform is None or not self._has_pixels_of(transform, other.shape):
            return None
        row, column = (transform[5] - f) / e, (transform[2] - c) / a
        row, column = (
            float(round(start)) if abs(start - round(start)) <= SAME else start
            for start in (row, column)
        )
        return row, column

    def in_crs_of(self, other: Grid) -> Grid:
        """The grid in the CRS of another one that differs in origin alone, else as it is.

        Parameters
        ----------
        other : Grid
            The hemispheres of a UTM zone differ in origin alone.

        Returns
        -------
        Grid
        """
        if same_crs(self.crs, other.crs):
            return self
        transform = _affine_in(other.crs, self)
        if transform is None or not self._has_pixels_of(transform, self.shape):
            return self
        return replace(self, transform=transform, crs=other.crs)

    def _has_pixels_of(self, transform, shape):
        sizes = np.subtract(transform, self.transform)[[0, 1, 3, 4]]
        return np.abs(sizes).max() * max(*self.shape, *shape) <= SAME * min(self.pixel_size)

    def pixels_of(self, bounds: Sequence[float]) -> tuple[slice, slice]:
        """Rows and columns of a box in units of the CRS, which grow to whole pixels, also outer."""
        left, bottom, right, top = (float(value) for value in bounds)
        a, _, c, _, e, f = self.transform
        parts = []
        for ends, size, start in (((bottom, top), e, f), ((left, right), a, c)):
            low, high = sorted((end - start) / size for end in ends)
            parts.append(slice(floor(low + _EDGE), ceil(high - _EDGE)))
        return parts[0], parts[1]

    def extended(self, rows: slice, columns: slice) -> Grid:
        """The grid of these rows and columns, which may begin below 0 and end beyond it."""
        shape = rows.stop - rows.start, columns.stop - columns.start
        return replace(self.shifted(rows.start, columns.start), shape=shape)

    def shifted(self, down: float, right: float) -> Grid:
        """The grid that starts so many rows and columns further down and right."""
        a, b, c, d, e, f = self.transform
        transform = (a, b, a * right + b * down + c, d, e, d * right + e * down + f)
        return replace(self, transform=transform)

    def check_same(self, other: Grid, this_name: str, other_name: str) -> None:
        """Raise a ValueError if another grid is not this one to 0.01 pixels; no CRS is any CRS."""
        moved = np.abs(np.subtract(self._corners(), other._corners())).max()
        if self.shape != other.shape:
            what = f"{self.shape} and {other.shape} pixels"
        elif not same_crs(self.crs, other.crs):
            what = f"the CRS {self.crs_name} and {other.crs_name}"
        elif moved > SAME * min(self.pixel_size):
            what = f"the transforms {self.transform} and {other.transform}"
        else:
            return
        raise ValueError(
            f"{this_name} and {other_name} lie on different grids, they have {what}: put them on "
            "one, such as by rioxarray's second.rio.reproject_match(first)"
        )

    def check_usable(self, name: str, remedy: str | None = None) -> None:
        """Raise a ValueError with a remedy if pixels are rotated, not square, or have no size."""
        a, b, _, d, e, _ = self.transform
        if b or d:
            what = f"a rotated grid: its transform is {self.transform}"
        elif not (np.isfinite(self.transform).all() and a and e):
            what = f"pixels without a size: its transform is {self.transform}"
        elif abs(abs(a) - abs(e)) > _SQUARE * abs(a):
            what = f"pixels that are not square: they are {abs(e)} high and {abs(a)} wide"
        else:
            return
        remedy = remedy or "rioxarray's cube.rio.reproject(cube.rio.crs, resolution=10)"
        raise ValueError(
            f"{name} has {what}; put it on a grid of square pixels first, such as by {remedy}"
        )


def is_box(bounds: Any) -> bool:
    """Whether these are left, bottom, right and top of an area that is not empty."""
    try:
        left, bottom, right, top = (float(value) for value in bounds)
    except (TypeError, ValueError):
        return False
    return left < right and bottom < top and bool(np.isfinite((left, bottom, right, top)).all())


def same_crs(first: str | None, second: str | None) -> bool:
    """Whether two CRS are one; an unknown CRS is any."""
    if first is None or second is None or first == second:
        return True
    from rasterio.crs import CRS

    return CRS.from_wkt(first) == CRS.from_wkt(second)


def _affine_in(crs, grid):
    """Transform of a grid in another CRS, or None if it is not affine there."""
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    h, w = grid.shape
    a, _, c, _, e, f = grid.transform
    # Corners, and the middle of the sides and of the whole.
    columns, rows = np.meshgrid([0.0, w / 2, w], [0.0, h / 2, h])
    try:
        found = transform(
            CRS.from_wkt(grid.crs),
            CRS.from_wkt(crs),
            (c + a * columns).ravel(),
            (f + e * rows).ravel(),
        )
    except RasterioError:
        return None
    points = np.stack([np.ones(9), columns.ravel(), rows.ravel()], axis=1)
    if not np.isfinite(found).all():
        return None
    (c, a, b), (f, d, e) = coefficients = np.linalg.lstsq(points, np.transpose(found))[0].T
    off = np.abs(points @ coefficients.T - np.transpose(found)).max()
    if off > SAME * min(np.hypot(a, d), np.hypot(b, e)):
        return None
    return tuple(map(float, (a, b, c, d, e, f)))


@dataclass(frozen=True)
class GridRequest:
    """Requested grid of files or products.

    Attributes
    ----------
    like : path-like, default=None
        Raster file whose grid and footprint it has. None: the grid of the first file.
    bounds : tuple of four floats, default=None
        Left, bottom, right and top in units of its CRS, which grow to whole pixels. None: the
        footprint of `like`, else the union of all files.
    resolution : float, default=None
        Size of a pixel in units of its CRS; pixels count from the corner of the first file. None:
        that of `like`, else of the first file.
    """

    like: str | os.PathLike[str] | None = None
    bounds: Bounds | None = None
    resolution: float | None = None

    def check(self) -> None:
        """Raise a ValueError for bounds or a resolution that are not valid by themselves."""
        bounds, resolution = self.bounds, self.resolution
        if bounds is not None and not is_box(bounds):
            raise ValueError(
                f"bounds is {bounds!r}, which is empty or no box: give left, bottom, right, top in "
                "units of the CRS of the grid"
            )
        if resolution is not None and not (
            isinstance(resolution, Real) and np.isfinite(resolution) and resolution > 0
        ):
            raise ValueError(
                f"resolution is {resolution!r}: give the size of a pixel in units of the CRS of "
                "the grid, such as 10"
            )

    @property
    def is_given(self) -> bool:
        """Whether anything is asked."""
        return self != GridRequest()


class FileOnGrid(NamedTuple):
    """Place of a file on a grid.

    Attributes
    ----------
    footprint : tuple of two slices
        Rows and columns of the grid that it covers; they may begin below 0 and end beyond it.
    fraction : tuple of two floats, default=(0, 0)
        Offset of its pixels from those of the grid: rows down and columns right, at most a half.
    onto : Grid, default=None
        Grid of the footprint to resample it to; None: its pixels are read as they are.
    """

    footprint: tuple[slice, slice]
    fraction: tuple[float, float] = (0.0, 0.0)
    onto: Grid | None = None

    def moved(self, down: int, right: int) -> FileOnGrid:
        """The place on a grid that starts `down` rows higher and `right` columns further left."""
        rows, columns = self.footprint
        footprint = (
            slice(rows.start + down, rows.stop + down),
            slice(columns.start + right, columns.stop + right),
        )
        return self._replace(footprint=footprint)


def common_grid(
    files: Sequence[str], grids: Sequence[Grid], request: GridRequest, like: Grid | None
) -> tuple[Grid, list[FileOnGrid]]:
    """Return the common grid of files or products, and the place of each on it.

    `files` are their paths or names, and `like` is the grid of the file `request.like`. A
    ValueError is raised if files do not touch, pixel sizes differ by more than a factor of 2, or
    what is asked does not fit the files or contradicts itself.
    """
    base = _resized(like or grids[0], request, is_like=like is not None)
    places = [
        put_on_grid(base, grid, files[0] if like is None else str(request.like), path)
        for path, grid in zip(files, grids, strict=True)
    ]
    if like is None and request.bounds is None:
        _check_connected(files, grids, places)
        rows, columns = (
            slice(
                min(place.footprint[axis].start for place in places),
                max(place.footprint[axis].stop for place in places),
            )
            for axis in range(2)
        )
    else:
        rows, columns = _extent(base, request, is_like=like is not None)
        if not any(overlap(place.footprint, (rows, columns)) for place in places):
            asked = "like" if request.bounds is None else "bounds"
            shown = base.extended(*places[0].footprint).bounds
            raise ValueError(
                f"{asked} is {getattr(request, asked)}, of which the files show nothing: "
                f"{files[0]} lies within {shown} in the CRS of the grid; "
                "give an area that they show"
            )
    whole = base.extended(rows, columns)
    return whole, [place.moved(-rows.start, -columns.start) for place in places]


def _resized(grid, request, *, is_like):
    """The grid with the resolution that is asked for."""
    size, wanted = grid.pixel_size[0], request.resolution
    if wanted is None or np.isclose(wanted, size, rtol=_ROUNDING, atol=0):
        return grid
    if is_like:
        raise ValueError(
            f"resolution is {wanted:g} and {request.like} has pixels of {size:g}, which contradict "
            "each other: leave one of them out"
        )
    a, _, c, _, e, f = grid.transform
    transform = (float(np.copysign(wanted, a)), 0.0, c, 0.0, float(np.copysign(wanted, e)), f)
    h, w = (ceil(length * size / wanted - _ROUNDING) for length in grid.shape)
    return replace(grid, transform=transform, shape=(h, w))


def _extent(base, request, *, is_like):
    """Rows and columns that are asked for."""
    whole = slice(0, base.shape[0]), slice(0, base.shape[1])
    if request.bounds is None:
        return whole
    asked = base.pixels_of(request.bounds)
    if is_like and not all(
        full.start <= part.start and part.stop <= full.stop
        for part, full in zip(asked, whole, strict=True)
    ):
        raise ValueError(
            f"bounds is {request.bounds} and {request.like} lies within {base.bounds}, which "
            "contradict each other: give bounds within it, or leave one of them out"
        )
    return asked


def overlap(one: tuple[slice, slice], other: tuple[slice, slice]) -> bool:
    """Whether two parts of a grid, as rows and columns, have a pixel in common."""
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _check_connected(files, grids, places):
    """Raise a ValueError for files that do not touch the others."""
    boxes = np.array([[p.start, p.stop] for place in places for p in place.footprint])
    boxes = boxes.reshape(-1, 2, 2)
    apart = (boxes[:, None, :, 0] > boxes[:, :, 1]).any(axis=2)
    n_parts, part = connected_components(~(apart | apart.T), directed=False)
    if n_parts > 1:
        other = int(np.flatnonzero(part != part[0])[0])
        one, two = (str(grids[number].bounds) for number in (0, other))
        if grids[0].crs != grids[other].crs:
            one, two = f"{one} of {grids[0].crs_name}", f"{two} of {grids[other].crs_name}"
        raise ValueError(
            f"{files[0]} lies within {one} and {files[other]} within {two}, they do not touch: "
            "give those of one site"
        )


def put_on_grid(
    base: Grid, grid: Grid, base_name: str, name: str, *, of_mask: bool = False
) -> FileOnGrid:
    """Return the place of a file on a grid.

    A mask is not registered: it is resampled also if its pixels are between those of the grid, and
    may be much coarser. A ValueError, with the names of both, is raised if one of them has no
    georeference, or pixel sizes differ by more than a factor of 2.
    """
    position = base.position_of(grid)
    if position is not None:
        start = [int(np.rint(x)) for x in position]
        fraction = (position[0] - start[0], position[1] - start[1])
        if not (of_mask and any(fraction)):
            (top, left), (h, w) = start, grid.shape
            return FileOnGrid((slice(top, top + h), slice(left, left + w)), fraction)
    if not (base.placed and grid.placed) or (base.crs is None and grid.crs is None):
        base.check_same(grid, base_name, name)
    if not of_mask:
        _check_sizes(base, grid, base_name, name)
    footprint = base.pixels_of(_bounds_in(base, grid, name))
    onto = base.extended(*footprint)
    return FileOnGrid(footprint, onto=replace(onto, crs=base.crs or grid.crs))


def _crs_of(grid, other):
    """CRS of a grid; an unknown one is that of the other."""
    from rasterio.crs import CRS

    return CRS.from_wkt(grid.crs or other.crs)


def _bounds_in(base, grid, name):
    """Bounds of a grid in the CRS of another one."""
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_bounds

    try:
        found = transform_bounds(_crs_of(grid, base), _crs_of(base, grid), *grid.bounds)
    except RasterioError:
        found = (np.inf,)
    if not np.isfinite(found).all():
        raise ValueError(
            f"{name} lies within {grid.bounds}, and the CRS of the grid does not reach there: give "
            "those of one site"
        )
    return found


def _check_sizes(base, grid, base_name, name):
    """Raise a ValueError if pixel sizes differ by more than a factor of 2."""
    from rasterio.warp import transform

    h, w = grid.shape
    a, _, c, _, e, f = grid.transform
    # The middle of the file, and a pixel further right and down.
    xs, ys = [c + a * (w / 2 + d) for d in (0, 1, 0)], [f + e * (h / 2 + d) for d in (0, 0, 1)]
    xs, ys = transform(_crs_of(grid, base), _crs_of(base, grid), xs, ys)
    columns, rows = (np.diff(x, append=x[0])[[0, 2]] for x in (xs, ys))
    height, width = base.pixel_size
    sizes = np.hypot(columns / width, rows / height)
    if not np.all((sizes > 1 / _MAX_RATIO - 1e-2) & (sizes < _MAX_RATIO + 1e-2)):
        raise ValueError(
            f"{name} has pixels {sizes.mean():.3g} times as large as the grid of {base_name}, and "
            "nearest-neighbour resampling allows a factor of 2: give those of one sensor, or a "
            "resolution between them"
        )


def warn_of_resampling(resampled: NDArray[np.bool_], names: Sequence[str]) -> None:
    """Warn of dates that are resampled, of which `names` holds the files or products."""
    numbers = np.flatnonzero(resampled).tolist()
    if numbers:
        warnings.warn(
            f"{len(numbers)} of {len(resampled)} dates ({', '.join(map(str, numbers))}) are on "
            "another CRS or resolution than the grid and are resampled to the nearest pixel, which "
            "displaces what they show by up to half a pixel: registration allows for it, but dates "
            f"on one grid give a sharper image; the first is {names[numbers[0]]}",
            stacklevel=4,
        )


def resample(file: Any, band: int, onto: Grid, nodata: float | None) -> NDArray[Any]:
    """Resample a band of an open file, the first is 1, by nearest neighbour: (h, w).

    `nodata` is the stored value of no data, also for pixels that the file does not show; None: 0
    for these.
    """
    with _warped(file, onto, src_nodata=nodata, nodata=nodata) as source:
        values: NDArray[Any] = source.read(band)
    return values


def resample_validity(file: Any, onto: Grid) -> NDArray[np.uint8]:
    """Where a resampled file shows data by its own masks, 255, else 0: uint8 (h, w)."""
    from rasterio.enums import ColorInterp

    add_alpha = ColorInterp.alpha not in file.colorinterp
    with _warped(file, onto, src_nodata=None, nodata=None, add_alpha=add_alpha) as source:
        alpha = source.read(source.colorinterp.index(ColorInterp.alpha) + 1)
    return np.where(alpha > 0, 255, 0).astype(np.uint8)


def _warped(file, onto, **options):
    """Virtual dataset of a file on a grid: one of the window alone, as it computes whole blocks."""
    from rasterio import Affine
    from rasterio.crs import CRS
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    crs = CRS.from_wkt(onto.crs)
    return WarpedVRT(
        file,
        src_crs=file.crs or crs,
        crs=crs,
        transform=Affine(*onto.transform),
        height=onto.shape[0],
        width=onto.shape[1],
        resampling=Resampling.nearest,
        tolerance=_TOLERANCE,
        # Bands have no data apart from each other.
        warp_extras={"UNIFIED_SRC_NODATA": "NO"},
        **options,
    )
