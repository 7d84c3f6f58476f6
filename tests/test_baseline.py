"""The challenge's baseline, and scikit-learn's tools on plain lists of scenes."""

import numpy as np
import pytest
from _comparing import upscale_clearest
from _helpers import bicubic, slow_cpsnr, slow_score, tied_frames
from sklearn.model_selection import (
    KFold,
    cross_val_predict,
)

from probav_estimators import (
    BicubicBaseline,
    ClearanceSelector,
    cpsnr,
    cpsnr_scorer,
    load_scenes,
    probav_score,
    probav_scorer,
)


class TestImages:
    def test_images_are_the_mean_of_the_upscaled_clearest_frames(self, scenes):
        images = BicubicBaseline().fit(scenes).predict(scenes)
        assert images.shape == (5, 72, 72)
        assert images.dtype == np.float32
        for image, scene in zip(images, scenes, strict=True):
            np.testing.assert_allclose(image, upscale_clearest(scene), rtol=0, atol=1e-6)

    def test_scenes_of_different_sizes_and_scales_give_a_list(self, mixed_scenes):
        images = BicubicBaseline().fit(mixed_scenes).predict(mixed_scenes)
        assert isinstance(images, list)
        assert [image.shape for image in images] == [(32, 48), (80, 48), (36, 54)]
        for image, scene in zip(images, mixed_scenes, strict=True):
            assert image.dtype == np.float32
            np.testing.assert_allclose(image, upscale_clearest(scene), rtol=0, atol=1e-6)

    def test_images_stay_within_0_and_1(self, make_scene):
        lr = np.random.default_rng(0).integers(0, 2, (3, 6, 8), dtype=np.uint16) * 65535
        image = BicubicBaseline().predict([make_scene(lr=lr, qm=np.ones(lr.shape, bool))])[0]
        assert image.min() >= 0 and image.max() <= 1

    def test_the_kernel_of_keys_upscales_the_mean_of_the_clearest_frames(
        self, scenes, mixed_scenes
    ):
        baseline = BicubicBaseline(kernel="keys").fit(scenes)
        for given in (scenes, mixed_scenes):
            for image, scene in zip(baseline.predict(given), given, strict=True):
                mean = scene.lr[tied_frames(scene)].mean(axis=0, dtype=np.float64)
                expected = bicubic(mean[None], scene.scale)[0]
                assert image.dtype == np.float32
                np.testing.assert_allclose(image, expected, rtol=0, atol=3e-7)
                assert abs(image - upscale_clearest(scene)).max() > 1e-4

    def test_a_frame_that_is_repeated_weighs_as_much_as_the_others(self, make_scene):
        qm = np.ones((3, 6, 8), bool)
        qm[2, 0, 0] = False
        scene = make_scene(n_frames=3, qm=qm)
        (repeated,) = ClearanceSelector(k=4).transform([scene])
        for kernel in ("spline", "keys"):
            baseline = BicubicBaseline(kernel=kernel)
            np.testing.assert_array_equal(baseline.predict([repeated]), baseline.predict([scene]))

    @pytest.mark.parametrize("kernel", ["cubic", None, 3])
    def test_an_unknown_kernel_is_refused(self, scenes, kernel):
        for call in (BicubicBaseline(kernel=kernel).fit, BicubicBaseline(kernel=kernel).predict):
            with pytest.raises(ValueError, match="'kernel' parameter of BicubicBaseline"):
                call(scenes)

    def test_scenes_without_truth_take_the_scale_of_the_fit(self, scenes, make_scene):
        unknown = [make_scene(hr=None, sm=None)]
        assert BicubicBaseline().fit(scenes).predict(unknown).shape == (1, 18, 24)
        assert BicubicBaseline(scale=4).predict(unknown).shape == (1, 24, 32)
        assert BicubicBaseline(scale=4).fit(unknown).predict(unknown).shape == (1, 24, 32)

    def test_a_scale_that_nothing_tells_is_asked_for(self, make_scene):
        unknown = [make_scene(hr=None, sm=None)]
        for baseline in (BicubicBaseline(), BicubicBaseline().fit(unknown)):
            with pytest.raises(ValueError, match=r"imgset0042.*pass BicubicBaseline\(scale=3\)"):
                baseline.predict(unknown)

    @pytest.mark.parametrize("scale", [1, 0, 2.5, "3"])
    def test_a_scale_that_is_no_integer_of_two_or_more_is_refused(self, scenes, scale):
        with pytest.raises(ValueError, match="'scale' parameter of BicubicBaseline"):
            BicubicBaseline(scale=scale).fit(scenes)


class TestScores:
    def test_real_texture_scores_its_published_norms(self, samples):
        scenes = load_scenes(samples / "real_texture")
        images = BicubicBaseline().fit(scenes).predict(scenes)
        for image, scene in zip(images, scenes, strict=True):
            assert cpsnr(image, scene.hr, scene.sm) == pytest.approx(scene.norm, abs=1e-5)

    def test_norms_of_real_texture_are_computed_alike(self, samples, tmp_path):
        (tmp_path / "train").symlink_to(samples / "real_texture" / "train")
        published = [scene.norm for scene in load_scenes(samples / "real_texture")]
        computed = [scene.norm for scene in load_scenes(tmp_path)]
        assert computed == pytest.approx(published, abs=1e-5)
        assert computed != published

    def test_the_baseline_scores_one_by_its_own_norm(self, scenes, mixed_scenes):
        baseline = BicubicBaseline().fit(scenes)
        for given in (scenes, mixed_scenes):
            for image, scene in zip(baseline.predict(given), given, strict=True):
                score = probav_score(image, scene.hr, scene.sm, norm=scene.norm)
                assert score == pytest.approx(1, abs=1e-6)
            assert probav_scorer(baseline, given) == pytest.approx(-1, abs=1e-6)

    def test_cpsnr_scorer_is_the_mean_over_scenes(self, scenes, mixed_scenes):
        baseline = BicubicBaseline().fit(scenes)
        for given in (scenes, mixed_scenes):
            expected = np.mean([slow_cpsnr(upscale_clearest(s), s.hr, s.sm) for s in given])
            assert cpsnr_scorer(baseline, given) == pytest.approx(expected, abs=1e-4)
            assert baseline.score(given) == cpsnr_scorer(baseline, given)

    def test_probav_scorer_is_the_negated_mean_of_norm_over_cpsnr(self, make_scene):
        scenes = [make_scene(size=(8, 9), norm=40.0 + n, seed=n, name=f"s{n}") for n in range(3)]
        expected = -slow_score([upscale_clearest(scene) for scene in scenes], scenes)
        assert probav_scorer(BicubicBaseline(), scenes) == pytest.approx(expected, abs=1e-6)


class TestScikitLearn:
    def test_out_of_fold_predictions_come_in_the_order_of_the_scenes(self, scenes):
        images = cross_val_predict(BicubicBaseline(), scenes, cv=KFold(2, shuffle=True))
        for image, scene in zip(images, scenes, strict=True):
            np.testing.assert_allclose(image, upscale_clearest(scene), rtol=0, atol=1e-6)
