"""Super-resolution of xarray cubes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..scenes import ArrayStack, MaskStack, is_dask
from ._block_predictors import as_block_predictor
from ._cube import ENCODING_ATTRS, read_cube, rebuild
from ._encoding import ImageBlock, encoding_of, scene_of_stack
from ._grid import STALE_ATTRS, with_grid
from ._masks import MASK_TYPES, clear_of, mask_type_of_name, match_mask, warn_of_no_mask
from ._site import Site, describe, make_blocks, plan_site
from ._tasks import image_tasks
from ._value_ranges import check_value_range

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from xarray import DataArray, Dataset

    from ..prediction import Predictor
    from ._block_predictors import BlockPredictor
    from ._cube import Cube
    from ._site import SitePlan

__all__ = ["super_resolve"]

# Default batch of blocks on a GPU.
_GPU_BATCH = 8


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
    tile_size: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    reference: Literal["middle", "clearest"] | int = "middle",
    keep_attrs: bool = True,
) -> DataArray | Dataset:
    """Fuse the frames of a georeferenced cube into one finer image of each band.

    A cube of numpy arrays gives an image at once. A cube of dask arrays gives one of dask arrays:
    its frames are registered in this call, which reads parts of them, and each block of the image
    is a task that reads its own frames, on a cluster too.

    Parameters
    ----------
    cube : DataArray or Dataset
        With the dims y, x and time or t. Bands are along a dim band or bands, or the variables
        of a Dataset. Values may be of any integer or float type and range; NaN and `nodata` are
        never used, and neither is a frame that is 0 everywhere.
    estimator : str, path-like or estimator, default="simulated-x3"
        Name of shipped weights, a file of weights or of a model (`save_model`), or a fitted
        estimator or pipeline.
    mask : array of shape (t, h, w) or str, default=None
        Where frames are clear: a cube of bool, True = clear, or of the classes of `mask_type`. It
        may be coarser by an integer, such as 20 m for frames of 10 m. A str names a band of the
        cube. None: all data are clear.
    mask_type : str or callable, default=None
        Name of one of `geo.MASK_KINDS`, or a function that takes the values of `mask` and returns
        True where it is clear. None: by the name of the band, else a mask of bool.
    bands : sequence of names, default=None
        Which bands. None: all, but the mask.
    scale_factor, add_offset : float, one for each frame, or a dict of these by band, default=None
        Values are stored * scale_factor + add_offset. None: as the attributes of the cube say.
    nodata : float or dict of float by band, default=None
        Stored value of no data. None: as the attributes of the cube say.
    value_range : tuple of two floats, or a dict of these by band, default=None
        Values of pixels of 0 and 1, as of :class:`~probav_estimators.Scene`, with scale and offset.
        None: those of the scenes that the estimator learned from; they do not matter to FusionNet.
    return_std : bool, default=False
        Whether to give the standard deviation of each pixel's error too.
    tile_size : int, default=None
        Pixels of the cube along each axis that a block has. None: 320. The image is the same.
    batch_size : int or "auto", default="auto"
        Blocks in a batch. "auto": 8 on a GPU, else 1.
    reference : {"middle", "clearest"} or int, default="middle"
        Which date the image shows where the land changes, as of FusionNet.
    keep_attrs : bool, default=True
        Whether to keep the attributes of the cube.

    Returns
    -------
    DataArray or Dataset, as the cube is one
        In the type and the units of the cube, on its grid with smaller pixels and the same corners.
        Where no frame is clear it is NaN, or no data. The coordinate ``n_clear`` is the number of
        clear frames at each pixel (of a Dataset, the least of all bands). With `return_std`, a
        DataArray has the coordinate ``std``, and a Dataset a variable ``B04_std`` for each variable
        ``B04``. Attributes hold the dates, the number of frames, their shifts (NaN: not registered
        and not used), and the model.

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
    options = {"scale_factor": scale_factor, "add_offset": add_offset, "nodata": nodata}
    read, masks = _read(cube, mask, mask_type, bands, options)
    check_value_range(value_range, read.bands)
    ranges = {band: predictor.value_range_of(value_range, band) for band in read.bands}
    site = _site_of(read, masks, ranges)
    warn_of_no_mask((scene.frames for scene in site.scenes.values()), "cube")
    plan = plan_site(site, predictor, tile_size=tile_size, reference=reference)
    batch = _batch_size(batch_size, predictor)
    if any(is_dask(array.data) for array in read.bands.values()):
        images = image_tasks(site, plan, predictor)
    else:
        images = _compute_now(site, plan, predictor, batch)
    about = describe(site, plan, predictor, f"super_resolve by {predictor.name}")
    return _assemble(read, site, plan, images, about, return_std, keep_attrs)


