"""Common grid of files and products of several grids, and the place of each on it.

Files with pixels between those of the grid are read as they are, and registration starts from the
fraction of a pixel. Files of another CRS or pixel size are resampled by nearest neighbour:
interpolation would blur what super-resolution restores.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from ._grid import Grid, is_box

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    Bounds = tuple[float, float, float, float]

__all__ = [
    "FileOnGrid",
    "GridRequest",
    "common_grid",
    "put_on_grid",
    "resample",
    "resample_validity",
    "warn_of_resampling",
]

# Greatest ratio of pixel sizes.
_MAX_RATIO = 2.0

# Rounding error of ratios, and of lengths in pixels.
_ROUNDING = 1e-6

# Error of the transform of coordinates in resampling, in pixels: so small that pixels do not depend
# on the window. 0, exact, fails in rasterio.
_TOLERANCE = 1e-6


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

    Parameters
    ----------
    files : list of str
        Paths or names, for messages.
    grids : list of Grid
        Of the files.
    request : GridRequest
    like : Grid or None
        Grid of the file `request.like`.

    Returns
    -------
    grid : Grid
    places : list of FileOnGrid

    Raises
    ------
    ValueError
        If files do not overlap or touch, pixel sizes differ by more than a factor of 2, or what is
        asked does not fit the files or contradicts itself.
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
        if not any(_overlaps(place.footprint, (rows, columns)) for place in places):
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


def _overlaps(one, other):
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

    Parameters
    ----------
    base, grid : Grid
        Of the site and of the file.
    base_name, name : str
        What messages call them.
    of_mask : bool, default=False
        Whether it is a mask, which is not registered: it is resampled also if its pixels are
        between those of the grid, and may be much coarser.

    Returns
    -------
    FileOnGrid

    Raises
    ------
    ValueError
        If one of them has no georeference, or pixel sizes differ by more than a factor of 2.
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
    """Resample a band of an open file by nearest neighbour.

    Parameters
    ----------
    file : rasterio.DatasetReader
    band : int
        The first is 1.
    onto : Grid
        Of the pixels to return.
    nodata : float or None
        Stored value of no data, also for pixels that the file does not show. None: 0 for these.

    Returns
    -------
    array of shape (h, w)
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
