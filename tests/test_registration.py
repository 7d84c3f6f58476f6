"""Registration: accuracy of shifts under clouds, noise and outliers, and shifted frames."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import grid_sample

from probav_estimators import FrameRegistrar, make_scenes
from probav_estimators.imaging import move_bicubic, register_frames


@pytest.fixture(scope="module")
def clouded():
    """Three scenes of size 64 with clouds and their true shifts."""
    return make_scenes(3, size=64, n_frames=(9, 12), random_state=4)


@pytest.fixture(scope="module")
def stack(clouded):
    return clouded[0].lr, clouded[0].qm


def errors_of(shifts, true_shifts):
    """Error of each shift in LR pixels, relative to the median error."""
    error = shifts - true_shifts
    return np.hypot(*(error - np.median(error, axis=0)).T)


def test_shifts_are_those_of_the_simulator(clouded):
    errors = np.concatenate(
        [
            errors_of(scene.shifts, scene.true_shifts)
            for scene in FrameRegistrar().transform(clouded)
        ]
    )
    assert np.median(errors) < 0.015
    assert np.quantile(errors, 0.95) < 0.06


def test_frames_that_are_the_same_lie_on_each_other_and_hold_no_others(stack):
    lr, qm = stack
    shifts = register_frames(lr, qm).shifts
    twice = register_frames(*(np.concatenate([values, values[-1:]]) for values in (lr, qm))).shifts
    np.testing.assert_allclose(twice[-1], twice[-2], atol=1e-3)
    np.testing.assert_allclose(twice[:-1], shifts, atol=0.01)


def test_first_of_the_clearest_frames_is_the_reference(clouded):
    for scene in FrameRegistrar().transform(clouded):
        clearest = scene.frames.source.read_clear().sum(axis=(1, 2)).argmax()
        assert scene.shifts[clearest].tolist() == [0, 0]


def test_gain_and_offset_do_not_matter(stack):
    lr, qm = stack
    rng = np.random.default_rng(0)
    gains, offsets = (
        rng.uniform(0.7, 1.4, (len(lr), 1, 1)),
        rng.uniform(-0.02, 0.02, (len(lr), 1, 1)),
    )
    changed = (lr * gains + offsets).astype(np.float32)
    np.testing.assert_allclose(
        register_frames(changed, qm).shifts, register_frames(lr, qm).shifts, atol=0.05
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6))
def test_whole_pixels_are_found_however_many(down, right):
    ground = make_scenes(1, size=64, n_frames=1, random_state=2)[0].hr[20:100, 20:100]
    frames = np.stack([ground[8:-8, 8:-8], np.roll(ground, (down, right), (0, 1))[8:-8, 8:-8]])
    registration = register_frames(frames, np.ones(frames.shape, bool))
    assert registration.placed.all()
    np.testing.assert_allclose(
        registration.shifts[1] - registration.shifts[0], [down, right], atol=0.05
    )


def test_frame_of_another_place_is_flagged_and_stays(clouded, stack):
    lr, qm = (values.copy() for values in stack)
    lr[2], qm[2] = clouded[1].lr[0], True
    qm[0] = False
    registration = register_frames(lr, qm)
    assert not registration.placed[[0, 2]].any()
    assert registration.placed[[1, 3, 4, 5]].all()
    assert registration.shifts[[0, 2]].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("clear", [True, False])
def test_frames_without_texture_cannot_be_placed(clear):
    lr = np.full((4, 24, 24), 0.2, np.float32)
    registration = register_frames(lr, np.full(lr.shape, clear))
    assert not registration.placed.any()
    assert not registration.shifts.any()


def test_shifts_are_only_recorded_if_they_are_not_applied(clouded):
    (scene,) = FrameRegistrar(apply=False).transform(clouded[:1])
    np.testing.assert_array_equal(scene.lr, clouded[0].lr)
    np.testing.assert_array_equal(scene.qm, clouded[0].qm)
    assert not scene.frames.aligned
    assert clouded[0].shifts is None


def test_frames_lie_on_the_clearest_once_the_shifts_are_applied(clouded):
    for before, after in zip(clouded, FrameRegistrar().transform(clouded), strict=True):
        assert after.frames.aligned
        left = register_frames(after.lr, after.qm).shifts
        assert np.abs(left).max() < 0.15 < np.abs(after.shifts).max()
        np.testing.assert_array_equal(after.true_shifts, before.true_shifts)
        np.testing.assert_array_equal(after.hr, before.hr)


@pytest.mark.parametrize("shift", [(0.3, -1.4), (0.0, 0.0), (-2.0, 0.75)])
def test_frames_are_moved_by_torchs_bicubic_kernel(shift):
    frame = np.random.default_rng(0).random((20, 26)).astype(np.float32)
    whole = tuple(slice(0, length) for length in frame.shape)
    moved, clear = move_bicubic(frame, np.ones(frame.shape, bool), shift, whole)
    rows, columns = (np.arange(n) + d for n, d in zip(frame.shape, shift, strict=True))
    places = [(2 * p + 1) / n - 1 for p, n in zip((rows, columns), frame.shape, strict=True)]
    grid = np.stack(np.meshgrid(places[1], places[0]), axis=-1).astype(np.float32)
    expected = grid_sample(
        torch.from_numpy(frame)[None, None],
        torch.from_numpy(grid)[None],
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )[0, 0].numpy()
    np.testing.assert_allclose(moved, expected, atol=1e-4)
    assert clear.sum() > 0.6 * clear.size


def test_moved_pixel_is_clear_if_all_that_it_is_made_of_are():
    frame, clear = np.zeros((12, 12), np.float32), np.ones((12, 12), bool)
    clear[5, 6] = False
    whole = (slice(0, 12), slice(0, 12))
    _, moved = move_bicubic(frame, clear, (0.5, 0.0), whole)
    assert np.argwhere(~moved[2:9]).tolist() == [[row, 6] for row in (1, 2, 3, 4)]
    assert not moved[0].any()
    assert not moved[-2:].any()


def test_window_of_registered_frames_is_a_part_of_the_whole(clouded):
    (scene,) = FrameRegistrar().transform(clouded[:1])
    window = (slice(10, 30), slice(0, 17))
    for part, whole in zip(scene.frames.read([3, 1], window), (scene.lr, scene.qm), strict=True):
        np.testing.assert_allclose(part, whole[[3, 1]][:, *window], atol=1e-6)


@pytest.mark.parametrize("params", [{"max_shift": 0}, {"apply": "yes"}])
def test_parameters_are_checked(params, clouded):
    with pytest.raises(ValueError, match=next(iter(params))):
        FrameRegistrar(**params).fit(clouded)


def with_strangers(scenes):
    """Frames of the first scene, and fewer but clearer ones of an unrelated second scene."""
    own, other = (scene.lr[:9] for scene in scenes)
    lr = np.concatenate([own, other[:8]])
    qm = np.concatenate([scenes[0].qm[:9], np.ones((8, *lr.shape[1:]), bool)])
    return lr, qm


@pytest.mark.parametrize("size", [32, 64, 128])
def test_frames_of_another_place_are_left_out_however_clear(size):
    scenes = make_scenes(2, size=size, n_frames=9, sensor="sentinel-2", random_state=3)
    shifts, placed = register_frames(*with_strangers(scenes))
    np.testing.assert_array_equal(placed, np.arange(17) < 9)
    assert np.median(errors_of(shifts[:9], scenes[0].true_shifts)) < 0.1


def test_small_frames_are_not_placed_by_chance():
    lr = np.random.default_rng(0).random((30, 32, 32), np.float32)
    assert register_frames(lr, np.ones(lr.shape, bool)).placed.sum() == 1
