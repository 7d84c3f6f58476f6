"""Grids of georeferenced images, read from cubes and written to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor, hypot
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from xarray import DataArray, Dataset

    Transform = tuple[float, float, float, float, float, float]

__all__ = ["STALE_ATTRS", "WARP_COMMAND", "Grid", "grid_of_cube", "is_box", "with_grid"]

# Transform of images without georeference.
_PIXELS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

# Parts of a pixel by which grids that are the same may differ, and coordinates from regular ones.
_SAME = 0.01
_REGULAR = 1e-3

# Relative difference of the sides of square pixels: the rounding of float32 degrees.
_SQUARE = 1e-3

# Rounding error of the edges of a box, in pixels.
_EDGE = 1e-6

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

#: Command that puts a file on a grid.
WARP_COMMAND = "gdalwarp -r near -t_srs EPSG:32634 -tr 10 10 IN.tif OUT.tif"

_MAKE_CENTRES = (
    'make them pixel centres, cube.assign_coords(...), and remove attrs["transform"] and the '
    'coordinate "epsg", which mark those of stackstac; keep the CRS by cube.rio.write_crs(...)'
)


@dataclass(frozen=True)
class Grid:
    """Transform, shape and CRS of an image.

    Parameters
    ----------
    transform : tuple of six floats
        The a, b, c, d, e, f of rasterio's ``Affine``: the corner of column `i` and row `j` is at
        x = a i + b j + c, y = d i + e j + f. The sign of e is kept: below 0 north is up, above 0
        y ascends.
    shape : tuple of two ints
        (h, w).
    crs : str, default=None
        WKT of the coordinate reference system; None: not known.
    """

    transform: Transform
    shape: tuple[int, int]
    crs: str | None = None

    @classmethod
    def of_pixels(cls, shape: tuple[int, int]) -> Grid:
        """The grid of an image without georeference."""
        return cls(_PIXELS, shape)

    @classmethod
    def of_geobox(cls, geobox: GeoBox) -> Grid:
        """The grid of an odc-geo box."""
        a, b, c, d, e, f = (float(value) for value in geobox.transform[:6])
        crs = None if geobox.crs is None else geobox.crs.to_wkt()
        return cls((a, b, c, d, e, f), (geobox.shape.y, geobox.shape.x), crs)

    @property
    def placed(self) -> bool:
        """Whether the grid is georeferenced, and not that of bare rows and columns."""
        return self.crs is not None or self.transform != _PIXELS

    @property
    def crs_name(self) -> str:
        """EPSG code of the CRS, or the name in its WKT."""
        if self.crs is None:
            return "an unknown CRS"
        from rasterio.crs import CRS

        crs = CRS.from_wkt(self.crs)
        return str(crs.to_string()) if crs.to_epsg() else self.crs.split('"')[1]

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Height and width of a pixel, in units of the CRS."""
        a, b, _, d, e, _ = self.transform
        return hypot(b, e), hypot(a, d)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least x, least y, greatest x and greatest y: left, bottom, right, top."""
        x, y = self._corners()
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _corners(self):
        h, w = self.shape
        a, b, c, d, e, f = self.transform
        columns, rows = np.array([[0, w, 0, w], [0, 0, h, h]], float)
        return a * columns + b * rows + c, d * columns + e * rows + f

    def coords(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel centres, as y of the rows and x of the columns: float64 (h,) and (w,)."""
        h, w = self.shape
        a, _, c, _, e, f = self.transform
        rows, columns = np.arange(h, dtype=np.float64), np.arange(w, dtype=np.float64)
        return f + e * (rows + 0.5), c + a * (columns + 0.5)

    def finer(self, scale: int) -> Grid:
        """The grid with pixels `scale` times as small; its corners stay where they are."""
        h, w = self.shape
        a, b, c, d, e, f = self.transform
        transform = (a / scale, b / scale, c, d / scale, e / scale, f)
        return replace(self, transform=transform, shape=(h * scale, w * scale))

    def window(self, rows: slice, columns: slice) -> Grid:
        """The grid of a part of the image."""
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        return self.extended(slice(top, bottom), slice(left, right))

    def position_of(self, other: Grid) -> tuple[float, float] | None:
        """Return the row and column where another grid starts.

        Parameters
        ----------
        other : Grid
            An unknown CRS of either is taken to be that of the other.

        Returns
        -------
        tuple of two floats or None
            Whole numbers where pixels are the same to a hundredth; None if the grids differ in CRS
            or size of pixels. CRS of different names or origins, such as the two hemispheres of a
            UTM zone, are one if pixels are.
        """
        a, b, c, d, e, f = self.transform
        transform = other.transform
        if not _same_crs(self.crs, other.crs):
            transform = _affine_in(self.crs, other)
        if b or d or transform is None:
            return None
        sizes = np.subtract(transform, self.transform)[[0, 1, 3, 4]]
        drift = np.abs(sizes).max() * max(*self.shape, *other.shape)
        if not drift <= _SAME * min(self.pixel_size):
            return None
        row, column = (transform[5] - f) / e, (transform[2] - c) / a
        row, column = (
            float(round(start)) if abs(start - round(start)) <= _SAME else start
            for start in (row, column)
        )
        return row, column

    def pixels_of(self, bounds: Sequence[float]) -> tuple[slice, slice]:
        """Return the rows and columns of a box, which grow to whole pixels of an unrotated grid.

        Parameters
        ----------
        bounds : sequence of four floats
            Left, bottom, right, top in units of the CRS.

        Returns
        -------
        tuple of two slices
            Rows and columns, which may begin below 0 and end beyond the grid.
        """
        left, bottom, right, top = (float(value) for value in bounds)
        a, _, c, _, e, f = self.transform
        parts = []
        for ends, size, start in (((bottom, top), e, f), ((left, right), a, c)):
            low, high = sorted((end - start) / size for end in ends)
            parts.append(slice(floor(low + _EDGE), ceil(high - _EDGE)))
        return parts[0], parts[1]

    def extended(self, rows: slice, columns: slice) -> Grid:
        """The grid of these rows and columns, which may begin below 0 and end beyond it."""
        shape = rows.stop - rows.start, columns.stop - columns.start
        return replace(self.shifted(rows.start, columns.start), shape=shape)

    def shifted(self, down: float, right: float) -> Grid:
        """The grid that starts so many rows and columns further down and right."""
        a, b, c, d, e, f = self.transform
        transform = (a, b, a * right + b * down + c, d, e, d * right + e * down + f)
        return replace(self, transform=transform)

    def check_same(self, other: Grid, this_name: str, other_name: str) -> None:
        """Raise a ValueError if another grid is not this one, to a hundredth of a pixel.

        Parameters
        ----------
        other : Grid
            An unknown CRS of either is taken to be that of the other.
        this_name, other_name : str
            What messages call them.
        """
        moved = np.abs(np.subtract(self._corners(), other._corners())).max()
        if self.shape != other.shape:
            what = f"{self.shape} and {other.shape} pixels"
        elif not _same_crs(self.crs, other.crs):
            what = f"the CRS {self.crs_name} and {other.crs_name}"
        elif moved > _SAME * min(self.pixel_size):
            what = f"the transforms {self.transform} and {other.transform}"
        else:
            return
        raise ValueError(
            f"{this_name} and {other_name} lie on different grids, they have {what}: put them on "
            "one, such as by rioxarray's second.rio.reproject_match(first)"
        )

    def check_usable(self, name: str, remedy: str | None = None) -> None:
        """Raise a ValueError if pixels are not square, have no size, or are rotated.

        Parameters
        ----------
        name : str
            What messages call it.
        remedy : str, default=None
            Command that puts it on a grid. None: that of rioxarray.
        """
        a, b, _, d, e, _ = self.transform
        if b or d:
            what = f"a rotated grid: its transform is {self.transform}"
        elif not (np.isfinite(self.transform).all() and a and e):
            what = f"pixels without a size: its transform is {self.transform}"
        elif abs(abs(a) - abs(e)) > _SQUARE * abs(a):
            what = f"pixels that are not square: they are {abs(e)} high and {abs(a)} wide"
        else:
            return
        remedy = remedy or "rioxarray's cube.rio.reproject(cube.rio.crs, resolution=10)"
        raise ValueError(
            f"{name} has {what}; put it on a grid of square pixels first, such as by {remedy}"
        )


