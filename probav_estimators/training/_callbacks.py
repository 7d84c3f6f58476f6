"""What watches a training, beyond the callbacks that skorch has."""

import csv
from pathlib import Path

import numpy as np
from skorch.callbacks import Callback, EarlyStopping, TensorBoard
from tqdm.auto import tqdm

from ..files import replace_file
from ..scoring import scene_score
from ._sampling import ViewAverager

__all__ = ["BestWeights", "ChallengeScore", "HistoryCSV", "ProgressBar", "TensorBoardFolder"]


class ChallengeScore(Callback):
    """Records the mean challenge score of the validation scenes after every epoch.

    The history gets `valid_score` (lower is better, 1.0 is the baseline) and `valid_score_best`.
    Images are scored as the validation batches come by and then let go.
    """

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.scores_, self.averager_ = [], None
        if dataset_valid is not None and dataset_valid.with_truth:
            self.scenes_ = dataset_valid.scenes
            self.averager_ = ViewAverager(dataset_valid.n_views)

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, **kwargs):
        if training or self.averager_ is None:
            return
        images = y_pred[:, 0].float().clamp(0, 1).cpu().numpy()
        for number, image in self.averager_.add(batch[1]["scene"].tolist(), images):
            self.scores_.append(scene_score(image, self.scenes_[number]))

    def on_epoch_end(self, net, **kwargs):
        if not self.scores_:
            return
        score = float(np.mean(self.scores_))
        earlier = [row["valid_score"] for row in net.history if "valid_score" in row]
        net.history.record("valid_score", score)
        net.history.record("valid_score_best", score < min(earlier, default=np.inf))

    def on_train_end(self, net, **kwargs):
        # Scenes may hold pixels, and a fitted net should not.
        self.scenes_ = self.averager_ = None


def monitored_score(net):
    """What tells whether the last epoch was better: lower is.

    The validation score; its loss, where there is no truth; the training loss, where nothing is
    validated.
    """
    row = net.history[-1]
    return row[_best_known(row) or "train_loss"]


def _best_known(row):
    return next((name for name in ("valid_score", "valid_loss") if name in row), None)


class BestWeights(EarlyStopping):
    """Keeps the weights of the best validation score, and restores them in the end.

    Where a training has no truth, the validation loss takes the place of the score.

    Parameters
    ----------
    patience : int, default=None
        Epochs without a better score after which training stops. None: it does not stop.
    """

    def __init__(self, patience=None):
        super().__init__(
            monitor="valid_score",
            patience=np.inf if patience is None else patience,
            threshold=0,
            load_best=True,
            sink=_say_nothing,
        )

    def _get_param_names(self):
        return ["patience"]

    def on_epoch_end(self, net, **kwargs):
        self.monitor = _best_known(net.history[-1])
        if self.monitor is not None:
            super().on_epoch_end(net, **kwargs)

    def on_train_end(self, net, **kwargs):
        super().on_train_end(net, **kwargs)
        self.best_model_weights_ = None


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


def _say_nothing(text):
    """Stands for print where skorch would print beside the progress bar."""


class ProgressBar(Callback):
    """Shows epoch, training loss, validation score and the time that is left."""

    def on_train_begin(self, net, **kwargs):
        self.epochs_before_ = len(net.history)
        self.bar_ = None

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        if not net.verbose:
            return
        if self.bar_ is None:
            self.bar_ = tqdm(
                total=net.max_epochs,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}",
            )
        epoch = len(net.history) - self.epochs_before_
        self.bar_.set_description(f"{type(net).__name__} epoch {epoch}/{net.max_epochs}")
        self.batches_ = -(-len(dataset_train) // net.batch_size)

    def on_batch_end(self, net, training=None, **kwargs):
        if net.verbose and training:
            finished = len(net.history) - self.epochs_before_ - 1
            self.bar_.update(min(self.bar_.n + 1 / self.batches_, finished + 1) - self.bar_.n)

    def on_epoch_end(self, net, **kwargs):
        if not net.verbose:
            return
        row = net.history[-1]
        shown = {"loss": row["train_loss"], "valid_score": row.get("valid_score")}
        self.bar_.set_postfix({key: f"{x:.5f}" for key, x in shown.items() if x is not None})

    def on_train_end(self, net, **kwargs):
        if self.bar_ is not None:
            self.bar_.close()
            self.bar_ = None
