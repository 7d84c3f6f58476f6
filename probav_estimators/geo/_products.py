"""Cubes of satellite products, by way of STAC items."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ._grid import (
    WARP_COMMAND,
    FileOnGrid,
    Grid,
    GridRequest,
    common_grid,
    is_box,
    warn_of_resampling,
)
from ._product_cube import clear_parts, coarse_clear, cube_of_products, warn_of_offsets
from ._product_items import (
    baseline,
    find_items,
    find_layer,
    find_mask,
    import_stac,
    on_grid_of_file,
    time_of,
)
from ._rasters import grid_like

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from pystac import Item
    from xarray import Dataset

    from ._product_items import ProductLayer, Sources, When

__all__ = ["Choice", "Product", "choose_products", "open_products"]

# Between products of two passes of a satellite, which returns after some 100 minutes.
_PASS = timedelta(minutes=45)

# Decimals of fractions of a pixel by which products of a day are one date.
_DECIMALS = 3


@dataclass(frozen=True)
class Product:
    """A STAC item with the layers that are used of it.

    Attributes
    ----------
    item : Item
    bands : dict of ProductLayer
        By the names that were asked for.
    mask_type : str or None
        Kind of the mask.
    mask : ProductLayer or None
    place : FileOnGrid, default=None
        Of the bands on the grid of the cube.
    """

    item: Item
    bands: dict[str, ProductLayer]
    mask_type: str | None
    mask: ProductLayer | None
    place: FileOnGrid | None = None

    @property
    def grid(self) -> GeoBox:
        """Grid of the bands."""
        return next(iter(self.bands.values())).geobox

    @property
    def encoding(self) -> tuple[tuple[float, float], ...]:
        """Scale and offset of each band."""
        return tuple((band.scale, band.offset) for band in self.bands.values())

    @property
    def fraction(self) -> tuple[float, float]:
        """Offset of its pixels from those of the grid: rows down and columns right."""
        return (0.0, 0.0) if self.place is None else self.place.fraction

    @property
    def is_resampled(self) -> bool:
        """Whether it is resampled to the grid."""
        return self.place is not None and self.place.onto is not None


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

    @property
    def fractions(self) -> NDArray[np.float64]:
        """Offset of the pixels of each date from those of the grid: float64 (t, 2)."""
        return np.array([date[0].fraction for date in self.dates])

    @property
    def resampled(self) -> NDArray[np.bool_]:
        """Which dates are resampled to the grid: bool (t,)."""
        return np.array([any(product.is_resampled for product in date) for date in self.dates])

    @property
    def fractions_of_files(self) -> dict[str, tuple[float, float]]:
        """Offset of the pixels of each file from those of the grid."""
        return {
            layer.href: product.fraction
            for date in self.dates
            for product in date
            for layer in (*product.bands.values(), product.mask)
            if layer is not None
        }

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
    datetime: When | None = None,
    collection: str | None = None,
    max_cloud: float | None = None,
    max_dates: int | None = None,
    like: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    resolution: float | None = None,
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
    datetime : str or date, default=None
        Date or interval, such as "2026-06-21", "2026-06/2026-08" or "2026-06-01/..".
    collection : str, default=None
        Name of the collection of a STAC API or a catalog.
    max_cloud : float, default=None
        Greatest cloud cover by the metadata, in percent.
    max_dates : int, default=None
        How many dates: those on which most of the area is clear. None: all.
    like : path-like, default=None
        Raster file whose grid and footprint the cube has. None: the grid of the first product in
        the CRS of most.
    bounds : tuple of four floats, default=None
        In place of `bbox`: left, bottom, right and top in the CRS of the grid, which grow to whole
        pixels; no data where no product is. None: the footprint of `like`, else of all products.
    resolution : float, default=None
        Size of a pixel in units of the CRS of the grid, at most 2 times as large or small as those
        of the products. None: that of `like`, else of the products.
    apply_masks : bool, default=True
        Whether pixels that the products' masks hide are no data. False: the classes of the masks
        are a variable, for the argument `mask` of `super_resolve`.

    Returns
    -------
    Dataset
        With the dims time, y and x, and a variable of dask arrays for each band, in stored values,
        whose attributes are scale_factor, add_offset and _FillValue. Dates that differ in offset
        are brought to the least of all by whole numbers; if that is impossible, values are float32
        in physical units. Products of one pass of a satellite are one date. The coordinate
        ``products`` has their names. Where dates are resampled or lie between the pixels of the
        grid, ``resampled`` says which, and ``offset_down`` and ``offset_right`` by how many pixels:
        `super_resolve` registers them accordingly.

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
    Products on another grid, such as that of the next UTM zone, are resampled to the nearest pixel,
    with a warning; pixels between those of the grid are read as they are.
    """
    chosen = choose_products(
        products,
        bands,
        bbox=bbox,
        datetime=datetime,
        collection=collection,
        max_cloud=max_cloud,
        max_dates=max_dates,
        request=GridRequest(like, bounds, resolution),
    )
    return cube_of_products(chosen, apply_masks=apply_masks)