def is_box(bounds: Any) -> bool:
    """Whether these are left, bottom, right and top of an area that is not empty."""
    try:
        left, bottom, right, top = (float(value) for value in bounds)
    except (TypeError, ValueError):
        return False
    return left < right and bottom < top and bool(np.isfinite((left, bottom, right, top)).all())


def _same_crs(first, second):
    if first is None or second is None or first == second:
        return True
    from rasterio.crs import CRS

    return CRS.from_wkt(first) == CRS.from_wkt(second)


def _affine_in(crs, grid):
    """Transform of a grid in another CRS, or None if it is not affine there."""
    from rasterio.crs import CRS
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    h, w = grid.shape
    a, _, c, _, e, f = grid.transform
    # Corners, and the middle of the sides and of the whole.
    columns, rows = np.meshgrid([0.0, w / 2, w], [0.0, h / 2, h])
    try:
        found = transform(
            CRS.from_wkt(grid.crs),
            CRS.from_wkt(crs),
            (c + a * columns).ravel(),
            (f + e * rows).ravel(),
        )
    except RasterioError:
        return None
    points = np.stack([np.ones(9), columns.ravel(), rows.ravel()], axis=1)
    if not np.isfinite(found).all():
        return None
    (c, a, b), (f, d, e) = coefficients = np.linalg.lstsq(points, np.transpose(found))[0].T
    off = np.abs(points @ coefficients.T - np.transpose(found)).max()
    if off > _SAME * min(np.hypot(a, d), np.hypot(b, e)):
        return None
    return tuple(map(float, (a, b, c, d, e, f)))


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
    if "gcps" in mapping and stored in (None, _PIXELS):
        raise ValueError(
            f"{name} is placed by control points, and not on a grid: put its files on one first, "
            f"such as by {WARP_COMMAND}"
        )
    if stored is not None and (stored[1] or stored[3]):
        return Grid(stored, (h, w), _crs_of(cube, mapping, name))
    if stored in (None, _PIXELS) and not {"x", "y"} <= {*cube.coords}:
        _check_no_swath(cube, name)
    if "x" in cube.coords and "y" in cube.coords:
        a, c = _axis(cube, "x", stored and (stored[0], stored[2]), corners, name)
        e, f = _axis(cube, "y", stored and (stored[4], stored[5]), corners, name)
        stored = (a, 0.0, c, 0.0, e, f)
    return Grid(stored or _PIXELS, (h, w), _crs_of(cube, mapping, name))


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
    if abs(abs(step) - abs(size)) * (len(coords) - 1) > (_SAME + rounding) * abs(step):
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
