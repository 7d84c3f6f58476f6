"""SceneEnsemble averages its members' images, each shifted to the level of the scene."""

import numpy as np
import pytest
from _helpers import quick_srcnn, small_scenes
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    Scene,
    SceneEnsemble,
    load_model,
    probav_scorer,
    save_model,
)


class Ramp(BaseEstimator):
    """Predicts a ramp of given slope and level, with a standard deviation if set."""

    def __init__(self, slope=0.1, level=0.5):
        self.slope = slope
        self.level = level

    def fit(self, X, y=None):
        self.names_ = [scene.name for scene in X]
        return self

    def predict(self, X):
        return [self._image(scene) for scene in X]

    def _image(self, scene):
        height, width = (3 * length for length in scene.shape)
        row = self.level + self.slope * np.linspace(-0.5, 0.5, width, dtype=np.float32)
        return np.tile(row, (height, 1))


class NoisyRamp(Ramp):
    """Ramp with a standard deviation."""

    def __init__(self, slope=0.1, level=0.5, std=0.01):
        super().__init__(slope, level)
        self.std = std

    def predict(self, X, return_std=False):
        images = super().predict(X)
        std = [np.full_like(image, self.std) for image in images]
        return (images, std) if return_std else images


@pytest.fixture(scope="module")
def scenes():
    return small_scenes(4, clouds=False)


def level_of(scene):
    """Mean of all frames, which are equally clear."""
    return scene.lr.mean(dtype=np.float64)


def pipeline(**params):
    return make_pipeline(
        ClearanceSelector(k=3), InputComposer(), BicubicUpscaler(scale=3), quick_srcnn(**params)
    )


class TestImages:
    @pytest.mark.parametrize("weights", [None, [1, 3], {"b": 3, "a": 1}])
    def test_the_image_is_the_weighted_mean_at_the_level_of_the_scene(self, scenes, weights):
        members = [("a", Ramp(0.1, level=0.9)), ("b", Ramp(-0.2, level=0.3))]
        images = SceneEnsemble(members, weights=weights).fit(scenes).predict(scenes)
        slope = (0.1 - 0.2) / 2 if weights is None else (0.1 - 3 * 0.2) / 4
        assert images.dtype == np.float32
        for image, scene in zip(images, scenes, strict=True):
            (expected,) = Ramp(slope, level_of(scene)).predict([scene])
            np.testing.assert_allclose(image, expected, atol=1e-6)

    def test_pixels_stay_in_their_range(self, scenes):
        ensemble = SceneEnsemble([("a", Ramp(slope=3.0))]).fit(scenes)
        images = ensemble.predict(scenes)
        assert (images.min(), images.max()) == (0, 1)
        wide = Scene(scenes[0].lr, scenes[0].qm, value_range=(0, 1))
        (image,) = ensemble.predict([wide])
        assert image.min() < 0 and image.max() > 1

    def test_members_of_different_scales_are_refused(self, scenes):
        double = FrozenEstimator(BicubicBaseline(scale=2).fit(scenes))
        hidden = [scene.without_truth() for scene in scenes]
        ensemble = SceneEnsemble([("a", Ramp()), ("b", double)]).fit(hidden)
        with pytest.raises(ValueError, match=r"shapes .* of scene imgset0000: .* one scale"):
            ensemble.predict(hidden)


class TestStandardDeviations:
    def test_they_are_those_of_the_mixture_of_the_members(self, scenes):
        members = [("a", NoisyRamp(0.1, std=0.01)), ("b", NoisyRamp(-0.2, std=0.03))]
        ensemble = SceneEnsemble([*members, ("c", Ramp(0.3))], weights=[1, 2, 5]).fit(scenes)
        images, deviations = ensemble.predict(scenes, return_std=True)
        np.testing.assert_array_equal(images, ensemble.predict(scenes))
        # Sample the mixture: draw a member by weight, then a normal error.
        rng = np.random.default_rng(0)
        x = np.linspace(-0.5, 0.5, 48)[5]
        chosen = rng.choice(3, p=[1 / 8, 2 / 8, 5 / 8], size=1_000_000)
        spread = np.array([0.1, -0.2, 0.3])[chosen] * x
        noise = rng.choice([0.01, 0.03], p=[1 / 3, 2 / 3], size=chosen.size)
        drawn = spread + noise * rng.standard_normal(chosen.size)
        np.testing.assert_allclose(deviations[:, :, 5], drawn.std(), rtol=0.005)

    def test_members_without_any_are_an_error(self, scenes):
        ensemble = SceneEnsemble([("a", Ramp()), ("b", NoisyRamp())], weights=[1, 0]).fit(scenes)
        with pytest.raises(ValueError, match="return_std=True needs a member"):
            ensemble.predict(scenes, return_std=True)
        assert len(ensemble.predict(scenes)) == 4


