"""Driver of odc-loader that reads products as raster files are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.loader import RioDriver, RioReader
from rasterio.errors import RasterioError

from ._grid import Grid, put_on_grid, resample, resample_validity

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["ProductDriver"]


class ProductDriver(RioDriver):
    """Driver of rasterio that moves files onto a grid, and names a file that cannot be read.

    Parameters
    ----------
    moves : mapping of tuple of two floats, default=None
        How far the pixels of a file are from those of the grid, x and y in units of its CRS, by
        path or URL: they are read as they are. Files on other grids are resampled to the nearest
        pixel. None: for grids of coarser pixels, by the overviews of files.
    """

    def __init__(self, moves: Mapping[str, tuple[float, float]] | None = None) -> None:
        super().__init__()
        self._moves = moves

    def open(self, src: Any, ctx: Any) -> RioReader:
        """Return the reader of a file."""
        if self._moves is None:
            return _ProductReader(src, ctx)
        return _GridReader(src, ctx, self._moves.get(src.uri, (0.0, 0.0)))


class _ProductReader(RioReader):
    def read(self, *args: Any, **options: Any) -> Any:
        try:
            return self._read(*args, **options)
        except RasterioError as error:
            raise OSError(
                f"{self._src.uri} cannot be read ({error.__cause__ or error}): fetch the product "
                "again, or leave it out"
            ) from error

    def _read(self, *args: Any, **options: Any) -> Any:
        return super().read(*args, **options)


class _GridReader(_ProductReader):
    def __init__(self, src: Any, ctx: Any, move: tuple[float, float]) -> None:
        super().__init__(src, ctx)
        self._move = move

    def _read(
        self, cfg: Any, dst_geobox: GeoBox, *, dst: Any = None, selection: Any = None
    ) -> tuple[tuple[slice, slice], Any]:
        """Return the rows and columns that a file covers, and their values."""
        import rasterio

        fill, band = cfg.fill_value, self._src.band
        with rasterio.open(self._src.uri, sharing=False) as file:
            grid = _grid_of(file)
            base = _moved(Grid.of_geobox(dst_geobox), self._move)
            place = put_on_grid(base, grid, "the cube", self._src.uri, of_mask=True)
            rows, columns = (
                slice(max(0, part.start), min(length, part.stop))
                for part, length in zip(place.footprint, base.shape, strict=True)
            )
            if rows.start >= rows.stop or columns.start >= columns.stop:
                return (slice(0, 0), slice(0, 0)), np.empty((0, 0), cfg.dtype)
            if place.onto is None:
                values, valid = _read_part(file, band, place.footprint, rows, columns)
            else:
                onto = base.extended(rows, columns)
                nodata = file.nodatavals[band - 1]
                values = resample(file, band, onto, fill if nodata is None else nodata)
                valid = resample_validity(file, onto) if _has_masks(file) else None
            hidden = values == file.nodatavals[band - 1]
            if valid is not None:
                hidden |= valid == 0
            values = values.astype(cfg.dtype, copy=False)
            if fill is not None:
                values[hidden] = fill
        if dst is not None:
            dst[rows, columns] = values
            values = dst[rows, columns]
        return (rows, columns), values


def _grid_of(file):
    crs = file.crs.to_wkt() if file.crs else None
    return Grid(tuple(file.transform)[:6], file.shape, crs)


def _moved(grid, move):
    a, b, c, d, e, f = grid.transform
    return Grid((a, b, c + move[0], d, e, f + move[1]), grid.shape, grid.crs)


def _read_part(file, band, footprint, rows, columns):
    """Values of a part of the grid, and those of the file's own mask or None."""
    window = tuple(
        (part.start - covered.start, part.stop - covered.start)
        for part, covered in zip((rows, columns), footprint, strict=True)
    )
    values = file.read(band, window=window)
    return values, file.read_masks(band, window=window) if _has_masks(file) else None


def _has_masks(file):
    from rasterio.enums import MaskFlags

    return MaskFlags.per_dataset in file.mask_flag_enums[0]
