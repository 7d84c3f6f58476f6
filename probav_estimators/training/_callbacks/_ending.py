"""How a training ends before its last epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skorch.callbacks import EarlyStopping

if TYPE_CHECKING:
    from .._scene_net import SceneNet

__all__ = ["EndOfTraining", "ends_training", "was_asked_to_stop"]


class EndOfTraining(KeyboardInterrupt):
    """Leaves skorch's loop over epochs, which only a KeyboardInterrupt does in good order."""


def ends_training(net: SceneNet) -> bool:
    """Whether one of a net's callbacks says that the training is over."""
    return any(getattr(callback, "ends_training_", False) for _, callback in net.callbacks_)


def was_asked_to_stop(interrupt: KeyboardInterrupt) -> bool:
    """Whether a KeyboardInterrupt is a callback's way to end a training, and not a user's.

    Parameters
    ----------
    interrupt : KeyboardInterrupt
        With its traceback.
    """
    if isinstance(interrupt, EndOfTraining):
        return True
    trace: Any = interrupt.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    if frame.f_code is not EarlyStopping.on_epoch_end.__code__:
        return False
    # Ctrl-C may come in the very lines of skorch's callback too.
    stopping = frame.f_locals["self"]
    return stopping.misses_ == stopping.patience
