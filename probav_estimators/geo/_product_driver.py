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
    fractions : mapping of tuple of two floats, default=None
        Offset of the pixels of a file from those of the grid, rows down and columns right, by path
        or URL: they are read as they are. Files on other grids are resampled to the nearest pixel.
        None: for grids of coarser pixels, by the overviews of files.
    """

    def __init__(self, fractions: Mapping[str, tuple[float, float]] | None = None) -> None:
        super().__init__()
        self._fractions = fractions

    def open(self, src: Any, ctx: Any) -> RioReader:
        """Return the reader of a file."""
        known = self._fractions
        return _ProductReader(src, ctx, None if known is None else known.get(src.uri, (0.0, 0.0)))


class _ProductReader(RioReader):
    def __init__(self, src: Any, ctx: Any, fraction: tuple[float, float] | None) -> None:
        super().__init__(src, ctx)
        self._fraction = fraction

    def read(self, cfg: Any, dst_geobox: GeoBox, **options: Any) -> Any:
        """Return the rows and columns that a file covers, and their values."""
        try:
            if self._fraction is None:
                return super().read(cfg, dst_geobox, **options)
            base = Grid.of_geobox(dst_geobox).shifted(*self._fraction)
            return self._read_on_grid(cfg, base, options.get("dst"))
        except RasterioError as error:
            raise OSError(
                f"{self._src.uri} cannot be read ({error.__cause__ or error}): fetch the product "
                "again, or leave it out"
            ) from error

    def _read_on_grid(self, cfg, base, dst):
        import rasterio

        fill, band = cfg.fill_value, self._src.band
        with rasterio.open(self._src.uri, sharing=False) as file:
            place = put_on_grid(base, Grid.of_file(file), "the cube", self._src.uri, of_mask=True)
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
