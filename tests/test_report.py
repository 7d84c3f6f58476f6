"""Quality reports of images of known quality, and undefined metrics."""

import numpy as np
import pytest
from _helpers import composed, quick_srcnn, small_scenes
from scipy.ndimage import gaussian_filter
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    BicubicBaseline,
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    cpsnr_scorer,
    make_scenes,
    probav_scorer,
)
from probav_estimators.metrics import move_image
from probav_estimators.report import (
    FIGURES,
    QualityReport,
    consistency_scorer,
    cssim_scorer,
    measure_scene,
    quality_report,
    resolution_scorer,
)

NEED_TRUTH = {"cpsnr", "score", "cssim", "improvement", "omission", "hallucination"}
NEED_TRUTH |= {"resolution_truth", "mtf", "displacement_down", "displacement_right"}
NEED_DEVIATIONS = {"coverage_68", "coverage_95", "sharpness", "error_retention"}
NEED_PARTS = {"measured_share"}


class Oracle:
    """Estimator that predicts the HR image, or a modified one, and records the scenes."""

    def __init__(self, spoil=lambda image: image):
        self.spoil = spoil
        self.scenes_seen = []

    def predict(self, X):
        self.scenes_seen.append(X)
        return [self.spoil(scene.hr) for scene in X]


@pytest.fixture(scope="module")
def plain():
    """Two scenes of eight unshifted frames: area means with noise and some clouds."""
    return small_scenes(2, shape=(32, 36), n_frames=8)


@pytest.fixture(scope="module")
def simulated():
    return make_scenes(2, size=40, n_frames=8, random_state=1)


@pytest.fixture(scope="module")
def fusion():
    return FusionNet.from_pretrained("simulated-x3", device="cpu", verbose=0)


@pytest.fixture(scope="module")
def of_truth(plain):
    """Report of images that are the truth."""
    return quality_report(Oracle(), plain)


@pytest.fixture(scope="module")
def of_baseline(simulated):
    return quality_report(BicubicBaseline().fit(simulated), simulated)


@pytest.fixture(scope="module")
def of_fusion(simulated, fusion):
    return quality_report(fusion, simulated)


def known(record):
    return {name for name in FIGURES if np.isfinite(record[name])}


def test_the_truth_is_found_to_be_true(of_truth):
    mean = of_truth.mean
    assert mean["cpsnr"] == pytest.approx(107.1, abs=0.1)
    assert mean["cssim"] == pytest.approx(1) and mean["mtf"] == pytest.approx(1)
    assert mean["resolution_truth"] == mean["resolution_halves"] == 2
    assert mean["improvement"] > 0.9
    assert mean["consistency"] == pytest.approx(1, abs=0.06)
    assert mean["consistency_left_out"] == pytest.approx(1, abs=0.08)
    assert abs(mean["shift_down"]) < 0.05 and abs(mean["shift_right"]) < 0.05


def test_a_blurred_image_is_found_to_be_blurred(plain, of_truth):
    exact = of_truth.mean
    blurred = quality_report(Oracle(lambda image: gaussian_filter(image, 2.5)), plain).mean
    assert blurred["mtf"] < 0.4
    assert blurred["resolution_truth"] >= exact["resolution_truth"]
    assert blurred["omission"] > exact["omission"] + 0.2
    assert blurred["consistency"] > 1.15


def test_a_moved_image_is_found_to_be_moved_and_consistent(plain):
    mean = quality_report(Oracle(lambda image: move_image(image, (-1.2, 0.6))), plain).mean
    assert mean["shift_down"] == pytest.approx(-0.4, abs=0.05)
    assert mean["shift_right"] == pytest.approx(0.2, abs=0.05)
    assert mean["displacement_down"] == pytest.approx(-1.2, abs=0.05)
    assert mean["displacement_right"] == pytest.approx(0.6, abs=0.05)
    assert mean["consistency"] < 1.15
    assert mean["mtf"] == pytest.approx(1, abs=0.05)