def choose_products(
    products: Sources,
    bands: str | Sequence[str],
    *,
    bbox: Sequence[float] | None = None,
    datetime: When | None = None,
    collection: str | None = None,
    max_cloud: float | None = None,
    max_dates: int | None = None,
    request: GridRequest,
) -> Choice:
    """Return the products of a cube by their metadata; see :func:`open_products`."""
    request.check()
    if bbox is not None and request.bounds is not None:
        raise ValueError("bbox and bounds both say what part to use: give one of them")
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
    found = _on_grids_of_files(found)
    _check_alike(found)
    choice = Choice(*_on_one_grid(found, bbox, request))
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
    # Products of a date that are resampled are the last.
    warn_of_resampling(choice.resampled, [date[-1].item.id for date in choice.dates])
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


def _on_grids_of_files(products: Sequence[Product]) -> list[Product]:
    """Products on the grids of their files, with a warning if metadata say something else."""
    found, wrong = [], []
    for product in products:
        item, first = product.item, next(iter(product.bands.values()))
        grid = on_grid_of_file(item, first).geobox
        if not _is_same(first.geobox, grid):
            wrong.append(item.id)
            bands = {name: on_grid_of_file(item, band) for name, band in product.bands.items()}
            mask = product.mask and on_grid_of_file(item, product.mask)
            product = replace(product, bands=bands, mask=mask)
        found.append(product)
    if wrong:
        warnings.warn(
            f"{len(wrong)} of {len(products)} items say another grid than their files have, and "
            f"that of the files is used: correct proj:code, proj:shape and proj:transform; the "
            f"first is {wrong[0]}",
            stacklevel=4,
        )
    return found


def _is_same(one: GeoBox, other: GeoBox) -> bool:
    first, second = Grid.of_geobox(one), Grid.of_geobox(other)
    return first.shape == second.shape and first.position_of(second) == (0, 0)


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
        Grid.of_geobox(product.grid).check_usable(name, WARP_COMMAND)
        for band, layer in product.bands.items():
            # Those of different units are compared on the common grid.
            alike = _units(layer.geobox) == _units(first.grid)
            if alike and not np.isclose(abs(layer.geobox.resolution.x), size, rtol=1e-3):
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


def _units(grid: GeoBox) -> tuple[str, ...]:
    return () if grid.crs is None else grid.crs.units


def _by_date(products: Sequence[Product]) -> list[list[Product]]:
    """Group products by pass, encoding and fraction; of two versions, take the newer.

    Versions differ in their processing baseline, or of one baseline in their encoding.
    """
    acquisitions = _acquisitions(products)
    known = list(zip(products, acquisitions, strict=True))
    newest = {}
    for product, acquisition in sorted(known, key=lambda one: baseline(one[0].item) or 0):
        newest[acquisition, product.grid] = _version(product)
    dates: dict[Any, list[Product]] = {}
    for product, acquisition in known:
        if newest[acquisition, product.grid] == _version(product):
            between = tuple(round(part, _DECIMALS) for part in product.fraction)
            dates.setdefault((*acquisition, product.encoding, between), []).append(product)
    return sorted(dates.values(), key=lambda date: time_of(date[0].item))


def _version(product):
    return baseline(product.item), product.encoding


