"""GeoTIFFs of blocks, and previews."""

from __future__ import annotations

import os
import shutil
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..imaging import grey_limits
from ._encoding import PART_DTYPES, layers_of
from ._output_formats import convert

if TYPE_CHECKING:
    from ._block_store import BlockStore
    from ._output_formats import OutputFormat
    from ._site import Site, SitePlan

__all__ = ["predictor_of", "write_geotiff", "write_preview", "written_image"]

# Pixels of a preview along each axis, and its percentiles of black and white.
_PREVIEW = 1024
_DARK_AND_BRIGHT = 2, 98

# Sizes of the tiles of a GeoTIFF.
_LARGEST_TILE, _SMALLEST_TILE = 512, 128


@contextmanager
def written_image(
    path: Path,
    form: OutputFormat,
    site: Site,
    plan: SitePlan,
    store: BlockStore,
    part: str,
    attrs: Mapping[str, Any],
    *,
    cog: bool,
    sidecar: Path | None,
) -> Iterator[Path]:
    """Write blocks to one image of any format, and yield a GeoTIFF of the same pixels.

    Parameters
    ----------
    path : Path
        File or folder to write.
    form : OutputFormat
    site, plan, store, part, attrs, cog
        As of :func:`write_geotiff`.
    sidecar : Path or None
        File of georeference and tags, of a format that does not hold them.

    Yields
    ------
    Path
        It may be gone afterwards.
    """
    if form.is_geotiff:
        write_geotiff(path, site, plan, store, part, attrs, cog=cog)
        yield path
        return
    import rasterio

    plain = path.with_name(f"{path.name}.plain")
    try:
        sums = write_geotiff(plain, site, plan, store, part, attrs)
        grid = site.grid.finer(plan.scale)
        convert(plain, path, form, grid, site.encodings, part, attrs)
        if sidecar is not None:
            shutil.move(path.with_name(f"{path.name}.aux.xml"), sidecar)
            _check_sums(rasterio, path, sums, form.driver)
        yield plain
    finally:
        plain.unlink(missing_ok=True)


def write_geotiff(
    path: str | os.PathLike[str],
    site: Site,
    plan: SitePlan,
    store: BlockStore,
    part: str,
    attrs: Mapping[str, Any],
    *,
    cog: bool = False,
) -> dict[tuple[int, int, int], int]:
    """Write blocks to one GeoTIFF.

    Parameters
    ----------
    path : path-like
        File to write.
    site : Site
    plan : SitePlan
    store : BlockStore
        With all blocks.
    part : {"image", "std", "n_clear", "parts"}
    attrs : mapping
        Tags of the file.
    cog : bool, default=False
        Whether to write a cloud-optimised GeoTIFF, with overviews.

    Returns
    -------
    dict of int
        Checksums of the values, by first row, number of rows and band.

    Raises
    ------
    OSError
        If the disk is full or the file cannot be written, besides what rasterio raises.
    """
    import rasterio

    path = Path(path)
    plain = path.with_name(f"{path.name}.plain") if cog else path
    try:
        with rasterio.Env(GDAL_CACHEMAX=128 << 20):
            sums = _write_plain(rasterio, plain, site, plan, store, part, attrs)
            if cog:
                _copy_to_cog(rasterio, plain, path)
            _check_sums(rasterio, path, sums, "GTiff")
            return sums
    finally:
        if cog:
            plain.unlink(missing_ok=True)


def _copy_to_cog(rasterio, plain, path):
    import rasterio.shutil

    with _open_quietly(rasterio, plain) as file:
        has_predictor = "PREDICTOR" in file.tags(ns="IMAGE_STRUCTURE")
    rasterio.shutil.copy(
        plain,
        path,
        driver="COG",
        compress="DEFLATE",
        predictor="YES" if has_predictor else "NO",
        overview_resampling="AVERAGE",
        bigtiff="IF_SAFER",
    )


def _write_plain(rasterio, path, site, plan, store, part, attrs):
    """Write a GeoTIFF; returns checksums of its strips, by their rows and bands."""
    grid = site.grid.finer(plan.scale)
    types = list(site.encodings.values())
    layers = layers_of(part, types)
    dtype = PART_DTYPES.get(part, types[0].dtype)
    nodata = {"image": types[0].nodata, "n_clear": None}.get(part, np.nan)
    tile = _tile_size(plan)
    profile = {
        "driver": "GTiff",
        "height": grid.shape[0],
        "width": grid.shape[1],
        "count": len(layers),
        "dtype": dtype.name,
        "nodata": nodata,
        "crs": grid.crs,
        "transform": rasterio.Affine(*grid.transform),
        "tiled": True,
        "blockxsize": tile,
        "blockysize": tile,
        "interleave": "band",
        "compress": "deflate",
        "predictor": predictor_of(dtype),
        "zlevel": 4,
        "bigtiff": "if_safer",
    }
    sums = {}
    with _open_quietly(rasterio, path, "w", **profile) as file:
        bands = list(site.encodings)
        # A file of one array for each band names it after the band.
        file.descriptions = [
            bands[one.band] + ("" if one.number is None else one.suffix) for one in layers
        ]
        file.update_tags(**_tags(attrs))
        if part != "n_clear":
            file.scales = [layer.scale for layer in layers]
            file.offsets = [layer.offset for layer in layers]
        for number, layer in enumerate(layers, 1):
            for row, values in _strips(plan, store, layer, part, tile):
                window = rasterio.windows.Window(0, row, grid.shape[1], len(values))
                file.write(values, number, window=window)
                sums[row, len(values), number] = zlib.crc32(values)
    return sums


