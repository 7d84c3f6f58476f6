"""Upscaling of a net's input."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING

from sklearn.utils._param_validation import Interval

from ._base import SceneTransformer

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["BicubicUpscaler"]


class BicubicUpscaler(SceneTransformer):
    """Upscale the composed input of each scene by the bicubic kernel.

    Nets that work at HR size (SRCNN, SRVGG16) need it; others, such as FSRCNN, upscale by
    themselves.

    Parameters
    ----------
    scale : int, default=3
        How many pixels each LR pixel becomes along each axis.

    See Also
    --------
    InputComposer : Must stand before this step.

    Notes
    -----
    Keys' cubic kernel [1]_ with a = -0.75 and half-pixel centres, as in torch and OpenCV, and equal
    to both but for the rounding of their weights. Values are not clipped.

    References
    ----------
    .. [1] R. Keys, "Cubic convolution interpolation for digital image processing", IEEE
       Transactions on Acoustics, Speech, and Signal Processing 29(6), 1153-1160, 1981.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from probav_estimators import BicubicUpscaler, InputComposer, make_scenes
    >>> scenes = make_scenes(1, size=16, n_frames=9, random_state=0)
    >>> pipe = make_pipeline(InputComposer(), BicubicUpscaler(scale=3))
    >>> pipe.fit_transform(scenes)[0].inputs.read().shape
    (1, 9, 48, 48)
    """

    _parameter_constraints = {"scale": [Interval(Integral, 2, None, closed="left")]}

    def __init__(self, scale: int = 3) -> None:
        self.scale = scale

    def transform_scene(self, scene: Scene) -> Scene:
        if scene.inputs is None:
            raise ValueError(
                f"BicubicUpscaler got {scene.label}, which has no inputs yet: put an "
                "InputComposer before it"
            )
        if scene.inputs.scale != 1:
            raise ValueError(
                f"BicubicUpscaler got {scene.label}, which is upscaled already: leave one "
                "upscaler in the pipeline"
            )
        return scene.with_inputs(replace(scene.inputs, scale=self.scale))