def _acquisitions(products: Sequence[Product]) -> list[tuple[Any, ...]]:
    """Solar day, satellite and number of its pass of each product."""
    found: dict[int, tuple[Any, ...]] = {}
    last: dict[Any, tuple[Any, int]] = {}
    for number in sorted(range(len(products)), key=lambda one: time_of(products[one].item)):
        item = products[number].item
        time, platform = time_of(item), item.common_metadata.platform
        earlier, passes = last.get(platform, (time, 0))
        passes += time - earlier > _PASS
        last[platform] = time, passes
        longitude = products[number].grid.extent.centroid.to_crs("EPSG:4326").points[0][0]
        day = (time + timedelta(hours=longitude / 15)).date()
        found[number] = day, platform, passes
    return [found[number] for number in range(len(products))]


def _on_one_grid(
    products: Sequence[Product], bbox: Sequence[float] | None, request: GridRequest
) -> tuple[list[list[Product]], GeoBox]:
    """Products by date, with their place on the common grid, and that grid."""
    from odc.geo.geobox import GeoBox
    from rasterio import Affine

    like = None if request.like is None else grid_like(request.like)
    most: Any = Counter(product.grid.crs for product in products).most_common(1)[0][0]
    # The grid is that of the first one.
    ordered = sorted(products, key=lambda product: product.grid.crs != most)
    names, grids = [], []
    for product in ordered:
        names.append(product.item.id)
        grids.append(Grid.of_geobox(product.grid))
    if bbox is not None:
        bounds = _bounds_of(bbox, grids, like or grids[0])
        request = replace(request, bounds=bounds)
    grid, places = common_grid(names, grids, request, like)
    placed = [replace(one, place=place) for one, place in zip(ordered, places, strict=True)]
    # Of products of one date, those that are not resampled come first.
    placed.sort(key=lambda one: (one.is_resampled, time_of(one.item), one.item.id))
    dates = [_without_covered(date, grid.shape) for date in _by_date(placed)]
    return dates, GeoBox(grid.shape, Affine(*grid.transform), grid.crs)


def _without_covered(date: list[Product], shape: tuple[int, int]) -> list[Product]:
    """A date without resampled products where those of the grid show as much of the area."""
    from odc.geo.geom import unary_union

    own = unary_union([_part_of(shape, one) for one in date if not one.is_resampled])
    if own is None:
        return date
    return [
        product
        for product in date
        if not product.is_resampled or _part_of(shape, product).difference(own).area > 0
    ]


def _part_of(shape, product):
    """The part of a grid that a product covers, in rows and columns."""
    from odc.geo.geom import box

    (top, bottom), (left, right) = (
        np.clip((part.start, part.stop), 0, length).tolist()
        for part, length in zip(product.place.footprint, shape, strict=True)
    )
    return box(left, top, right, bottom, None)


def _bounds_of(bbox, grids, base):
    """The part of a box in degrees that products cover, in the CRS of a grid."""
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds

    crs = CRS.from_wkt(base.crs)
    boxes = [transform_bounds(CRS.from_wkt(grid.crs), crs, *grid.bounds) for grid in grids]
    wanted = transform_bounds("EPSG:4326", crs, *bbox)
    left, bottom = np.maximum(np.min(boxes, axis=0)[:2], wanted[:2]).tolist()
    right, top = np.minimum(np.max(boxes, axis=0)[2:], wanted[2:]).tolist()
    if not (left < right and bottom < top):
        raise ValueError(
            f"bbox is {tuple(bbox)}, and the products are elsewhere: give west, south, east and "
            "north in degrees"
        )
    return left, bottom, right, top


def _clearest(
    choice: Choice, clear: NDArray[np.bool_] | None, count: int
) -> tuple[Choice, NDArray[np.bool_] | None]:
    """The dates on which most of the area is clear, in their order, and where they are clear."""
    parts = clear_parts(choice, clear)
    kept = sorted(sorted(range(len(parts)), key=lambda number: -parts[number])[:count])
    dates = [choice.dates[number] for number in kept]
    chosen = replace(choice, dates=dates, clear=[parts[number] for number in kept])
    return chosen, None if clear is None else clear[kept]
