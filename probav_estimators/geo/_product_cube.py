"""Pixels of chosen products: their cube, their clear parts and a check of their offsets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._frame_metadata import coordinates_of
from ._product_items import RAISED_OFFSET, baseline, import_stac, is_clear, time_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from pystac import Item
    from xarray import DataArray, Dataset

    from ._product_items import ProductLayer
    from ._products import Choice, Product

__all__ = ["clear_parts", "coarse_clear", "cube_of_products", "warn_of_offsets"]

# Pixels of a chunk along each axis, and of masks and bands that are looked at as a whole.
_CHUNK, _COARSE = 2048, 256

# Reflectance of the darkest pixels, in percent of the clear ones, that no surface has; and how near
# to the offset of Sentinel-2 they are to those of other dates if it was applied to one of both.
_DARKEST, _TOO_DARK, _NEAR = 2, -0.03, 0.02


def cube_of_products(choice: Choice, *, apply_masks: bool = True) -> Dataset:
    """Return the lazy cube of chosen products."""
    chunks = {"x": _CHUNK, "y": _CHUNK}
    cube = _load(choice, lambda product: product.bands, choice.geobox, chunks)
    for band in choice.first.bands:
        cube[band] = _in_one_encoding(cube[band], choice, band)
    if choice.first.mask is not None:
        masks = _load_masks(choice, choice.geobox, chunks)
        if apply_masks:
            cube = _hide(cube, masks, choice.first.mask_type)
        else:
            cube[choice.first.mask.name] = masks
    names = [" ".join(product.item.id for product in date) for date in choice.dates]
    marks = coordinates_of(choice.fractions, choice.resampled)
    return cube.assign_coords(products=("time", names), **marks)


def coarse_clear(choice: Choice) -> NDArray[np.bool_] | None:
    """Return where dates are clear by coarse masks, (t, h, w); None without masks."""
    if choice.first.mask is None:
        return None
    masks = _load_masks(choice, _coarse_grid(choice), None)
    return is_clear(masks.values, choice.first.mask_type)


def clear_parts(choice: Choice, clear: NDArray[np.bool_] | None) -> list[float]:
    """Return the clear part of the area on each date, by coarse masks, else by the metadata."""
    if clear is None:
        covers = [
            [product.item.properties.get("eo:cloud_cover") or 0 for product in date]
            for date in choice.dates
        ]
        return [1 - float(np.mean(cover)) / 100 for cover in covers]
    return [float(one.mean()) for one in clear]


def warn_of_offsets(choice: Choice, clear: NDArray[np.bool_] | None) -> None:
    """Warn if the darkest clear pixels of a date of Sentinel-2 contradict its offset."""
    dark = _darkest(choice, clear)
    for number, date in enumerate(choice.dates):
        band, layer = next(iter(date[0].bands.items()))
        others = [one for one in dark[:number] + dark[number + 1 :] if np.isfinite(one)]
        typical = float(np.median(others)) if others else np.nan
        raised = layer.offset == 0 and abs(dark[number] - typical + RAISED_OFFSET) < _NEAR
        if raised or dark[number] < _TOO_DARK:
            warnings.warn(
                f"{date[0].item.id}: the metadata say that the offset of {band} is "
                f"{layer.offset:g}, baseline {baseline(date[0].item):05.2f}, by which its darkest "
                f"pixels have a reflectance of {dark[number]:.3f}, and those of the other dates "
                f"{typical:.3f}: look at the values, and leave the date out, or correct the offset "
                "in its item",
                stacklevel=4,
            )


def _darkest(choice: Choice, clear: NDArray[np.bool_] | None) -> list[float]:
    """Reflectance of the darkest clear pixels of the first band on each date; NaN without any."""
    band = next(iter(choice.first.bands))
    coarse = _coarse_grid(choice)
    values = _load(choice, lambda product: {band: product.bands[band]}, coarse, None)[band]
    known = (values != choice.first.bands[band].nodata).values
    if clear is not None:
        known &= clear
    dark = []
    for stored, usable, date in zip(values.values, known, choice.dates, strict=True):
        layer = date[0].bands[band]
        found = np.percentile(stored[usable], _DARKEST) if usable.any() else np.nan
        dark.append(float(found) * layer.scale + layer.offset)
    return dark


def _coarse_grid(choice: Choice) -> GeoBox:
    return choice.geobox.zoom_out(max(1, max(choice.geobox.shape) // _COARSE))


def _load_masks(choice: Choice, geobox: GeoBox, chunks: dict[str, int] | None) -> DataArray:
    return _load(choice, lambda product: {"mask": product.mask}, geobox, chunks)["mask"]


def _load(
    choice: Choice,
    layers_of: Callable[[Product], Mapping[str, ProductLayer | None]],
    geobox: GeoBox,
    chunks: dict[str, int] | None,
) -> Dataset:
    stac = import_stac()
    from ._product_driver import ProductDriver

    # Coarser grids give an overview.
    fractions = choice.fractions_of_files if geobox == choice.geobox else None
    loaded = stac.load(
        [
            _plain_item(product.item, layers_of(product), number)
            for number, date in enumerate(choice.dates)
            for product in date
        ],
        geobox=geobox,
        groupby="date_number",
        chunks=chunks,
        preserve_original_order=True,
        driver=ProductDriver(fractions),
    )
    names = {"latitude": "y", "longitude": "x"}
    return loaded.rename({name: axis for name, axis in names.items() if name in loaded.dims})


def _plain_item(item: Item, layers: Mapping[str, Any], number: int) -> Item:
    """Item whose assets have the names of the layers, in the form that odc-stac reads best."""
    import pystac
    from pystac.extensions.projection import SCHEMA_URI as PROJECTION
    from pystac.extensions.raster import SCHEMA_URI as RASTER

    plain = pystac.Item(
        item.id,
        item.geometry,
        item.bbox,
        time_of(item),
        {"date_number": number},
        stac_extensions=[PROJECTION, RASTER],
    )
    for name, layer in layers.items():
        fields = {
            "proj:wkt2": layer.geobox.crs.to_wkt(),
            "proj:shape": list(layer.geobox.shape),
            "proj:transform": list(layer.geobox.transform[:6]),
            "raster:bands": [{"data_type": layer.dtype.name, "nodata": layer.nodata}],
        }
        plain.add_asset(name, pystac.Asset(layer.href, roles=["data"], extra_fields=fields))
    return plain


def _in_one_encoding(array: DataArray, choice: Choice, band: str) -> DataArray:
    """A band whose dates have one scale and offset, which are its attributes."""
    layers = [date[0].bands[band] for date in choice.dates]
    scales, offsets = (
        array.time.copy(data=np.array([getattr(layer, part) for layer in layers]))
        for part in ("scale", "offset")
    )
    nodata = array.dtype.type(layers[0].nodata)
    least = float(offsets.min())
    steps = (offsets - least) / scales
    attrs = {"scale_factor": layers[0].scale, "add_offset": least, "_FillValue": nodata}
    if (scales != scales[0]).any() or not np.allclose(steps, steps.round(), atol=1e-6):
        known = array.where(array != nodata) if nodata == nodata else array
        array = (known * scales + offsets).astype(np.float32)
        attrs = {"_FillValue": np.float32(np.nan)}
    elif steps.any():
        greatest = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else np.inf
        raised = np.minimum(array + steps.round(), greatest).astype(array.dtype)
        array = raised.where(array != nodata, nodata)
    array.attrs = attrs
    return array


def _hide(cube: Dataset, masks: DataArray, mask_type: str | None) -> Dataset:
    """The cube with no data where masks do not say that pixels are clear."""
    import xarray

    clear = xarray.apply_ufunc(
        is_clear,
        masks,
        kwargs={"mask_type": mask_type},
        dask="parallelized",
        output_dtypes=[bool],
    )
    for band, array in cube.data_vars.items():
        cube[band] = array.where(clear, array.attrs["_FillValue"])
        cube[band].attrs = array.attrs
    return cube
