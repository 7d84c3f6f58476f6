"""The history of a training, written to files."""

import csv
from pathlib import Path

from skorch.callbacks import Callback, TensorBoard

from ...files import replace_file

__all__ = ["HistoryCSV", "TensorBoardFolder"]


class HistoryCSV(Callback):
    """Writes the history as a CSV file after every epoch; the file is replaced as a whole.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, net, **kwargs):
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

    def __init__(self, folder):
        super().__init__(writer=None)
        self.folder = folder

    def _get_param_names(self):
        return ["folder"]

    def on_train_begin(self, net, **kwargs):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "tensorboard=... needs the package of that name: pip install tensorboard"
            ) from error
        self.writer = SummaryWriter(self.folder)
        super().on_train_begin(net, **kwargs)

    def on_train_end(self, net, **kwargs):
        super().on_train_end(net, **kwargs)
        # Writers hold open files, and a fitted net is pickled.
        self.writer = None
