"""The challenge's baseline."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions

from .doc_links import SceneEstimatorMixin
from .imaging import bicubic_clearest_mean, clearest_mean
from .prediction import Images, stack_images
from .scenes import Scene, check_scenes, clip_image
from .scoring import ScoreMixin

__all__ = ["BicubicBaseline"]


_KERNELS = {"spline": clearest_mean, "keys": bicubic_clearest_mean}


class BicubicBaseline(SceneEstimatorMixin, ScoreMixin, BaseEstimator):
    """Mean of the upscaled clearest frames: the challenge's baseline.

    All frames that tie at the largest clearance take part. Nothing is learned but the scale.

    Parameters
    ----------
    scale : int, default=None
        HR pixels for each LR pixel, for scenes whose HR image is not known. None: that of the
        scenes that were seen in `fit`.
    kernel : {"spline", "keys"}, default="spline"
        "spline": the challenge's baseline [1]_, which upscales each frame by a cubic spline within
        its range of values. "keys": the study's baseline [2]_, which upscales the mean of the
        frames by Keys' cubic kernel with a = -0.75, as OpenCV does. `Scene.norm` is always of
        "spline".

    Attributes
    ----------
    scale_ : int or None
        Scale of scenes without HR image.

    See Also
    --------
    probav_score : The score that is 1.0 for the default kernel.

    References
    ----------
    .. [1] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.
    .. [2] "Super Resolution - Kelvins PROBA V - Deep Learning Approach", 2019,
       https://github.com/Shiro-LK/Super-Resolution-ProbaV

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, make_scenes
    >>> scenes = make_scenes(2, size=32, random_state=0)
    >>> BicubicBaseline().fit(scenes).predict(scenes).shape
    (2, 96, 96)
    """

    #: Images are of the clearest frames alone: :func:`super_resolve` selects these once for a whole
    #: site, and fills their clouded pixels from the others.
    averages_clearest = True

    _parameter_constraints = {
        "scale": [Interval(Integral, 2, None, closed="left"), None],
        "kernel": [StrOptions(set(_KERNELS))],
    }

    def __init__(
        self, scale: int | None = None, kernel: Literal["spline", "keys"] = "spline"
    ) -> None:
        self.scale = scale
        self.kernel = kernel

    def fit(self, X: Sequence[Scene], y: object = None) -> Self:
        """Learn the scale.

        Parameters
        ----------
        X : list of Scene
        y : None
            Not used: a scene carries its truth.

        Returns
        -------
        self
        """
        self._validate_params()
        scenes = check_scenes(X, type(self).__name__)
        scales = (scene.scale for scene in scenes if scene.scale is not None)
        self.scale_ = self.scale or next(scales, None)
        return self

    def predict(self, X: Sequence[Scene]) -> Images:
        """Super-resolve scenes; needs no `fit` if they have a scale.

        Parameters
        ----------
        X : list of Scene

        Returns
        -------
        float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1], unless a scene has a `value_range`.

        Raises
        ------
        ValueError
            If a parameter is not valid, or the scale of a scene is not known.
        """
        self._validate_params()
        scenes = check_scenes(X, type(self).__name__)
        return stack_images([self._mean_of(scene) for scene in scenes])

    def _mean_of(self, scene):
        # A frame that a ClearanceSelector repeats has no more weight than the others.
        once = np.flatnonzero(~scene.frames.repeats)
        lr, qm = scene.frames.read(once)
        image = _KERNELS[self.kernel](lr, qm, self._scale_of(scene))
        return clip_image(image, scene)

    def _scale_of(self, scene):
        scale = scene.scale or getattr(self, "scale_", self.scale)
        if scale is None:
            raise ValueError(
                f"{scene.label} has neither HR image nor status map to tell its scale: pass "
                "BicubicBaseline(scale=3)"
            )
        return scale

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
