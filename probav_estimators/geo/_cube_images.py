"""Super-resolution of xarray cubes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..scenes import ValueFrames, is_dask
from ._block_predictors import as_block_predictor
from ._cube import ENCODING_ATTRS, in_own_dims, read_with_masks, rebuild
from ._cube_grid import STALE_ATTRS, with_grid
from ._encoding import POSITION_STD, ImageBlock, check_position_std, check_value_range, layers_of
from ._imagery import describe, make_blocks, plan_site
from ._masks import warn_of_no_mask

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from xarray import DataArray, Dataset

    from ..prediction import Predictor
    from ._frame_metadata import Reference

__all__ = ["super_resolve"]

# Default batch of blocks on a GPU.
_GPU_BATCH = 8

# LR pixels that a task reads around the window of a block, besides the greatest shift.
_MARGIN = 16

# Pixels along each axis of the chunks of masks that are no dask array.
_CHUNK = 1024

# Factors of a layer, as attributes of one array and of several that differ, and those left out.
_FACTORS = (("scale", "scale_factor", "scales", 1.0), ("offset", "add_offset", "offsets", 0.0))


def super_resolve(
    cube: DataArray | Dataset,
    estimator: str | os.PathLike[str] | Predictor = "simulated-x3",
    *,
    mask: DataArray | NDArray[Any] | str | None = None,
    mask_type: str | Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None,
    bands: str | Sequence[Any] | None = None,
    scale_factor: float | Sequence[float] | Mapping[str, Any] | None = None,
    add_offset: float | Sequence[float] | Mapping[str, Any] | None = None,
    nodata: float | Mapping[str, float] | None = None,
    value_range: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    return_std: bool = False,
    return_parts: bool = False,
    tile_size: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    reference: Reference = "middle",
    position_std: float = POSITION_STD,
    keep_attrs: bool = True,
) -> DataArray | Dataset:
    """Fuse the frames of a georeferenced cube into one finer image of each band.

    A cube of numpy arrays gives an image at once. A cube of dask arrays gives one of dask arrays:
    its frames are registered in this call, which reads parts of them, and each block of the image
    is a task that reads its own frames, on a cluster too.

    Parameters
    ----------
    cube : DataArray or Dataset
        With the dims y, x and time or t; y and x may be latitude, lat, longitude, lon, or what
        CF's attributes `axis` and `standard_name` name. Bands are along a dim band or bands, or the
        variables of a Dataset; of a Dataset of one variable with bands, that one is read. Values
        may be of any integer or float type and range; NaN and `nodata` are never used, and neither
        is a frame that is 0 everywhere.
    estimator : str, path-like or estimator, default="simulated-x3"
        Name of shipped weights, a file of weights or of a model (`save_model`), or a fitted
        estimator or pipeline.
    mask : array of shape (t, h, w) or (h, w), or str, default=None
        Where frames are clear: a cube of bool, True = clear, or of the classes of `mask_type`, of
        the dates of the frames, or one for all. It may be coarser by an integer, such as 20 m for
        frames of 10 m, and of a larger area. A str names a band of the cube. None: all data are
        clear.
    mask_type : str or callable, default=None
        Name of one of `geo.MASK_KINDS`, or a function that takes the values of `mask` and returns
        True where it is clear. None: by the name of the band, else a mask of bool.
    bands : sequence of names, default=None
        Which bands. None: all, but the mask and an alpha band, which hides pixels where it is 0.
    scale_factor, add_offset : float, one for each frame, or a dict of these by band, default=None
        Values are stored * scale_factor + add_offset. Series of pandas and DataArrays are matched
        with the frames by their dates. None: as the attributes of the cube say.
    nodata : float or dict of float by band, default=None
        Stored value of no data. None: as the attributes of the cube say.
    value_range : tuple of two floats, or a dict of these by band, default=None
        Values of pixels of 0 and 1, as of :class:`~probav_estimators.Scene`, with scale and offset.
        None: those of the scenes that the estimator learned from; they do not matter to FusionNet.
    return_std : bool, default=False
        Whether to give the standard deviation of each pixel's error too.
    return_parts : bool, default=False
        Whether to give what in the image was measured too; of FusionNet alone.
    tile_size : int, default=None
        Pixels of the cube along each axis that a block has. None: 320. The image is the same.
    batch_size : int or "auto", default="auto"
        Blocks in a batch. "auto": 8 on a GPU, else 1.
    reference : {"middle", "clearest"}, int, str, date or datetime64, default="middle"
        Which date the image shows where the land changes, as of FusionNet: a rule, the number of a
        frame, or its date, such as "2021-07-02".
    position_std : float, default=1.0
        Standard deviation of the georeferencing along each axis, in pixels of the frames.
        Frames are registered within about 4 times as much; what cannot be registered stays where
        it is, and a warning says so.
    keep_attrs : bool, default=True
        Whether to keep the attributes of the cube.

    Returns
    -------
    DataArray or Dataset, as the cube is one
        In the type and the units of the cube, on its grid with smaller pixels and the same corners.
        Where no frame is clear it is NaN, or no data. The coordinate ``n_clear`` is the number of
        clear frames at each pixel (of a Dataset, the least of all bands). With `return_std`, a
        DataArray has the coordinate ``std``, and a Dataset a variable ``B04_std`` for each variable
        ``B04``; with `return_parts`, the same of ``measured_share``, the share of the prior's
        variance that the frames took away, ``measured_detail`` and ``supposed_detail``, which add
        up to the difference of the image from the bicubic upscaling of the mean frame. Attributes
        hold the dates, the number of frames, how each was placed and its shift (NaN: not used), and
        the model.

    Raises
    ------
    ValueError
        If the cube, its mask or an argument is none of these, if frames are on a rotated grid or
        one of pixels that are not square, if nothing is clear, or if the estimator learned from
        scenes of another `value_range` or unit.
    ImportError
        Without the libraries of ``probav_estimators[geo]``.

    See Also
    --------
    open_scene : A scene of raster files.

    Examples
    --------
    >>> import numpy as np, xarray
    >>> from probav_estimators import make_scenes, super_resolve
    >>> (scene,) = make_scenes(1, size=32, random_state=0)
    >>> reflectance = xarray.DataArray(
    ...     np.int16(10000 * scene.lr),
    ...     dims=("time", "y", "x"),
    ...     coords={"y": 4_500_000 - 300 * np.arange(32), "x": 500_000 + 300 * np.arange(32)},
    ... )
    >>> sharp = super_resolve(reflectance, "simulated-x3", mask=scene.qm, return_std=True)
    >>> sharp.shape, str(sharp.dtype), float(sharp.x[1] - sharp.x[0])
    ((96, 96), 'int16', 100.0)
    >>> sharp["std"].shape, sharp["n_clear"].shape
    ((96, 96), (96, 96))
    """
    predictor = as_block_predictor(estimator)
    if return_std and not predictor.gives_std:
        raise ValueError(
            f"{predictor.name} gives no standard deviations: leave return_std out, or use FusionNet"
        )
    if return_parts:
        predictor.check_parts("leave return_parts out")
    options = {"scale_factor": scale_factor, "add_offset": add_offset, "nodata": nodata}
    read, masks = read_with_masks(cube, mask, mask_type, bands, options)
    check_value_range(value_range, read.bands)
    check_position_std(position_std)
    range_of = partial(predictor.value_range_of, value_range)
    site = read.site(masks, range_of=range_of, position_std=position_std)
    warn_of_no_mask((scene.frames for scene in site.scenes.values()), "cube")
    plan = plan_site(site, predictor, tile_size=tile_size, reference=reference)
    batch = _batch_size(batch_size, predictor)
    if read.is_lazy:
        images = _image_tasks(site, plan, predictor, return_parts)
    else:
        images = _compute_now(site, plan, predictor, batch, return_parts)
    about = describe(site, plan, predictor, f"super_resolve by {predictor.name}")
    beside = [*["std"] * return_std, *["parts"] * return_parts]
    return _assemble(read, site, plan, images, about, beside, keep_attrs)


def _batch_size(batch_size, predictor):
    if batch_size == "auto":
        device = str(getattr(predictor.estimator, "device", "cpu"))
        return 1 if device.startswith("cpu") else _GPU_BATCH
    if isinstance(batch_size, int | np.integer) and batch_size >= 1:
        return int(batch_size)
    raise ValueError(f"batch_size is {batch_size!r}: give 1 or more, or 'auto'")


def _compute_now(site, plan, predictor, batch, parts):
    """Images of numpy arrays by band."""
    shape = site.grid.finer(plan.scale).shape
    images: dict[str, Any] = {
        band: ImageBlock(*(np.empty(*one) for one in kind.arrays_of(shape, parts=parts)))
        for band, kind in site.encodings.items()
    }
    for start in range(0, len(plan.blocks), batch):
        blocks = plan.blocks[start : start + batch]
        made = make_blocks(predictor, plan.bands, site.encodings, blocks, parts=parts)
        for block, bands in zip(blocks, made, strict=True):
            for band, arrays in bands.items():
                for whole, array in zip(images[band], arrays, strict=True):
                    if array is not None:
                        whole[..., *block.place(plan.scale)] = array
    return images


def _image_tasks(site, plan, predictor, parts):
    """Images of dask arrays by band: a task for each block, with the frames of its window alone."""
    import dask.array as da
    from dask.delayed import delayed

    # Sent once to each worker.
    sent = delayed(predictor, pure=True, traverse=False)
    images = {}
    for band, whole in plan.bands.items():
        frames: Any = site.scenes[band].frames
        template = delayed(whole.on(_FramesMetadata(frames)), pure=True, traverse=False)
        reach = _MARGIN + whole.reach
        masks = [(one, _as_dask(one.stack.values)) for one in _all_masks(frames.masks)]
        rows: dict[int, list[Any]] = {}
        for block in plan.blocks:
            lr, read = _cut(frames, masks, block, reach)
            shape = tuple(part.stop - part.start for part in block.place(plan.scale))
            wanted = site.encodings[band].arrays_of(shape, parts=parts)
            made = delayed(_make_block, nout=len(wanted), pure=True)(
                sent, template, band, site.encodings[band], block, lr, read, parts
            )
            arrays = [da.from_delayed(one, *kind) for one, kind in zip(made, wanted, strict=True)]
            rows.setdefault(block.rows.start, []).append(arrays)
        images[band] = ImageBlock(
            *(
                da.block([[arrays[number] for arrays in row] for row in rows.values()])
                for number in range(len(wanted))
            )
        )
    return images


class _FramesMetadata:
    """Metadata of the frames of a band, without their pixels."""

    def __init__(self, frames: ValueFrames) -> None:
        self.shape = frames.stack.shape
        self.values = frames.values
        self.empty = frames.empty
        self.position_prior = frames.position_prior
        unread = _WindowStack("mask", self.shape)
        self.masks = [replace(one, stack=unread, other=None) for one in _all_masks(frames.masks)]

    def frames(self, lr: Any, read: Sequence[Any]) -> ValueFrames:
        """Return frames that have the pixels of a window: (values, origin) of frames and masks."""
        masks = None
        for one, part in zip(self.masks, read, strict=True):
            masks = replace(one, stack=_WindowStack("mask", self.shape, *part), other=masks)
        stack = _WindowStack("frame", self.shape, *lr)
        frames = ValueFrames(stack, self.values, masks, self.position_prior)
        frames._empty = self.empty
        return frames


@dataclass
class _WindowStack:
    """Stack that has the values of a window, which starts at an origin."""

    name: str
    shape: tuple[int, int, int]
    values: Any = None
    origin: tuple[int, int] = (0, 0)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def read(self, index: Sequence[int], window: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = (
            slice(part.start - start, part.stop - start)
            for part, start in zip(window, self.origin, strict=True)
        )
        return self.values[list(index), rows, columns]

    def where(self, number: int) -> str:
        return f"{self.name} {number} of the cube"


def _all_masks(masks):
    """Masks and the others with which pixels have to be clear."""
    return [] if masks is None else [masks, *_all_masks(masks.other)]


def _as_dask(values):
    """Masks as a dask array; a graph holds its chunks once."""
    import dask.array as da

    return values if is_dask(values) else da.from_array(values, chunks=(-1, _CHUNK, _CHUNK))


def _cut(frames, masks, block, reach):
    """Frames and masks in the window of a block, as dask arrays, and where they start."""
    rows, columns = (
        slice(max(part.start - reach, 0), min(part.stop + reach, length))
        for part, length in zip(block.window, frames.shape, strict=True)
    )
    window = rows, columns
    read = []
    for one, values in masks:
        rows, columns = one.stored_window(window)
        read.append((values[:, rows, columns], (rows.start, columns.start)))
    return (frames.stack.values[:, *window], (window[0].start, window[1].start)), read


def _make_block(predictor, template, band, kind, block, lr, read, parts):
    """Predict a block of a band, in a task."""
    known = template.scene.frames
    while not isinstance(known, _FramesMetadata):
        known = known.source
    with _slots():
        plans, kinds = {band: template.on(known.frames(lr, read))}, {band: kind}
        (made,) = make_blocks(predictor, plans, kinds, [block], parts=parts)
    return tuple(made[band])


_SLOTS: threading.Semaphore | None = None
_LOCK = threading.Lock()


def _slots() -> threading.Semaphore:
    """Limit of the blocks that this process computes at a time."""
    global _SLOTS
    import torch
    from joblib import cpu_count

    with _LOCK:
        if _SLOTS is None:
            _SLOTS = threading.Semaphore(max(1, cpu_count() // torch.get_num_threads()))
    return _SLOTS


def _assemble(cube, site, plan, images, about, beside, keep_attrs):
    import xarray

    grid = cube.grid.finer(plan.scale)
    encodings = [*site.encodings.values()]

    def put_together(part, layers):
        arrays = {}
        for layer, (band, image) in zip(layers, images.items(), strict=True):
            values = getattr(image, part)
            values = values if layer.number is None else values[layer.number]
            array = xarray.DataArray(values, dims=("y", "x"), name=band)
            own = cube.band_attrs[band] if keep_attrs else {}
            array.attrs = _attrs_of(part, own, [layer], [site.encodings[band]])
            arrays[band] = with_grid(array, grid)
        return rebuild(cube, arrays, {})

    out = put_together("image", layers_of("image", encodings))
    if cube.kind == "dataset":
        counts = [image.n_clear for image in images.values()]
        out = out.assign_coords(n_clear=(("y", "x"), reduce(np.minimum, counts)))
    else:
        counts = put_together("n_clear", layers_of("n_clear", encodings))
        out = out.assign_coords(n_clear=counts.variable)
    whole = dict(cube.attrs) if keep_attrs else {}
    for part in beside:
        layers = layers_of(part, encodings)
        for suffix in dict.fromkeys(layer.suffix for layer in layers):
            of_bands = [layer for layer in layers if layer.suffix == suffix]
            added = put_together(part, of_bands)
            if cube.kind == "dataset":
                out = out.assign({f"{band}{suffix}": array for band, array in added.items()})
            else:
                added.variable.attrs = _attrs_of(part, whole, of_bands, encodings)
                out = out.assign_coords({suffix[1:]: added.variable})
    out.attrs = _attrs_of_whole(whole, cube.kind, encodings, about)
    return in_own_dims(cube, out)


def _attrs_of(part, attrs, layers, encodings):
    """Attributes of frames that hold for an array of one band or several."""
    if part == "image":
        kept = _attrs_of_image(attrs, encodings)
    elif part == "n_clear":
        kept = {}
    elif part == "parts" and layers[0].number == 0:
        kept = {"units": "1"}
    else:
        kept = {key: attrs[key] for key in ("units",) if key in attrs}
    for own, one, many, plain in _FACTORS:
        found = tuple(getattr(layer, own) for layer in layers)
        if set(found) != {plain}:
            kept |= {many: found} if len(set(found)) > 1 else {one: found[0]}
    return kept


def _attrs_of_image(attrs, encodings):
    attrs = {key: value for key, value in attrs.items() if key not in ENCODING_ATTRS}
    if isinstance(names := attrs.get("long_name"), tuple | list) and len(names) != len(encodings):
        # Names of all bands, of which some are left out.
        del attrs["long_name"]
    nodata = [encoding.dtype.type(encoding.nodata) for encoding in encodings]
    if all(one == nodata[0] for one in nodata) or nodata[0].dtype.kind == "f":
        return attrs | {"_FillValue": nodata[0]}
    return attrs | {"nodatavals": tuple(nodata)}


def _attrs_of_whole(attrs, kind, encodings, about):
    attrs = {key: value for key, value in attrs.items() if key not in STALE_ATTRS}
    if kind == "dataarray":
        attrs = _attrs_of("image", attrs, layers_of("image", encodings), encodings)
    earlier = attrs.get("history")
    history = about["history"] if not earlier else f"{earlier}\n{about['history']}"
    return attrs | about | {"history": history}
