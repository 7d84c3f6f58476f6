"""Bands and masks of STAC items: their files, grids and encodings."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ._grid import WARP_COMMAND
from ._masks import MASK_KINDS, clear_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from pystac import Asset, Item

__all__ = [
    "RAISED_OFFSET",
    "Layer",
    "baseline",
    "find_layer",
    "find_mask",
    "is_clear",
    "on_grid_of_file",
]

# Names of masks that are no part of a longer word, and masks without a product.
_OTHER_PATTERNS = {"probav": "^sm$"}
_FILL = {"scl": 0, "qa_pixel": 1, "fmask": 255, "omnicloudmask": 255, "probav": 255}

#: Offset of the reflectance of Sentinel-2, and the processing baseline since which there is one.
RAISED_OFFSET, _RAISED_BASELINE = -0.1, 4.0


@dataclass(frozen=True)
class Layer:
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


def find_layer(item: Item, band: str) -> Layer:
    """Return the band of an item that has a name or a common name.

    Raises
    ------
    ValueError
        If there is none, or it has no file or projection metadata.
    """
    found = [key for key, asset in item.assets.items() if _is_called(key, asset, band)]
    if not found:
        known = [key for key, asset in item.assets.items() if _is_image(asset)]
        raise ValueError(
            f"{item.id} has no band {band}, but {', '.join(known) or 'none at all'}: name one of "
            "these, or leave the product out"
        )
    return _layer_of(item, band if band in found else _finest(item, found))


def find_mask(item: Item) -> tuple[str | None, Layer | None]:
    """Return the kind of mask that an item has and its mask, or None twice."""
    for kind, known in MASK_KINDS.items():
        pattern = known.pattern or _OTHER_PATTERNS.get(kind, "$^")
        if found := [key for key in item.assets if re.search(pattern, key.lower())]:
            return kind, _layer_of(item, _finest(item, found), fill=_FILL[kind])
    return None, None


def on_grid_of_file(item: Item, layer: Layer) -> Layer:
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


def _layer_of(item: Item, key: str, *, fill: float | None = None) -> Layer:
    """Layer of an asset; `fill` is the value of a mask where there is no product."""
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
    return Layer(key, href, geobox, dtype, float(nodata), scale, offset)


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
