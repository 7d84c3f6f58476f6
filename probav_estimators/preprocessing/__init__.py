"""Transformers: a list of scenes in, a list of scenes out."""

from ._inputs import BicubicUpscaler, InputComposer, Inputs
from ._transformers import ClearanceSelector, FrameRegistrar, SceneTransformer

__all__ = [
    "BicubicUpscaler",
    "ClearanceSelector",
    "FrameRegistrar",
    "InputComposer",
    "Inputs",
    "SceneTransformer",
]
