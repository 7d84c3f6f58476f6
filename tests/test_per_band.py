"""PerBand fits one estimator per band and predicts each scene with that of its band."""

import numpy as np
import pytest
from _helpers import quick_srcnn, small_scenes, weights_of
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from probav_estimators import (
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    Scene,
    make_scenes,
)
from probav_estimators.meta import PerBand
from probav_estimators.prediction import predict_pairs, takes_return_std


class BandMean(RegressorMixin, BaseEstimator):
    """Predicts constant images: the mean of the frames seen in `fit`."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        self.names_ = [scene.name for scene in X]
        self.level_ = float(np.mean([scene.lr.mean() for scene in X]))
        return self

    def predict(self, X):
        self.predicted_ = [scene.name for scene in X]
        return [np.full(scene.hr.shape, self.factor * self.level_, np.float32) for scene in X]


@pytest.fixture(scope="module")
def scenes():
    """Scenes of 16 pixels with bands RED, NIR, RED, NIR, ..."""
    return make_scenes(6, size=16, n_frames=3, random_state=0)


@pytest.fixture(scope="module")
def bands(scenes):
    return [scene.band for scene in scenes]


@pytest.fixture
def fitted(scenes):
    return PerBand(BandMean()).fit(scenes)


def of_band(scenes, band):
    return [scene for scene in scenes if scene.band == band]


def _closest_level(estimator, X, y=None):
    errors = [
        abs(image.mean() - scene.lr.mean())
        for image, scene in zip(estimator.predict(X), X, strict=True)
    ]
    return -np.mean(errors)


class TestFit:
    def test_each_clone_sees_the_scenes_of_its_band_in_order(self, fitted):
        assert fitted.bands_ == ["NIR", "RED"]
        names = {band: estimator.names_ for band, estimator in fitted.estimators_.items()}
        assert names == {
            "NIR": ["imgset0001", "imgset0003", "imgset0005"],
            "RED": ["imgset0000", "imgset0002", "imgset0004"],
        }

    def test_processes_side_by_side_learn_the_same(self, scenes):
        one_by_one = PerBand(BicubicBaseline()).fit(scenes)
        side_by_side = PerBand(BicubicBaseline(), n_jobs=2).fit(scenes)
        assert side_by_side.bands_ == one_by_one.bands_
        np.testing.assert_array_equal(side_by_side.predict(scenes), one_by_one.predict(scenes))


class TestPredict:
    def test_each_scene_is_predicted_by_its_band_in_the_order_given(self, fitted, scenes):
        shuffled = [scenes[number] for number in (3, 0, 5, 4, 1)]
        levels = {
            band: np.mean([scene.lr.mean() for scene in of_band(scenes, band)])
            for band in ("RED", "NIR")
        }
        assert levels["RED"] != pytest.approx(levels["NIR"], rel=1e-3)
        predicted = fitted.predict(shuffled)
        assert predicted.shape == (5, 48, 48)
        assert predicted.dtype == np.float32
        for image, scene in zip(predicted, shuffled, strict=True):
            np.testing.assert_allclose(image, levels[scene.band], rtol=1e-6)

    def test_each_estimator_is_given_only_its_own_scenes(self, fitted, scenes):
        fitted.predict(scenes[:4])
        assert fitted.estimators_["RED"].predicted_ == ["imgset0000", "imgset0002"]
        assert fitted.estimators_["NIR"].predicted_ == ["imgset0001", "imgset0003"]


class BandSpread(BandMean):
    """Predicts a standard deviation too, with `return_std`."""

    def predict(self, X, return_std=False, factor=1.0):
        images = super().predict(X)
        deviations = [
            np.full_like(image, factor * len(scene.name))
            for image, scene in zip(images, X, strict=True)
        ]
        return (images, deviations) if return_std else images


class TestWhatPredictHandsOn:
    @pytest.fixture
    def spread(self, scenes):
        named = [
            Scene(s.lr, s.qm, s.hr, s.sm, name="x" * (number + 1), band=s.band)
            for number, s in enumerate(scenes)
        ]
        return PerBand(BandSpread()).fit(named), named

    def test_tuples_come_back_in_the_order_of_the_scenes(self, spread):
        model, named = spread
        images, deviations = model.predict(named, return_std=True, factor=2.0)
        np.testing.assert_array_equal(images, model.predict(named))
        assert deviations.shape == images.shape
        np.testing.assert_array_equal(deviations[:, 0, 0], [2, 4, 6, 8, 10, 12])

    def test_searches_give_what_their_best_estimator_does(self, spread):
        model, named = spread
        search = GridSearchCV(BandSpread(), {"factor": [1.0]}, cv=2, scoring=lambda *args: 0)
        searched = PerBand(search).fit(named)
        assert searched.predicts_std
        expected = model.predict(named, return_std=True)
        np.testing.assert_array_equal(searched.predict(named, return_std=True), expected)
        # A pipeline hands nothing on to one.
        within = Pipeline([("search", search.fit(named))])
        assert not takes_return_std(within)
        ((_, deviation),) = predict_pairs(within, named[:1], return_std=True)
        assert deviation is None

    def test_an_estimator_that_loses_a_scene(self, fitted, scenes):
        fitted.estimators_["NIR"].predict = lambda X: [scene.hr for scene in X][1:]
        with pytest.raises(ValueError, match="band NIR predicted 2 images for 3 scenes"):
            fitted.predict(scenes)


class TestFrozen:
    def test_a_frozen_estimator_serves_every_band(self, scenes):
        frozen = FrozenEstimator(BandMean().fit(scenes))
        model = PerBand(frozen).fit(of_band(scenes, "RED") + of_band(scenes, "NIR"))
        assert model.estimators_ == {"NIR": frozen, "RED": frozen}
        np.testing.assert_array_equal(model.predict(scenes), frozen.predict(scenes))


class TestAsAnEstimator:
    def test_a_clone_has_the_parameters_and_nothing_learned(self, fitted):
        copy = clone(fitted.set_params(estimator__factor=0.5))
        assert copy.estimator.factor == 0.5
        assert copy.estimator is not fitted.estimator
        with pytest.raises(NotFittedError, match="PerBand"):
            copy.predict(small_scenes(1))

    def test_folds_that_are_stratified_by_band_are_scored(self, scenes, bands):
        folds = StratifiedKFold(3)
        scores = cross_val_score(PerBand(BicubicBaseline()), scenes, bands, cv=folds)
        expected = [
            BicubicBaseline().score([scenes[number] for number in test])
            for _, test in folds.split(scenes, bands)
        ]
        np.testing.assert_allclose(scores, expected)

    def test_a_grid_search_sets_parameters_of_the_estimator(self, scenes, bands):
        search = GridSearchCV(
            PerBand(BandMean()),
            {"estimator__factor": [0.5, 1.0, 2.0]},
            scoring=_closest_level,
            cv=StratifiedKFold(3),
        ).fit(scenes, bands)
        assert search.best_params_ == {"estimator__factor": 1.0}
        assert search.best_estimator_.bands_ == ["NIR", "RED"]


class TestNets:
    @pytest.fixture
    def pipe(self):
        return Pipeline(
            [
                ("select", ClearanceSelector(k=3)),
                ("compose", InputComposer()),
                ("upscale", BicubicUpscaler(scale=3)),
                ("sr", quick_srcnn()),
            ]
        )

    def test_a_pipeline_trains_for_each_band_as_it_would_alone(self, pipe, scenes):
        model = PerBand(pipe).fit(scenes)
        predicted = model.predict(scenes)
        for band in ("RED", "NIR"):
            alone = clone(pipe).fit(of_band(scenes, band))
            numbers = [number for number, scene in enumerate(scenes) if scene.band == band]
            np.testing.assert_allclose(
                predicted[numbers], alone.predict(of_band(scenes, band)), atol=1e-6
            )
        red, nir = (weights_of(model.estimators_[band]["sr"]) for band in ("RED", "NIR"))
        assert not np.allclose(red, nir)


class TestFusion:
    @pytest.fixture
    def net(self):
        return FusionNet.from_pretrained("simulated-x3", compute_dtype="float32")

    def test_a_pretrained_net_gives_each_band_its_deviations(self, net, scenes):
        model = PerBand(FrozenEstimator(net)).fit(scenes)
        for part, expected in zip(
            model.predict(scenes, return_std=True),
            net.predict(scenes, return_std=True),
            strict=True,
        ):
            np.testing.assert_allclose(part, expected, atol=1e-6)

    def test_it_does_so_within_a_pipeline(self, net, scenes):
        pipe = Pipeline(
            [("select", ClearanceSelector(k=2)), ("sr", PerBand(FrozenEstimator(net)))]
        ).fit(scenes)
        images, deviations = pipe.predict(scenes[:2], return_std=True)
        assert images.shape == deviations.shape == (2, 48, 48)


class TestWhatIsRefused:
    def test_a_band_that_was_not_seen(self, fitted, scenes):
        (swir,) = make_scenes(1, size=16, n_frames=3, bands="SWIR", random_state=0)
        with pytest.raises(
            ValueError, match=r"band SWIR of scene imgset0000, only on NIR, RED: fit it on"
        ):
            fitted.predict([*scenes, swir])

    def test_folds_without_a_band_say_how_to_split(self, scenes):
        by_band = [*of_band(scenes, "RED"), *of_band(scenes, "NIR")]
        with pytest.raises(ValueError, match="StratifiedKFold with the bands as y"):
            cross_val_score(PerBand(BandMean()), by_band, cv=KFold(2), error_score="raise")

    def test_scenes_without_a_band(self, fitted, scenes):
        unnamed = small_scenes(1, first_seed=7)
        for method in (PerBand(BandMean()).fit, fitted.predict):
            with pytest.raises(ValueError, match=r"scene imgset0007 has none: .*band="):
                method([*scenes, *unnamed])

    def test_an_empty_list(self, fitted):
        for method in (fitted.fit, fitted.predict, fitted.score):
            with pytest.raises(ValueError, match="empty list"):
                method([])

    def test_a_score_without_truth(self, fitted, make_scene):
        with pytest.raises(ValueError, match="scene imgset0042 has no HR image"):
            fitted.score([make_scene(hr=None, sm=None, band="RED")])
