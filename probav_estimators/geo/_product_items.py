"""STAC items of catalogs, collections, STAC APIs and product folders; their bands and masks."""

from __future__ import annotations

import glob
import os
import re
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ._grid import WARP_COMMAND
from ._masks import MASK_KINDS, clear_of
from ._product_folders import items_of_folder, product_files

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from pystac import Asset, Item

    #: A path or URL, an item or a collection of items, or several of these.
    Sources = Any

    #: Date or interval, as text in the form of STAC.
    When = str | date

__all__ = [
    "RAISED_OFFSET",
    "ProductLayer",
    "baseline",
    "find_items",
    "find_layer",
    "find_mask",
    "import_stac",
    "is_clear",
    "is_product",
    "on_grid_of_file",
    "time_of",
]

_JSON = (".json", ".geojson")

# Names of products of Sentinel-2, Landsat and HLS, also of those that lack files.
_PRODUCT_NAME = re.compile(
    r"(\.SAFE|(^|/)L[A-Z]0\d_L[12]\w\w_[^/.]*|(^|/)HLS\.[LS]30\.[^/]*\.v\d\.\d)(\.zip|\.tar)?/?$"
)

#: Offset of the reflectance of Sentinel-2, and the processing baseline since which there is one.
RAISED_OFFSET, _RAISED_BASELINE = -0.1, 4.0


def import_stac() -> Any:
    """Return the module odc.stac; an ImportError that names the extra if it is missing."""
    try:
        import odc.stac
        import pystac_client  # noqa: F401 - part of the extra
    except ImportError as error:
        raise ImportError(
            "satellite products and STAC items need odc-stac: pip install probav_estimators[stac]"
        ) from error
    return odc.stac


def is_product(path: str | os.PathLike[str]) -> bool:
    """Return whether a path or a pattern is that of STAC files or products, by name or content."""
    path = next(iter(_paths_of(os.fspath(path))), "")
    named = path.endswith(_JSON) or _PRODUCT_NAME.search(path) is not None
    return named or product_files(path) is not None


def _paths_of(text: str) -> list[str]:
    """The paths that fit a pattern, or a path itself."""
    if glob.has_magic(text) and not os.path.exists(text):
        return sorted(glob.glob(text))
    return [text]


def find_items(
    sources: Sources,
    *,
    collection: str | None,
    bbox: Sequence[float] | None,
    when: When | None,
    max_cloud: float | None,
) -> list[Item]:
    """Return the items of all sources that fit, by their dates; at least one.

    `sources` is a path, URL, Item, ItemCollection, Catalog or a sequence of these, `bbox` in
    degrees, `when` a date or interval as STAC APIs take it, such as "2026-06/2026-08", and
    `max_cloud` the greatest cloud cover by the metadata, in percent.
    """
    sources = _as_list(sources)
    if not sources:
        raise ValueError("there are no products: give paths, STAC items or the URL of a STAC API")
    when = when.isoformat() if isinstance(when, date) else when
    limits = _interval(when)
    # An end that is left out is open, as ".." is.
    interval = when and "/".join(end or ".." for end in when.split("/"))
    query = {"collections": collection and [collection], "bbox": bbox, "datetime": interval}
    every = [item for source in sources for item in _items_of(source, query)]
    found = {(item.collection_id, item.id): item for item in every}.values()
    items = [
        item
        for item in found
        if (collection is None or item.collection_id in (None, collection))
        and (limits is None or limits[0] <= time_of(item) <= limits[1])
        and (bbox is None or item.bbox is None or _overlap(item.bbox, bbox))
        and (max_cloud is None or (item.properties.get("eo:cloud_cover") or 0) <= max_cloud)
    ]
    if not items:
        asked = {"datetime": when, "bbox": bbox, "collection": collection, "max_cloud": max_cloud}
        given = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise ValueError(
            f"{_name(sources)} has {len(found)} products and none of {given or 'any kind'}: give "
            "wider limits, or other products"
        )
    return sorted(items, key=lambda item: (time_of(item), item.id))


def _as_list(sources):
    import pystac

    if isinstance(sources, Iterable) and not isinstance(sources, str | pystac.ItemCollection):
        return list(sources)
    return [sources]


def _name(sources):
    names = [getattr(one, "id", None) or str(one) for one in sources]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} others"


def _items_of(source: Any, query: dict[str, Any]) -> Iterator[Item]:
    import pystac

    if isinstance(source, pystac.Item):
        yield source
    elif isinstance(source, pystac.Catalog):
        yield from source.get_items(recursive=True)
    elif isinstance(source, pystac.ItemCollection):
        yield from source
    elif not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"{reprlib.repr(source)} is no product: give the path of one, the file or URL of a "
            "STAC catalog, or items of pystac"
        )
    elif "://" in (text := os.fspath(source)):
        yield from _items_of_json(text) if text.endswith(_JSON) else _search(text, query)
    else:
        yield from _items_of_path(text)


