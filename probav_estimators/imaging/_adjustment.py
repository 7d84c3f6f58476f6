"""Block adjustment: one shift for each frame from the shifts that many places show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Adjustment", "adjust_shifts"]

# Standard error of the shift that one place shows, in LR pixels: what differs by no more between
# places is no distortion.
_SHIFT_ERROR = 0.03


class Adjustment(NamedTuple):
    """Where frames lie by all places together.

    Attributes
    ----------
    shifts : float32 array of shape (t, 2)
        How far the content of each frame lies down and to the right of the middle of all that are
        placed, in LR pixels; 0 where it is not known.
    placed : bool array of shape (t,)
        Where it is known.
    residuals : float32 array of shape (n, t, 2)
        How much more that is at each place, shrunk by the error of a single place.
    """

    shifts: NDArray[np.float32]
    placed: NDArray[np.bool_]
    residuals: NDArray[np.float32]


def adjust_shifts(shifts: NDArray[np.floating], placed: NDArray[np.bool_]) -> Adjustment:
    """Bring the shifts that several places show to one reference.

    Each place has a reference of its own, as each may have another clearest frame. A frame that is
    clouded at one place is placed by the others, as long as frames that both see tie them together
    [1]_.

    Parameters
    ----------
    shifts : float array of shape (n, t, 2)
        Of each frame at each place, in LR pixels.
    placed : bool array of shape (n, t)
        Which of them are known.

    Returns
    -------
    Adjustment
        Of the frames that are tied together; of several such groups, of the largest.

    References
    ----------
    .. [1] F. Ackermann, "Block adjustment of aerial photographs", Photogrammetria 1956/57:
       least-squares adjustment of independent models.
    """
    n_places, n_frames = placed.shape
    placed = _largest_group(placed)
    known: NDArray[np.bool_] = np.asarray(placed.any(axis=0))
    if n_places == 1:
        total = np.where(known[:, None], shifts[0] - _mean(shifts[0], known), 0)
        return Adjustment(total.astype(np.float32), known, np.zeros_like(shifts, np.float32))
    place, frame = np.nonzero(placed)
    design = np.zeros((len(place), n_places + n_frames))
    design[np.arange(len(place)), place] = 1
    design[np.arange(len(place)), n_places + frame] = 1
    # The least of all solutions: a common shift of all places is of no account.
    solution, *_ = np.linalg.lstsq(design, shifts[place, frame], rcond=None)
    total = solution[n_places:] - _mean(solution[n_places:], known)
    residuals = np.zeros((n_places, n_frames, 2))
    residuals[place, frame] = shifts[place, frame] - (
        solution[:n_places][place] + solution[n_places:][frame]
    )
    return Adjustment(
        np.where(known[:, None], total, 0).astype(np.float32), known, _shrink(residuals, placed)
    )


def _mean(shifts, known):
    return shifts[known].mean(axis=0, dtype=np.float64) if known.any() else np.zeros(2)


def _largest_group(placed):
    """What is placed in the largest group of places and frames that are tied together."""
    n_places, n_frames = placed.shape
    place, frame = np.nonzero(placed)
    if not len(place):
        return placed
    size = n_places + n_frames
    ties = coo_array((np.ones(len(place)), (place, n_places + frame)), shape=(size, size))
    _, group = connected_components(ties, directed=False)
    largest = np.bincount(group[place]).argmax()
    return placed & (group[:n_places] == largest)[:, None]


def _shrink(residuals, placed):
    count = placed.sum(axis=0)[:, None]
    variance = (residuals**2).sum(axis=0) / np.maximum(count - 1, 1) - _SHIFT_ERROR**2
    variance = np.maximum(variance, 0)
    return (residuals * variance / (variance + _SHIFT_ERROR**2)).astype(np.float32)
