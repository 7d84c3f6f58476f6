"""Scenes of arrays, folders and other sources, read on demand."""

from ._alignment import align_bands, align_scene, read_aligned, read_moved
from ._fingerprint import digest
from ._frames import (
    LEAST_TO_HALVE,
    WHOLE,
    ChosenFrames,
    DerivedFrames,
    Frames,
    Index,
    PositionPrior,
    SubsetFrames,
    Window,
    count_clear,
    halve_frames,
    open_ends,
    within,
)
from ._images import PngImage, StoredFrames
from ._layout import NORMS_NAME, SceneFiles, find_scene_folders, list_scene_files
from ._level import offset_to_scene
from ._png import HEADER_BYTES, decode_png, png_header
from ._psf import estimate_psf_sigma, psf_variance
from ._saved import load_scenes, load_truth, save_scenes
from ._scene import Scene, check_scenes, clip_image, name_in_errors
from ._stored_values import COUNTS, ArrayStack, MaskStack, Stack, ValueFrames, Values, is_dask

__all__ = [
    "COUNTS",
    "HEADER_BYTES",
    "LEAST_TO_HALVE",
    "NORMS_NAME",
    "WHOLE",
    "ArrayStack",
    "ChosenFrames",
    "DerivedFrames",
    "Frames",
    "Index",
    "MaskStack",
    "PngImage",
    "PositionPrior",
    "Scene",
    "SceneFiles",
    "Stack",
    "StoredFrames",
    "SubsetFrames",
    "ValueFrames",
    "Values",
    "Window",
    "align_bands",
    "align_scene",
    "check_scenes",
    "clip_image",
    "count_clear",
    "decode_png",
    "digest",
    "estimate_psf_sigma",
    "find_scene_folders",
    "halve_frames",
    "is_dask",
    "list_scene_files",
    "load_scenes",
    "load_truth",
    "name_in_errors",
    "offset_to_scene",
    "open_ends",
    "png_header",
    "psf_variance",
    "read_aligned",
    "read_moved",
    "save_scenes",
    "within",
]
