"""Cubes of satellite products, by way of STAC items."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from ._grid import is_box
from ._product_cube import clear_parts, coarse_clear, cube_of_products, warn_of_offsets
from ._product_items import find_items, import_stac, time_of
from ._product_layers import baseline, find_layer, find_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from pystac import Item
    from xarray import Dataset

    from ._product_items import Sources
    from ._product_layers import Layer

__all__ = ["Choice", "Product", "choose_products", "open_products"]

# Part of a pixel by which footprints may exceed the pixels of a grid.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Product:
    """A STAC item with the layers that are used of it.

    Attributes
    ----------
    item : Item
    bands : dict of Layer
        By the names that were asked for.
    mask_type : str or None
        Kind of the mask.
    mask : Layer or None
    """

    item: Item
    bands: dict[str, Layer]
    mask_type: str | None
    mask: Layer | None

    @property
    def grid(self) -> GeoBox:
        """Grid of the bands."""
        return next(iter(self.bands.values())).geobox

    @property
    def encoding(self) -> tuple[tuple[float, float], ...]:
        """Scale and offset of each band."""
        return tuple((band.scale, band.offset) for band in self.bands.values())


@dataclass(frozen=True)
class Choice:
    """Products of a cube, date by date, and its grid.

    Attributes
    ----------
    dates : list of list of Product
    geobox : GeoBox
    clear : list of float or None
        Clear part of the area on each date; None: not measured.
    """

    dates: list[list[Product]]
    geobox: GeoBox
    clear: list[float] | None = None

    @property
    def first(self) -> Product:
        """First product of the first date."""
        return self.dates[0][0]

    def lines(self) -> list[str]:
        """Return a line for each date: time, products, cloud cover and clear part of the area."""
        lines = []
        for number, date in enumerate(self.dates):
            items = [product.item for product in date]
            line = f"{time_of(items[0]):%Y-%m-%d %H:%M:%S}  {' '.join(item.id for item in items)}"
            covers = [item.properties.get("eo:cloud_cover") for item in items]
            known = [cover for cover in covers if cover is not None]
            line += f"  cloud cover {np.mean(known):.0f} %" if known else ""
            line += f"  {100 * self.clear[number]:.0f} % clear" if self.clear else ""
            lines.append(line)
        return lines


def open_products(
    products: Sources,
    bands: str | Sequence[str],
    *,
    bbox: Sequence[float] | None = None,
    datetime: str | None = None,
    collection: str | None = None,
    max_cloud: float | None = None,
    max_dates: int | None = None,
    apply_masks: bool = True,
) -> Dataset:
    """Open satellite products of several dates as one lazy cube for `super_resolve`.

    Parameters
    ----------
    products : path, pattern, URL, item or sequence of these
        Folders and archives of products: Sentinel-2 (SAFE), Landsat Collection 2, HLS; HDF5 files
        of PROBA-V. Items of pystac; files of STAC catalogs, items or item collections; the address
        of a STAC API.
    bands : sequence of str
        Names of bands, of one pixel size: those of assets ("B04", "red"), of bands in them, or
        common names of STAC.
    bbox : sequence of four floats, default=None
        West, south, east and north of the area, in degrees. None: all products.
    datetime : str, default=None
        Date or interval, such as "2026-06-21", "2026-06/2026-08" or "2026-06-01/..".
    collection : str, default=None
        Name of the collection of a STAC API or a catalog.
    max_cloud : float, default=None
        Greatest cloud cover by the metadata, in percent.
    max_dates : int, default=None
        How many dates: those on which most of the area is clear. None: all.
    apply_masks : bool, default=True
        Whether pixels that the products' masks hide are no data. False: the classes of the masks
        are a variable, for the argument `mask` of `super_resolve`.

    Returns
    -------
    Dataset
        With the dims time, y and x, and a variable of dask arrays for each band, in stored values,
        whose attributes are scale_factor, add_offset and _FillValue. Dates that differ in offset
        are brought to the least of all by whole numbers; if that is impossible, values are float32
        in physical units. Products of one day and satellite are one date. The coordinate
        ``products`` has their names.

    Raises
    ------
    ValueError
        If products lack a band, the mask that others have, or projection metadata, if they do not
        belong together, or if none is left.
    FileNotFoundError
        If a path does not exist.
    ImportError
        Without the libraries of ``probav_estimators[stac]``.

    See Also
    --------
    super_resolve : Fuse the dates of a cube.

    Notes
    -----
    The grid is that of the first product in the CRS of most, as large as all of them together.
    Products on another grid, such as that of the next UTM zone, are resampled to the nearest pixel.
    """
    chosen = choose_products(
        products,
        bands,
        bbox=bbox,
        datetime=datetime,
        collection=collection,
        max_cloud=max_cloud,
        max_dates=max_dates,
    )
    return cube_of_products(chosen, apply_masks=apply_masks)


def choose_products(
    products: Sources,
    bands: str | Sequence[str],
    *,
    bbox: Sequence[float] | None = None,
    datetime: str | None = None,
    collection: str | None = None,
    max_cloud: float | None = None,
    max_dates: int | None = None,
) -> Choice:
    """Return the products of a cube by their metadata; see :func:`open_products`."""
    import_stac()
    names = [bands] if isinstance(bands, str) else [str(band) for band in bands]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"bands is {names}: name each band once, and one at least")
    if bbox is not None and not is_box(bbox):
        raise ValueError(f"bbox is {bbox}: give west, south, east and north in degrees")
    if max_dates is not None and max_dates < 1:
        raise ValueError(f"max_dates is {max_dates}: give 1 or more, or None")
    items = find_items(
        products, collection=collection, bbox=bbox, when=datetime, max_cloud=max_cloud
    )
    _check_levels(items)
    found = [
        Product(item, {name: find_layer(item, name) for name in names}, *find_mask(item))
        for item in items
    ]
    _check_alike(found)
    choice = Choice(_by_date(found), _common_grid([product.grid for product in found], bbox))
    if choice.first.mask is None:
        warnings.warn(
            f"{choice.first.item.id} and the others have no mask of clouds: all pixels with data "
            "are taken as clear; give products with masks, or dates without clouds",
            stacklevel=3,
        )
    has_offsets = baseline(choice.first.item) is not None
    # Masks are read once for both.
    clear = coarse_clear(choice) if max_dates is not None or has_offsets else None
    if max_dates is not None:
        choice, clear = _clearest(choice, clear, max_dates)
    if has_offsets:
        warn_of_offsets(choice, clear)
    return choice


def _check_levels(items):
    levels = {_level_of(item): item.id for item in reversed(items)}
    levels.pop(None, None)
    if len(levels) > 1:
        shown = ", ".join(f"{name} ({level})" for level, name in reversed(levels.items()))
        raise ValueError(
            f"products are of several processing levels, {shown}, whose values mean different "
            "things: give those of one level"
        )


def _level_of(item):
    if "landsat:correction" in item.properties:
        # L2SP and L2SR differ in temperature alone.
        return item.properties["landsat:correction"][:2]
    return item.properties.get("s2:product_type", item.properties.get("processing:level"))


def _check_alike(products: Sequence[Product]) -> None:
    """Raise a ValueError if pixel sizes, types of a band or kinds of masks differ."""
    first = products[0]
    size = abs(first.grid.resolution.x)
    for product in products:
        name = product.item.id
        if product.mask_type != first.mask_type:
            raise ValueError(
                f"{name} has {product.mask_type or 'no mask'}, and {first.item.id} has "
                f"{first.mask_type or 'none'}: give products of one kind, with all their files"
            )
        for band, layer in product.bands.items():
            if not np.isclose(abs(layer.geobox.resolution.x), size, rtol=1e-3):
                raise ValueError(
                    f"{name}: band {band} has pixels of {abs(layer.geobox.resolution.x):g}, and "
                    f"{next(iter(first.bands))} of {first.item.id} has {size:g}: open bands and "
                    "products of one pixel size together"
                )
            kinds = [f"{one.dtype}, no data {one.nodata:g}" for one in (layer, first.bands[band])]
            if kinds[0] != kinds[1]:
                raise ValueError(
                    f"{name}: band {band} has values of type {kinds[0]}, and that of "
                    f"{first.item.id} {kinds[1]}: give products of one kind"
                )


def _by_date(products: Sequence[Product]) -> list[list[Product]]:
    """Group products by solar day, satellite and encoding; of two versions, take the newer.

    Versions differ in their processing baseline, or of one baseline in their encoding.
    """
    newest = {}
    for product in sorted(products, key=lambda one: baseline(one.item) or 0):
        newest[_acquisition(product), product.grid] = _version(product)
    dates: dict[Any, list[Product]] = {}
    for product in products:
        acquisition = _acquisition(product)
        if newest[acquisition, product.grid] == _version(product):
            dates.setdefault((*acquisition, product.encoding), []).append(product)
    return sorted(dates.values(), key=lambda date: time_of(date[0].item))


def _version(product):
    return baseline(product.item), product.encoding


def _acquisition(product):
    longitude = product.grid.extent.centroid.to_crs("EPSG:4326").points[0][0]
    time = time_of(product.item) + timedelta(hours=longitude / 15)
    return time.date(), product.item.common_metadata.platform


def _common_grid(grids: Sequence[GeoBox], bbox: Sequence[float] | None) -> GeoBox:
    """The first grid in the CRS of most, as large as all of them, or the part of it in `bbox`."""
    from odc.geo import geom
    from odc.geo.geobox import GeoBox

    crs: Any = Counter(grid.crs for grid in grids).most_common(1)[0][0]
    like = next(grid for grid in grids if grid.crs == crs)
    area = geom.bbox_union(grid.extent.to_crs(crs).boundingbox for grid in grids)
    if bbox is not None:
        west, south, east, north = bbox
        wanted = geom.box(west, south, east, north, "EPSG:4326")
        area &= wanted.to_crs(crs, resolution=abs(east - west) / 20).boundingbox
        if not (area.span_x > 0 and area.span_y > 0):
            raise ValueError(
                f"bbox is {tuple(bbox)}, and the products are elsewhere: give west, south, east "
                "and north in degrees"
            )
    corners = [like.wld2pix(*corner) for corner in area.points]
    (left, right), (top, bottom) = ((min(axis), max(axis)) for axis in zip(*corners, strict=True))
    # Rounded footprints add no row or column.
    left, top = floor(left + _TOLERANCE), floor(top + _TOLERANCE)
    shape = ceil(bottom - _TOLERANCE) - top, ceil(right - _TOLERANCE) - left
    return GeoBox(shape, like.translate_pix(left, top).transform, crs)


def _clearest(
    choice: Choice, clear: NDArray[np.bool_] | None, count: int
) -> tuple[Choice, NDArray[np.bool_] | None]:
    """The dates on which most of the area is clear, in their order, and where they are clear."""
    parts = clear_parts(choice, clear)
    kept = sorted(sorted(range(len(parts)), key=lambda number: -parts[number])[:count])
    dates = [choice.dates[number] for number in kept]
    chosen = replace(choice, dates=dates, clear=[parts[number] for number in kept])
    return chosen, None if clear is None else clear[kept]
