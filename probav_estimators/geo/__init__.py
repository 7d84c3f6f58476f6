"""Georeferenced imagery in and out: cubes of xarray and raster files."""

from ._cube import Cube, Encoding, read_cube, rebuild, warn_about_offsets
from ._grid import Grid, grid_of_cube, with_grid
from ._masks import MASK_TYPES, clear_of, match_mask

__all__ = [
    "MASK_TYPES",
    "Cube",
    "Encoding",
    "Grid",
    "clear_of",
    "grid_of_cube",
    "match_mask",
    "read_cube",
    "rebuild",
    "warn_about_offsets",
    "with_grid",
]
