"""Super-resolution of raster files of any size to GeoTIFFs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import check_target, file_state, remove_partial_files, replace_files
from ..training import describe as describe_value
from ..version import __version__
from ._block_predictors import as_block_predictor
from ._block_store import BlockStore, BlockStoreError, compute_blocks
from ._common_grid import GridRequest
from ._encoding import PART_DTYPES, POSITION_STD, check_position_std, encoding_of, layers_of
from ._imagery import site_of
from ._masks import warn_of_no_mask
from ._output_formats import format_of
from ._rasters import open_bands, open_masks
from ._site import check_plan_options, describe, plan_site
from ._value_ranges import check_value_range
from ._writing import write_preview, written_image

if TYPE_CHECKING:
    from ._block_predictors import BlockPredictor
    from ._block_store import Failure
    from ._frame_metadata import Reference
    from ._imagery import MaskType
    from ._rasters import Factor
    from ._site import Site, SitePlan

__all__ = ["FilesResult", "Outputs", "check_call", "super_resolve_files"]

# Greatest whole number that float64, by which rasterio writes no-data values, holds with all below.
_GREATEST_NODATA = 2**53

# Size of a file against that of its values, at most.
_OVERHEAD = 1.1


@dataclass(frozen=True)
class Outputs:
    """Files to write.

    Attributes
    ----------
    image : Path
        The suffixes of images name their formats: GeoTIFF, JPEG 2000, PNG, netCDF or Zarr.
    std, n_clear, preview : Path or None
        Standard deviations, numbers of clear frames, and a PNG to look at.
    cog : bool
        Whether GeoTIFFs are cloud-optimised.
    made_by : str
        Name of the call in the history of the files.
    measured : Path or None
        What in the image was measured: for each band the three images of
        :class:`~probav_estimators.architectures.ImageParts`, as bands of one file.
    """

    image: Path
    std: Path | None = None
    n_clear: Path | None = None
    preview: Path | None = None
    cog: bool = False
    made_by: str = "super_resolve_files"
    measured: Path | None = None

    @property
    def images(self) -> dict[str, Path]:
        """Paths of the images by content."""
        paths = {
            "image": self.image,
            "std": self.std,
            "n_clear": self.n_clear,
            "parts": self.measured,
        }
        return {part: path for part, path in paths.items() if path is not None}

    @property
    def sidecars(self) -> dict[str, Path]:
        """Paths of the files of the georeference, of formats that do not hold it, by content."""
        return {
            part: path.with_name(f"{path.name}.aux.xml")
            for part, path in self.images.items()
            if format_of(path).has_sidecar
        }

    @property
    def all(self) -> list[Path]:
        """Paths of all files."""
        pictures = [] if self.preview is None else [self.preview]
        return [*self.images.values(), *self.sidecars.values(), *pictures]

    def check(self) -> None:
        """Raise a ValueError for names without a known format."""
        for path in self.images.values():
            form = format_of(path)
            if self.cog and not form.is_geotiff:
                raise ValueError(
                    f"{path} is to be a {form.name}, and only GeoTIFFs are cloud-optimised: leave "
                    "cog out, or give names that end in .tif"
                )
        if self.preview is not None and self.preview.suffix.lower() != ".png":
            raise ValueError(f"{self.preview} is the name of a preview: give one that ends in .png")

    @property
    def parts(self) -> Path:
        """The folder of blocks."""
        return self.image.with_name(f"{self.image.name}.parts")


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
    predictor = check_call(
        outputs,
        estimator,
        value_range=value_range,
        dtype=dtype,
        reference=reference,
        position_std=position_std,
        tile_size=tile_size,
        device=device,
    )
    kind = None if dtype is None else _as_dtype(dtype)
    given = {"scale_factor": scale_factor, "add_offset": add_offset, "nodata": nodata}
    request = GridRequest(like, bounds, resolution)
    imagery = open_bands(paths, bands, window=window, bbox=bbox, request=request, **given)
    if mask is None and mask_type is not None:
        raise ValueError(
            f"mask_type is {mask_type!r} and there is no mask: give the files of masks"
        )
    masks = None if mask is None else open_masks(mask, mask_type, imagery, request)
    # A GeoTIFF has one nodata value.
    filled = [one for one in imagery.encodings.values() if one.nodata is not None]
    fill = filled[0].of_image(kind, nodata).nodata if filled else nodata
    fill = _held_by_tags(fill, imagery.first.dtype if kind is None else kind)
    range_of = partial(predictor.value_range_of, value_range)
    site = site_of(
        imagery, masks, dtype=kind, nodata=fill, range_of=range_of, position_std=position_std
    )
    _check_formats(outputs, site)
    warn_of_no_mask((scene.frames for scene in site.scenes.values()), imagery.label)
    files = _files_of(imagery.bands.values())
    mask_files = _files_of([] if masks is None else [masks.stack])
    settings = {
        "files": [[path, *file_state(path)] for path in files],
        "masks": [[path, *file_state(path)] for path in mask_files],
        "mask_type": _describe_mask_type(mask_type),
        **_settings(site, outputs),
        "weights": f"{predictor.name} ({predictor.fingerprint()})",
        "reference": str(reference),
        "position_std": float(position_std),
        "tile_size": tile_size,
    }
    _check_names(outputs, [*files, *mask_files])
    store = BlockStore(outputs.parts, tuple(outputs.images), settings, resume)
    store.open()
    _check_not_there(outputs, overwrite, store)
    _check_room(outputs, site, predictor.scale, store)
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
            _put_together(outputs, site, plan, store, result.attrs)
        store.remove()
        result.written = outputs.all
    return result


def check_call(
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

    Parameters
    ----------
    outputs, estimator, value_range, dtype, reference, position_std, tile_size, device
        As of that function.
    **others
        Its other arguments.

    Returns
    -------
    BlockPredictor
        Of the estimator.

    Raises
    ------
    ValueError
        If an argument is not valid, or does not fit the estimator.
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


def _held_by_tags(nodata, kind):
    """No-data value that rasterio writes as it is: of types of 64 bits, up to 2**53."""
    if kind.kind == "f" or kind.itemsize < 8:
        return nodata
    value = int(np.iinfo(kind).min if nodata is None else nodata)
    return max(-_GREATEST_NODATA, min(value, _GREATEST_NODATA))


def _files_of(stacks):
    return list(dict.fromkeys(path for stack in stacks for path in stack.paths))


def _check_formats(outputs, site):
    kinds = _dtypes_of(site)
    for part, path in outputs.images.items():
        n_layers = len(layers_of(part, site.encodings.values()))
        format_of(path).check(path, kinds[part], n_layers)


def _dtypes_of(site: Site) -> dict[str, np.dtype[Any]]:
    """Types of the values of each output."""
    return {**PART_DTYPES, "image": next(iter(site.encodings.values())).dtype}


def _check_names(outputs, inputs):
    for path in outputs.all:
        if os.path.abspath(path) in inputs:
            raise ValueError(f"{path} is one of the files to read: give the output another name")
        check_target(path)
    if len({path.absolute() for path in outputs.all}) < len(outputs.all):
        raise ValueError("outputs have one name: give each file its own")


def _check_not_there(outputs, overwrite, store):
    for path in outputs.all:
        if path.exists() and not (overwrite or store.has_written(path)):
            raise FileExistsError(f"{path} is there already: give another name, or overwrite it")


def _describe_mask_type(mask_type):
    """Text that is the same in every process; a function counts by its code."""
    code = getattr(mask_type, "__code__", None)
    return describe_value(mask_type if code is None else [mask_type, code])


def _settings(site, outputs):
    """Settings that blocks depend on, besides files and parameters."""
    return {
        "part": [list(site.grid.transform), list(site.grid.shape)],
        # Blocks hold bands in this order.
        "bands": list(site.encodings),
        "values": [
            [_describe_encoding(encoding_of(scene)), _describe_encoding(site.encodings[band])]
            for band, scene in site.scenes.items()
        ],
        "outputs": ", ".join(outputs.images),
        "version": __version__,
    }


def _describe_encoding(encoding):
    """All digits of an encoding, with the scale and the offset of each date."""
    numbers = (encoding.value_range, encoding.scale, encoding.offset, encoding.nodata)
    return [str(encoding.dtype), *(str(np.asarray(value).tolist()) for value in numbers)]


def _check_room(outputs: Outputs, site: Site, scale: int, store: BlockStore) -> None:
    """Raise an OSError if the blocks and the files do not fit on the disk."""
    h, w = site.grid.finer(scale).shape
    kinds = _dtypes_of(site)
    wanted = [
        kinds[part].itemsize * len(layers_of(part, site.encodings.values()))
        for part in outputs.images
    ]
    # All blocks, all files, and a copy of the largest before it is converted.
    converted = outputs.cog or not all(format_of(x).is_geotiff for x in outputs.images.values())
    copies = 2 * sum(wanted) + (max(wanted) if converted else 0)
    needed = _OVERHEAD * copies * h * w - store.size()
    free = shutil.disk_usage(outputs.image.absolute().parent).free
    if free < needed:
        raise OSError(
            f"{outputs.image} and its blocks take up to {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free on that disk: make room, write to another, or take a "
            "smaller window"
        )


def _put_together(
    outputs: Outputs, site: Site, plan: SitePlan, store: BlockStore, attrs: Mapping[str, Any]
) -> None:
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    for path in outputs.all:
        remove_partial_files(path)
    try:
        # All files appear once all are complete.
        with replace_files(outputs.all) as partials:
            files = dict(zip(outputs.all, partials, strict=True))
            for part, path in outputs.images.items():
                sidecar = outputs.sidecars.get(part)
                with written_image(
                    files[path],
                    format_of(path),
                    site,
                    plan,
                    store,
                    part,
                    attrs,
                    cog=outputs.cog,
                    sidecar=None if sidecar is None else files[sidecar],
                ) as geotiff:
                    if part == "image" and outputs.preview is not None:
                        write_preview(files[outputs.preview], geotiff)
            store.record_outputs(files)
    except BlockStoreError:
        raise
    except (OSError, RasterioError, CPLE_BaseError) as error:
        why = str(error.__cause__ or error).strip().rstrip(".")
        if isinstance(error, OSError) and error.errno:
            why = os.strerror(error.errno)
        raise OSError(
            f"{outputs.image} cannot be written ({why}): make room, and repeat the call, which "
            f"goes on with the blocks in {outputs.parts}"
        ) from error
