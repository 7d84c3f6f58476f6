"""Grid of a cube of xarray: read by the conventions of several libraries, and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._grid import PIXELS, SAME, WARP_COMMAND, Grid

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

__all__ = ["STALE_ATTRS", "grid_of_cube", "with_grid"]

# Parts of a pixel by which coordinates may differ from regular ones.
_REGULAR = 1e-3

# Largest distance of coordinates from a corner or centre of their pixels.
_NEAR = 0.1

# Names of coordinates that place each pixel, and what CF calls them.
_PLACES = {"lon", "lat", "longitude", "latitude", "lons", "lats", "xc", "yc", "nav_lon", "nav_lat"}

# The attributes that make a variable without dimensions CF's grid mapping.
_MAPPING_ATTRS = ("crs_wkt", "spatial_ref", "GeoTransform", "grid_mapping_name")

#: Attributes of the grid of an array, which are wrong for another grid.
STALE_ATTRS = (
    "area",
    "crs",
    "edge_size",
    "edge_size_m",
    "grid_mapping",
    "res",
    "resolution",
    "resolution_xy",
    "spec",
    "transform",
)

_MAKE_CENTRES = (
    'make them pixel centres, cube.assign_coords(...), and remove attrs["transform"] and the '
    'coordinate "epsg", which mark those of stackstac; keep the CRS by cube.rio.write_crs(...)'
)


def grid_of_cube(cube: DataArray | Dataset, name: str = "cube") -> Grid:
    """Return the grid of an xarray cube with the dims y and x.

    Parameters
    ----------
    cube : DataArray or Dataset
    name : str
        What it is, for the error.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the coordinates are not regular, or too few for the size of a pixel.

    Notes
    -----
    The size of a pixel is that of the first that is found: GeoTransform of CF's grid mapping
    (rioxarray, odc-geo), ``attrs["transform"]`` (stackstac), the coordinates. The origin is that of
    the coordinates, if there are any, as slicing a cube does not change the stored transform.
    Coordinates are pixel centres, except for those of stackstac and cubo, which are upper left
    corners by default; their position in the stored grid, or in multiples of the pixel size,
    decides which.
    """
    h, w = cube.sizes["y"], cube.sizes["x"]
    mapping = _mapping_attrs(cube)
    stored, corners = _stored_transform(cube, mapping)
    if "gcps" in mapping and stored in (None, PIXELS):
        raise ValueError(
            f"{name} is placed by control points, and not on a grid: put its files on one first, "
            f"such as by {WARP_COMMAND}"
        )
    if stored is not None and (stored[1] or stored[3]):
        return Grid(stored, (h, w), _crs_of(cube, mapping, name))
    if stored in (None, PIXELS) and not {"x", "y"} <= {*cube.coords}:
        _check_no_swath(cube, name)
    if "x" in cube.coords and "y" in cube.coords:
        a, c = _axis(cube, "x", stored and (stored[0], stored[2]), corners, name)
        e, f = _axis(cube, "y", stored and (stored[4], stored[5]), corners, name)
        stored = (a, 0.0, c, 0.0, e, f)
    return Grid(stored or PIXELS, (h, w), _crs_of(cube, mapping, name))


def _mapping_attrs(cube):
    """Attributes of CF's grid mapping, a coordinate or, as files are opened, a variable."""
    variables = dict(cube.coords)
    declared = [cube.encoding.get("grid_mapping"), cube.attrs.get("grid_mapping"), "spatial_ref"]
    for name, variable in getattr(cube, "data_vars", {}).items():
        variables[name] = variable
        declared[:0] = [variable.encoding.get("grid_mapping"), variable.attrs.get("grid_mapping")]
    for name in [*declared, *variables]:
        found = variables[name].attrs if name in variables and not variables[name].dims else {}
        if any(key in found for key in _MAPPING_ATTRS):
            return found
    return {}


def _stored_transform(cube, mapping):
    """Transform that is stored in the attributes, and whether coordinates may be corners."""
    attrs = _attrs_of(cube)
    # cubo takes stackstac's attributes away, and arithmetic may; the scalar coordinate stays.
    corners = _is_scalar(cube, "epsg") or {"central_x", "edge_size"} <= attrs.keys()
    if "GeoTransform" in mapping:
        c, a, b, f, d, e = (float(value) for value in str(mapping["GeoTransform"]).split())
        return (a, b, c, d, e, f), corners
    if (transform := attrs.get("transform")) is not None and not isinstance(transform, str):
        return tuple(float(value) for value in transform)[:6], True
    # Of satpy.
    area, (h, w) = attrs.get("area"), (cube.sizes["y"], cube.sizes["x"])
    if hasattr(area, "area_extent") and getattr(area, "shape", None) == (h, w):
        left, bottom, right, top = (float(value) for value in area.area_extent)
        return ((right - left) / w, 0.0, left, 0.0, (bottom - top) / h, top), corners
    return None, corners


def _check_no_swath(cube, name):
    """Raise a ValueError for a cube that longitudes and latitudes of each pixel place."""
    attrs = _attrs_of(cube)
    places = [
        str(key)
        for key, array in cube.coords.items()
        if {*array.dims} >= {"y", "x"}
        and _PLACES & {str(key).lower(), str(array.attrs.get("standard_name"))}
    ]
    if hasattr(attrs.get("area"), "lons"):
        places.append("the swath in its attribute area")
    if places:
        raise ValueError(
            f"{name} is placed by {' and '.join(places)}, and not on a grid: put it on one first, "
            "such as by satpy's scene.resample(...) or pyresample, by nearest neighbour"
        )


