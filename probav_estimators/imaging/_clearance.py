"""Selection of frames by clearance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["select_clearest"]


def select_clearest(
    clearance: NDArray[np.intp], k: int | Literal["max"] | None
) -> NDArray[np.intp]:
    """Select the clearest frames.

    Parameters
    ----------
    clearance : int array of shape (t,)
        How many pixels of each frame are clear.
    k : int, "max" or None
        How many. If there are fewer, they are repeated in turn. "max": all that tie at the largest
        clearance. None: all.

    Returns
    -------
    int array
        Indices, clearest first, ties in their old order.
    """
    order = np.argsort(-clearance, kind="stable")
    if k == "max":
        return order[: np.count_nonzero(clearance == clearance.max())]
    return order if k is None else np.resize(order, k)
