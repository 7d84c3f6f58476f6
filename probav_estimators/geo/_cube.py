"""Cubes of xarray, read by the conventions of the libraries that make them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..raster_files import open_raster
from ..scenes import ArrayStack, MaskStack, is_dask
from ._alpha import above_zero, find_alpha
from ._cube_grid import STALE_ATTRS, grid_of_cube
from ._encoding import check_options, read_encoding
from ._frame_metadata import labels_of, marks_of_cube
from ._grid import Grid
from ._imagery import Imagery
from ._masks import MASK_TYPES, mask_stack, mask_type_of_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray, Dataset

    from ._masks import MaskType

    #: A number, one for each frame, or one of both by the name of the band.
    Factor = float | Sequence[float] | NDArray[Any] | Mapping[str, Any] | None

__all__ = [
    "ENCODING_ATTRS",
    "Cube",
    "in_own_dims",
    "read_cube",
    "read_with_masks",
    "rebuild",
]

_BAND_DIMS = ("band", "bands")

# Other names of y, x and time, and what CF calls the axes of coordinates.
_OTHER_NAMES = {"latitude": "y", "lat": "y", "longitude": "x", "lon": "x", "Y": "y", "X": "x"}
_OTHER_NAMES |= {"t": "time"}
_CF_AXES = {"Y": "y", "X": "x", "T": "time"}
_CF_NAMES = {
    "latitude": "y",
    "grid_latitude": "y",
    "projection_y_coordinate": "y",
    "longitude": "x",
    "grid_longitude": "x",
    "projection_x_coordinate": "x",
    "time": "time",
}

# Attributes of one array, and rioxarray's when they differ from band to band.
_NODATA_ATTRS = ("_FillValue", "missing_value", "nodata", "fill_value")
_ONE_OF_MANY = {"scales": "scale_factor", "offsets": "add_offset", "nodatavals": "nodata"}

#: Attributes of the encoding of frames, which are written again for the image.
ENCODING_ATTRS = ("scale_factor", "add_offset", "_Unsigned", *_NODATA_ATTRS, *_ONE_OF_MANY)

# Names in STAC's raster:bands, which stackstac gives as a coordinate of the bands.
_STAC_NAMES = {"scale_factor": "scale", "add_offset": "offset", "nodata": "nodata"}


@dataclass(kw_only=True)
class Cube(Imagery):
    """Imagery of a cube, and the form in which it came; see :func:`read_cube`.

    Parameters
    ----------
    bands, encodings, valid, grid, whole, origin, dates : see Imagery
    label, labels, name, named : see Imagery
        Those of all imagery.
    fractions, resampled : see Imagery
        By the coordinates ``offset_down``, ``offset_right`` and ``resampled`` of the dates.
    kind : {"dataarray", "dataset"}
        Type of the cube.
    band_dim : str, default=None
        Name of the dim that bands had, "band" or "bands".
    band_attrs : dict of dict
        Attributes by band.
    band_coords : dict
        Coordinates along the bands, as xarray's variables by name.
    array_name : str, default=None
        The DataArray's own name.
    attrs : dict
        Attributes of the whole.
    axes : dict
        Coordinates of rows and columns, by "y" and "x", under the names that they had.
    """

    kind: Literal["dataarray", "dataset"]
    band_dim: str | None = None
    band_attrs: dict[str, dict[Any, Any]] = field(default_factory=dict)
    band_coords: dict[Hashable, Any] = field(default_factory=dict)
    array_name: str | None = None
    attrs: dict[Any, Any] = field(default_factory=dict)
    axes: dict[str, Any] = field(default_factory=dict)

    @property
    def is_lazy(self) -> bool:
        """Whether it is of dask arrays."""
        bands: Any = self.bands.values()
        return any(is_dask(band.values) for band in bands)


def read_cube(
    cube: DataArray | Dataset,
    *,
    bands: str | Sequence[Any] | None = None,
    leave: str | None = None,
    label: str = "cube",
    kinds: str = "iuf",
    **options: Factor,
) -> Cube:
    """Read the bands, grid and encodings of an xarray cube; dask arrays are not computed.

    Parameters
    ----------
    cube : DataArray or Dataset
        As :func:`super_resolve` takes it.
    bands : sequence of names, default=None
        Which, in which order. None: all, but an alpha band, which tells where the others have data.
    leave : str, default=None
        Which to leave out where `bands` is None.
    label : str, default="cube"
        Name of the cube in messages.
    kinds : str, default="iuf"
        Kinds of types that values may have.
    **options
        The `scale_factor`, `add_offset` and `nodata` of stored values, see :func:`read_encoding`.

    Returns
    -------
    Cube
    """
    given, cube = cube, _in_usual_form(cube)
    band_dim, arrays, coords = _split(cube)
    alpha = _find_alpha(cube, arrays, coords, leave, _names(bands), label)
    names = _pick(arrays, bands, {leave, alpha})
    valid = {}
    if alpha is not None:
        stack = ArrayStack(_in_order(arrays[alpha], label, "biuf").data, f"{label}, band {alpha}")
        valid = dict.fromkeys(names, MaskStack(stack, above_zero))
    coords = {key: variable[[*map([*arrays].index, names)]] for key, variable in coords.items()}
    labels = {name: label if names == ["band"] else f"{label}, band {name}" for name in names}
    arrays = {name: _in_order(arrays[name], labels[name], kinds) for name in names}
    check_options(options, names)
    found = labels_of(cube.coords["time"].values, label) if "time" in cube.coords else None
    grid = grid_of_cube(cube, label)
    return Cube(
        bands={
            name: ArrayStack(array.data, f"{labels[name]}, frame") for name, array in arrays.items()
        },
        dates=found,
        grid=grid,
        whole=grid,
        valid=valid,
        encodings={
            name: read_encoding(
                _tags(array), options, name, array.sizes["time"], array.dtype, found
            )
            for name, array in arrays.items()
        },
        label=label,
        labels=labels,
        name=str(cube.name or label) if not _is_dataset(cube) else label,
        kind="dataset" if _is_dataset(cube) else "dataarray",
        band_dim=band_dim,
        band_attrs={name: dict(array.attrs) for name, array in arrays.items()},
        band_coords=coords,
        array_name=None if _is_dataset(cube) or cube.name is None else str(cube.name),
        attrs=dict(cube.attrs),
        axes={axis: given[dim] for dim, axis in _usual_dims(given).items() if axis != "time"},
        **marks_of_cube(cube),
    )


def read_with_masks(
    cube: DataArray | Dataset,
    mask: Any,
    mask_type: MaskType,
    bands: str | Sequence[Any] | None,
    options: Mapping[str, Any],
) -> tuple[Cube, MaskStack | None]:
    """Read a cube and its masks, or None: the arguments are those of :func:`super_resolve`."""
    leave = None
    if isinstance(mask, str):
        leave = mask = _own_name(mask, [*_split(_in_usual_form(cube))[1]])
        mask_type = mask_type_of_name(mask) if mask_type is None else mask_type
    read = read_cube(cube, bands=bands, leave=leave, **options)
    if mask is not None:
        masks = _read_masks(mask, mask_type, cube, read)
        return read, mask_stack(masks, mask_type, read)
    if mask_type is not None:
        raise ValueError(f"mask_type is {mask_type!r} and there is no mask: pass mask too")
    if bands is None:
        _warn_about_classes(read)
    return read, None


def _read_masks(mask, mask_type, cube, read):
    """Masks of a cube, as imagery of one band."""
    if isinstance(mask, str):
        masks = replace(read_cube(cube, bands=[mask], label="mask", kinds="biuf"), valid={})
    elif hasattr(mask, "dims"):
        mask = _in_usual_form(mask)
        mask = mask if "time" in mask.dims else mask.expand_dims("time")
        masks = read_cube(mask, label="mask", kinds="biuf")
        if masks.grid.placed and read.grid.placed and masks.grid.signs != read.grid.signs:
            pairs = zip("yx", masks.grid.signs, read.grid.signs, strict=True)
            turned = [axis for axis, one, other in pairs if one != other]
            mask = mask.isel({axis: slice(None, None, -1) for axis in turned})
            masks = read_cube(mask, label="mask", kinds="biuf")
    else:
        values = _filled(mask, mask_type)
        values = values[None] if values.ndim == 2 else values
        if values.ndim != 3:
            raise ValueError(
                f"mask has shape {values.shape}: give one mask for each frame, (time, y, x), or "
                "one for all"
            )
        # An array is in the order of the frames.
        dates = read.dates if len(values) == len(read) else None
        stack, grid = ArrayStack(values, "mask"), Grid.of_pixels(values.shape[1:])
        masks = Imagery(bands={"mask": stack}, grid=grid, whole=grid, label="mask", dates=dates)
    if mask_type is None and masks.first.dtype.kind not in "bui":
        raise ValueError(
            f"mask has values of type {masks.first.dtype}: give True where it is clear, or say "
            f"what they mean by mask_type, one of {', '.join(MASK_TYPES)}, or a function"
        )
    return masks


def _filled(mask, mask_type):
    """Values of an array whose masked ones are 0, which no mask calls clear."""
    if np.ma.isMaskedArray(mask):
        if mask_type not in (None, "mask"):
            raise ValueError(
                f"mask is a masked array of mask_type {mask_type!r}: fill it with a value that "
                "stands for no data, mask.filled(...)"
            )
        return mask.filled(0)
    if is_dask(mask) and np.ma.isMaskedArray(getattr(mask, "_meta", None)):
        return mask.map_blocks(np.ma.filled, 0, dtype=mask.dtype)
    return mask if is_dask(mask) else np.asarray(mask)


def _own_name(mask, names):
    """Name of the band of masks in the upper and lower case of the cube."""
    found = next((name for name in names if name.lower() == mask.lower()), None)
    if found is None:
        raise ValueError(
            f"mask is {mask!r}, and the cube has no band of that name, but {', '.join(names)}: "
            "pass the cube of masks itself, mask=..., and what its values mean, "
            f"mask_type={mask_type_of_name(mask)!r}"
        )
    return found


def _warn_about_classes(cube):
    for band in cube.bands:
        if mask_type_of_name(band) is not None:
            warnings.warn(
                f"cube has the band {band}, whose classes are taken for an image as all bands are: "
                f"pass mask={band!r} to hide clouds by it, or name the bands, bands=[...]",
                stacklevel=4,
            )


def _in_usual_form(cube):
    """The cube with the dims time, y and x; of a Dataset of one variable with bands, that one."""
    if not all(hasattr(cube, part) for part in ("sizes", "coords", "rename")):
        # `_check_dims` refuses it.
        return cube
    names = _usual_dims(cube)
    taken = [name for name in names.values() if name in cube.coords]
    cube = cube.drop_vars(taken).rename({**names})
    if _is_dataset(cube) and len(whole := _with_bands(cube)) == 1:
        others = [name for name in cube.data_vars if name not in whole]
        return cube.set_coords(others)[whole[0]]
    return cube


def _usual_dims(cube):
    """Usual names of dims that have others: by the name, else by CF's attributes."""
    found = {}
    for dim in cube.sizes:
        attrs = cube.coords[dim].attrs if dim in cube.coords else {}
        by_cf = _CF_AXES.get(attrs.get("axis"), _CF_NAMES.get(attrs.get("standard_name")))
        usual = _OTHER_NAMES.get(dim, by_cf)
        if usual and dim not in ("time", *_BAND_DIMS) and usual not in cube.sizes:
            found.setdefault(usual, dim)
    return {dim: usual for usual, dim in found.items()}


