"""Cubes of xarray, read by the conventions of the libraries that make them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._encoding import Encoding
from ._grid import STALE_ATTRS, Grid, grid_of_cube

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray, Dataset

    #: A number, one for each frame, or one of both by the name of the band.
    Factor = float | Sequence[float] | NDArray[Any] | Mapping[str, Any] | None

__all__ = ["ENCODING_ATTRS", "Cube", "read_cube", "rebuild"]

_FRAME_DIMS = ("time", "t")
_BAND_DIMS = ("band", "bands")

# Other names of y and x.
_OTHER_NAMES = {"latitude": "y", "lat": "y", "longitude": "x", "lon": "x", "Y": "y", "X": "x"}

# Attributes of one array, and rioxarray's when they differ from band to band.
_NODATA_ATTRS = ("_FillValue", "missing_value", "nodata", "fill_value")
_ONE_OF_MANY = {"scales": "scale_factor", "offsets": "add_offset", "nodatavals": "nodata"}

#: Attributes of the encoding of frames, which are written again for the image.
ENCODING_ATTRS = ("scale_factor", "add_offset", *_NODATA_ATTRS, *_ONE_OF_MANY)

# Names in STAC's raster:bands, which stackstac gives as a coordinate of the bands.
_STAC_NAMES = {"scale_factor": "scale", "add_offset": "offset", "nodata": "nodata"}


@dataclass
class Cube:
    """Frames of each band of one site, on one grid; see :func:`read_cube`.

    Parameters
    ----------
    bands : dict of DataArray
        By name: arrays with the dims (time, y, x), not loaded.
    times : datetime64 array of shape (t,) or None
        None: the cube has no dates.
    grid : Grid
    encodings : dict of Encoding
        By name of the band.
    band_dim : str or None
        Name of the dim that bands had, "band" or "bands".
    kind : {"dataarray", "dataset"}
        Type of the cube.
    name : str or None
        The DataArray's own name.
    attrs : dict
        Attributes of the whole.
    band_coords : dict
        Coordinates along the bands, as xarray's variables by name.
    """

    bands: dict[str, DataArray]
    times: NDArray[np.datetime64] | None
    grid: Grid
    encodings: dict[str, Encoding]
    band_dim: str | None
    kind: Literal["dataarray", "dataset"]
    name: str | None
    attrs: dict[Any, Any]
    band_coords: dict[Hashable, Any] = field(default_factory=dict)


def read_cube(
    cube: DataArray | Dataset,
    *,
    bands: str | Sequence[Any] | None = None,
    scale_factor: Factor = None,
    add_offset: Factor = None,
    nodata: float | Mapping[str, float] | None = None,
) -> Cube:
    """Read the bands, grid and encodings of an xarray cube; nothing is loaded.

    Parameters
    ----------
    cube : DataArray or Dataset
        With the dims y, x, and time or t, in any order. Bands are along a dim band or bands, or are
        the variables of a Dataset that have these three dims.
    bands : sequence of names, default=None
        Which, in which order. None: all.
    scale_factor, add_offset : float, one for each frame, or dict of these by band, default=None
        Values are stored * scale_factor + add_offset. None: as the attributes say; 1 and 0 where
        they say nothing, and where xarray has decoded the values already.
    nodata : float or dict of float by band, default=None
        Stored value of no data. None: as the attributes say.

    Returns
    -------
    Cube

    Raises
    ------
    ValueError
        If the cube has other dims, or an argument does not fit it.
    """
    frames = _check_dims(cube)
    kind: Literal["dataarray", "dataset"] = "dataset" if _is_dataset(cube) else "dataarray"
    band_dim, coords = None, {}
    if kind == "dataset":
        arrays = _variables(cube, frames)
    else:
        band_dim, arrays, coords = _along_bands(cube)
    names = _pick(arrays, bands)
    coords = {key: variable[[*map([*arrays].index, names)]] for key, variable in coords.items()}
    arrays = {name: _in_order(arrays[name], frames, name) for name in names}
    options = {"scale_factor": scale_factor, "add_offset": add_offset, "nodata": nodata}
    _check_options(options, arrays)
    times = cube.coords[frames].values if frames in cube.coords else None
    return Cube(
        bands=arrays,
        times=times if times is not None and times.dtype.kind == "M" else None,
        grid=grid_of_cube(cube, "cube"),
        encodings={name: _encoding(array, name, options) for name, array in arrays.items()},
        band_dim=band_dim,
        kind=kind,
        name=None if kind == "dataset" or cube.name is None else str(cube.name),
        attrs=dict(cube.attrs),
        band_coords=coords,
    )


def _is_dataset(cube):
    return hasattr(cube, "data_vars")


def _band_dim(cube):
    return next((dim for dim in _BAND_DIMS if dim in cube.dims), None)


def _check_dims(cube):
    """The dim of the frames, if there are all dims and none is empty."""
    if not all(hasattr(cube, part) for part in ("sizes", "coords", "transpose")):
        raise ValueError(
            f"cube is a {type(cube).__name__}: give a DataArray or Dataset of xarray, such as "
            'xarray.DataArray(frames, dims=("time", "y", "x"))'
        )
    dims = ", ".join(map(str, cube.sizes))
    if missing := {"y", "x"} - set(cube.sizes):
        others = {dim: _OTHER_NAMES[dim] for dim in cube.sizes if dim in _OTHER_NAMES}
        renamed = ", ".join(f'{dim}="{axis}"' for dim, axis in others.items()) or '...="y", ...="x"'
        raise ValueError(
            f"cube has the dims {dims} and no {' and '.join(sorted(missing, reverse=True))}: "
            f"rename them, cube.rename({renamed})"
        )
    frames = next((dim for dim in _FRAME_DIMS if dim in cube.sizes), None)
    if frames is None:
        raise ValueError(
            f"cube has the dims {dims} and no time, as a single date has: frames of several dates "
            'are fused, put them together, xarray.concat(dates, dim="time")'
        )
    if empty := [str(dim) for dim, length in cube.sizes.items() if length == 0]:
        raise ValueError(
            f"cube has nothing along {' and '.join(empty)}: its sizes are {dict(cube.sizes)}, look "
            "at what it was selected by"
        )
    known = {frames, "y", "x", _band_dim(cube)}
    if not _is_dataset(cube) and (extra := [str(dim) for dim in cube.dims if dim not in known]):
        raise ValueError(
            f"cube has the dims {dims}, and {' and '.join(extra)} is none of time, band, y and x: "
            f"select of it, cube.isel({extra[0]}=0), or rename it"
        )
    return frames


def _variables(cube, frames):
    found = {
        str(name): array
        for name, array in cube.data_vars.items()
        if set(array.dims) == {frames, "y", "x"}
    }
    if not found:
        shown = ", ".join(f"{name} {array.dims}" for name, array in cube.data_vars.items())
        raise ValueError(
            f"cube has no variable with the dims {frames}, y and x, but {shown or 'none at all'}: "
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


def _pick(arrays, bands):
    if bands is None:
        return [*arrays]
    names = [bands] if isinstance(bands, str) else [str(name) for name in bands]
    if unknown := [name for name in names if name not in arrays]:
        raise ValueError(
            f"bands names {', '.join(unknown)}, which the cube has not: it has {', '.join(arrays)}"
        )
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"bands is {names}: name each band once, and one at least")
    return names


def _in_order(array, frames, name):
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"band {name} of the cube has values of type {array.dtype}, and pixels are "
            "integers or floats: name those that are, bands=[...], or convert it, cube.astype(...)"
        )
    array = array.transpose(frames, "y", "x")
    return array if frames == "time" else array.drop_vars("time", errors="ignore").rename(t="time")


def _check_options(options, arrays):
    for option, value in options.items():
        names = map(str, value) if isinstance(value, Mapping) else ()
        if unknown := [name for name in names if name not in arrays]:
            raise ValueError(
                f"{option} names the bands {', '.join(unknown)}, which are none of those that are "
                f"read: {', '.join(arrays)}"
            )


def _encoding(array, name, options):
    given = {
        option: {str(key): one for key, one in value.items()}.get(name)
        if isinstance(value, Mapping)
        else value
        for option, value in options.items()
    }
    # `encoding` of decoded values describes the stored ones, and NaN is no data.
    integer = array.dtype.kind in "iu"
    stac = _stac_metadata(array) if integer else {}
    stored = {**array.encoding, **array.attrs} if integer else array.attrs
    found = {option: [array.attrs.get(option)] for option in ("scale_factor", "add_offset")}
    found["nodata"] = [stored.get(key) for key in _NODATA_ATTRS]
    values = {}
    for option, candidates in found.items():
        candidates = [given[option], *candidates, stac.get(_STAC_NAMES[option])]
        values[option] = next((value for value in candidates if value is not None), None)
    n_frames = array.sizes["time"]
    return Encoding(
        scale=_factor(values["scale_factor"], 1.0, n_frames, "scale_factor"),
        offset=_factor(values["add_offset"], 0.0, n_frames, "add_offset"),
        nodata=_one_value(values["nodata"]),
        dtype=array.dtype,
    )


def _stac_metadata(array):
    """What STAC says of a band, where stackstac has kept it."""
    if "raster:bands" not in array.coords or array.coords["raster:bands"].ndim:
        return {}
    found = array.coords["raster:bands"].values.item()
    found = found[0] if isinstance(found, list) and len(found) == 1 else found
    return found if isinstance(found, dict) else {}


def _factor(value, default, n_frames, name):
    factor = np.asarray(default if value is None else value, np.float64)
    if factor.size != 1 and factor.shape != (n_frames,):
        raise ValueError(
            f"{name} has the shape {factor.shape} and the cube {n_frames} frames: give one number, "
            "or one for each frame"
        )
    if not np.isfinite(factor).all() or (name == "scale_factor" and not factor.all()):
        raise ValueError(f"{name} is {value}: give finite numbers, and for a scale none that is 0")
    return factor.item() if factor.size == 1 else factor


def _one_value(nodata):
    """The value of no data, or None, as NaN always is."""
    value = np.asarray(np.nan if nodata is None else nodata, np.float64)
    if value.size != 1:
        raise ValueError(f"nodata is {nodata}: give one number, or one for each band by its name")
    return None if np.isnan(value).all() else value.item()


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
    out.name, out.attrs, out.encoding = cube.name, attrs, dict(first.encoding)
    return out
