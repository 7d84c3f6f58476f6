"""Selection of frames by clearance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["select_clearest"]


def select_clearest(
    clearance: NDArray[np.intp],
    k: int | Literal["max"] | None,
    ties: Literal["first", "last"] = "first",
) -> NDArray[np.intp]:
    """Select the clearest frames.

    Parameters
    ----------
    clearance : int array of shape (t,)
        How many pixels of each frame are clear.
    k : int, "max" or None
        How many. If there are fewer, they are repeated in turn. "max": all that tie at the largest
        clearance. None: all.
    ties : {"first", "last"}, default="first"
        Which of equally clear frames comes first: the first or the last one.

    Returns
    -------
    int array
        Indices, clearest first.
    """
    if ties == "first":
        order = np.argsort(-clearance, kind="stable")
    else:
        order = np.argsort(clearance, kind="stable")[::-1]
    if k == "max":
        return order[: np.count_nonzero(clearance == clearance.max())]
    return order if k is None else np.resize(order, k)
