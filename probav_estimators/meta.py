"""Estimators that are made of other estimators."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from .doc_links import SceneEstimatorMixin
from .prediction import stack_images
from .scenes import check_scenes
from .scoring import ScoreMixin

if TYPE_CHECKING:
    from .prediction import Images, Predictor
    from .scenes import Scene

__all__ = ["PerBand"]


class PerBand(SceneEstimatorMixin, ScoreMixin, MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Fits one clone of an estimator for each band, and predicts each scene with its band's.

    Parameters
    ----------
    estimator : estimator of scenes
        A pipeline, a net or a baseline. It is cloned for each band and not fitted itself; one in
        scikit-learn's `FrozenEstimator` serves every band as it is.
    n_jobs : int, default=None
        Bands that are fitted side by side, each in a process of its own, as in joblib. None: one
        after the other, unless :func:`joblib.parallel_config` says otherwise.

    Attributes
    ----------
    estimators_ : dict of str to estimator
        The fitted clone of each band.
    bands_ : list of str
        Bands seen in `fit`, sorted.

    See Also
    --------
    FusionNet : A net that serves every band by itself.
    sklearn.model_selection.StratifiedKFold : Folds that hold scenes of every band.

    Notes
    -----
    In cross-validation, every training fold needs scenes of all bands that it is tested on.
    ``cross_val_score(PerBand(pipe), scenes, [s.band for s in scenes], cv=StratifiedKFold())`` sees
    to that: estimators ignore their `y`, and the folds are made by it.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, PerBand, make_scenes
    >>> scenes = make_scenes(4, size=32, bands=("RED", "NIR"), random_state=0)
    >>> model = PerBand(BicubicBaseline()).fit(scenes)
    >>> model.bands_
    ['NIR', 'RED']
    >>> model.predict(scenes).shape
    (4, 96, 96)
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"])],
        "n_jobs": [Integral, None],
    }

    def __init__(self, estimator: Predictor, *, n_jobs: int | None = None) -> None:
        self.estimator = estimator
        self.n_jobs = n_jobs

    def fit(self, X: Sequence[Scene], y: object = None) -> Self:
        """Fit a clone on the scenes of each band.

        Parameters
        ----------
        X : list of Scene
            With bands, and with what `estimator` asks for.
        y : None
            Not used: a scene carries its truth.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not valid or a scene has no band, or for the reasons that
            `estimator` has.
        """
        self._validate_params()
        scenes = check_scenes(X, type(self).__name__)
        numbers = _numbers_by_band(scenes)
        fitted = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_clone)(self.estimator, [scenes[number] for number in of_band])
            for of_band in numbers.values()
        )
        self.estimators_ = dict(zip(numbers, fitted, strict=True))
        self.bands_ = list(numbers)
        return self

    def predict(self, X: Sequence[Scene], **predict_params: Any) -> Images | tuple[Images, ...]:
        """Super-resolve scenes, each with the estimator of its band.

        Parameters
        ----------
        X : list of Scene
        **predict_params
            Handed on to the estimators, such as ``return_std=True``.

        Returns
        -------
        float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1], in the order of the scenes. A tuple of these if the estimators return
            tuples, as FusionNet does with `return_std`.

        Raises
        ------
        ValueError
            If a scene has no band or one that was not seen in `fit`, or for the reasons that
            `estimator` has.
        """
        check_is_fitted(self)
        scenes = check_scenes(X, type(self).__name__)
        numbers = _numbers_by_band(scenes)
        self._check_known(scenes)
        predicted = [
            self._predict_band(band, [scenes[number] for number in of_band], predict_params)
            for band, of_band in numbers.items()
        ]
        order = list(chain.from_iterable(numbers.values()))
        parts = tuple(_in_order(part, order) for part in zip(*predicted, strict=True))
        return parts if len(parts) > 1 else parts[0]

    def _predict_band(self, band, scenes, predict_params):
        """Tuple of what the estimator of a band returns, each with an image for each scene."""
        predicted = self.estimators_[band].predict(scenes, **predict_params)
        parts = predicted if isinstance(predicted, tuple) else (predicted,)
        for part in parts:
            if len(part) != len(scenes):
                raise ValueError(
                    f"the estimator of band {band} predicted {len(part)} images for "
                    f"{len(scenes)} scenes: predict must return one image for each scene"
                )
        return parts

    def _check_known(self, scenes):
        for scene in scenes:
            if scene.band not in self.estimators_:
                raise ValueError(
                    f"PerBand was not fitted on band {scene.band} of {scene.label}, only on "
                    f"{', '.join(self.bands_)}: fit it on scenes of that band too, or leave the "
                    "scene out; in cross-validation, StratifiedKFold with the bands as y keeps "
                    "every band in every fold"
                )


def _fit_clone(estimator, scenes):
    # FrozenEstimator asks for a y.
    return clone(estimator).fit(scenes, None)


def _in_order(by_band, order):
    """Images of one band after the other, put where their scenes stand."""
    images = [None] * len(order)
    for number, image in zip(order, chain.from_iterable(by_band), strict=True):
        images[number] = image
    return stack_images(images)


def _numbers_by_band(scenes):
    """Positions of the scenes of each band, by sorted bands."""
    numbers = {}
    for number, scene in enumerate(scenes):
        if scene.band is None:
            raise ValueError(
                f"PerBand goes by bands, and {scene.label} has none: make it with "
                'Scene(..., band="RED"), or load it from a folder that is named after its band'
            )
        numbers.setdefault(scene.band, []).append(number)
    return dict(sorted(numbers.items()))
