"""Orientation in which FusionNet predicts a scene."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ..training import turn_vector

if TYPE_CHECKING:
    from ..imaging import Alignment

__all__ = ["compose_turns", "orientation_of"]

_GAIN_WEIGHT = 0.01


def orientation_of(alignment: Alignment) -> tuple[int, int]:
    """Find the orientation in which a scene is predicted, from the shifts of its frames.

    A scene and its flips and turns have one orientation in common (canonicalization [1]_). The
    shifts are those of all bands and windows of a site. Without shifts it stays as it is.

    Parameters
    ----------
    alignment : Alignment

    Returns
    -------
    tuple of two ints
        Turn and flip of :func:`~probav_estimators.training.turn_and_flip` that lead there.

    References
    ----------
    .. [1] S.-O. Kaba, A. K. Mondal, Y. Zhang, Y. Bengio, S. Ravanbakhsh, "Equivariance with learned
       canonicalization functions", International Conference on Machine Learning, 2023.
    """
    used = ~alignment.fills
    shifts = alignment.shifts[used].astype(np.float64)
    # The third moment, as the mean is 0. Of two frames it is 0 too, and their gains decide: with
    # little weight, as the gains of bands differ.
    weights = 1 + _GAIN_WEIGHT * alignment.gains[used]
    moment = (weights * np.square(shifts).sum(axis=1)) @ shifts

    def length(orientation):
        down, right = turn_vector(*moment, *orientation)
        # All eight differ along this direction.
        return 2 * down + right

    return max(product(range(4), range(2)), key=length)


def compose_turns(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Turn and flip that have the effect of two one after the other."""
    turn = first[0] + (-second[0] if first[1] else second[0])
    return turn % 4, first[1] ^ second[1]
