"""Survey of large sites and several bands: one shift per frame, on a common grid."""

import numpy as np
import pytest

from probav_estimators import Scene, make_scenes
from probav_estimators.scenes import align_bands, align_scene, read_aligned

pytestmark = pytest.mark.any_version


def centred(shifts):
    return shifts - shifts.mean(axis=0)


@pytest.fixture(scope="module")
def wide():
    """A strip of more than 512 LR pixels."""
    return make_scenes(1, size=(48, 1100), n_frames=6, sensor="sentinel-2", random_state=3)[0]


class TestLargeScenes:
    def test_shifts_are_those_of_the_whole(self, wide):
        alignment = align_scene(wide)
        true = wide.true_shifts[alignment.index]
        assert np.abs(alignment.shifts - centred(true)).max() < 0.1

    def test_a_frame_that_is_clouded_in_most_windows_is_placed_by_the_rest(self, wide):
        qm = wide.qm
        qm[:3, :, :700] = False
        qm[3:5, :, 800:] = False
        alignment = align_scene(Scene(wide.lr, qm))
        assert alignment.index.tolist() == [0, 1, 2, 3, 4, 5]
        assert np.abs(alignment.shifts - centred(wide.true_shifts)).max() < 0.15

    def test_a_slow_distortion_is_followed(self, wide):
        """One frame is stretched by 1/1000 along its columns."""
        lr, qm = wide.lr, np.ones(wide.qm.shape, bool)
        columns = np.arange(lr.shape[2])
        from_ = columns + (columns - 550) / 1000
        lr[1] = np.stack([np.interp(from_, columns, row) for row in lr[1]])
        alignment = align_scene(Scene(lr, qm))
        field = read_aligned(Scene(lr, qm), alignment)["distortion"][:, 1].mean(axis=1)
        slope = np.polyfit(columns, field[1] - np.delete(field, 1, axis=0).mean(axis=0), 1)[0]
        assert -0.0012 < slope < -0.0006


class TestBands:
    @pytest.fixture
    def bands(self):
        (scene,) = make_scenes(1, size=64, n_frames=6, sensor="sentinel-2", random_state=1)
        flat = 0.1 + 0.05 * scene.lr + np.random.default_rng(0).normal(0, 1e-4, scene.lr.shape)
        return [Scene(np.float32(flat), scene.qm), scene]

    def test_all_have_the_shifts_of_the_one_with_texture(self, bands):
        weak, strong = align_bands(bands)
        alone = align_scene(bands[1])
        np.testing.assert_array_equal(strong.shifts, alone.shifts)
        np.testing.assert_array_equal(weak.shifts, alone.shifts[np.isin(alone.index, weak.index)])

    def test_texture_is_that_of_the_values_whatever_their_range(self, bands):
        weak, strong = bands
        stretched = Scene(weak.lr, weak.qm, value_range=(0.09, 0.13))
        alignment = align_bands([stretched, Scene(strong.lr, strong.qm, value_range=(0, 1))])[1]
        np.testing.assert_allclose(alignment.shifts, align_scene(strong).shifts, atol=1e-3)

    def test_clouds_in_one_band_do_not_move_it(self, bands):
        qm = bands[0].qm
        qm[:3] = False
        clouded = Scene(bands[0].lr, qm)
        weak, strong = align_bands([clouded, bands[1]])
        assert set(weak.index) < set(strong.index)
        of_all = dict(zip(strong.index.tolist(), strong.shifts.tolist(), strict=True))
        assert weak.shifts.tolist() == [of_all[number] for number in weak.index.tolist()]

    def test_what_is_clouded_in_the_band_with_texture_is_placed_by_another(self, bands):
        qm = bands[1].qm
        qm[2] = False
        weaker = Scene(0.5 * bands[1].lr, bands[1].qm)
        _, other = align_bands([Scene(bands[1].lr, qm), weaker])
        assert other.index.tolist() == [0, 1, 2, 3, 4, 5]
        assert np.abs(other.shifts - align_scene(weaker).shifts).max() < 0.05
