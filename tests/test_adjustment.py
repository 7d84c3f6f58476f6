"""Adjustment of one shift per frame, from any kind of measurement."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from probav_estimators.imaging import (
    GroupTie,
    adjust_groups,
    adjust_pairs,
    adjust_shifts,
    robust_mean,
)


class TestAdjustment:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 12))
    def test_shifts_are_found_whatever_each_place_refers_to(self, seed, n_places, n_frames):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=(n_frames, 2))
        placed = rng.random((n_places, n_frames)) < 0.7
        placed[:, 0] |= placed.any(axis=1)
        placed[0, 0] = True
        measured = true + rng.normal(size=(n_places, 1, 2))
        adjusted = adjust_shifts(measured, placed)
        known = adjusted.placed
        np.testing.assert_array_equal(known, placed.any(axis=0))
        np.testing.assert_allclose(
            adjusted.shifts[known], true[known] - robust_mean(true[known]), atol=1e-5
        )
        assert not adjusted.shifts[~known].any()
        assert np.abs(adjusted.residuals).max() < 1e-6

    def test_of_two_groups_that_no_frame_ties_the_larger_is_placed(self):
        placed = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 0, 1]], bool)
        assert adjust_shifts(np.zeros((3, 5, 2)), placed).placed.tolist() == [0, 0, 1, 1, 1]

    def test_what_differs_between_places_is_distortion(self):
        shifts = np.zeros((4, 6, 2))
        shifts[:, 2, 0] = [-0.3, -0.1, 0.1, 0.3]
        residuals = adjust_shifts(shifts, np.ones((4, 6), bool)).residuals
        # Part of it is absorbed by the references of the positions, which the other frames share.
        np.testing.assert_allclose(residuals[:, 2, 0], [-0.25, -0.083, 0.083, 0.25], atol=0.01)
        noise = np.random.default_rng(0).normal(0, 0.02, (4, 6, 2))
        assert np.abs(adjust_shifts(noise, np.ones((4, 6), bool)).residuals).max() < 0.01


class TestPairs:
    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10**6), st.integers(2, 12))
    def test_what_the_pairs_agree_upon_is_found(self, seed, n_frames):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=(n_frames, 2))
        true -= true.mean(axis=0)
        # Each frame paired with an earlier one, and some more pairs: a connected graph.
        second = np.arange(1, n_frames)
        first = rng.integers(0, second)
        more = rng.integers(0, n_frames, (2, 5))
        first, second = np.append(first, more[0]), np.append(second, more[1])
        roots = rng.normal(size=(len(first), 2, 2))
        known = 1e4 * (roots @ roots.swapaxes(1, 2) + np.eye(2))
        near = true + rng.normal(0, 0.05, true.shape)
        shifts = adjust_pairs(near, first, second, true[first] - true[second], known)
        np.testing.assert_allclose(shifts - shifts.mean(axis=0), true, atol=1e-3)
        np.testing.assert_allclose(shifts.mean(axis=0), near.mean(axis=0), atol=1e-6)

    def test_better_known_pairs_count_more(self):
        shifts = np.zeros((2, 2))
        known = np.array([1e4, 3e4])[:, None, None] * np.eye(2)
        apart = np.array([[0.0, 0.0], [0.4, -0.4]])
        found = adjust_pairs(shifts, np.array([0, 0]), np.array([1, 1]), apart, known)
        np.testing.assert_allclose(found[0] - found[1], [0.3, -0.3], atol=1e-4)


class TestMiddle:
    def test_frame_that_is_misplaced_moves_it_little(self):
        rng = np.random.default_rng(0)
        errors = {"mean": [], "middle": []}
        for _ in range(200):
            shifts = rng.normal(0, 0.5, (9, 2))
            shifts[0] += 5
            errors["mean"].append(shifts.mean(axis=0))
            errors["middle"].append(robust_mean(shifts))
        error = {name: np.sqrt(np.square(values).mean()) for name, values in errors.items()}
        assert error["middle"] < 0.5 * error["mean"]


class TestGroups:
    """Groups of frames whose positions are known to about a pixel."""

    def adjusted(self, groups, ties=(), n_frames=6, std=1.0):
        shifts = np.zeros((len(groups), n_frames, 2))
        placed = np.zeros((len(groups), n_frames), bool)
        for number, (frames, own) in enumerate(groups):
            shifts[number, frames], placed[number, frames] = own, True
        return adjust_groups(shifts, placed, np.zeros(len(groups), int), ties, std)

    def test_a_group_keeps_its_differences(self):
        own = np.random.default_rng(0).normal(size=(6, 2))
        found = self.adjusted([([*range(6)], own + 7)]).shifts
        np.testing.assert_allclose(found - found[0], own - own[0], atol=1e-2)

    def test_groups_without_a_tie_are_on_each_other_on_average(self):
        one, other = np.random.default_rng(1).normal(size=(2, 3, 2))
        found = self.adjusted([([0, 1, 2], one + 3), ([3, 4, 5], other - 2)]).shifts
        np.testing.assert_allclose(found[:3].mean(axis=0), found[3:].mean(axis=0), atol=1e-6)

    def test_a_tie_moves_groups_as_far_as_it_is_exact(self):
        frames = [([0, 1, 2], np.zeros((3, 2))), ([3, 4, 5], np.zeros((3, 2)))]
        for error, least, greatest in ((0.01, 0.99, 1.01), (10, 0, 0.1)):
            tie = GroupTie(0, 1, np.array([1.0, 0.0]), error)
            found = self.adjusted(frames, [tie]).shifts
            down, right = found[3] - found[0]
            assert least < down < greatest and abs(right) < 1e-6

    def test_a_frame_of_no_group_is_unknown(self):
        found = self.adjusted([([0, 1], np.zeros((2, 2)))], n_frames=3)
        assert found.placed.tolist() == [True, True, False]
