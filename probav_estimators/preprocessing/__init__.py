"""Transformers: a list of scenes in, a list of scenes out."""

from ._base import SceneTransformer
from ._clearance import ClearanceSelector
from ._inputs import BicubicUpscaler, InputComposer, Inputs
from ._registration import FrameRegistrar

__all__ = [
    "BicubicUpscaler",
    "ClearanceSelector",
    "FrameRegistrar",
    "InputComposer",
    "Inputs",
    "SceneTransformer",
]