def test_a_texture_that_is_always_drawn_is_taken_for_resolution(plain):
    """Limitation stated in the docstrings; metrics against the truth are not affected."""
    texture = 0.02 * np.random.default_rng(7).standard_normal(plain[0].hr.shape)
    mean = quality_report(Oracle(lambda image: gaussian_filter(image, 3) + texture), plain).mean
    assert mean["resolution_halves"] == 2
    assert mean["resolution_truth"] > 4
    assert mean["hallucination"] > 0.5


def test_scores_are_those_of_the_scorers(simulated, of_baseline):
    baseline, mean = BicubicBaseline().fit(simulated), of_baseline.mean
    assert mean["cpsnr"] == pytest.approx(cpsnr_scorer(baseline, simulated))
    assert mean["score"] == pytest.approx(-probav_scorer(baseline, simulated))
    assert mean["cssim"] == pytest.approx(cssim_scorer(baseline, simulated))
    assert mean["consistency"] == pytest.approx(-consistency_scorer(baseline, simulated))
    assert mean["resolution_halves"] == pytest.approx(-resolution_scorer(baseline, simulated))
    assert mean["improvement"] + mean["omission"] + mean["hallucination"] == pytest.approx(1)


def test_a_fusion_leaves_less_of_its_frames_than_the_baseline(of_fusion, of_baseline):
    ours, theirs = of_fusion, of_baseline
    assert known(ours.scenes[0]) == FIGURES.keys()
    assert known(theirs.scenes[0]) == FIGURES.keys() - NEED_DEVIATIONS - NEED_PARTS
    assert ours.mean["consistency"] < theirs.mean["consistency"]
    assert ours.mean["consistency_left_out"] < theirs.mean["consistency_left_out"]
    assert ours.mean["mtf"] > theirs.mean["mtf"]
    assert 0 < ours.mean["error_retention"] < 1
    assert ours.mean["coverage_68"] < ours.mean["coverage_95"] <= 1


def test_the_mean_measured_share_is_in_percent(simulated, fusion, of_fusion):
    shares = fusion.predict(simulated, return_parts=True)[1].measured_share
    mean = of_fusion.mean["measured_share"]
    assert mean == pytest.approx(100 * shares.mean(), rel=1e-4)
    assert 5 < mean < 95


def test_a_pipeline_hands_on_the_wish_for_deviations(simulated, fusion):
    pipe = make_pipeline(FrameRegistrar(), fusion)
    assert known(quality_report(pipe, simulated[:1]).scenes[0]) == FIGURES.keys()


def test_scenes_that_are_composed_have_no_halves(plain):
    scenes = composed(plain)
    net = quick_srcnn().fit(scenes)
    record = quality_report(net, scenes[:1]).scenes[0]
    missing = NEED_DEVIATIONS | NEED_PARTS | {"resolution_halves", "consistency_left_out"}
    # Shifts may be undefined for the image of a barely trained network.
    shifts = {f"{kind}_{way}" for kind in ("shift", "displacement") for way in ("down", "right")}
    missing |= shifts - known(record)
    assert known(record) == FIGURES.keys() - missing
    with pytest.raises(ValueError, match="imgset0000 cannot be halved"):
        resolution_scorer(net, scenes)


def test_without_truth_the_frames_still_tell(plain, fusion):
    scenes = [scene.without_truth() for scene in plain[:1]]
    report = quality_report(fusion, scenes)
    for record in report.scenes:
        assert known(record) == FIGURES.keys() - NEED_TRUTH - NEED_DEVIATIONS
        assert record["scale"] == 3 and record["n_frames"] == 8
    assert "Not available: cPSNR (dB)" in str(report)


def test_few_frames_have_no_halves(plain):
    (scene,) = small_scenes(1, n_frames=3, shape=(20, 24))
    record = quality_report(Oracle(), [scene]).scenes[0]
    assert np.isnan(record["resolution_halves"]) and np.isnan(record["consistency_left_out"])
    assert np.isfinite(record["consistency"])
    with pytest.raises(ValueError, match="4 frames or more"):
        resolution_scorer(Oracle(), [scene])


