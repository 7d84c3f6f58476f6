"""Formats of images by the suffixes of their names."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._encoding import layers_of
from ._grid import with_grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._encoding import Encoding, Layer
    from ._grid import Grid

__all__ = ["OutputFormat", "convert", "format_of"]

# Pixels of a chunk along each axis.
_CHUNK = 512


@dataclass(frozen=True)
class OutputFormat:
    """Format of an image.

    Attributes
    ----------
    name : str
    driver : str, default=None
        Of GDAL; None: it is written by xarray.
    dtypes : tuple of str, default=()
        Types of the values that it holds without loss; none: all.
    counts : tuple of int, default=()
        Numbers of bands that are no colours and no transparency in it; none: any.
    options : tuple of (str, str) pairs
        Of the driver.
    library : str, default=None
        What writes it, besides xarray.
    """

    name: str
    driver: str | None = None
    dtypes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    library: str | None = None

    @property
    def is_geotiff(self) -> bool:
        """Whether it is GeoTIFF, in which blocks are joined."""
        return self.driver == "GTiff"

    @property
    def has_sidecar(self) -> bool:
        """Whether GDAL writes the georeference and the tags to NAME.aux.xml."""
        return self.driver not in (None, "GTiff")

    def check(self, path: Path, dtype: np.dtype[Any], count: int) -> None:
        """Raise a ValueError if the format does not hold values of a type or a number of bands."""
        if self.dtypes and dtype.name not in self.dtypes:
            what = f"values of type {dtype.name}: it holds {', '.join(self.dtypes)}"
        elif self.counts and count not in self.counts:
            what = f"{count} bands: it holds {' or '.join(map(str, self.counts))}"
        else:
            return
        raise ValueError(f"{path} is to be a {self.name} of {what}; give a name that ends in .tif")


_GEOTIFF = OutputFormat("GeoTIFF", "GTiff")
_FORMATS = {
    ".tif": _GEOTIFF,
    ".tiff": _GEOTIFF,
    ".jp2": OutputFormat(
        "JPEG 2000",
        "JP2OpenJPEG",
        dtypes=("uint8", "int16", "uint16"),
        # A fourth band would be transparency.
        counts=(1, 3),
        options=(("QUALITY", "100"), ("REVERSIBLE", "YES")),
    ),
    ".png": OutputFormat("PNG", "PNG", dtypes=("uint8", "uint16"), counts=(1, 3)),
    ".nc": OutputFormat("netCDF file", library="netCDF4"),
    ".zarr": OutputFormat("Zarr store", library="zarr"),
}


def format_of(path: Path) -> OutputFormat:
    """Return the format of an output by the suffix of its name.

    Raises
    ------
    ValueError
        If there is none that is written.
    ImportError
        If the library that writes it is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        what = "a VRT, which holds no pixels of its own" if suffix == ".vrt" else "no format by it"
        raise ValueError(
            f"{path} is the name of the output, and {what}: give one that ends in "
            f"{', '.join(_FORMATS)}"
        )
    found = _FORMATS[suffix]
    if found.library is not None and find_spec(found.library) is None:
        raise ImportError(
            f"{path} is to be a {found.name}, which needs {found.library}: "
            "pip install probav_estimators[geo]"
        )
    return found


def convert(
    plain: Path,
    path: Path,
    form: OutputFormat,
    grid: Grid,
    encodings: Mapping[str, Encoding],
    part: str,
    attrs: Mapping[str, Any],
) -> None:
    """Write the content of a GeoTIFF in another format, without loss.

    Parameters
    ----------
    plain : Path
        The GeoTIFF.
    path : Path
        File or, of a Zarr store, folder to write.
    form : OutputFormat
    grid : Grid
        Of the image.
    encodings : mapping of Encoding
        Of its bands, by name.
    part : {"image", "std", "n_clear", "parts"}
    attrs : mapping
        Attributes of the whole.
    """
    if form.driver is not None:
        import rasterio.shutil

        rasterio.shutil.copy(plain, path, driver=form.driver, **dict(form.options))
        return
    import rioxarray

    chunks = {"x": _CHUNK, "y": _CHUNK}
    opened: Any = rioxarray.open_rasterio(plain, chunks=chunks, mask_and_scale=False)
    with opened as stored:
        images = _as_dataset(stored, grid, encodings, part, attrs)
        _write_dataset(images, path, form)


def _write_dataset(images, path, form):
    if form.library == "zarr":
        writing = images.to_zarr(path, mode="w", zarr_format=2, consolidated=True, compute=False)
    else:
        for image in images.data_vars.values():
            chunks = tuple(min(_CHUNK, length) for length in image.shape)
            image.encoding |= {"zlib": True, "complevel": 4, "chunksizes": chunks}
        writing = images.to_netcdf(path, engine="netcdf4", compute=False)
    # One chunk in memory at a time.
    writing.compute(scheduler="synchronous")


def _as_dataset(stored, grid, encodings, part, attrs):
    """Lazy stored values with CF's attributes, one variable for each of the bands."""
    import xarray

    images = {}
    bands, kinds = list(encodings), list(encodings.values())
    for number, layer in enumerate(layers_of(part, kinds)):
        name = _name_of(bands[layer.band]) + layer.suffix
        image = xarray.DataArray(stored[number].data, dims=("y", "x"), attrs={"long_name": name})
        image.attrs |= _attrs_of(part, layer, kinds[layer.band])
        images[name] = with_grid(image, grid)
    return xarray.Dataset(images, attrs=dict(attrs))


def _name_of(band: str) -> str:
    """Name of a variable: that of a numbered band begins with a letter, and none has a slash."""
    return f"band_{band}" if band.isdigit() else band.replace("/", "_")


def _attrs_of(part: str, layer: Layer, encoding: Encoding) -> dict[str, Any]:
    if part == "n_clear":
        return {}
    fill = encoding.dtype.type(encoding.nodata) if part == "image" else np.float32(np.nan)
    found = {"scale_factor": layer.scale, "add_offset": layer.offset}
    plain = {"scale_factor": 1.0, "add_offset": 0.0}
    return {key: value for key, value in found.items() if value != plain[key]} | {
        "_FillValue": fill
    }