class TestMembers:
    def test_each_is_cloned_and_fitted(self, scenes):
        ramp = Ramp()
        ensemble = SceneEnsemble([("a", ramp), ("b", BicubicBaseline())]).fit(scenes)
        assert not hasattr(ramp, "names_")
        assert ensemble.estimators_[0].names_ == [scene.name for scene in scenes]
        assert list(ensemble.named_estimators_) == ["a", "b"]
        assert ensemble.named_estimators_.b is ensemble.estimators_[1]

    def test_a_dropped_one_takes_no_part(self, scenes):
        ensemble = SceneEnsemble([("a", Ramp()), ("b", Ramp(-0.4))], weights=[1, 3])
        ensemble.set_params(b="drop").fit(scenes)
        assert ensemble.weights_ == {"a": 1.0}
        alone = SceneEnsemble([("a", Ramp())]).fit(scenes)
        np.testing.assert_array_equal(ensemble.predict(scenes), alone.predict(scenes))

    @pytest.mark.parametrize(
        ("estimators", "message"),
        [
            ([], "one or more"),
            ([("a", Ramp()), ("a", Ramp())], "not unique"),
            ([("a", ClearanceSelector())], "member 'a' of SceneEnsemble is ClearanceSelector"),
            ([("a", "drop")], "keep one"),
        ],
    )
    def test_others_are_refused(self, scenes, estimators, message):
        with pytest.raises(ValueError, match=message):
            SceneEnsemble(estimators).fit(scenes)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([1], "one number for each of a, b"),
            ({"a": 1, "b": 1, "c": 1}, "one number for each of a, b"),
            ([1, -1], "not negative"),
            ([0, 0], "one of them positive"),
        ],
    )
    def test_weights_that_weigh_nothing_are_refused(self, scenes, weights, message):
        members = [("a", Ramp()), ("b", Ramp())]
        with pytest.raises(ValueError, match=f"weights of SceneEnsemble .*{message}"):
            SceneEnsemble(members, weights=weights).fit(scenes)


class TestParameters:
    def test_members_their_parameters_and_single_weights_are_set_by_name(self):
        ensemble = SceneEnsemble([("a", Ramp()), ("b", Ramp())])
        assert ensemble.get_params()["weights__b"] == 1
        ensemble.set_params(a=NoisyRamp(), a__std=0.5, b__slope=0.25, weights__b=3)
        params = ensemble.get_params()
        assert (params["a__std"], params["b__slope"]) == (0.5, 0.25)
        assert ensemble.weights == {"a": 1, "b": 3}
        assert (params["weights__a"], params["weights__b"]) == (1, 3)
        ensemble.set_params(weights=[4, 5], weights__a=2)
        assert clone(ensemble).get_params()["weights"] == {"a": 2, "b": 5}
        with pytest.raises(ValueError, match="no estimator 'c' to weigh: it has a, b"):
            ensemble.set_params(weights__c=1)

    def test_a_search_chooses_weights_and_members(self, scenes):
        good, bad = (FrozenEstimator(x.fit(scenes)) for x in (BicubicBaseline(), Ramp(0.9)))
        search = GridSearchCV(
            SceneEnsemble([("a", bad), ("b", bad)]),
            {"weights__a": [0.0, 1.0], "b": [bad, good]},
            scoring=probav_scorer,
            cv=2,
            error_score="raise",
        ).fit(scenes)
        assert search.best_params_["weights__a"] == 0
        assert search.best_score_ == pytest.approx(-1, rel=1e-5)


@pytest.fixture(scope="module")
def fitted(scenes):
    net = FusionNet.from_pretrained("simulated-x3", verbose=0)
    members = [("net", FrozenEstimator(net)), ("srcnn", pipeline()), ("out", "drop")]
    return SceneEnsemble(members, weights=[3, 1, 0]).fit(scenes)


class TestCopies:
    def test_a_model_file_predicts_the_same(self, fitted, scenes, tmp_path):
        save_model(fitted, tmp_path / "model.safetensors")
        loaded = load_model(tmp_path / "model.safetensors")
        assert loaded.weights_ == fitted.weights_
        assert loaded.get_params()["weights__net"] == 3
        for ours, theirs in zip(
            loaded.predict(scenes, return_std=True),
            fitted.predict(scenes, return_std=True),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
        again = loaded.fit(scenes).predict(scenes)
        np.testing.assert_array_equal(again, fitted.predict(scenes))
