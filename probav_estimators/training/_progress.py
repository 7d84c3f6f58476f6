"""Progress of long work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from ._scene_net import SceneNet

__all__ = ["show_progress"]

# Seconds after which work counts as long.
_DELAY = 5


def show_progress(net: SceneNet, n_scenes: int) -> tqdm:
    """Progress bar of a prediction; it shows up on a terminal, after a few seconds.

    Parameters
    ----------
    net : SceneNet
        Whose `verbose` says whether there is a bar at all.
    n_scenes : int

    Returns
    -------
    tqdm.tqdm
        A context manager with `update()`.
    """
    # None: disabled where the output is no terminal.
    disable = None if net.verbose else True
    description = f"{type(net).__name__} predict"
    return tqdm(total=n_scenes, disable=disable, delay=_DELAY, unit="scene", desc=description)
