"""Registration of the bands of a georeferenced site, whose frames stay where nothing moves them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..imaging import GroupTie, Placement, adjust_groups, register_groups
from ._frames import PositionPrior
from ._survey import BandShifts, by_texture, distortion_field, given_shifts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import PixelsAndClear, Window
    from ._survey import Survey

__all__ = ["register_georeferenced", "site_prior", "warn_of_placement"]

# Further windows of a site where groups of frames overlap: for each group, and of all groups.
_MAX_SHARED, _MAX_ADDED = 3, 9


class _SiteGroups:
    """Groups of registered frames in windows of the bands of a site, by the frames' numbers."""

    def __init__(self, prior: PositionPrior) -> None:
        self.prior = prior
        n_frames = len(prior.std)
        self.shifts = np.zeros((0, n_frames, 2))
        self.placed = np.zeros((0, n_frames), bool)
        self.windows = np.zeros(0, int)
        self.ties: list[GroupTie] = []
        self.contradicted = np.zeros(n_frames, bool)

    def add(self, survey: Survey, pixels: PixelsAndClear, window: int) -> None:
        """Register the frames of a window, numbered `window`."""
        prior = self.prior.of(survey.numbers)
        found = register_groups(*pixels, float(prior.std.max()), prior.shifts)
        first = len(self.placed)
        for group in found.groups:
            self.add_group(survey.numbers[group.numbers], group.shifts, window)
        self.ties += [
            tie._replace(first=first + tie.first, second=first + tie.second) for tie in found.ties
        ]
        self.contradicted[survey.numbers[found.contradicted]] = True

    def add_group(
        self, numbers: NDArray[np.intp], shifts: NDArray[np.floating], window: int
    ) -> None:
        """Add frames that are registered to each other."""
        row, placed = np.zeros(self.shifts.shape[1:]), np.zeros(self.shifts.shape[1], bool)
        row[numbers], placed[numbers] = shifts, True
        self.shifts = np.concatenate([self.shifts, row[None]])
        self.placed = np.concatenate([self.placed, placed[None]])
        self.windows = np.append(self.windows, window)

    def labels(self, *, tied: bool = True) -> NDArray[np.intp]:
        """Label of each frame: connected ones have the same. `tied`: also by ties."""
        n_groups, n_frames = self.placed.shape
        group, frame = np.nonzero(self.placed)
        ties = [(tie.first, tie.second) for tie in self.ties if tied]
        one, other = np.array(ties, int).reshape(-1, 2).T
        one, other = np.append(group, one), np.append(n_groups + frame, other)
        size = n_groups + n_frames
        edges = coo_array((np.ones(len(one)), (one, other)), shape=(size, size))
        return connected_components(edges, directed=False)[1][n_groups:]

    def main(
        self, *, tied: bool = True, among: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """Which frames the largest connected part has, of all or of some frames, bool (t,)."""
        known: NDArray[np.bool_] = np.asarray(self.placed.any(axis=0))
        if among is not None:
            known = known & among
        labels = self.labels(tied=tied)
        if not known.any():
            return known
        return known & (labels == np.bincount(labels[known]).argmax())

    def placement(self) -> NDArray[np.int8]:
        """How the shift of each frame is known."""
        main = self.main()
        placement = np.where(self.contradicted, Placement.LEFT_OUT, Placement.GEOREFERENCED)
        if main.sum() > 1 or self.shifts.shape[1] == 1:
            placement[main] = Placement.TIED
            placement[self.main(tied=False, among=main)] = Placement.REGISTERED
        return placement.astype(np.int8)


def site_prior(surveys: Sequence[Survey]) -> PositionPrior:
    """Return the prior of the frames of georeferenced bands, by the frames' numbers."""
    n_frames = 1 + max(int(survey.numbers.max()) for survey in surveys)
    whole = PositionPrior(np.zeros((n_frames, 2)), np.zeros(n_frames))
    for survey in surveys:
        prior = survey.frames.position_prior
        assert prior is not None, "bands of one site are georeferenced alike"
        whole.shifts[survey.numbers], whole.std[survey.numbers] = prior.of(survey.once)
    # Numbers that no band has, which are in no group.
    whole.std[whole.std == 0] = whole.std.max()
    return whole


def register_georeferenced(surveys: Sequence[Survey]) -> BandShifts:
    """Register the frames of all bands of a site on a prior of their positions.

    Frames are registered as far as they overlap and show texture. Others, and groups of frames that
    share no land with the rest, stay where their georeferencing puts them. Frames that contradict
    the rest are left out.

    Parameters
    ----------
    surveys : list of Survey
        Of bands that were taken together: frames of one number have one shift.

    Returns
    -------
    BandShifts
    """
    prior = site_prior(surveys)
    groups = _SiteGroups(prior)
    for survey in by_texture(surveys):
        if len(groups.placed) and not survey.shows_others(groups.main()):
            continue
        _add_band(groups, survey)
    adjusted = adjust_groups(
        groups.shifts, groups.placed, groups.windows, groups.ties, prior.std, prior.shifts
    )
    nodes = surveys[0].nodes
    n_nodes = len(nodes[0]) * len(nodes[1])
    field = np.zeros((*adjusted.shifts.shape, len(nodes[0]), len(nodes[1])), np.float32)
    if n_nodes > 1:
        known = np.zeros((n_nodes, len(adjusted.shifts)), bool)
        for window, placed in zip(groups.windows, groups.placed, strict=True):
            if window < n_nodes:
                known[window] |= placed
        residuals = np.zeros((n_nodes, *adjusted.shifts.shape), np.float32)
        residuals[: len(adjusted.residuals)] = adjusted.residuals[:n_nodes]
        field = distortion_field(residuals, known, nodes)
    return BandShifts(adjusted.shifts, groups.placement(), field, nodes)


def _add_band(groups, survey):
    """Register a band in its windows, and where groups of its frames overlap between them."""
    given = given_shifts(survey)
    if given is not None:
        shifts, known = given
        groups.add_group(survey.numbers[known], shifts[known], 0)
        groups.contradicted[survey.numbers[~known]] = True
        return
    for number in range(len(survey.windows)):
        groups.add(survey, survey.read(number), number)
    if not survey.is_whole:
        for number, window in enumerate(_shared_windows(groups, survey), len(survey.windows)):
            groups.add(survey, survey.read_window(window), number)


def _shared_windows(groups: _SiteGroups, survey: Survey) -> Iterator[Window]:
    """Windows in which frames that nothing connects to the others overlap these."""
    tried: set[int] = set()
    n_added = 0
    while n_added < _MAX_ADDED:
        labels, main = groups.labels()[survey.numbers], groups.main()[survey.numbers]
        loose = ~main & ~groups.contradicted[survey.numbers] & survey.clear_somewhere
        left = [frame for frame in np.flatnonzero(loose) if survey.numbers[frame] not in tried]
        if not left:
            return
        own = labels == labels[left[0]]
        tried |= set(survey.numbers[own].tolist())
        shared = survey.coverage[own].any(axis=0) & survey.coverage[~own].any(axis=0)
        for _ in range(_MAX_SHARED):
            if not shared.any():
                break
            window = survey.window_at(shared)
            yield window
            n_added += 1
            shared[survey.squares_of(window)] = False


def warn_of_placement(
    placement: NDArray[np.int8], label: str, position_std: NDArray[np.floating]
) -> None:
    """Warn of frames that are not registered, by their numbers.

    Parameters
    ----------
    placement : int8 array of shape (t,)
        Of frames that have clear pixels, a :class:`Placement`; -1 of the others.
    label : str
        Name of the scene in messages.
    position_std : float array of shape (t,)
        Standard deviation of the georeferencing, in LR pixels.
    """
    about = f"{position_std.max():.3g} pixels"
    remedies = {
        Placement.LEFT_OUT: (
            "contradict the others and are left out, except where no other is clear: they are "
            "clouded, of another place, or farther off than position_std allows; mask or remove "
            f"them, or raise position_std, which is {about}"
        ),
        Placement.GEOREFERENCED: (
            "cannot be registered to the others, for lack of overlap or texture, and stay where "
            f"the georeferencing puts them, to about {about}"
        ),
        Placement.TIED: (
            "are tied to the others by little overlap or texture: their shifts are less exact"
        ),
    }
    for kind, remedy in remedies.items():
        numbers = np.flatnonzero(placement == kind).tolist()
        if numbers:
            shown = ", ".join(map(str, numbers))
            n_frames = np.count_nonzero(placement >= 0)
            warnings.warn(
                f"{label}: {len(numbers)} of {n_frames} frames ({shown}) {remedy}", stacklevel=5
            )