def _read(cube, mask, mask_type, bands, options):
    """The cube, and the stack of its masks or None."""
    named = None
    if isinstance(mask, str) and hasattr(cube, "sizes"):
        named = _mask_band(cube, mask)
        mask_type = mask_type_of_name(mask) if mask_type is None else mask_type
        if bands is None:
            bands = [name for name in _names_of(cube) if name != named]
    read = read_cube(cube, bands=bands, **options)
    read.grid.check_usable("cube")
    if mask is None:
        if mask_type is not None:
            raise ValueError(f"mask_type is {mask_type!r} and there is no mask: pass mask too")
        if bands is None:
            _warn_about_classes(read)
        return read, None
    return read, _mask_stack(mask if named is None else _band_of(cube, named), mask_type, read)


def _warn_about_classes(cube):
    for band in cube.bands:
        if mask_type_of_name(band) is not None:
            warnings.warn(
                f"cube has the band {band}, whose classes are taken for an image as all bands are: "
                f"pass mask={band!r} to hide clouds by it, or name the bands, bands=[...]",
                stacklevel=4,
            )


def _names_of(cube):
    if hasattr(cube, "data_vars"):
        dims = {"time", "t"} & set(cube.sizes)
        return [
            str(name)
            for name, array in cube.data_vars.items()
            if {"y", "x"} | dims == set(array.dims)
        ]
    for dim in ("band", "bands"):
        if dim in cube.dims:
            return [str(label) for label in cube[dim].values]
    return []


def _mask_band(cube, mask):
    names = _names_of(cube)
    found = next((name for name in names if name.lower() == mask.lower()), None)
    if found is None:
        raise ValueError(
            f"mask is {mask!r}, and the cube has no band of that name, but "
            f"{', '.join(names) or 'a single one'}: pass the cube of masks itself, mask=..., and "
            f"what its values mean, mask_type={mask_type_of_name(mask)!r}"
        )
    return found


def _band_of(cube, name):
    """Values of a band of a cube."""
    if hasattr(cube, "data_vars"):
        array = next(array for key, array in cube.data_vars.items() if str(key) == name)
    else:
        dim = "band" if "band" in cube.dims else "bands"
        array = cube.isel({dim: _names_of(cube).index(name)})
    return array.transpose("time" if "time" in array.dims else "t", "y", "x").data


def _mask_stack(mask, mask_type, cube):
    first = next(iter(cube.bands.values()))
    shape = first.shape
    values = mask
    if hasattr(mask, "dims"):
        _check_mask_dims(mask)
        masks = read_cube(mask.astype("uint8") if mask.dtype == bool else mask)
        if len(masks.bands) > 1:
            raise ValueError(
                f"mask has the bands {', '.join(masks.bands)}: select the one that tells where "
                'frames are clear, mask.sel(band="...")'
            )
        values = next(iter(masks.bands.values()))
        _check_dates(masks, cube)
        if masks.grid.placed and cube.grid.placed:
            times = match_mask(masks.grid.shape, cube.grid.shape, "mask")[0]
            masks.grid.finer(times).check_same(cube.grid, "mask", "cube")
        values = values.data.astype(mask.dtype)
    values = values if is_dask(values) else np.asarray(values)
    if values.ndim != 3 or len(values) != shape[0]:
        raise ValueError(
            f"mask has shape {values.shape} and the cube has {shape[0]} frames of "
            f"{shape[1]}x{shape[2]}: give one mask for each frame, (time, y, x)"
        )
    if mask_type is None and values.dtype.kind not in "bui":
        raise ValueError(
            f"mask has values of type {values.dtype}: give True where it is clear, or say what "
            f"they mean by mask_type, one of {', '.join(MASK_TYPES)}, or a function"
        )
    repeat, _ = match_mask(values.shape[1:], shape[1:], "mask")
    # Fail for an unknown kind now rather than in the first block.
    clear_of(np.zeros((1, 1), np.uint8), None if callable(mask_type) else mask_type, "mask")
    return MaskStack(ArrayStack(values, "mask"), partial(_clear, mask_type=mask_type), repeat)


def _check_mask_dims(mask):
    if hasattr(mask, "data_vars"):
        raise ValueError(
            f"mask is a Dataset: give the variable that tells where frames are clear, one of "
            f"{', '.join(map(str, mask.data_vars)) or 'none'}, mask=masks[...]"
        )
    if not {"time", "t"} & set(mask.dims):
        raise ValueError(
            f"mask has the dims {', '.join(map(str, mask.dims))} and no time: give one for each "
            "frame; one that holds for all is mask.expand_dims(time=cube.time)"
        )


def _clear(values, name, mask_type):
    return clear_of(values, mask_type, name)


def _check_dates(masks, cube):
    if masks.times is None or cube.times is None or len(masks.times) != len(cube.times):
        return
    if not np.array_equal(masks.times, cube.times):
        number = np.flatnonzero(masks.times != cube.times)[0]
        raise ValueError(
            f"mask has the date {masks.times[number]} where the cube has {cube.times[number]} "
            f"(frame {number}): give a mask of the frames' dates, mask.sel(time=cube.time)"
        )


