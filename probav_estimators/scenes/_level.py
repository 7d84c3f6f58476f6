"""Level of a scene: the brightness of its clearest frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import mean_level, select_clearest
from ._frames import count_clear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._scene import Scene

__all__ = ["offset_to_scene"]


def offset_to_scene(image: NDArray[Any], scene: Scene) -> float:
    """Return the constant that moves an image to the level of its scene.

    Parameters
    ----------
    image : array of shape (H, W)
        In pixel values; an integer multiple of the frames in size.
    scene : Scene

    Returns
    -------
    float
        0 if no pixel of the scene is clear.

    Notes
    -----
    The level is the mean of the clear pixels of the clearest frames: all that share the largest
    clearance, each once. The image is averaged over the same area, so that its content below
    clouds does not count.
    """
    lr, qm = _read_clearest(scene)
    if not qm.any():
        return 0.0
    scale = image.shape[0] // scene.shape[0]
    weights = qm.sum(axis=0).repeat(scale, axis=0).repeat(scale, axis=1)
    return float(lr.mean(where=qm, dtype=np.float64)) - mean_level(image, weights)


def _read_clearest(scene):
    """Clearest frames and their quality maps; frames that a selection repeats, once."""
    once = np.flatnonzero(~scene.frames.repeats)
    clearance = count_clear(scene.frames, once)
    return scene.frames.read(once[select_clearest(clearance, "max")])
