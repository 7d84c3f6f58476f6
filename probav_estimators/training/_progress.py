"""Progress of predictions."""

from skorch import NeuralNet
from tqdm.auto import tqdm

__all__ = ["show_progress"]

# Seconds before the bar is shown.
_DELAY = 5


def show_progress(net: NeuralNet, n_scenes: int) -> tqdm:
    """Progress bar of a verbose net's prediction, shown on a terminal after a few seconds."""
    # None: disabled where the output is no terminal.
    disable = None if net.verbose else True
    description = f"{type(net).__name__} predict"
    return tqdm(total=n_scenes, disable=disable, delay=_DELAY, unit="scene", desc=description)
