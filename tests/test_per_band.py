"""PerBand fits one estimator per band and predicts each scene with that of its band."""

import pickle

import numpy as np
import pytest
from _helpers import quick_srcnn, slow_cpsnr, small_scenes, weights_of
from joblib import parallel_config
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline

from probav_estimators import (
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    InputComposer,
    Scene,
    SceneEnsemble,
    make_scenes,
    probav_scorer,
)
from probav_estimators.meta import PerBand


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

    def test_the_estimator_itself_is_not_fitted(self, scenes):
        estimator = BandMean()
        PerBand(estimator).fit(scenes)
        assert not hasattr(estimator, "level_")

    def test_fit_starts_over(self, fitted, scenes):
        fitted.fit(of_band(scenes, "RED"))
        assert fitted.bands_ == list(fitted.estimators_) == ["RED"]

    def test_a_single_band_is_the_estimator_alone(self, scenes):
        red = of_band(scenes, "RED")
        np.testing.assert_array_equal(
            PerBand(BandMean()).fit(red).predict(red), BandMean().fit(red).predict(red)
        )

    def test_processes_side_by_side_learn_the_same(self, scenes):
        one_by_one = PerBand(BicubicBaseline()).fit(scenes)
        side_by_side = PerBand(BicubicBaseline(), n_jobs=2).fit(scenes)
        assert side_by_side.bands_ == one_by_one.bands_
        np.testing.assert_array_equal(side_by_side.predict(scenes), one_by_one.predict(scenes))

    def test_threads_keep_bands_and_estimators_together(self, scenes, fitted):
        with parallel_config(backend="threading", n_jobs=2):
            threaded = PerBand(BandMean()).fit(scenes)
        for band, estimator in threaded.estimators_.items():
            assert estimator.names_ == fitted.estimators_[band].names_


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

    def test_images_of_different_sizes_are_a_list(self, fitted, scenes):
        larger = make_scenes(1, size=20, n_frames=3, bands="NIR", random_state=1)
        predicted = fitted.predict([scenes[0], *larger, scenes[2]])
        assert isinstance(predicted, list)
        assert [image.shape for image in predicted] == [(48, 48), (60, 60), (48, 48)]

    def test_the_score_is_the_mean_cpsnr(self, scenes):
        model = PerBand(BicubicBaseline()).fit(scenes)
        pairs = zip(BicubicBaseline().predict(scenes), scenes, strict=True)
        expected = np.mean([slow_cpsnr(image, scene.hr, scene.sm) for image, scene in pairs])
        assert model.score(scenes) == pytest.approx(expected, abs=1e-4)


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

    def test_reports_and_ensembles_find_the_standard_deviations(self, spread, fitted, scenes):
        model, named = spread
        for estimator, expected in (model, True), (fitted, False):
            frozen = FrozenEstimator(estimator)
            ensemble = SceneEnsemble([("a", frozen), ("b", BicubicBaseline())]).fit(named)
            assert ensemble.predicts_std is expected

    def test_parts_of_tuples_are_lists_where_sizes_differ(self, spread, scenes):
        model, named = spread
        larger = make_scenes(1, size=20, n_frames=3, bands="NIR", random_state=1)
        parts = model.predict([named[0], *larger, named[2]], return_std=True)
        assert isinstance(parts, tuple)
        for part in parts:
            assert isinstance(part, list)
            assert [image.shape for image in part] == [(48, 48), (60, 60), (48, 48)]

    def test_a_parameter_that_an_estimator_does_not_know(self, fitted, scenes):
        with pytest.raises(TypeError, match="return_std"):
            fitted.predict(scenes, return_std=True)

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

    def test_one_that_is_not_fitted_is_refused(self, scenes):
        with pytest.raises(NotFittedError):
            PerBand(FrozenEstimator(BandMean())).fit(scenes)

    def test_processes_side_by_side_are_given_it_too(self, scenes):
        frozen = FrozenEstimator(BicubicBaseline().fit(scenes))
        model = PerBand(frozen, n_jobs=2).fit(scenes)
        np.testing.assert_array_equal(model.predict(scenes), frozen.predict(scenes))

    def test_a_grid_search_chooses_between_frozen_estimators(self, scenes, bands):
        good, bad = (FrozenEstimator(BandMean(factor).fit(scenes)) for factor in (1.0, 2.0))
        search = GridSearchCV(
            PerBand(good),
            {"estimator": [bad, good]},
            scoring=_closest_level,
            cv=StratifiedKFold(3),
            error_score="raise",
        ).fit(scenes, bands)
        assert search.best_params_["estimator"].estimator.factor == 1.0