def _with_bands(cube):
    """Names of the variables with bands, if no other one has frames."""
    images = {
        name: array for name, array in cube.data_vars.items() if {"y", "x", "time"} <= {*array.dims}
    }
    return [name for name in images if all({*_BAND_DIMS} & {*one.dims} for one in images.values())]


def in_own_dims(cube: Cube, image: DataArray | Dataset) -> DataArray | Dataset:
    """Return an image with the names and attributes that rows and columns had in the cube."""
    for axis, own in cube.axes.items():
        if axis in image.coords:
            image[axis].attrs = {**image[axis].attrs, **own.attrs}
    return image.rename({axis: own.name for axis, own in cube.axes.items()})


def _split(cube):
    """Name of the dim of bands, arrays by band, coordinates of bands."""
    _check_dims(cube)
    return (None, _variables(cube), {}) if _is_dataset(cube) else _along_bands(cube)


def _is_dataset(cube):
    return hasattr(cube, "data_vars")


def _band_dim(cube):
    return next((dim for dim in _BAND_DIMS if dim in cube.dims), None)


def _check_dims(cube):
    """Raise a ValueError unless there are all dims, no others, and none is empty."""
    if not all(hasattr(cube, part) for part in ("sizes", "coords", "transpose")):
        raise ValueError(
            f"cube is a {type(cube).__name__}: give a DataArray or Dataset of xarray, such as "
            'xarray.DataArray(frames, dims=("time", "y", "x"))'
        )
    dims = ", ".join(map(str, cube.sizes))
    if missing := {"y", "x"} - set(cube.sizes):
        renamed = ", ".join(f'...="{axis}"' for axis in sorted(missing, reverse=True))
        raise ValueError(
            f"cube has the dims {dims} and no {' and '.join(sorted(missing, reverse=True))}: "
            f"rename them, cube.rename({renamed})"
        )
    if "time" not in cube.sizes:
        others = [dim for dim in cube.sizes if dim not in ("y", "x", *_BAND_DIMS)]
        if others:
            raise ValueError(
                f"cube has the dims {dims} and no time: if {others[0]} counts the dates, rename "
                f'it, cube.rename({others[0]}="time")'
            )
        raise ValueError(
            f"cube has the dims {dims} and no time, as a single date has: frames of several dates "
            'are fused, put them together, xarray.concat(dates, dim="time")'
        )
    if empty := [str(dim) for dim, length in cube.sizes.items() if length == 0]:
        raise ValueError(
            f"cube has nothing along {' and '.join(empty)}: its sizes are {dict(cube.sizes)}, look "
            "at what it was selected by"
        )
    known = {"time", "y", "x", _band_dim(cube)}
    if not _is_dataset(cube) and (extra := [str(dim) for dim in cube.dims if dim not in known]):
        raise ValueError(
            f"cube has the dims {dims}, and {' and '.join(extra)} is none of time, band, y and x: "
            f"select of it, cube.isel({extra[0]}=0), or rename it"
        )


