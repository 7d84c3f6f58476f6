"""Super-resolution of raster files and satellite products of any size to georeferenced files."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import file_state, read_json, replace_file, write_json
from ..scenes import digest
from ..version import __version__
from ._block_predictors import as_block_predictor
from ._block_store import BlockStore, compute_blocks
from ._encoding import POSITION_STD, check_position_std, check_value_range
from ._frame_metadata import frame_of, tags_of
from ._grid import GridRequest
from ._imagery import check_plan_options, describe, plan_site
from ._masks import warn_of_no_mask
from ._outputs import check_outputs, check_room, predictor_of, write_outputs
from ._product_cube import cube_of_products
from ._product_items import time_of
from ._products import choose_products
from ._rasters import open_bands, open_masks

if TYPE_CHECKING:
    from ._block_predictors import BlockPredictor
    from ._block_store import Failure
    from ._frame_metadata import Reference
    from ._masks import MaskType
    from ._outputs import Outputs
    from ._product_items import Sources
    from ._products import Choice
    from ._rasters import Factor

__all__ = ["FilesResult", "items_path", "super_resolve_files", "super_resolve_products"]

# Arguments of super_resolve_files that products answer by their metadata.
_KNOWN = ("mask", "mask_type", "window", "scale_factor", "add_offset", "nodata")


# Greatest whole number that float64, by which rasterio writes nodata values, holds with all below.
_GREATEST_NODATA = 2**53


@dataclass
class FilesResult:
    """Outcome of a call.

    Attributes
    ----------
    written : list of Path
        Files that were written; none while blocks are missing.
    n_blocks, n_made, n_missing : int
        Of the whole site, made in this call, and still to be made.
    failures : list of Failure
        Blocks that failed twice.
    attrs : dict
        Tags of the files.
    """

    written: list[Path]
    n_blocks: int
    n_made: int
    n_missing: int
    failures: list[Failure] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)


def super_resolve_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    outputs: Outputs,
    estimator: Any = "simulated-x3",
    *,
    mask: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    mask_type: MaskType = None,
    bands: Sequence[int | str] | None = None,
    window: tuple[slice, slice] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    scale_factor: Factor = None,
    add_offset: Factor = None,
    nodata: float | None = None,
    value_range: tuple[float, float] | None = None,
    dtype: Any = None,
    reference: Reference = "middle",
    position_std: float = POSITION_STD,
    like: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    resolution: float | None = None,
    tile_size: int | None = None,
    batch_size: int = 1,
    workers: int = 1,
    device: str | None = None,
    share: tuple[int, int] | None = None,
    resume: bool = True,
    overwrite: bool = False,
    started: Callable[[int], Callable[..., None]] = lambda n_blocks: lambda: None,
) -> FilesResult:
    """Fuse raster files into one georeferenced image of each band.

    Blocks are written to a folder beside the image. If the call is repeated, also after it was
    killed, it makes those that are missing, and writes the image once all are made.

    Parameters
    ----------
    paths : str or list of str
        Files of one site, one a date; or patterns, each of the files of one band.
    outputs : Outputs
    estimator : str, path-like or estimator, default="simulated-x3"
    mask : str or list of str, default=None
        Files of masks, or a pattern of them.
    mask_type : str or callable, default=None
        Kind of masks, see :func:`clear_of`. None: by their names.
    bands : list of int or str, default=None
        Which bands of the files. None: all.
    window : tuple of two slices, default=None
        Rows and columns of the files that are used. None: all.
    bbox : tuple of four floats, default=None
        Left, bottom, right and top of the area to use, in units of the CRS.
    scale_factor, add_offset : float or one for each frame, default=None
        None: as the files' tags say.
    nodata : float, default=None
        Of the files, and of the image. None: as the tags say.
    value_range : tuple of two floats, default=None
        Values of pixels of 0 and 1. None: those of the scenes that the estimator learned from.
    dtype : dtype, default=None
        Of the image. None: that of the files.
    reference : {"middle", "clearest"}, int or date, default="middle"
    position_std : float, default=1.0
        Standard deviation of the georeferencing along each axis, in pixels of the files.
    like : path-like, default=None
        Raster file whose grid and footprint the frames have. None: the grid of the first file.
    bounds : tuple of four floats, default=None
        Left, bottom, right, top of the frames in the CRS of the grid. None: the footprint of
        `like`, else of all files together.
    resolution : float, default=None
        Size of a pixel of the frames in units of the CRS of the grid. None: that of `like`, else of
        the first file.
    tile_size : int, default=None
        LR pixels of a block along each axis. None: 320.
    batch_size : int, default=1
        Blocks in a batch.
    workers : int, default=1
        Processes, which share the cores.
    device : str, default=None
        Device of named weights.
    share : tuple of two ints, default=None
        (i, n): make the blocks of the i-th of n machines, from 1 to n, and write no image.
    resume : bool, default=True
        Whether blocks of an earlier call are kept.
    overwrite : bool, default=False
        Whether existing files are replaced.
    started : callable
        Takes the number of blocks to make, and returns a function to call after each.

    Returns
    -------
    FilesResult

    Raises
    ------
    ValueError
        If files, masks or arguments do not fit.
    FileExistsError
        If an output exists and `overwrite` is False.
    OSError
        If the disk is too small, or a file cannot be read or written.
    """
    if share is not None and not (resume and 1 <= share[0] <= share[1]):
        raise ValueError(
            f"share is {share}: give (i, n) with 1 <= i <= n, and keep what the others have made"
        )
    predictor = _check_call(
        outputs,
        estimator,
        value_range=value_range,
        dtype=dtype,
        reference=reference,
        position_std=position_std,
        tile_size=tile_size,
        device=device,
    )
    given = {"scale_factor": scale_factor, "add_offset": add_offset, "nodata": nodata}
    request = GridRequest(like, bounds, resolution)
    imagery = open_bands(paths, bands, window=window, bbox=bbox, request=request, **given)
    if mask is None and mask_type is not None:
        raise ValueError(
            f"mask_type is {mask_type!r} and there is no mask: give the files of masks"
        )
    masks = None if mask is None else open_masks(mask, mask_type, imagery, request)
    site = imagery.site(
        masks,
        **_kind_of_image(imagery, dtype, nodata),
        range_of=partial(predictor.value_range_of, value_range),
        position_std=position_std,
    )
    warn_of_no_mask((scene.frames for scene in site.scenes.values()), imagery.label)
    files = _files_of(imagery.bands.values())
    mask_files = _files_of([] if masks is None else [masks.stack])
    check_outputs(outputs, site, [*files, *mask_files])
    settings = {
        "files": [[path, *file_state(path)] for path in files],
        "masks": [[path, *file_state(path)] for path in mask_files],
        "mask_type": _describe_mask_type(mask_type),
        **_settings(site, outputs, predictor),
        "reference": str(reference),
        "position_std": float(position_std),
        "tile_size": tile_size,
    }
    store = _open_store(outputs, settings, resume, overwrite)
    check_room(outputs, site, predictor.scale, store)
    takes_plan = predictor.takes_scenes_as_they_are
    known = store.load_plan(site.scenes) if takes_plan else None
    plan = plan_site(site, predictor, tile_size=tile_size, reference=reference, known=known)
    store.begin(plan)
    first, n_shares = (1, 1) if share is None else share
    numbers = [block.number for block in plan.blocks[first - 1 :: n_shares]]
    done = resume and all(map(store.has_written, outputs.all))
    missing = [] if done else store.missing(numbers)
    failures = compute_blocks(
        site,
        plan,
        predictor,
        store,
        missing,
        batch_size=batch_size,
        workers=workers,
        advance=started(len(missing)),
    )
    result = FilesResult(
        written=[],
        n_blocks=len(plan.blocks),
        n_made=len(missing) - len(failures),
        n_missing=0 if done else len(store.missing(range(len(plan.blocks)))),
        failures=failures,
        attrs=describe(site, plan, predictor, f"{outputs.made_by} by {predictor.name}"),
    )
    if share is None and not result.n_missing:
        if not done:
            write_outputs(outputs, site, plan, store, result.attrs)
        store.remove()
        result.written = outputs.all
    return result


def _check_call(
    outputs: Outputs,
    estimator: Any = "simulated-x3",
    *,
    value_range: tuple[float, float] | None = None,
    dtype: Any = None,
    reference: Reference = "middle",
    position_std: float = POSITION_STD,
    tile_size: int | None = None,
    device: str | None = None,
    **others: Any,
) -> BlockPredictor:
    """Check the arguments of :func:`super_resolve_files` that need no frames.

    Returns the predictor of the estimator; a ValueError is raised for an argument that is not valid
    or does not fit it.
    """
    outputs.check()
    predictor = as_block_predictor(estimator, device)
    if outputs.std is not None and not predictor.gives_std:
        raise ValueError(f"{predictor.name} gives no standard deviations: leave them out")
    if outputs.measured is not None:
        predictor.check_parts("leave that file out")
    if dtype is not None:
        _as_dtype(dtype)
    check_value_range(value_range, {})
    check_position_std(position_std)
    check_plan_options(predictor, tile_size, reference)
    return predictor


def _as_dtype(dtype):
    from rasterio.dtypes import check_dtype

    try:
        kind = np.dtype(dtype)
        known = kind.kind in "iuf" and check_dtype(kind.name)
    except TypeError:
        known = False
    if not known:
        raise ValueError(
            f"dtype is {dtype!r}: give a type of integers or floats that GeoTIFFs have, such as "
            "uint16, int16 or float32"
        )
    return kind


def _kind_of_image(imagery, dtype, nodata):
    """Type of an image, and its nodata value: a GeoTIFF has one for all bands."""
    kind = None if dtype is None else _as_dtype(dtype)
    filled = [one for one in imagery.encodings.values() if one.nodata is not None]
    fill = filled[0].of_image(kind, nodata).nodata if filled else nodata
    stored = imagery.first.dtype if kind is None else kind
    if stored.kind != "f" and stored.itemsize == 8:
        value = int(np.iinfo(stored).min if fill is None else fill)
        fill = max(-_GREATEST_NODATA, min(value, _GREATEST_NODATA))
    return {"dtype": kind, "nodata": fill}


def _open_store(outputs, settings, resume, overwrite):
    """Store of blocks; an error if an output exists that neither may be replaced nor is its own."""
    store = BlockStore(outputs.parts, tuple(outputs.images), settings, resume)
    store.open()
    for path in outputs.all:
        if path.exists() and not (overwrite or store.has_written(path)):
            raise FileExistsError(f"{path} is there already: give another name, or overwrite it")
    return store


def _files_of(stacks):
    return list(dict.fromkeys(path for stack in stacks for path in stack.paths))


def _describe_mask_type(mask_type):
    """Text that is the same in every process; a function counts by its code."""
    if mask_type is None or isinstance(mask_type, str):
        return repr(mask_type)
    code = getattr(mask_type, "__code__", None)
    return f"{type(mask_type).__qualname__} (checksum {digest(mask_type, code)})"


def _settings(site, outputs, predictor):
    """Settings that blocks depend on, besides files and arguments."""
    return {
        "part": [list(site.grid.transform), list(site.grid.shape)],
        # Blocks hold bands in this order.
        "bands": list(site.encodings),
        "values": [
            [_describe_encoding(own), _describe_encoding(site.encodings[band])]
            for band, own in site.stored_encodings.items()
        ],
        "outputs": ", ".join(outputs.images),
        "version": __version__,
        "weights": f"{predictor.name} ({predictor.fingerprint()})",
    }


def _describe_encoding(encoding):
    """All digits of an encoding, with the scale and the offset of each date."""
    numbers = (encoding.value_range, encoding.scale, encoding.offset, encoding.nodata)
    return [str(encoding.dtype), *(str(np.asarray(value).tolist()) for value in numbers)]


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
    # Weights that have a name are read once for both.
    predictor = _check_call(outputs, estimator, **options)
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
    times = np.array([time_of(date[0].item).replace(tzinfo=None) for date in choice.dates], "M8[s]")
    # Before frames are written.
    frame_of(options.get("reference", "middle"), times, choice.first.item.id)
    chosen(choice.lines())
    folder = outputs.image.with_name(f"{outputs.image.name}.frames")
    paths = _write_frames(choice, folder, resume)
    result = super_resolve_files(paths, outputs, predictor, resume=resume, **options)
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
    known = None
    # Damaged by a power cut: the frames are written again.
    with suppress(ValueError):
        known = read_json(record, "the frames are written again")
    if not resume or known != state:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_json(record, state)
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
