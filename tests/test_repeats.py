"""Frames repeated by ClearanceSelector are aligned, fused and compared only once."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    ReprojectionLoss,
)
from probav_estimators import make_scenes as simulate
from probav_estimators.scenes import align_scene
from probav_estimators.training import AlignedReader, SceneDataset

SELECTOR = ClearanceSelector

# Selectors with repeats, and the same without.
CHAINS = {
    "thrice and a part": ([SELECTOR(k=17)], [SELECTOR(k=None)]),
    "a selection of repeats": ([SELECTOR(k=10), SELECTOR(k=7)], [SELECTOR(k=4)]),
    "before registration": (
        [SELECTOR(k=12), FrameRegistrar(apply=False)],
        [SELECTOR(k=None), FrameRegistrar(apply=False)],
    ),
    "after registration": (
        [FrameRegistrar(apply=False), SELECTOR(k=10)],
        [FrameRegistrar(apply=False), SELECTOR(k=None)],
    ),
    "on both sides of resampling": (
        [SELECTOR(k=10), FrameRegistrar(), SELECTOR(k=12)],
        [SELECTOR(k=None), FrameRegistrar(), SELECTOR(k=None)],
    ),
}


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x3", compute_dtype="float32")


@pytest.fixture(scope="module")
def five_frames():
    return simulate(1, size=32, n_frames=5, random_state=11)


@pytest.mark.parametrize("chain", CHAINS)
class TestChains:
    def test_a_repeat_does_not_count_in_the_fusion(self, net, five_frames, chain):
        repeated, plain = (make_pipeline(*steps).transform(five_frames) for steps in CHAINS[chain])
        assert len(repeated[0]) > len(plain[0])
        np.testing.assert_array_equal(net.predict(repeated), net.predict(plain))

    def test_no_frame_is_aligned_twice(self, five_frames, chain):
        for steps in CHAINS[chain]:
            (scene,) = make_pipeline(*steps).transform(five_frames)
            pixels = [frame.tobytes() for frame in scene.lr[align_scene(scene).index]]
            assert len(set(pixels)) == len(pixels) == len({frame.tobytes() for frame in scene.lr})


def test_a_frame_is_not_compared_with_its_own_copy(five_frames):
    """Frames left out for ReprojectionLoss must not be among the fused ones."""
    repeated = SELECTOR(k=13).transform(five_frames)
    dataset = SceneDataset(repeated, AlignedReader(), with_truth=False, left_out=0.25)
    for _ in range(3):
        images, _ = dataset[0]
        frames = [frame.numpy().tobytes() for frame in images["frames"]]
        assert len(frames) == len(set(frames)) == 5
        assert 0 < images["left_out"].sum() < 5


def test_a_training_without_truth_ends_where_it_ends_without_repeats(five_frames):
    images = []
    for k in (10, None):
        net = FusionNet.from_pretrained(
            "simulated-x3",
            criterion=ReprojectionLoss(psf_sigma=0.4),
            max_epochs=1,
            compute_dtype="float32",
            random_state=0,
            verbose=0,
        )
        scenes = SELECTOR(k=k).transform(five_frames)
        images.append(net.fit(scenes).predict(scenes))
    np.testing.assert_array_equal(*images)


def test_a_repeated_frame_and_its_copy_have_one_shift(five_frames):
    selector = SELECTOR(k=10)
    (scene,) = make_pipeline(selector, FrameRegistrar(apply=False)).transform(five_frames)
    np.testing.assert_array_equal(scene.shifts[:5], scene.shifts[5:])
    np.testing.assert_array_equal(scene.placed[:5], scene.placed[5:])
    assert np.abs(scene.shifts).max() > 0.1


def test_the_first_of_the_selected_frames_stays_the_reference(five_frames):
    """Also if the selection reversed the order of the frames."""
    (scene,) = make_pipeline(SELECTOR(k=8), FrameRegistrar(apply=False)).transform(five_frames)
    assert scene.shifts[0].tolist() == [0, 0]
