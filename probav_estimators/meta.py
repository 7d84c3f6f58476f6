"""Meta-estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from numbers import Integral
from typing import Any, Literal, Self, overload

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import Bunch
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from .doc_links import SceneEstimatorMixin
from .prediction import (
    Images,
    Predictor,
    predict_pairs,
    stack_images,
    takes_return_std,
    unwrap,
)
from .processes import run_in_parallel
from .scenes import Scene, check_scenes, clip_image, offset_to_scene
from .scoring import ScoreMixin

__all__ = ["PerBand", "SceneEnsemble"]


class PerBand(SceneEstimatorMixin, ScoreMixin, MetaEstimatorMixin, BaseEstimator):
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
        fits = (
            delayed(_fit_clone)(self.estimator, [scenes[number] for number in of_band])
            for of_band in numbers.values()
        )
        fitted = run_in_parallel(fits, self.n_jobs)
        self.estimators_ = dict(zip(numbers, fitted, strict=True))
        self.bands_ = list(numbers)
        return self

    @property
    def predicts_std(self) -> bool:
        """Whether `predict` takes ``return_std=True``: the estimator of each band must."""
        check_is_fitted(self)
        return all(takes_return_std(estimator) for estimator in self.estimators_.values())

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
        """Predict the scenes of a band: a tuple of lists with one image per scene."""
        predicted = unwrap(self.estimators_[band]).predict(scenes, **predict_params)
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


class SceneEnsemble(SceneEstimatorMixin, ScoreMixin, MetaEstimatorMixin, _BaseComposition):
    """Weighted mean of the images of several estimators, on a common level.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Nets, pipelines or baselines by name. Each is cloned and fitted; one in scikit-learn's
        `FrozenEstimator` is used as it is. ``set_params(a="drop")`` leaves the member "a" out.
    weights : list of float, or dict of str to float, default=None
        Weight of each member in the mean, not negative: in the order of `estimators`, or by name.
        None: all alike. They count from the next `fit` on.
    n_jobs : int, default=None
        Members that are fitted side by side, each in a process of its own, as in joblib. None: one
        after the other, unless :func:`joblib.parallel_config` says otherwise.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted members, without those that are dropped.
    named_estimators_ : Bunch
        The same by name.
    weights_ : dict of str to float
        Their weights, of sum 1.

    See Also
    --------
    PerBand : One estimator for each band.

    Notes
    -----
    Loss and score forgive a constant, so members may differ in brightness. Before the mean, the
    image of each member is moved by a constant to the level of the scene: the mean of the clear
    pixels of its clearest frames. The mean image has that level too.

    Members and their parameters are parameters, ``a`` and ``a__max_epochs``, and so is each weight,
    ``weights__a``: a search may look for all of them.

    With ``return_std=True``, the variance of a pixel is that of the mixture of the members (the law
    of total variance): the weighted mean of the members' variances, plus the weighted variance of
    their images. It does not fall with the number of members, whose errors are not independent, and
    is no less than that of the mean image. Members without standard deviations
    contribute their images alone.

    scikit-learn's `VotingRegressor` and `StackingRegressor` take no estimators of scenes, because
    they average one number for each sample.

    Examples
    --------
    >>> from probav_estimators import BicubicBaseline, FusionNet, SceneEnsemble, make_scenes
    >>> from sklearn.frozen import FrozenEstimator
    >>> scenes = make_scenes(2, size=16, random_state=0)
    >>> net = FrozenEstimator(FusionNet.from_pretrained("simulated-x3", verbose=0))
    >>> ensemble = SceneEnsemble([("net", net), ("baseline", BicubicBaseline())], weights=[3, 1])
    >>> ensemble.fit(scenes).predict(scenes).shape
    (2, 48, 48)
    >>> ensemble.set_params(weights__net=1.0).fit(scenes).weights_
    {'net': 0.5, 'baseline': 0.5}
    """

    _parameter_constraints = {
        "estimators": [list],
        "weights": [dict, "array-like", None],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimators: list[tuple[str, Any]],
        *,
        weights: ArrayLike | Mapping[str, float] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimators = estimators
        self.weights = weights
        self.n_jobs = n_jobs

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, with `deep` also the members, theirs and each single weight.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict of str to value
            ``a``, ``a__max_epochs`` and ``weights__a`` of a member "a".
        """
        params = self._get_params("estimators", deep=deep)
        if deep:
            # As in scikit-learn, it is `fit` that refuses what is not valid.
            with suppress(TypeError, ValueError):
                weights = self._weights_by_name()
                params |= {f"weights__{name}": weight for name, weight in weights.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, members ("drop" leaves one out), their parameters or single weights.

        Parameters
        ----------
        **params
            Such as ``n_jobs=2``, ``a=SRCNN()``, ``a__max_epochs=20`` or ``weights__a=0.5``; a
            single weight leaves the others as they are, or 1.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        single = {key: params.pop(key) for key in list(params) if key.startswith("weights__")}
        self._set_params("estimators", **params)
        if single:
            weights = self._weights_by_name()
            changed = {key.removeprefix("weights__"): value for key, value in single.items()}
            if unknown := changed.keys() - weights.keys():
                raise ValueError(
                    f"SceneEnsemble has no estimator {min(unknown)!r} to weigh: it has "
                    f"{', '.join(weights)}"
                )
            self.weights = weights | changed
        return self

    def fit(self, X: Sequence[Scene], y: object = None) -> Self:
        """Fit a clone of each member.

        Parameters
        ----------
        X : list of Scene
            With what the members ask for.
        y : None
            Not used: a scene carries its truth.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not valid, or for the reasons that the members have.
        """
        self._validate_params()
        scenes = check_scenes(X, type(self).__name__)
        members = self._check_members()
        weights = self._check_weights(members)
        fits = (delayed(_fit_clone)(estimator, scenes) for estimator in members.values())
        self.estimators_ = run_in_parallel(fits, self.n_jobs)
        self.weights_ = weights
        return self

    @property
    def named_estimators_(self) -> Bunch:
        """The fitted members by name."""
        check_is_fitted(self)
        return Bunch(**dict(zip(self.weights_, self.estimators_, strict=True)))

    @property
    def predicts_std(self) -> bool:
        """Whether `predict` takes ``return_std=True``: one member's must, of a weight above 0."""
        check_is_fitted(self)
        return any(takes_return_std(estimator) for estimator, _ in self._weighted())

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[False] = False) -> Images: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[True]) -> tuple[Images, Images]: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: bool) -> Images | tuple[Images, Images]: ...

    def predict(
        self, X: Sequence[Scene], return_std: bool = False
    ) -> Images | tuple[Images, Images]:
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
        return_std : bool, default=False
            Whether to return the standard deviation of the error too.

        Returns
        -------
        images : float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1], unless a scene has a `value_range`.
        deviations : the same
            Standard deviation of each pixel's error, in pixel values; only with `return_std`.

        Raises
        ------
        ValueError
            If `return_std` is true and no member has standard deviations, members make images of
            different sizes, or for the reasons that they have.
        """
        check_is_fitted(self)
        scenes = check_scenes(X, type(self).__name__)
        if return_std and not self.predicts_std:
            raise ValueError(
                "return_std=True needs a member whose predict takes it: add a FusionNet or a "
                "PIUNet to the estimators of SceneEnsemble"
            )
        weights = np.array([weight for _, weight in self._weighted()])
        predicted = [
            predict_pairs(estimator, scenes, return_std=return_std)
            for estimator, _ in self._weighted()
        ]
        combined = [
            _combine(scene, members, weights)
            for scene, *members in zip(scenes, *predicted, strict=True)
        ]
        images, deviations = (list(part) for part in zip(*combined, strict=True))
        return (
            (stack_images(images), stack_images(deviations)) if return_std else stack_images(images)
        )

    def _get_params_html(self, deep=True, *args, **kwargs):
        # Parameters of the members would fill pages.
        return super()._get_params_html(False, *args, **kwargs)

    def _weighted(self):
        """Fitted members of a weight above 0, and their weights."""
        pairs = zip(self.estimators_, self.weights_.values(), strict=True)
        return [(estimator, weight) for estimator, weight in pairs if weight > 0]

    def _weights_by_name(self):
        """Weights as they are given, by name; not validated."""
        names = [name for name, _ in self.estimators]
        if self.weights is None:
            return dict.fromkeys(names, 1.0)
        if isinstance(self.weights, Mapping):
            return dict(self.weights)
        return dict(zip(names, self.weights, strict=True))

    def _check_members(self):
        """Members by name, without those that are dropped."""
        if not self.estimators or not all(
            isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)
            for pair in self.estimators
        ):
            raise ValueError(
                "estimators of SceneEnsemble must be a list of one or more (name, estimator) "
                f"tuples, got {self.estimators!r}"
            )
        self._validate_names([name for name, _ in self.estimators])
        members = {name: x for name, x in self.estimators if not isinstance(x, str) or x != "drop"}
        for name, estimator in members.items():
            if not HasMethods(["fit", "predict"]).is_satisfied_by(estimator):
                raise ValueError(
                    f"the member {name!r} of SceneEnsemble is {estimator!r}: give an estimator "
                    'with fit and predict, or "drop"'
                )
        if not members:
            raise ValueError('all members of SceneEnsemble are "drop": keep one')
        return members

    def _check_weights(self, members):
        """Weights of the members by name, of sum 1."""
        names = [name for name, _ in self.estimators]
        try:
            given = self._weights_by_name()
            weights = {name: float(weight) for name, weight in given.items()}
        except (TypeError, ValueError):
            weights = {}
        if weights.keys() != set(names):
            raise ValueError(
                f"weights of SceneEnsemble must be one number for each of {', '.join(names)}, in "
                f"that order or by name, got {self.weights!r}"
            )
        weights = {name: weights[name] for name in members}
        total = sum(weights.values())
        if not (np.isfinite(total) and min(weights.values()) >= 0 and total > 0):
            raise ValueError(
                f"weights of SceneEnsemble are {weights}: give finite numbers that are not "
                "negative, at least one of them positive"
            )
        return {name: weight / total for name, weight in weights.items()}


def _combine(scene, predicted, weights):
    """Mean image of a scene and, where a member has them, its standard deviations."""
    images, deviations = zip(*predicted, strict=True)
    if len(shapes := {image.shape for image in images}) > 1:
        raise ValueError(
            f"members of SceneEnsemble make images of shapes {sorted(shapes)} of {scene.label}: "
            "give members of one scale"
        )
    level = [image + np.float32(offset_to_scene(image, scene)) for image in images]
    mean = np.average(level, axis=0, weights=weights)
    image = clip_image(np.float32(mean), scene)
    with_std = [number for number, deviation in enumerate(deviations) if deviation is not None]
    if not with_std:
        return image, None
    variance = np.average(
        [np.square(deviations[number]) for number in with_std], axis=0, weights=weights[with_std]
    )
    variance += np.average(np.square(np.asarray(level) - mean), axis=0, weights=weights)
    return image, np.float32(np.sqrt(variance))


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