def _variables(cube):
    found = {
        str(name): array
        for name, array in cube.data_vars.items()
        if set(array.dims) == {"time", "y", "x"}
    }
    if not found:
        shown = ", ".join(f"{name} {array.dims}" for name, array in cube.data_vars.items())
        raise ValueError(
            f"cube has no variable with the dims time, y and x, but {shown or 'none at all'}: "
            "give one variable a band, or the DataArray that holds all, cube[name]"
        )
    return found


def _along_bands(cube):
    """Name of the dim, the arrays along it by their labels, and its coordinates."""
    band_dim = _band_dim(cube)
    if band_dim is None:
        selected = next((cube.coords[dim] for dim in _BAND_DIMS if dim in cube.coords), None)
        name = cube.name if selected is None else selected.values.item()
        return None, {str(name or "band"): cube}, {}
    count = cube.sizes[band_dim]
    labels = cube.coords[band_dim].values if band_dim in cube.coords else range(1, count + 1)
    names = [str(label) for label in labels]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(
            f"cube has several bands of the name {', '.join(twice)}: leave one of each, "
            f'cube.drop_duplicates("{band_dim}")'
        )
    arrays = {name: _one_band(cube, band_dim, number) for number, name in enumerate(names)}
    # Chunked cubes hold these as dask arrays.
    coords = {
        key: value.variable.compute()
        for key, value in cube.coords.items()
        if value.dims == (band_dim,)
    }
    return band_dim, arrays, coords


