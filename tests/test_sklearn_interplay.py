"""Scenes and networks in scikit-learn's tools."""

import numpy as np
import pytest
from _helpers import quick_pipeline, quick_srcnn, slow_cpsnr, slow_score, small_scenes, weights_of
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
)
from torch import nn

from probav_estimators import (
    SRCNN,
    BicubicBaseline,
    ClearanceSelector,
    FusionNet,
    PerBand,
    SceneRegressor,
    cpsnr_scorer,
    probav_scorer,
)

SCORERS = {"cpsnr": cpsnr_scorer, "probav": probav_scorer}


class WideNet(SceneRegressor):
    """Network with an additional parameter.

    Parameters
    ----------
    width : int, default=8
        Channels between the two layers.

    {parameters}
    """

    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build_layers(self, in_channels, out_channels, scale):
        return nn.Sequential(
            nn.Conv2d(in_channels, self.width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.width, out_channels, 3, padding=1),
        )


class WideNetByKeyword(WideNet):
    """WideNet with a keyword-only parameter."""

    def __init__(self, *, width=8, **kwargs):
        super().__init__(width, **kwargs)


@pytest.fixture(scope="module")
def scenes():
    scenes = small_scenes(6, shape=(12, 12), n_frames=3)
    for scene in scenes:
        scene.band = "RED"
    return scenes


@pytest.fixture(scope="module")
def fitted(scenes):
    return quick_pipeline().fit(scenes)


def mean_cpsnr(images, scenes):
    return np.mean([slow_cpsnr(x, s.hr, s.sm) for x, s in zip(images, scenes, strict=True)])


def test_a_pipeline_goes_from_scenes_to_images_and_a_score(fitted, scenes):
    images = fitted.predict(scenes)
    assert images.shape == (6, 36, 36)
    assert fitted.score(scenes) == pytest.approx(mean_cpsnr(images, scenes), abs=1e-4)
    assert cpsnr_scorer(fitted, scenes) == pytest.approx(mean_cpsnr(images, scenes), abs=1e-4)
    assert probav_scorer(fitted, scenes) == pytest.approx(-slow_score(images, scenes), rel=1e-5)


def test_cross_validation_is_a_loop_over_folds(scenes):
    folds = KFold(3, shuffle=True, random_state=0)
    found = cross_val_score(quick_pipeline(), scenes, cv=folds)
    expected = []
    for train, test in folds.split(scenes):
        pipe = quick_pipeline().fit([scenes[i] for i in train])
        held_out = [scenes[i] for i in test]
        expected.append(mean_cpsnr(pipe.predict(held_out), held_out))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cross_validation_in_two_processes_gives_the_same_scores(scenes):
    found, again = (
        cross_val_score(quick_pipeline(sr__max_epochs=2), scenes, cv=2, n_jobs=n_jobs)
        for n_jobs in (None, 2)
    )
    # Workers have fewer threads, which changes the order of summation.
    np.testing.assert_allclose(found, again, rtol=1e-3)


def test_grid_search_tries_modes_and_frames_and_refits_the_best(scenes):
    grid = {"compose__mode": ["lr", "combine", "concat"], "compose__frames": ["stack", "single"]}
    search = GridSearchCV(quick_pipeline(), grid, scoring=SCORERS, refit="probav", cv=2).fit(scenes)
    scores = search.cv_results_["mean_test_probav"]
    assert scores.shape == (6,)
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 6
    assert search.best_params_ == search.cv_results_["params"][np.argmax(scores)]
    best = clone(quick_pipeline()).set_params(**search.best_params_).fit(scenes)
    np.testing.assert_array_equal(search.predict(scenes), best.predict(scenes))
    assert search.score(scenes) == pytest.approx(probav_scorer(best, scenes))


def test_estimators_are_values_of_a_grid(scenes):
    grid = {
        "sr": [quick_srcnn(), quick_srcnn(residual=True), BicubicBaseline()],
        "select": [ClearanceSelector(k=3)],
    }
    search = GridSearchCV(quick_pipeline(), grid, scoring=probav_scorer, cv=2).fit(scenes)
    assert search.cv_results_["mean_test_score"][2] == pytest.approx(-1.0)
    assert [type(params["sr"]) for params in search.cv_results_["params"]] == [
        SRCNN,
        SRCNN,
        BicubicBaseline,
    ]


def test_grid_search_gives_the_error_score_to_what_cannot_be_fitted(scenes):
    search = GridSearchCV(
        quick_pipeline(), {"sr__patch_size": [6, 13]}, scoring=cpsnr_scorer, cv=2, error_score=-7.0
    )
    with pytest.warns(FitFailedWarning, match="patch_size=13 is larger than scene"):
        search.fit(scenes)
    good, bad = search.cv_results_["mean_test_score"]
    assert good > 0
    assert bad == -7.0
    with pytest.raises(ValueError, match="patch_size=13 is larger than scene"):
        search.set_params(error_score="raise").fit(scenes)


