"""The history of a training, written to files."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skorch.callbacks import Callback, TensorBoard

from ...files import replace_file

if TYPE_CHECKING:
    from .._scene_net import SceneNet

__all__ = ["HistoryCSV", "TensorBoardFolder"]


class HistoryCSV(Callback):
    """Writes the history as a CSV file after every epoch; the file is replaced as a whole.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def on_epoch_end(self, net: SceneNet, **kwargs: Any) -> None:
        rows = [{k: v for k, v in row.items() if k != "batches"} for row in net.history]
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(
                file, fieldnames=list(dict.fromkeys(k for r in rows for k in r))
            )
            writer.writeheader()
            writer.writerows(rows)


class TensorBoardFolder(TensorBoard):
    """Writes the history for TensorBoard.

    Parameters
    ----------
    folder : path-like
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(writer=None)
        self.folder = folder

    def _get_param_names(self):
        return ["folder"]

    def on_train_begin(self, net: SceneNet, **kwargs: Any) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "tensorboard=... needs the package of that name: pip install tensorboard"
            ) from error
        self.writer: Any = SummaryWriter(self.folder)
        super().on_train_begin(net, **kwargs)

    def on_train_end(self, net: SceneNet, **kwargs: Any) -> None:
        super().on_train_end(net, **kwargs)
        # Writers hold open files, and a fitted net is pickled.
        self.writer = None