def _site_of(cube: Cube, masks: MaskStack | None, ranges: Mapping[str, Any]) -> Site:
    name = cube.name or "cube"
    scenes = {}
    for band, array in cube.bands.items():
        label = "cube" if [*cube.bands] == ["band"] else f"cube, band {band}"
        stack = ArrayStack(array.data, f"{label}, frame")
        scenes[band] = scene_of_stack(
            stack,
            cube.encodings[band],
            masks,
            label,
            name=name,
            band=band,
            value_range=ranges[band],
        )
    encodings = {band: encoding_of(scene).of_image() for band, scene in scenes.items()}
    return Site(scenes, encodings, cube.grid, cube.times, name)


def _batch_size(batch_size, predictor):
    if batch_size == "auto":
        device = str(getattr(predictor.estimator, "device", "cpu"))
        return 1 if device.startswith("cpu") else _GPU_BATCH
    if isinstance(batch_size, int | np.integer) and batch_size >= 1:
        return int(batch_size)
    raise ValueError(f"batch_size is {batch_size!r}: give 1 or more, or 'auto'")


def _compute_now(
    site: Site, plan: SitePlan, predictor: BlockPredictor, batch: int
) -> dict[str, ImageBlock]:
    h, w = site.grid.finer(plan.scale).shape
    images: dict[str, Any] = {
        band: ImageBlock(
            np.empty((h, w), kind.dtype), np.empty((h, w), "f4"), np.empty((h, w), "u2")
        )
        for band, kind in site.encodings.items()
    }
    for start in range(0, len(plan.blocks), batch):
        blocks = plan.blocks[start : start + batch]
        for block, made in zip(
            blocks, make_blocks(predictor, plan.bands, site.encodings, blocks), strict=True
        ):
            for band, parts in made.items():
                for whole, part in zip(images[band], parts, strict=True):
                    whole[block.place(plan.scale)] = part
    return images


def _assemble(cube, site, plan, images, about, return_std, keep_attrs):
    import xarray

    grid = cube.grid.finer(plan.scale)

    def put_together(part):
        arrays = {}
        for band, image in images.items():
            array = xarray.DataArray(image[part], dims=("y", "x"), name=band)
            own = cube.bands[band].attrs if keep_attrs else {}
            array.attrs = (
                _attrs_of_image(own, [site.encodings[band]]),
                _attrs_of_std(own, [site.encodings[band]]),
                {},
            )[part]
            arrays[band] = with_grid(array, grid)
        return rebuild(cube, arrays, {})

    out = put_together(0)
    if cube.kind == "dataset":
        counts = [image[2] for image in images.values()]
        least = counts[0]
        for count in counts[1:]:
            least = np.minimum(least, count)
        out = out.assign_coords(n_clear=(("y", "x"), least))
        if return_std:
            out = out.assign({f"{band}_std": std for band, std in put_together(1).items()})
    else:
        out = out.assign_coords(n_clear=put_together(2).variable)
        if return_std:
            std = put_together(1).variable
            std.attrs = _attrs_of_std(cube.attrs if keep_attrs else {}, [*site.encodings.values()])
            out = out.assign_coords(std=std)
    out.attrs = _attrs_of_whole(cube, site, about, keep_attrs)
    return out


def _attrs_of_image(attrs, types):
    """Attributes of frames that hold for an image of one band or several."""
    attrs = {key: value for key, value in attrs.items() if key not in ENCODING_ATTRS}
    if isinstance(names := attrs.get("long_name"), tuple | list) and len(names) != len(types):
        # Names of all bands, of which some are left out.
        del attrs["long_name"]
    nodata = [kind.dtype.type(kind.nodata) for kind in types]
    if all(one == nodata[0] for one in nodata) or nodata[0].dtype.kind == "f":
        attrs["_FillValue"] = nodata[0]
    else:
        attrs["nodatavals"] = tuple(nodata)
    return attrs | _factors(types, "scale_factor") | _factors(types, "add_offset")


def _attrs_of_std(attrs, types):
    """Attributes of standard deviations, which no offset changes."""
    kept = {key: attrs[key] for key in ("units",) if key in attrs}
    return kept | _factors(types, "scale_factor")


def _factors(types, name):
    """Scale or offset as an attribute; one for each band if they differ."""
    many, plain = {"scale_factor": ("scales", 1.0), "add_offset": ("offsets", 0.0)}[name]
    found = tuple(kind.factors[many == "offsets"] for kind in types)
    if set(found) == {plain}:
        return {}
    return {many: found} if len(set(found)) > 1 else {name: found[0]}


def _attrs_of_whole(cube, site, about, keep):
    attrs = dict(cube.attrs) if keep else {}
    attrs = {key: value for key, value in attrs.items() if key not in STALE_ATTRS}
    if cube.kind == "dataarray":
        attrs = _attrs_of_image(attrs, [*site.encodings.values()])
    earlier = attrs.get("history")
    history = about["history"] if not earlier else f"{earlier}\n{about['history']}"
    return attrs | about | {"history": history}
