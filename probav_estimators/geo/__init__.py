"""Georeferenced imagery in and out: cubes of xarray, raster files and satellite products.

Raster files (`_rasters`) and cubes (`_cube`) are opened as imagery (`_imagery`): bands of stored
values (`_encoding`) on one grid (`_grid`), with masks (`_masks`), dates and labels
(`_frame_metadata`). Products (`_product_items`, `_products`) become a cube (`_product_cube`). All
frames are registered, and then blocks of the image are predicted (`_block_predictors`): at once or
as tasks of dask (`_super_resolve`), or into a folder (`_block_store`), of which files are written
(`_files`, `_outputs`).
"""

from ._cube import Cube, read_cube, rebuild
from ._cube_grid import grid_of_cube, with_grid
from ._cube_images import super_resolve
from ._encoding import Encoding
from ._files import FilesResult, items_path, super_resolve_files, super_resolve_products
from ._frame_metadata import check_reference
from ._grid import Grid
from ._imagery import BLOCK_SIZE
from ._masks import MASK_KINDS, MASK_TYPES, MaskKind, clear_of, match_mask
from ._open_scene import open_scene
from ._outputs import Outputs
from ._product_items import is_product
from ._products import open_products
from ._rasters import open_rasters

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
    "check_reference",
    "clear_of",
    "grid_of_cube",
    "is_product",
    "items_path",
    "match_mask",
    "open_products",
    "open_rasters",
    "open_scene",
    "read_cube",
    "rebuild",
    "super_resolve",
    "super_resolve_files",
    "super_resolve_products",
    "with_grid",
]
