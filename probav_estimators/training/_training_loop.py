"""Training loop: loss, default callbacks, early termination and gradient accumulation."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils import gen_batches
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, PassthroughScoring
from skorch.dataset import unpack_data
from skorch.utils import to_tensor

from ..losses import SceneLoss
from ..random_numbers import TorchRandom
from ._callbacks import (
    BestWeights,
    ChallengeScore,
    DivergenceGuard,
    EpochBar,
    EpochLog,
    PlateauSchedule,
    StartingScore,
    TimeLimit,
    check_scorings,
)
from ._checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ..scenes import Scene

__all__ = ["BorderMixin", "TrainingLoop"]


# Packages whose layers draw by layers of torch alone.
_WITHOUT_DRAWS = ("torch.nn.", f"{__package__.partition('.')[0]}.")

# HR pixels of shift that the challenge's score tolerates.
_BORDER = 3

_RANDOM_LAYERS = (torch.nn.RReLU, torch.nn.FractionalMaxPool2d, torch.nn.FractionalMaxPool3d)


class TrainingLoop(NeuralNet):
    """Skorch's training loop with losses of scenes, default callbacks and micro-batches.

    The criterion is a loss of scenes or one of torch. A training ends after the epoch in which a
    callback has an attribute `ends_training_` that is true, or skorch's EarlyStopping loses
    patience. However else it ends, `fit` and `partial_fit` raise the exception after the callbacks'
    `on_train_end`, which restores the best weights.
    """

    #: Whether its reader can leave out frames for a loss to compare with.
    leaves_frames_out = False

    #: Number of the first output channels that the loss compares with truths; None: all.
    n_compared: ClassVar[int | None] = None

    # What interrupted the training, until it is raised again.
    interrupt_: KeyboardInterrupt | None = None

    # Context in which layers and losses draw random numbers, those of an epoch of the training.
    # Trainings in other threads wait for it.
    random_draws: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def _default_callbacks(self):
        callbacks = [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("valid_score", ChallengeScore()),
            ("starting_score", StartingScore()),
            ("progress_bar", EpochBar()),
            ("lr_schedule", PlateauSchedule()),
            ("print_log", EpochLog()),
            # It is to see the epoch's own weights, which DivergenceGuard may take back.
            ("best_weights", BestWeights()),
            ("divergence", DivergenceGuard()),
        ]
        if self.resume is not None:
            callbacks.append(("checkpoint", Checkpoint(self.resume)))
        return callbacks

    def initialize_callbacks(self) -> Self:
        super().initialize_callbacks()
        self._check_callback_names()
        check_scorings(self.callbacks_)
        # It saves and restores the state of all others, those of the user among them.
        self.callbacks_.sort(key=lambda item: isinstance(item[1], Checkpoint))
        return self

    def _check_callback_names(self):
        # Skorch ignores parameters of callbacks that there are not.
        names = [name for name, _ in self._uniquely_named_callbacks()]
        given = [key.split("__")[0] for key in self.get_params_for("callbacks")]
        if names and (unknown := sorted(set(given).difference(names))):
            raise ValueError(
                f"{type(self).__name__} has no callback {unknown[0]} for callbacks__{unknown[0]}: "
                f"choose among {', '.join(names)}"
            )

    def notify(self, method_name: str, **kwargs: Any) -> None:
        getattr(self, method_name)(self, **kwargs)
        for name, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **kwargs)
            except KeyboardInterrupt:
                # That of EarlyStopping is no Ctrl-C.
                if method_name != "on_epoch_end" or not _has_lost_patience(callback):
                    raise
            except Exception as error:
                # TensorBoard's error of a full disk, for example, names no file.
                error.add_note(f"Raised by the callback {name} of {type(self).__name__}")
                raise
        if method_name == "on_epoch_end" and self._any(_ends_training):
            raise _EndOfTraining

    def fit_loop(
        self,
        X: Sequence[Scene],
        y: object = None,
        epochs: int | None = None,
        *,
        _routing_method: str = "fit",
        **fit_params: Any,
    ) -> Self:
        restored = sum(getattr(callback, "n_restored_", 0) for _, callback in self.callbacks_)
        if epochs is None and _routing_method == "fit":
            epochs = max(0, self.max_epochs - restored)
        if restored and self._any(_ends_training):
            epochs = 0
        try:
            super().fit_loop(X, y, epochs, _routing_method=_routing_method, **fit_params)
        except _EndOfTraining:
            pass
        except KeyboardInterrupt as interrupt:
            # Skorch's partial_fit drops it.
            self.interrupt_ = interrupt
            raise
        except Exception:
            # Skorch calls it after a KeyboardInterrupt alone.
            with suppress(Exception):
                self.notify("on_train_end", X=X, y=y)
            raise
        return self

    def partial_fit(
        self, X: Sequence[Scene], y: object = None, classes: object = None, **fit_params: Any
    ) -> Self:
        self.interrupt_ = None
        super().partial_fit(X, y, classes, **fit_params)
        interrupt, self.interrupt_ = self.interrupt_, None
        if interrupt is not None:
            raise interrupt
        return self

    def run_single_epoch(
        self,
        iterator: DataLoader[Any],
        training: bool,
        prefix: str,
        step_fn: Callable[..., Any],
        **fit_params: Any,
    ) -> None:
        if not training:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
            return
        if _may_draw(self):
            seed = int(np.random.SeedSequence(self._epoch_seed()).generate_state(1)[0])
            self.random_draws = TorchRandom(seed, self.device).active
        try:
            steps = self._until_time_is_up(iterator)
            super().run_single_epoch(steps, training, prefix, step_fn, **fit_params)
        finally:
            self.__dict__.pop("random_draws", None)

    def _until_time_is_up(self, iterator):
        limits = [callback for _, callback in self.callbacks_ if isinstance(callback, TimeLimit)]
        for batch in iterator:
            yield batch
            if any(limit.ends_training_ for limit in limits):
                return

    def _any(self, condition: Callable[[Callback], bool]) -> bool:
        return any(condition(callback) for _, callback in self.callbacks_)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the gradient of a batch, `micro_batch_size` samples at a time."""
        parts = list(self._parts_of(batch))
        if len(parts) == 1:
            step = super().train_step_single(batch, **fit_params)
        else:
            steps = [self._accumulate(part, share, fit_params) for part, share in parts]
            losses, predictions = zip(*steps, strict=True)
            step = {"loss": torch.stack(losses).sum(), "y_pred": torch.cat(predictions)}
        if not torch.isfinite(step["loss"]):
            # Optimizers skip weights without a gradient.
            self._zero_grad_optimizer(set_to_none=True)
        return step

    def _parts_of(self, batch: Any) -> Iterator[tuple[Any, float]]:
        """Micro-batches, each with its share of the samples."""
        n_samples = len(batch[1]["scene"])
        for part in gen_batches(n_samples, self.micro_batch_size or n_samples):
            share = (part.stop - part.start) / n_samples
            yield [{key: x[part] for key, x in side.items()} for side in batch], share

    def _accumulate(self, part, share, fit_params):
        """Add the gradients of a micro-batch; return its share of the loss and its predictions."""
        self._set_training(True)
        sample, target = unpack_data(part)
        prediction = self.infer(sample, **fit_params)
        loss = share * self.get_loss(prediction, target, X=sample, training=True)
        loss.backward()
        return loss.detach(), prediction.detach()

    def initialize_criterion(self) -> Self:
        kwargs = self.get_params_for("criterion")
        criterion = self.criterion
        if isinstance(criterion, torch.nn.Module) and not kwargs:
            # Training must not change the parameter.
            criterion = copy.deepcopy(criterion)
        else:
            criterion = self.initialized_instance(criterion, kwargs)
        if not isinstance(criterion, SceneLoss):
            criterion = _TruthLoss(criterion)
        if criterion.left_out and not self.leaves_frames_out:
            raise ValueError(
                f"{type(criterion).__name__} compares with frames that are left out, and "
                f"{type(self).__name__} takes all that are composed: train a FusionNet with it, or "
                "choose a loss that compares with HR images"
            )
        self.criterion_ = criterion
        return self

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: dict[str, torch.Tensor],
        X: dict[str, torch.Tensor] | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        compared = y_pred[:, : self.n_compared]
        if not torch.isfinite(compared).all():
            # A cross-entropy would raise an error; DivergenceGuard handles the NaN.
            return compared.sum() * torch.nan
        target = to_tensor(y_true, device=self.device)
        sample = to_tensor(dict(X or {}), device=self.device) if self.criterion_.left_out else X
        with self.random_draws():
            loss = self.criterion_.compare(compared, target, sample)
        return loss + self.further_loss(y_pred, target)

    def further_loss(
        self, prediction: torch.Tensor, target: dict[str, torch.Tensor]
    ) -> torch.Tensor | float:
        """Loss of the output channels that the criterion does not compare; here 0.

        Parameters
        ----------
        prediction : float tensor of shape (n, c, H, W)
        target : dict of tensors
            With "truth" (n, 2, H, W), HR image and status map, if the loss needs them.

        Returns
        -------
        scalar tensor or 0
        """
        return 0.0

    @property
    def _needs_truth(self):
        kind = getattr(self.criterion, "func", self.criterion)
        return getattr(kind, "needs_truth", True)