def _one_band(cube, band_dim, number):
    array = cube.isel({band_dim: number})
    own = {
        one: array.attrs[many][number]
        for many, one in _ONE_OF_MANY.items()
        if isinstance(array.attrs.get(many), tuple | list)
        and len(array.attrs[many]) == cube.sizes[band_dim]
    }
    # Those of the whole come first: rioxarray gives either.
    array.attrs = {**own, **array.attrs}
    return array


def _find_alpha(cube, arrays, coords, leave, wanted, label):
    """Name of the alpha band by the texts that bands have, or by their values."""
    texts, stacks, nodata, source_alpha = {}, {}, {}, _alpha_of_source(cube)
    for number, (name, array) in enumerate(arrays.items()):
        if name == leave or array.dtype.kind not in "biuf":
            continue
        said = array.attrs.get("long_name")
        own = said[number] if isinstance(said, tuple | list) and len(said) == len(arrays) else said
        texts[name] = [own, *(variable.values[number] for variable in coords.values())]
        texts[name] += ["alpha"] * (name == source_alpha)
        stacks[name] = ArrayStack(array.transpose("time", "y", "x").data, f"{label}, band {name}")
        nodata[name] = _tags(array).get("nodata")
    return find_alpha(stacks, texts, nodata, label, wanted)