def _attrs_of(cube):
    """Attributes of a cube, and of its variables if it is a Dataset."""
    attrs = {}
    for variable in getattr(cube, "data_vars", {}).values():
        attrs = {**variable.attrs, **attrs}
    return {**attrs, **cube.attrs}


def _is_scalar(cube, name):
    return name in cube.coords and cube.coords[name].ndim == 0


def _axis(cube, axis, stored, corners, name):
    """Signed pixel size along an axis and where the first pixel starts.

    `stored` are both as they were before the cube was sliced, or None.
    """
    coords = _numbers(cube, axis, name)
    if len(coords) == 1 and stored is None:
        raise ValueError(
            f"{name} has a single {axis} coordinate, which does not tell the size of a pixel: take "
            "at least two pixels, or store the transform, cube.rio.write_transform(...)"
        )
    step = stored[0] if len(coords) == 1 else _step(coords, axis, name)
    first = float(coords[0])
    if stored is not None:
        size, origin = stored
    elif corners:
        size, origin = -abs(step) if axis == "y" else abs(step), 0.0
    else:
        size, origin = step, first
    rounding = _rounding(coords) / abs(step)
    if abs(abs(step) - abs(size)) * (len(coords) - 1) > (SAME + rounding) * abs(step):
        if not corners:
            # Every n-th pixel, or means of n: their centres remain.
            return step, first - step / 2
        raise ValueError(
            f"{name} has {axis} coordinates that lie {abs(step):.9g} apart and pixels of "
            f"{abs(size):.9g} in its attributes, which does not tell where they lie: "
            f"{_MAKE_CENTRES}"
        )
    place = (first - origin) / size
    start = place - 0.5 if not corners or 0.25 <= place % 1 < 0.75 else place
    off = abs(start - round(start))
    if stored is not None and off <= _REGULAR + rounding:
        start = round(start)
    elif stored is not None and corners and off > _NEAR + rounding:
        raise ValueError(
            f"{name} has {axis} coordinates that are neither corners nor centres of the pixels of "
            f"its attributes: {_MAKE_CENTRES}"
        )
    start = origin + size * start
    return (size, start) if step * size > 0 else (-size, start + size)


def _numbers(cube, axis, name):
    coords = cube.coords[axis].values
    if coords.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} has {axis} coordinates of type {coords.dtype}, and they must be numbers: "
            f'leave them out, cube.drop_vars("{axis}")'
        )
    return coords if coords.dtype.kind == "f" else coords.astype(np.float64)


def _rounding(coords):
    """Rounding error of coordinates; half a metre for northings in float32."""
    return float(np.spacing(np.abs(coords).max()))


def _step(coords, axis, name):
    """Spacing of regular coordinates."""
    regular = np.linspace(float(coords[0]), float(coords[-1]), len(coords))
    step = float(regular[1] - regular[0])
    off = np.abs(coords - regular).max()
    if step == 0 or not off <= _REGULAR * abs(step) + _rounding(coords):
        raise ValueError(
            f"{name} has {axis} coordinates that do not lie apart alike: the pixels of a cube lie "
            "on a regular grid, put it on one, such as by rioxarray's cube.rio.reproject(...)"
        )
    return step


def _crs_of(cube, mapping, name):
    for key in ("crs_wkt", "spatial_ref"):
        if mapping.get(key):
            return str(mapping[key])
    if "grid_mapping_name" in mapping:
        from pyproj import CRS

        return str(CRS.from_cf(mapping).to_wkt())
    attrs = _attrs_of(cube)
    found = attrs.get("crs", attrs.get("epsg"))
    for key in ("epsg", "crs", "spatial_ref"):
        if found is None and _is_scalar(cube, key):
            # Some coordinates are objects of pyproj, and others 0 or an empty text.
            found = cube.coords[key].values.item() or None
    if found is None:
        found = getattr(attrs.get("area"), "crs", None)
    return None if found is None else _as_wkt(found, name)


def _as_wkt(crs: Any, name: str) -> str:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    if isinstance(crs, np.generic):
        crs = crs.item()
    try:
        return str(CRS.from_user_input(crs).to_wkt())
    except CRSError:
        raise ValueError(
            f"{name} has the CRS {crs!r} in its attributes, which is none that is known: store the "
            "right one, cube.rio.write_crs(...)"
        ) from None


def with_grid(array: DataArray, grid: Grid) -> DataArray:
    """Return an array with coordinates and CF's grid mapping, as rioxarray writes them.

    Parameters
    ----------
    array : DataArray of shape (..., h, w)
        Its last dims are y and x. Its values are neither copied nor computed.
    grid : Grid

    Returns
    -------
    DataArray
        ``.rio.transform()`` and ``.rio.crs`` give the grid back, also from a netCDF file or a Zarr
        store.
    """
    import rioxarray  # noqa: F401 - makes the accessor `rio`
    import xarray
    from rasterio.transform import Affine

    y, x = grid.coords()
    frame = xarray.Dataset(coords={"y": ("y", y), "x": ("x", x)})
    if grid.crs is not None:
        frame = frame.rio.write_crs(grid.crs).rio.write_coordinate_system()
    frame = frame.rio.write_transform(Affine(*grid.transform))
    out = array.assign_coords(frame.coords)
    out.attrs = {key: value for key, value in array.attrs.items() if key not in STALE_ATTRS}
    out.encoding = {**array.encoding, "grid_mapping": "spatial_ref"}
    return out