class TestMetadataRouting:
    """Results with metadata routing equal those without."""

    def test_a_pipeline_has_the_same_score(self, fitted, scenes):
        expected = fitted.score(scenes)
        with config_context(enable_metadata_routing=True):
            assert fitted.score(scenes) == expected

    @pytest.mark.parametrize("scoring", [None, probav_scorer])
    def test_cross_validation_has_the_same_scores(self, scenes, scoring):
        expected = cross_val_score(quick_pipeline(), scenes, cv=2, scoring=scoring)
        assert np.isfinite(expected).all()
        with config_context(enable_metadata_routing=True):
            found = cross_val_score(quick_pipeline(), scenes, cv=2, scoring=scoring)
        np.testing.assert_array_equal(found, expected)

    def test_weights_reach_the_scores_of_folds_where_they_are_requested(self, scenes):
        weights = np.arange(1.0, 7.0)
        expected = [
            BicubicBaseline().score(scenes[fold], sample_weight=weights[fold])
            for fold in (slice(0, 3), slice(3, 6))
        ]
        with config_context(enable_metadata_routing=True):
            baseline = BicubicBaseline().set_score_request(sample_weight=True)
            found = cross_val_score(baseline, scenes, cv=2, params={"sample_weight": weights})
        np.testing.assert_allclose(found, expected, rtol=1e-12)


class TestWeightsOfScenes:
    WEIGHTS = (0.0, 1, 2, 0.5, 1, 3)

    @pytest.fixture
    def estimators(self, scenes):
        net = FusionNet(
            width=4, depth=1, max_epochs=1, train_split=None, verbose=0, random_state=0
        ).fit(scenes)
        return [BicubicBaseline(), net, PerBand(BicubicBaseline()).fit(scenes)]

    def test_a_score_is_their_weighted_mean(self, fitted, estimators, scenes):
        for estimator in [fitted, *estimators]:
            of_scenes = [estimator.score([scene]) for scene in scenes]
            expected = np.average(of_scenes, weights=self.WEIGHTS)
            found = estimator.score(scenes, sample_weight=self.WEIGHTS)
            assert found == pytest.approx(expected, rel=1e-7)
            assert found != pytest.approx(np.mean(of_scenes), rel=1e-6)

    @pytest.mark.parametrize("scorer", SCORERS.values())
    def test_so_is_that_of_a_scorer(self, fitted, scenes, scorer):
        of_scenes = [scorer(fitted, [scene]) for scene in scenes]
        found = scorer(fitted, scenes, sample_weight=self.WEIGHTS)
        assert found == pytest.approx(np.average(of_scenes, weights=self.WEIGHTS), rel=1e-7)
        assert found != pytest.approx(np.mean(of_scenes), rel=1e-6)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([1, 2], r"shape \(2,\) .* for 6 scenes"),
            (list("abcdef"), "one number for each scene"),
            ([1, 1, 1, 1, 1, -1], "values from -1.0 to 1.0"),
            ([1, 1, 1, 1, 1, np.nan], "finite"),
        ],
    )
    def test_others_are_refused(self, scenes, weights, message):
        with pytest.raises(ValueError, match=f"sample_weight has .*{message}"):
            BicubicBaseline().score(scenes, sample_weight=weights)


@pytest.mark.parametrize("ensemble", [VotingRegressor, StackingRegressor])
def test_ensembles_of_numbers_take_no_estimators_of_images(scenes, ensemble):
    for estimator in (quick_pipeline(), SRCNN(), BicubicBaseline(), PerBand(BicubicBaseline())):
        assert not is_regressor(estimator)
        members = [("one", estimator), ("other", clone(estimator))]
        with pytest.raises(ValueError, match=r"The estimator \w+ should be a regressor"):
            ensemble(members).fit(scenes, np.zeros(len(scenes)))


@pytest.mark.parametrize("net_class", [WideNet, WideNetByKeyword])
def test_a_new_architecture_is_one_class(scenes, net_class):
    net = net_class(width=5, max_epochs=1, random_state=0, verbose=0)
    assert repr(net) == f"{net_class.__name__}(max_epochs=1, random_state=0, verbose=0, width=5)"
    assert clone(net).width == 5
    pipe = quick_pipeline().set_params(sr=net)
    search = GridSearchCV(pipe, {"sr__width": [3, 4]}, scoring=probav_scorer, cv=2).fit(scenes)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_["sr"]
    assert weights_of(best).numel() == 9 * 2 * best.width + best.width + 9 * best.width * 2 + 2


def test_a_misspelt_parameter_is_found_in_cross_validation(scenes):
    pipe = quick_pipeline().set_params(sr=WideNet(widht=5, max_epochs=1, verbose=0))
    with pytest.raises(ValueError, match=r"unexpected argument.*widht"):
        cross_val_score(pipe, scenes, cv=2, error_score="raise")