class TestAsAnEstimator:
    def test_it_prints_as_the_call_that_made_it(self):
        assert (
            repr(PerBand(BicubicBaseline(scale=3))) == "PerBand(estimator=BicubicBaseline(scale=3))"
        )

    def test_it_has_a_diagram(self, fitted):
        assert "PerBand" in fitted._repr_html_()

    def test_a_clone_has_the_parameters_and_nothing_learned(self, fitted):
        copy = clone(fitted.set_params(estimator__factor=0.5))
        assert copy.estimator.factor == 0.5
        assert copy.estimator is not fitted.estimator
        with pytest.raises(NotFittedError, match="PerBand"):
            copy.predict(small_scenes(1))

    def test_a_pickle_predicts_the_same(self, fitted, scenes):
        copy = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(copy.predict(scenes), fitted.predict(scenes))

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

    def test_it_may_be_the_last_step_of_a_pipeline(self, scenes):
        pipe = Pipeline([("select", ClearanceSelector(k=1)), ("sr", PerBand(BandMean()))])
        assert pipe.fit(scenes).predict(scenes).shape == (6, 48, 48)


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

    def test_a_grid_search_sets_parameters_of_its_net(self, pipe, scenes, bands):
        search = GridSearchCV(
            PerBand(pipe),
            {"estimator__sr__lr": [1e-4, 1e-3]},
            scoring=probav_scorer,
            cv=StratifiedKFold(2),
            error_score="raise",
        ).fit(scenes, bands)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        net = search.best_estimator_.estimators_["RED"]["sr"]
        assert net.lr == search.best_params_["estimator__sr__lr"]


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

    def test_a_pipeline_that_ends_in_a_net_does_so_too(self, net, scenes):
        pipe = Pipeline([("register", FrameRegistrar()), ("sr", FrozenEstimator(net))])
        model = PerBand(pipe).fit(scenes)
        images, deviations = model.predict(scenes, return_std=True)
        assert images.shape == deviations.shape == (6, 48, 48)
        assert (deviations > 0).all()
        alone = pipe.predict(of_band(scenes, "NIR"))
        np.testing.assert_allclose(images[1::2], alone, atol=1e-6)

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

    def test_nothing_is_predicted_if_one_band_is_not_known(self, scenes):
        model = PerBand(BandMean()).fit(of_band(scenes, "RED"))
        with pytest.raises(ValueError, match="band NIR of scene imgset0001, only on RED"):
            model.predict(scenes)
        assert not hasattr(model.estimators_["RED"], "predicted_")

    def test_folds_without_a_band_say_how_to_split(self, scenes):
        by_band = [*of_band(scenes, "RED"), *of_band(scenes, "NIR")]
        with pytest.raises(ValueError, match="StratifiedKFold with the bands as y"):
            cross_val_score(PerBand(BandMean()), by_band, cv=KFold(2), error_score="raise")

    def test_scenes_without_a_band(self, fitted, scenes):
        unnamed = small_scenes(1, first_seed=7)
        for method in (PerBand(BandMean()).fit, fitted.predict):
            with pytest.raises(ValueError, match=r"scene imgset0007 has none: .*band="):
                method([*scenes, *unnamed])

    @pytest.mark.parametrize("method", ["fit", "predict", "score"])
    def test_an_empty_list(self, fitted, method):
        with pytest.raises(ValueError, match="empty list"):
            getattr(fitted, method)([])

    def test_something_that_does_not_predict(self, scenes):
        with pytest.raises(ValueError, match=r"'estimator' parameter of PerBand must be"):
            PerBand(ClearanceSelector()).fit(scenes)

    def test_a_number_of_jobs_that_is_none(self, scenes):
        with pytest.raises(ValueError, match="'n_jobs' parameter of PerBand"):
            PerBand(BandMean(), n_jobs="two").fit(scenes)

    def test_a_score_without_truth(self, fitted, make_scene):
        with pytest.raises(ValueError, match="scene imgset0042 has no HR image"):
            fitted.score([make_scene(hr=None, sm=None, band="RED")])
