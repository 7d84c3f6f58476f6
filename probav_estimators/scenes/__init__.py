"""Scenes: one place each, seen several times; from arrays and folders, read when asked for."""

from ._alignment import align_bands, align_scene, read_aligned
from ._chosen_frames import LEAST_TO_HALVE, ChosenFrames, halve_frames
from ._fingerprint import digest
from ._frames import WHOLE, DerivedFrames, Frames, StoredFrames
from ._layout import NORMS_NAME, SceneFiles, find_scene_folders, list_scene_files
from ._level import offset_to_scene
from ._png import PngImage
from ._psf import estimate_psf_sigma
from ._saved import load_scenes, save_scenes
from ._scene import Scene
from ._stored_values import ArrayStack, MaskStack, Stack, ValueFrames, Values, is_dask
from ._validation import check_scenes
from ._value_scale import ValueScale

__all__ = [
    "LEAST_TO_HALVE",
    "NORMS_NAME",
    "WHOLE",
    "ArrayStack",
    "ChosenFrames",
    "DerivedFrames",
    "Frames",
    "MaskStack",
    "PngImage",
    "Scene",
    "SceneFiles",
    "Stack",
    "StoredFrames",
    "ValueFrames",
    "ValueScale",
    "Values",
    "align_bands",
    "align_scene",
    "check_scenes",
    "digest",
    "estimate_psf_sigma",
    "find_scene_folders",
    "halve_frames",
    "is_dask",
    "list_scene_files",
    "load_scenes",
    "offset_to_scene",
    "read_aligned",
    "save_scenes",
]
