"""Super-resolution of satellite products to GeoTIFFs."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import replace_file
from ._common_grid import GridRequest
from ._files import FilesResult, Outputs, check_call, super_resolve_files
from ._frame_metadata import tags_of
from ._product_cube import cube_of_products
from ._product_items import time_of
from ._products import choose_products
from ._writing import predictor_of

if TYPE_CHECKING:
    from ._product_items import Sources
    from ._products import Choice

__all__ = ["items_path", "super_resolve_products"]

# Arguments of super_resolve_files that products answer by their metadata.
_KNOWN = ("mask", "mask_type", "window", "scale_factor", "add_offset", "nodata")


def super_resolve_products(
    products: Sources,
    outputs: Outputs,
    estimator: Any = "simulated-x3",
    *,
    bands: Sequence[Any] | None,
    bbox: Sequence[float] | None = None,
    datetime: str | None = None,
    collection: str | None = None,
    max_cloud: float | None = None,
    max_dates: int | None = None,
    like: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    resolution: float | None = None,
    chosen: Callable[[list[str]], None] = lambda lines: None,
    resume: bool = True,
    **options: Any,
) -> FilesResult:
    """Fuse satellite products into one georeferenced image of each band.

    The frames of the area are written to a folder beside the image, which the same call finds again
    if it was stopped; it is removed once the image is written. The items that were chosen are
    written beside the image, as an item collection that makes the same image again.

    Parameters
    ----------
    products : path, URL, item or sequence of these
        As for :func:`open_products`, like all below but `outputs` and `estimator`.
    outputs : Outputs
    estimator : str, path-like or estimator, default="simulated-x3"
    bands : sequence of str
    bbox : sequence of four floats, default=None
    datetime : str, default=None
    collection : str, default=None
    max_cloud : float, default=None
    max_dates : int, default=None
    like : path-like, default=None
    bounds : tuple of four floats, default=None
    resolution : float, default=None
    chosen : callable
        Takes a line of text for each date that was chosen.
    resume : bool, default=True
        Whether frames and blocks of an earlier call are kept.
    **options : Any
        As for :func:`super_resolve_files`, except for those that metadata answer.

    Returns
    -------
    FilesResult

    Raises
    ------
    ValueError
        If products or arguments do not fit.
    OSError
        If a file cannot be read or written.
    """
    for name in _KNOWN:
        if options.pop(name, None) is not None:
            raise ValueError(
                f"{name} is given, and products have their own: leave it out, or give the files "
                "of the bands instead of the products"
            )
    if options.pop("share", None) is not None:
        raise ValueError("share is given, and one machine reads products: leave --tiles out")
    if not bands:
        raise ValueError("bands is missing: name the bands of the products, such as red nir")
    check_call(outputs, estimator, **options)
    choice = choose_products(
        products,
        bands,
        bbox=bbox,
        datetime=datetime,
        collection=collection,
        max_cloud=max_cloud,
        max_dates=max_dates,
        request=GridRequest(like, bounds, resolution),
    )
    chosen(choice.lines())
    folder = outputs.image.with_name(f"{outputs.image.name}.frames")
    paths = _write_frames(choice, folder, resume)
    result = super_resolve_files(paths, outputs, estimator, resume=resume, **options)
    if result.written:
        _write_items(choice, items_path(outputs.image))
        shutil.rmtree(folder)
        result.written.append(items_path(outputs.image))
    return result


def items_path(image: Path) -> Path:
    """Return the path of the items of which an image was made."""
    return image.with_name(f"{image.name}.items.json")


def _write_frames(choice: Choice, folder: Path, resume: bool) -> list[Path]:
    """Write a GeoTIFF for each date, and return their paths; those of the same choice are kept."""
    state = {
        "products": [
            [[product.item.id, product.encoding] for product in date] for date in choice.dates
        ],
        "bands": list(choice.first.bands),
        "grid": [*choice.geobox.shape, *choice.geobox.transform[:6], str(choice.geobox.crs)],
        "marks": [choice.fractions.tolist(), choice.resampled.tolist()],
    }
    record = folder / "choice.json"
    state = json.loads(json.dumps(state))
    if not (resume and record.exists() and json.loads(record.read_text()) == state):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        record.write_text(json.dumps(state))
    cube = cube_of_products(choice)
    paths = []
    for number, date in enumerate(choice.dates):
        path = folder / f"{time_of(date[0].item):%Y%m%dT%H%M%S}_{number}.tif"
        paths.append(path)
        if not path.exists():
            with replace_file(path) as partial:
                frame = cube.isel(time=number)
                tags = tags_of(choice.fractions[number], choice.resampled[number])
                _write_frame(frame, list(choice.first.bands), tags, partial)
    return paths


def _write_frame(frame, bands, tags, path):
    import rioxarray  # noqa: F401 - makes the accessor `rio`

    nodata = frame[bands[0]].attrs["_FillValue"]
    for band in bands:
        own = frame[band].attrs["_FillValue"]
        if own != nodata and own == own:
            frame[band] = frame[band].where(frame[band] != own, nodata)
    array = frame[bands].to_dataarray("band").rename(None)
    array.attrs = {
        "_FillValue": nodata,
        "long_name": tuple(bands),
        "scales": tuple(frame[band].attrs.get("scale_factor", 1.0) for band in bands),
        "offsets": tuple(frame[band].attrs.get("add_offset", 0.0) for band in bands),
    }
    array.rio.to_raster(
        path,
        driver="GTiff",
        tiled=True,
        interleave="band",
        compress="deflate",
        zlevel=1,
        predictor=predictor_of(array.dtype),
        bigtiff="IF_SAFER",
        tags=tags,
        lock=threading.Lock(),
    )


def _write_items(choice: Choice, path: Path) -> None:
    import pystac

    items = pystac.ItemCollection(product.item for date in choice.dates for product in date)
    with replace_file(path) as partial:
        partial.write_text(json.dumps(items.to_dict(transform_hrefs=False), indent=1))
