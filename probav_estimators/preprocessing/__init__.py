"""Transformers: a list of scenes in, a list of scenes out."""

from ._base import SceneTransformer
from ._clearance import ClearanceSelector
from ._composition import InputComposer
from ._inputs import Inputs
from ._registration import FrameRegistrar
from ._upscaling import BicubicUpscaler

__all__ = [
    "BicubicUpscaler",
    "ClearanceSelector",
    "FrameRegistrar",
    "InputComposer",
    "Inputs",
    "SceneTransformer",
]