def predictor_of(dtype: np.dtype[Any]) -> int:
    """Number of the predictor of a compressed GeoTIFF: 3 of floats, 2 of integers, 1 of none."""
    if dtype.kind == "f":
        return 3
    # libtiff up to 4.3 has none for 64 bits.
    return 2 if dtype.itemsize < 8 else 1


def _strips(plan, store, layer, part, tile):
    """(first row, values) of strips of a layer that are as high as whole tiles."""
    first, rest = 0, None
    for _, row in groupby(plan.blocks, key=lambda block: block.rows.start):
        arrays = [store.load(block.number, layer.band, part) for block in row]
        if layer.number is not None:
            arrays = [array[layer.number] for array in arrays]
        strip = np.concatenate(arrays, axis=1)
        strip = strip if rest is None else np.concatenate([rest, strip])
        whole = len(strip) // tile * tile
        if whole:
            yield first, np.ascontiguousarray(strip[:whole])
        first, rest = first + whole, strip[whole:]
    if len(rest):
        yield first, np.ascontiguousarray(rest)


def _check_sums(rasterio, path, sums, driver):
    """Compare a file with the values written: GDAL may lose errors of a full disk on closing."""
    with _open_quietly(rasterio, path, driver=driver) as file:
        for (row, height, band), expected in sums.items():
            window = rasterio.windows.Window(0, row, file.width, height)
            if zlib.crc32(np.ascontiguousarray(file.read(band, window=window))) != expected:
                raise OSError(f"rows {row} to {row + height} are not there")


def _open_quietly(rasterio, path, mode="r", *, driver="GTiff", **profile):
    with warnings.catch_warnings():
        # Frames without georeference give an image without one.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, mode, driver=driver, **profile)


def _tile_size(plan):
    """Size of tiles that divides blocks, so that each tile is written once."""
    side = plan.scale * (plan.blocks[0].rows.stop - plan.blocks[0].rows.start)
    tile = _LARGEST_TILE
    while side % tile and tile > _SMALLEST_TILE:
        tile //= 2
    return tile


def _tags(attrs):
    texts = {
        key: ", ".join(f"{x:g}" for x in value) if isinstance(value, np.ndarray) else str(value)
        for key, value in attrs.items()
    }
    software = f"probav_estimators {attrs['model_version']}"
    return texts | {"TIFFTAG_SOFTWARE": software, "TIFFTAG_IMAGEDESCRIPTION": attrs["history"]}


def write_preview(path: str | os.PathLike[str], image: str | os.PathLike[str]) -> None:
    """Write a PNG of a GeoTIFF, of at most 1024 x 1024 pixels.

    Parameters
    ----------
    path : path-like
        Of the PNG.
    image : path-like
        Of the GeoTIFF. Of three bands or more, red, green and blue are shown where they are named
        as Sentinel-2's or in words, else the first three; of fewer, the first.
    """
    import rasterio

    with _open_quietly(rasterio, image) as file:
        bands = _colours(list(file.descriptions))
        step = max(1, -(-max(file.shape) // _PREVIEW))
        shape = (len(bands), *(-(-length // step) for length in file.shape))
        values = file.read(
            bands, out_shape=shape, masked=True, resampling=rasterio.enums.Resampling.average
        )
    shown = np.zeros(shape, np.uint8)
    for number, band in enumerate(values):
        known = np.ma.filled(band.astype(np.float64), np.nan)
        low, high = grey_limits([known], _DARK_AND_BRIGHT)
        shown[number] = np.nan_to_num(255 * ((known - low) / (high - low)).clip(0, 1))
    picture = shown[0] if len(bands) == 1 else np.moveaxis(shown, 0, -1)
    Image.fromarray(picture).save(path, format="PNG")


def _colours(names):
    known = [{"b04", "b4", "red"}, {"b03", "b3", "green"}, {"b02", "b2", "blue"}]
    lower = [str(name).lower() for name in names]
    found = [next((i for i, name in enumerate(lower, 1) if name in of), None) for of in known]
    if all(found):
        return found
    return [1, 2, 3] if len(names) >= 3 else [1]
