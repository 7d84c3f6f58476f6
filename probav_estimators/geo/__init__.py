"""Georeferenced imagery in and out: cubes of xarray and raster files."""

from ._cube import Cube, read_cube, rebuild
from ._encoding import Encoding
from ._files import FilesResult, Outputs, super_resolve_files
from ._grid import Grid, grid_of_cube, with_grid
from ._masks import MASK_KINDS, MASK_TYPES, MaskKind, clear_of, match_mask
from ._rasters import open_rasters, open_scene
from ._site import BLOCK_SIZE
from ._super_resolve import super_resolve

__all__ = [
    "BLOCK_SIZE",
    "MASK_KINDS",
    "MASK_TYPES",
    "Cube",
    "Encoding",
    "FilesResult",
    "Grid",
    "MaskKind",
    "Outputs",
    "clear_of",
    "grid_of_cube",
    "match_mask",
    "open_rasters",
    "open_scene",
    "read_cube",
    "rebuild",
    "super_resolve",
    "super_resolve_files",
    "with_grid",
]