def _items_of_path(text: str) -> Iterator[Item]:
    paths = [path for path in _paths_of(text) if os.path.exists(path)]
    if not paths:
        raise FileNotFoundError(f"{text} does not exist: give the path of a product or a catalog")
    for path in paths:
        yield from _items_of_json(path) if path.endswith(_JSON) else items_of_folder(path)


def _items_of_json(path: str) -> Iterator[Item]:
    import pystac

    try:
        source = pystac.StacIO.default().read_json(path)
        if source.get("type") == "FeatureCollection":
            found: Any = pystac.ItemCollection.from_file(path)
        else:
            found = pystac.read_file(path)
    except (OSError, ValueError, AttributeError, KeyError, pystac.STACError) as error:
        raise ValueError(
            f"{path} cannot be read as STAC ({error}): give a catalog, a collection, an item or an "
            "item collection in JSON"
        ) from error
    return _items_of(found, {})


def _search(url: str, query: dict[str, Any]) -> Iterator[Item]:
    import pystac_client

    try:
        client = pystac_client.Client.open(url.rstrip("/").removesuffix("/search"))
        yield from client.search(**query).items()
    except (OSError, pystac_client.exceptions.APIError) as error:
        raise ValueError(
            f"{url} gives no items ({error}): give the address of a STAC API, and the name of one "
            "of its collections"
        ) from error