def test_halves_share_no_frame_and_are_about_equally_clear(plain):
    for scene in [plain[0], *ClearanceSelector(k=20).transform(plain[:1])]:
        oracle = Oracle()
        quality_report(oracle, [scene])
        first, second = (half.frames.index for (half,) in oracle.scenes_seen[1:])
        assert len(first) == len(second) == 4 and not set(first) & set(second)
        origins = [scene.frames.origins[half].tolist() for half in (first, second)]
        assert sorted(origins[0] + origins[1]) == list(range(8))
        clearance = scene.qm.sum(axis=(1, 2))
        means = [clearance[half].mean() for half in (first, second)]
        assert means[0] == pytest.approx(means[1], rel=0.01)


def test_a_known_point_spread_function_is_held_to(plain):
    right, wrong = (
        quality_report(Oracle(), plain, psf_sigma=sigma).mean["consistency"]
        for sigma in (0.05, 0.9)
    )
    assert right == pytest.approx(1, abs=0.06)
    assert wrong > 1.2


class TestDisplay:
    @pytest.fixture
    def report(self):
        nan = float("nan")
        records = []
        for number in range(25):
            record = {"name": f"<imgset{number}>", "band": None, "n_frames": 9, "scale": 3}
            records.append(record | dict.fromkeys(FIGURES, nan) | {"cpsnr": 40.0 + number % 2})
        records[0]["cpsnr"] = nan
        return QualityReport("Net()", records)

    def test_means_are_over_the_scenes_that_have_a_figure(self, report):
        assert report.mean["cpsnr"] == pytest.approx(40.5)
        assert report.count["cpsnr"] == 24
        assert np.isnan(report.mean["mtf"]) and report.count["mtf"] == 0

    def test_it_prints_as_a_table(self, report):
        text = str(report)
        assert text.startswith("Quality of Net() on 25 scenes\n")
        assert "cPSNR (dB)  40.50 ↑      24  agreement with the truth" in text
        assert "nan" not in text

    def test_it_is_a_frame_of_pandas(self, report):
        frame = report.to_frame()
        assert frame.shape == (25, 4 + len(FIGURES))
        assert frame.cpsnr.mean() == pytest.approx(report.mean["cpsnr"])


class TestScorers:
    def test_they_serve_cross_validation(self, plain):
        for scorer in (consistency_scorer, cssim_scorer, resolution_scorer):
            found = cross_val_score(BicubicBaseline(), plain, cv=2, scoring=scorer)
            assert np.isfinite(found).all()

    def test_following_the_noise_is_no_gain(self):
        (scene,) = small_scenes(1, n_frames=1, shape=(24, 24), clouds=False)

        class Follower:
            def predict(self, X):
                return [scene.lr[0].repeat(3, axis=0).repeat(3, axis=1)]

        assert quality_report(Follower(), [scene]).mean["consistency"] < 0.9
        assert consistency_scorer(Follower(), [scene]) == -1


def test_an_image_is_measured_as_its_estimator_is(plain, of_truth):
    scene, record = plain[0], of_truth.scenes[0]
    alone = measure_scene(scene.hr, None, scene)
    halves = {"resolution_halves", "consistency_left_out"}
    assert known(record) - known(alone) == halves
    assert all(alone[key] == record[key] for key in alone.keys() - halves if key in known(alone))
    whole = measure_scene(scene.hr, None, scene, predict_half=lambda half: half.hr)
    assert known(whole) == known(record)


def test_wrong_input_is_said(plain):
    assert len(quality_report(Oracle(), plain, max_scenes=1).scenes) == 1
    with pytest.raises(ValueError, match="max_scenes must be at least 1"):
        quality_report(Oracle(), plain, max_scenes=0)
    with pytest.raises(ValueError, match="empty list"):
        quality_report(Oracle(), [])

    class Silent:
        def predict(self, X):
            return []

    with pytest.raises(ValueError, match="predicted 0 images for scene imgset0000"):
        quality_report(Silent(), plain)
