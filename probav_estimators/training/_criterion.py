"""Losses of nets."""

from __future__ import annotations

import copy
import inspect
from typing import Any, ClassVar, Self

import torch
from skorch import NeuralNet
from skorch.utils import to_tensor

from ..losses import SceneLoss

__all__ = ["BorderMixin", "CriterionMixin"]


class CriterionMixin(NeuralNet):
    """Mixin of nets with a loss of scenes, or one of torch, as `criterion`."""

    #: Whether its reader can leave out frames for a loss to compare with.
    leaves_frames_out = False

    #: Number of the first output channels that the loss compares with truths; None: all.
    n_compared: ClassVar[int | None] = None

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


class BorderMixin(NeuralNet):
    """Mixin of nets with the parameter `border`, which is a parameter of their loss."""

    border: int

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        params = super().get_params_for(prefix)
        kind = self.criterion
        if prefix != "criterion" or not isinstance(kind, type):
            return params
        takes_border = "border" in inspect.signature(kind).parameters
        return {"border": self.border, **params} if takes_border else params


class _TruthLoss(SceneLoss):
    """A loss of torch, or another function of prediction and truth, on their common channels."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, prediction, truth):
        # Losses of torch broadcast: they would compare the image with the status map too.
        n_channels = min(prediction.shape[1], truth.shape[1])
        return self.function(prediction[:, :n_channels], truth[:, :n_channels])