def time_of(item: Item) -> datetime:
    """Return the time of an item, in UTC; a ValueError if it has none."""
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        raise ValueError(f"{item.id} has no date: add the property datetime to the item")
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _overlap(box, other):
    west, south, *_ = box
    east, north = box[len(box) // 2 : len(box) // 2 + 2]
    return west < other[2] and other[0] < east and south < other[3] and other[1] < north


def _interval(when: str | None) -> tuple[datetime, datetime] | None:
    """First and last moment of a date or an interval, as STAC APIs take it."""
    import pandas

    if when is None:
        return None
    if not isinstance(when, str):
        raise ValueError(f"datetime is {when!r}: give text or a date, such as '2026-06/2026-08'")
    first, _, last = when.partition("/") if "/" in when else (when, "", when)
    try:
        ends = [
            datetime.min if first in ("", "..") else pandas.Period(first).start_time,
            datetime.max if last in ("", "..") else pandas.Period(last).end_time,
        ]
    except ValueError:
        raise ValueError(
            f"datetime is {when!r}: give a date or two, such as 2026-06-21, 2026-06/2026-08 or "
            "2026-06-01/.."
        ) from None
    start, end = (end.replace(tzinfo=UTC) for end in ends)
    return start, end


@dataclass(frozen=True)
class ProductLayer:
    """A band or the mask of a product.

    Attributes
    ----------
    name : str
        Of the asset.
    href : str
        Path or URL, which GDAL opens.
    geobox : GeoBox
    dtype : dtype
    nodata : float
        NaN for floats, and 0 or the least value of integers, where the metadata say nothing.
    scale, offset : float
        Values are stored * scale + offset.
    """

    name: str
    href: str
    geobox: GeoBox
    dtype: np.dtype[Any]
    nodata: float
    scale: float
    offset: float


def find_layer(item: Item, band: str) -> ProductLayer:
    """Return the band of an item that has a name or a common name; a ValueError if none has."""
    found = [key for key, asset in item.assets.items() if _is_called(key, asset, band)]
    if not found:
        known = [key for key, asset in item.assets.items() if _is_image(asset)]
        raise ValueError(
            f"{item.id} has no band {band}, but {', '.join(known) or 'none at all'}: name one of "
            "these, or leave the product out"
        )
    return _layer_of(item, band if band in found else _finest(item, found))


def find_mask(item: Item) -> tuple[str | None, ProductLayer | None]:
    """Return the kind of mask that an item has and its mask, or None twice."""
    for kind, known in MASK_KINDS.items():
        pattern = known.asset_pattern or known.pattern or "$^"
        if found := [key for key in item.assets if re.search(pattern, key.lower())]:
            return kind, _layer_of(item, _finest(item, found), fill=known.no_product)
    return None, None


def on_grid_of_file(item: Item, layer: ProductLayer) -> ProductLayer:
    """Return a layer on the grid that its file has; a ValueError if it has none."""
    geobox = _tags_of(item, layer.name, layer.href)["geobox"]
    if geobox is None:
        raise ValueError(
            f"{item.id}: its asset {layer.name}, {layer.href}, is on no grid: put it on one, such "
            f"as by {WARP_COMMAND}, and give items of these files"
        )
    return replace(layer, geobox=geobox)


def is_clear(values: NDArray[Any], mask_type: str | None) -> NDArray[np.bool_]:
    """Return where pixels are clear by the masks of products."""
    if mask_type == "probav":
        # The bits above the eighth are the coverage of each band.
        values = values.astype(np.int64) & 255
    return clear_of(values, mask_type, "the masks of products")


def baseline(item: Item) -> float | None:
    """Return the processing baseline of a product of Sentinel-2, or None."""
    for key in ("s2:processing_baseline", "sentinel:processing_baseline"):
        if key in item.properties:
            return float(item.properties[key])
    return None


def _is_called(key, asset, band):
    if key == band:
        return True
    fields = _band_fields(asset)
    stem = re.split(r"[/_.]", asset.href.rpartition(".")[0])[-1]
    names = [key, stem, *(fields.get(name) for name in ("name", "common_name", "eo:common_name"))]
    return _is_image(asset) and band.lower() in {str(name).lower() for name in names}


def _is_image(asset):
    return not {"thumbnail", "overview", "visual", "metadata"} & set(asset.roles or ())


def _finest(item: Item, keys: Sequence[str]) -> str:
    """The asset of the smallest pixels, and of these the one of the shortest name."""

    def order(key):
        fields = item.assets[key].extra_fields
        transform = fields.get("proj:transform")
        return abs(transform[0]) if transform else fields.get("gsd", np.inf), len(key), key

    return min(keys, key=order)


def _band_fields(asset: Asset) -> dict[str, Any]:
    """Metadata of an asset of one band, by the extensions of STAC 1.0 and by STAC 1.1."""
    fields = dict(asset.extra_fields)
    for key in ("eo:bands", "raster:bands", "bands"):
        bands = fields.get(key) or []
        fields |= bands[0] if len(bands) == 1 else {}
    return fields


def _layer_of(item: Item, key: str, *, fill: float | None = None) -> ProductLayer:
    """ProductLayer of an asset; `fill` is the value of a mask where there is no product."""
    asset = item.assets[key]
    href = _href_of(asset)
    if href.startswith("/") and not href.startswith("/vsi") and not os.path.exists(href):
        raise ValueError(
            f"{item.id}: its asset {key}, {href}, does not exist: put the file there, or leave the "
            "product out"
        )
    geobox = _grid_of(item, key)
    found = _encoding_of(item, asset)
    if fill is not None:
        found |= {"nodata": fill, "scale": 1, "offset": 0}
    if found["data_type"] is None or found["scale"] is None:
        tags = _tags_of(item, key, href)
        found = {name: tags[name] if value is None else value for name, value in found.items()}
    dtype = np.dtype(found["data_type"])
    nodata = found["nodata"]
    if nodata is None:
        nodata = np.nan if dtype.kind == "f" else np.iinfo(dtype).min
    scale, offset = float(found["scale"]), float(found["offset"] or 0)
    return ProductLayer(key, href, geobox, dtype, float(nodata), scale, offset)


def _href_of(asset: Asset) -> str:
    """Path or URL of an asset; the paths of a server on this machine are no URLs."""
    if os.path.isabs(asset.href) and os.path.exists(asset.href):
        return asset.href
    return (asset.get_absolute_href() or asset.href).removeprefix("file://")


def _encoding_of(item: Item, asset: Asset) -> dict[str, Any]:
    """Type, no data, scale and offset by the metadata; None for what they do not say."""
    fields = _band_fields(asset)
    found = {
        "data_type": fields.get("data_type"),
        "nodata": fields.get("nodata"),
        "scale": fields.get("scale", fields.get("raster:scale")),
        "offset": fields.get("offset", fields.get("raster:offset")),
    }
    if (version := baseline(item)) is None:
        return found
    applied = {
        item.properties.get(f"{by}:boa_offset_applied") for by in ("earthsearch", "sentinel")
    }
    if True in applied or version < _RAISED_BASELINE:
        # Catalogs give the offset of the original product also where it was subtracted.
        found["offset"] = 0
    elif found["offset"] is None:
        found["offset"] = RAISED_OFFSET
    found["scale"] = 1e-4 if found["scale"] is None else found["scale"]
    return found


def _tags_of(item, key, href):
    import rasterio
    from odc.geo.geobox import GeoBox

    try:
        with rasterio.open(href) as file:
            placed = file.crs and not file.transform.is_identity
            return {
                "geobox": GeoBox(file.shape, file.transform, file.crs) if placed else None,
                "data_type": file.dtypes[0],
                "nodata": file.nodata,
                "scale": file.scales[0],
                "offset": file.offsets[0],
            }
    except rasterio.errors.RasterioError as error:
        raise ValueError(
            f"{item.id}: its asset {key}, {href}, cannot be read ({error}): replace the file, or "
            "leave the product out"
        ) from error


def _grid_of(item: Item, key: str) -> GeoBox:
    from odc.geo.geobox import GeoBox
    from rasterio import Affine

    fields = item.properties | item.assets[key].extra_fields
    names = ("proj:code", "proj:epsg", "proj:wkt2", "proj:projjson")
    crs = next((fields[name] for name in names if fields.get(name)), None)
    if crs is None or not (fields.get("proj:shape") and fields.get("proj:transform")):
        raise ValueError(
            f"{item.id}: its asset {key} has no projection metadata, so its grid is not known: "
            "give items with proj:code, proj:shape and proj:transform, as rio-stac makes of files"
        )
    height, width = fields["proj:shape"]
    return GeoBox((height, width), Affine(*fields["proj:transform"][:6]), crs)
