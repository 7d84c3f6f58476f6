"""Registration of georeferenced frames in groups, where not all of them overlap or show texture."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from ._shift_estimation import (
    Search,
    band_pass,
    mean_of_registered,
    refine_shift,
    register_band_passed,
    whole_pixel_shifts,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FrameGroup", "GroupRegistration", "GroupTie", "register_groups"]

# Greatest difference of two shifts in standard deviations of the prior: a larger one is taken for a
# false match.
_GREATEST = 3.0

# Greatest probability that two groups, which the prior puts on each other, match by chance.
_FALSE_TIES = 1e-3

# Frames of a group that are compared with each other to learn whether land has texture, and the
# least fraction of a frame's clear pixels that they have to show.
_WITNESSES = 3
_LEAST_SHARED = 0.25

# Least fraction of a frame's clear pixels that another one shows, without which both are in groups
# of their own; pixels are counted in steps. The standard error of the shift between groups, in LR
# pixels, is this over the square root of the pixels that both show: measured, 0.25 for 400.
_LEAST_OVERLAP = 0.2
_ERROR_OF_ONE_PIXEL = 5.0
_STEP = 2


class FrameGroup(NamedTuple):
    """Frames that are registered to each other.

    Attributes
    ----------
    numbers : int array of shape (n,)
        Of the frames.
    shifts : float array of shape (n, 2)
        Shift of their content against the group's reference, (down, right) in LR pixels.
    """

    numbers: NDArray[np.intp]
    shifts: NDArray[np.floating]


class GroupTie(NamedTuple):
    """Shift between two groups by the land that both show.

    Attributes
    ----------
    first, second : int
        Numbers of the groups.
    shift : float array of shape (2,)
        Of the second's reference against the first's, (down, right) in LR pixels.
    error : float
        Its standard error.
    """

    first: int
    second: int
    shift: NDArray[np.floating]
    error: float


class GroupRegistration(NamedTuple):
    """Groups of frames in one window.

    Attributes
    ----------
    groups : list of FrameGroup
        The largest comes first. A frame that no other one matches is a group of its own.
    ties : list of GroupTie
    contradicted : bool array of shape (t,)
        Frames that do not match the largest group, although they show land with texture that its
        frames agree on: under clouds that maps miss, of another site, or farther off than the prior
        allows.
    """

    groups: list[FrameGroup]
    ties: list[GroupTie]
    contradicted: NDArray[np.bool_]


def register_groups(
    lr: NDArray[np.float32],
    qm: NDArray[np.bool_],
    position_std: float,
    expected: NDArray[np.floating] | None = None,
) -> GroupRegistration:
    """Register frames whose positions are known to about a pixel.

    Frames are searched where their georeferencing allows and however little they overlap, see
    :func:`register_frames`. Those that do not match the largest group form groups of their own,
    which are tied to each other by the land that they share.

    Parameters
    ----------
    lr : float32 array of shape (t, h, w)
        Frames on one grid.
    qm : bool array of shape (t, h, w)
        True where a frame is clear.
    position_std : float
        Standard deviation of a frame's position along each axis, in LR pixels. Two frames are at
        most 4.2 times as far apart as is expected.
    expected : float array of shape (t, 2), default=None
        Shifts of the frames' content that the georeferencing expects, (down, right) in LR pixels.
        None: 0.

    Returns
    -------
    GroupRegistration
    """
    images, trusted = band_pass(lr, qm)
    std = np.sqrt(2) * position_std
    search = Search(_GREATEST * std, std)
    expected = np.zeros((len(lr), 2)) if expected is None else np.asarray(expected, float)
    groups = _groups_of(images, trusted, qm.sum(axis=(1, 2)), search, expected)
    groups, ties = _split_groups(trusted, groups)
    ties += _ties_of(images, trusted, groups, ties, search, expected)
    contradicted = np.zeros(len(lr), bool)
    for number in _not_tied(groups, ties):
        for frame in groups[number].numbers:
            contradicted[frame] = _is_textured(images, trusted, groups[0], trusted[frame], search)
    return GroupRegistration(groups, ties, contradicted)


def _groups_of(images, trusted, clearance, search, expected):
    """Groups of at least two frames, then all other frames that are clear."""
    seen = trusted.any(axis=(1, 2))
    left = seen & (images * trusted).any(axis=(1, 2))
    groups = []
    while left.sum() > 1:
        numbers = np.flatnonzero(left)
        known = images[numbers], trusted[numbers], clearance[numbers]
        found = register_band_passed(*known, search, expected[numbers])
        if found.placed.sum() < 2:
            break
        groups.append(FrameGroup(numbers[found.placed], found.shifts[found.placed]))
        left[numbers[found.placed]] = False
    grouped = [group.numbers for group in groups]
    alone = np.setdiff1d(np.flatnonzero(seen), np.concatenate([[], *grouped]).astype(int))
    return groups + [FrameGroup(np.array([number]), np.zeros((1, 2))) for number in alone]


def _split_groups(trusted, groups):
    """Parts of groups that share little land, by decreasing size, and their ties."""
    parts, owners = [], []
    for owner, group in enumerate(groups):
        seen = trusted[group.numbers][:, ::_STEP, ::_STEP].reshape(len(group.numbers), -1)
        overlap = seen.astype(np.float32) @ seen.T.astype(np.float32)
        area = np.diag(overlap)
        near = overlap >= np.maximum(_LEAST_OVERLAP * np.minimum(area[:, None], area), 1)
        n_parts, labels = connected_components(near, directed=False)
        for label in range(n_parts):
            own = labels == label
            parts.append(FrameGroup(group.numbers[own], group.shifts[own]))
            owners.append(owner)
    order = sorted(range(len(parts)), key=lambda number: -len(parts[number].numbers))
    ties = []
    for (first, one), (second, other) in combinations(enumerate(order), 2):
        if owners[one] == owners[other]:
            shown = [trusted[parts[number].numbers].any(axis=0) for number in (one, other)]
            ties.append(GroupTie(first, second, np.zeros(2), _error_by_overlap(*shown)))
    return [parts[number] for number in order], ties


def _error_by_overlap(one, other):
    """Standard error of a shift by the pixels that both show."""
    return _ERROR_OF_ONE_PIXEL / np.sqrt(max(np.count_nonzero(one & other), 1))


def _ties_of(images, trusted, groups, known, search, expected):
    """Ties of each group to larger ones of at least two frames, besides those that are known."""
    if len(groups) < 2:
        return []
    tied = {(tie.first, tie.second) for tie in known}
    search = search._replace(false_alarms=_FALSE_TIES)
    means = [_mean_of_group(images, trusted, group) for group in groups]
    # Frames are where the prior puts them, on average.
    middles = [(group.shifts - expected[group.numbers]).mean(axis=0) for group in groups]
    ties = []
    for first, second in combinations(range(len(groups)), 2):
        if len(groups[first].numbers) < 2 or (first, second) in tied:
            continue
        centre = middles[first] - middles[second]
        (template, weight), (image, count) = means[first], means[second]
        clear = count > 0
        (start,) = whole_pixel_shifts(image[None], clear[None], template, weight, search, centre)
        fit = refine_shift(image, clear, template, weight, start, search, centre)
        if fit.reliable:
            error = max(float(fit.error), _error_by_overlap(weight > 0, clear))
            ties.append(GroupTie(first, second, fit.shift, error))
    return ties


def _mean_of_group(images, trusted, group):
    """Mean of a group's frames, and where it is reliable."""
    everyone = np.ones(len(group.numbers), bool)
    frames, placed = images[group.numbers], (group.shifts, everyone)
    # Values around reliable pixels are needed to interpolate these.
    mean, _ = mean_of_registered(frames, frames != 0, *placed)
    _, weight = mean_of_registered(frames, trusted[group.numbers], *placed)
    return mean, weight


def _not_tied(groups, ties):
    """Numbers of the groups that no ties connect to the first one."""
    tied = np.zeros((len(groups), len(groups)), bool)
    for tie in ties:
        tied[tie.first, tie.second] = True
    _, part = connected_components(tied, directed=False)
    return np.flatnonzero(part != part[:1])


def _is_textured(images, trusted, group, region, search):
    """Whether frames of a group would be registered to each other by a region alone."""
    shared = (trusted[group.numbers] & region).sum(axis=(1, 2))
    witnesses = np.argsort(-shared, kind="stable")[:_WITNESSES]
    witnesses = witnesses[shared[witnesses] >= _LEAST_SHARED * region.sum()]
    matches = []
    for first, second in combinations(witnesses, 2):
        one, other = group.numbers[first], group.numbers[second]
        apart = group.shifts[first] - group.shifts[second]
        known = images[one], trusted[one] & region
        fit = refine_shift(*known, images[other], trusted[other] & region, apart, search, apart)
        matches.append(fit.reliable)
    return 2 * sum(matches) > len(matches)
