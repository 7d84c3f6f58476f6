"""Scenes of raster files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._encoding import POSITION_STD, check_position_std, check_value_range
from ._grid import GridRequest
from ._masks import warn_of_no_mask
from ._rasters import band_name, open_masks, open_rasters

if TYPE_CHECKING:
    import os

    from ..scenes import Scene
    from ._masks import MaskType
    from ._rasters import Factor, Paths

__all__ = ["open_scene"]


def open_scene(
    paths: Paths,
    *,
    mask: Paths | None = None,
    mask_type: MaskType = None,
    band: int | str | None = None,
    window: tuple[slice, slice] | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    scale_factor: Factor = None,
    add_offset: Factor = None,
    nodata: float | None = None,
    value_range: tuple[float, float] | None = None,
    position_std: float = POSITION_STD,
    like: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    resolution: float | None = None,
) -> Scene:
    """Scene of one band of GeoTIFFs or other rasters, one file a date; windows are read when asked.

    Parameters
    ----------
    paths : path-like or sequence of path-likes
        Files, of which each may cover a part of the site, a glob pattern such as
        ``"dates/*_B04.tif"``, or a folder. Those on other grids come onto one: pixels between
        those of the grid are read as they are, and registration starts from their shift; those of
        another CRS or resolution are resampled to the nearest pixel, with a warning.
    mask : path-like or sequence of path-likes, default=None
        Masks of clear pixels: one file for each of `paths`, matched by date or order, or one for
        all. Their pixels may cover a whole number of the frames'. None: all data are clear, with
        a warning if there is no nodata value either.
    mask_type : str or callable, default=None
        Name of one of `geo.MASK_KINDS`, or a function that takes the values of a mask and returns
        True where it is clear. None: by the masks' names (SCL, QA_PIXEL, ...), else a mask,
        1 = clear.
    band : int or str, default=None
        Number, the first is 1, or name (the description) of the band. None: the only one.
    window : tuple of two slices, default=None
        Rows and columns to use.
    bbox : tuple of four floats, default=None
        In place of `window`: left, bottom, right, top in units of the CRS.
    scale_factor, add_offset : float or one for each frame, default=None
        Values are stored * scale_factor + add_offset. None: as the files' tags say.
    nodata : float, default=None
        Stored value of no data, besides NaN. None: as the files' tags say.
    value_range : tuple of two floats, default=None
        Values of pixels of 0 and 1, with scale and offset: for nets other than FusionNet those of
        the training scenes. None: of the type for 8 and 16 bits, (0, 1) for reflectances in floats,
        else the span of the values.
    position_std : float, default=1.0
        Standard deviation of the georeferencing along each axis, in pixels of the frames.
        Frames are registered within about 4 times as much; what cannot be registered stays where
        it is, and a warning says so.
    like : path-like, default=None
        Raster file whose grid and footprint the frames have. None: the grid of the first file.
    bounds : tuple of four floats, default=None
        Left, bottom, right, top of the frames in the CRS of the grid, which grow to whole pixels.
        None: the footprint of `like`, else of all files together.
    resolution : float, default=None
        Size of a pixel in units of the CRS of the grid, at most 2 times as large or small as those
        of the files. None: that of `like`, else of the first file.

    Returns
    -------
    Scene

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        Without rasterio: ``pip install probav_estimators[geo]``.
    OSError
        Once pixels are read: if a file is damaged or cut short.
    ValueError
        For files that are no rasters, do not overlap, or differ in bands, type or by more than a
        factor of 2 in resolution, masks that do not fit, and windows or bounds outside of the
        files.

    See Also
    --------
    Scene : Scenes of arrays.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import rasterio
    >>> from probav_estimators import open_scene
    >>> grid = {"crs": "EPSG:32634", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5e6)}
    >>> size = {"height": 32, "width": 48, "count": 1, "dtype": "uint16", "nodata": 0}
    >>> folder = tempfile.TemporaryDirectory()
    >>> for date in ("20240105", "20240110", "20240115"):
    ...     path = os.path.join(folder.name, f"lake_{date}_B04.tif")
    ...     with rasterio.open(path, "w", driver="GTiff", **grid, **size) as file:
    ...         file.write(np.full((1, 32, 48), 1200, np.uint16))
    >>> scene = open_scene(os.path.join(folder.name, "*_B04.tif"))
    >>> scene, scene.shape, scene.value_range
    (<Scene 'lake', 3 frames>, (32, 48), (0.0, 65535.0))
    >>> folder.cleanup()
    """
    check_value_range(value_range, {})
    check_position_std(position_std)
    request = GridRequest(like, bounds, resolution)
    imagery = open_rasters(
        paths,
        window=window,
        bbox=bbox,
        request=request,
        scale_factor=scale_factor,
        add_offset=add_offset,
        nodata=nodata,
    )
    name = band_name(imagery, band)
    masks = None if mask is None else open_masks(mask, mask_type, imagery, request)
    scene = imagery.scene(name, masks, value_range, position_std)
    warn_of_no_mask([scene.frames], imagery.label)
    return scene
