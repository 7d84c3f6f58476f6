"""Base of the transformers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator, TransformerMixin

from ..doc_links import SceneEstimatorMixin
from ..scenes import check_scenes

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from ..scenes import Scene


class SceneTransformer(SceneEstimatorMixin, TransformerMixin, BaseEstimator, ABC):
    """Base of transformers, from a list of scenes to a list of lazy scenes.

    A subclass defines `_parameter_constraints` and `transform_scene`, which changes one scene and
    must not read pixels: they are read from the new scene.

    See Also
    --------
    probav_estimators.scenes.DerivedFrames : Base of frames that are derived from a scene's frames.
    """

    def fit(self, X: Sequence[Scene], y: object = None) -> Self:
        """Check the parameters and the scenes; nothing is learned.

        Parameters
        ----------
        X : list of Scene
        y : None
            Not used: a scene carries its truth.

        Returns
        -------
        self
        """
        self._check(X)
        return self

    def transform(self, X: Sequence[Scene]) -> list[Scene]:
        """Record the transformation in new scenes.

        Parameters
        ----------
        X : list of Scene

        Returns
        -------
        list of Scene
            The scenes of `X` do not change. A copy of the transformer is recorded in the `steps`
            of the new ones, to be applied to validation scenes later.

        Raises
        ------
        ValueError
            If a parameter is not valid, or `X` is empty or holds anything but scenes.
        """
        scenes = self._check(X)
        # One record for all scenes: together they are pickled with one copy of each step.
        record = copy.copy(self)
        recorded: dict[int, tuple[Any, ...]] = {}
        for scene in scenes:
            recorded.setdefault(id(scene.steps), (*scene.steps, record))
        return [
            self.transform_scene(scene).with_steps(recorded[id(scene.steps)]) for scene in scenes
        ]

    def _check(self, X):
        self._validate_params()
        return check_scenes(X, type(self).__name__)

    @abstractmethod
    def transform_scene(self, scene: Scene) -> Scene:
        """Return the scene that `scene` becomes."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
