"""What watches a training."""

import numpy as np
from skorch.callbacks import Callback
from tqdm.auto import tqdm

from .sampling import ViewAverager
from .scoring import scene_score

__all__ = ["ChallengeScore", "ProgressBar"]


class ChallengeScore(Callback):
    """Records the mean challenge score of the validation scenes after every epoch.

    The history gets `valid_score` (lower is better, 1.0 is the baseline) and `valid_score_best`.
    Images are scored as the validation batches come by and then let go.
    """

    def initialize(self):
        self.best_score_ = np.inf
        return self

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.scores_ = []
        if dataset_valid is not None:
            self.scenes_ = dataset_valid.scenes
            self.averager_ = ViewAverager(self.scenes_)

    def on_batch_end(self, net, batch=None, training=None, y_pred=None, **kwargs):
        if training:
            return
        images = y_pred[:, 0].float().clamp(0, 1).cpu().numpy()
        for number, image in self.averager_.add(batch[1]["scene"].tolist(), images):
            self.scores_.append(scene_score(image, self.scenes_[number]))

    def on_epoch_end(self, net, **kwargs):
        if not self.scores_:
            return
        score = float(np.mean(self.scores_))
        net.history.record("valid_score", score)
        net.history.record("valid_score_best", score < self.best_score_)
        self.best_score_ = min(self.best_score_, score)

    def on_train_end(self, net, **kwargs):
        # Scenes may hold pixels, and a fitted net should not.
        self.scenes_ = self.averager_ = None


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