def _alpha_of_source(cube):
    """Number of the alpha band of the file that rioxarray opened, as it keeps no colours."""
    path = cube.encoding.get("source")
    if "rasterio_dtype" in cube.encoding and os.path.isfile(path or ""):
        with suppress(ValueError, OSError), open_raster(path) as file:
            colors = [color.name for color in file.colorinterp]
            return str(1 + colors.index("alpha"))
    return None


def _names(bands):
    if bands is None:
        return []
    return [str(name) for name in ([bands] if np.isscalar(bands) else bands)]


def _pick(arrays, bands, left):
    if bands is None:
        return [name for name in arrays if name not in left]
    names = _names(bands)
    if unknown := [name for name in names if name not in arrays]:
        raise ValueError(
            f"bands names {', '.join(unknown)}, which the cube has not: it has {', '.join(arrays)}"
        )
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"bands is {names}: name each band once, and one at least")
    return names


def _in_order(array, label, kinds):
    if array.dtype.kind not in kinds:
        raise ValueError(
            f"{label} has values of type {array.dtype}, and pixels are integers or floats: name "
            "bands that are, bands=[...], or convert it, cube.astype(...)"
        )
    return _with_sign(array).transpose("time", "y", "x")


def _with_sign(array):
    """The values that integers stand for by netCDF's attribute _Unsigned, which is not decoded."""
    kinds = {("true", "i"): "u", ("false", "u"): "i"}
    said = str(array.attrs.get("_Unsigned")).lower()
    if (kind := kinds.get((said, array.dtype.kind))) is None:
        return array
    own, dtype = array.dtype, np.dtype(f"{kind}{array.dtype.itemsize}")
    attrs = {key: value for key, value in array.attrs.items() if key != "_Unsigned"}
    for key in {*_NODATA_ATTRS} & attrs.keys():
        attrs[key] = np.asarray(attrs[key]).astype(own).astype(dtype).item()
    return array.astype(dtype).assign_attrs(attrs)


def _tags(array):
    """Scale, offset and nodata that a band of a cube states of itself."""
    # `encoding` of decoded values describes the stored ones, and NaN is no data.
    integer = array.dtype.kind in "iu"
    stac = _stac_metadata(array) if integer else {}
    stored = {**array.encoding, **array.attrs} if integer else array.attrs
    found = {option: [array.attrs.get(option)] for option in ("scale_factor", "add_offset")}
    fills = [stored.get(key) for key in _NODATA_ATTRS]
    # NaN is no data in any case.
    found["nodata"] = [value for value in fills if np.any(value == value)]
    tags = {}
    for option, candidates in found.items():
        candidates = [*candidates, stac.get(_STAC_NAMES[option])]
        known = [value for value in candidates if value is not None]
        if known:
            tags[option] = known[0]
    return tags


def _stac_metadata(array):
    """What STAC says of a band, where stackstac has kept it."""
    if "raster:bands" not in array.coords or array.coords["raster:bands"].ndim:
        return {}
    found = array.coords["raster:bands"].values.item()
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    return found if isinstance(found, dict) else {}


def rebuild(
    cube: Cube, images: Mapping[str, DataArray], attrs: Mapping[Any, Any]
) -> DataArray | Dataset:
    """Put images of the bands together in the form in which the cube came.

    Parameters
    ----------
    cube : Cube
    images : mapping of DataArray with the dims y and x
        One for each band; their type is kept, dask arrays are not computed.
    attrs : mapping
        Attributes of the whole; those of another grid are left out.

    Returns
    -------
    DataArray or Dataset
        With the names, the order and the coordinates that the bands had.
    """
    import xarray

    attrs = {key: value for key, value in attrs.items() if key not in STALE_ATTRS}
    ordered = {name: images[name] for name in cube.bands}
    if cube.kind == "dataset":
        return xarray.Dataset(ordered, attrs=attrs)
    first = next(iter(ordered.values()))
    if cube.band_dim is None:
        out = first.copy(deep=False)
    else:
        parts = [image.drop_vars(cube.band_dim, errors="ignore") for image in ordered.values()]
        out = xarray.concat(parts, dim=cube.band_dim, coords="minimal", compat="override")
        out = out.assign_coords(cube.band_coords)
    out.name, out.attrs, out.encoding = cube.array_name, attrs, dict(first.encoding)
    return out