def _may_draw(net):
    """Whether a training step may draw random numbers; code of others than torch may."""
    criterion = net.criterion_
    parts = [net, *net.module_.modules(), *criterion.modules(), getattr(criterion, "function", net)]
    return any(_draws(part) for part in parts)


def _draws(part):
    if not type(part).__module__.startswith(_WITHOUT_DRAWS) or isinstance(part, _RANDOM_LAYERS):
        return True
    # Rates of dropout layers, and of attention and recurrent layers.
    rates = getattr(part, "p", 0), getattr(part, "dropout", 0)
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


class _EndOfTraining(Exception):  # noqa: N818
    """Leaves skorch's loop over epochs."""


def _has_lost_patience(callback):
    return isinstance(callback, EarlyStopping) and callback.misses_ == callback.patience


def _ends_training(callback):
    return getattr(callback, "ends_training_", False) or _has_lost_patience(callback)


class BorderMixin(NeuralNet):
    """Mixin of nets whose losses tolerate shifts as the score does, unless told otherwise."""

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        kind = self.criterion
        if prefix != "criterion" or not isinstance(kind, type):
            return params
        takes_border = "border" in inspect.signature(kind).parameters
        return {"border": _BORDER, **params} if takes_border else params

    @property
    def _border(self):
        """HR pixels of shift that losses tolerate."""
        return getattr(self.criterion_, "border", _BORDER)


class _TruthLoss(SceneLoss):
    """A loss of torch, or another function of prediction and truth, on their common channels."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, prediction, truth):
        # Losses of torch broadcast: they would compare the image with the status map too.
        n_channels = min(prediction.shape[1], truth.shape[1])
        return self.function(prediction[:, :n_channels], truth[:, :n_channels])
