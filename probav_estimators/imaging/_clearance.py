"""Selection of frames by clearance."""

import numpy as np

__all__ = ["select_clearest"]


def select_clearest(clearance, k):
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
