"""Base of the training losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sklearn.utils._param_validation import validate_parameter_constraints
from torch import nn
from torch.nn.functional import binary_cross_entropy

if TYPE_CHECKING:
    import torch

    from ..scenes import Scene

__all__ = ["SceneLoss", "check_parameters"]


class SceneLoss(nn.Module):
    """Base of losses of the image and, if the net predicts one, of the clearance map.

    A subclass that compares with HR images overrides :meth:`image_loss`, another one `needs_truth`,
    `left_out`, :meth:`prepare` and :meth:`compare`.

    Parameters
    ----------
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, if there is one.

    Examples
    --------
    >>> from probav_estimators import SceneLoss
    >>> class MeanAbsoluteError(SceneLoss):
    ...     def image_loss(self, sr, hr, clear):
    ...         return (clear * (sr - hr).abs()).sum() / clear.sum().clamp_min(1)
    """

    #: Whether it compares with HR images; otherwise scenes need none.
    needs_truth = True

    #: Fraction of the frames of each sample that it compares with and the net does not fuse.
    left_out = 0.0

    def __init__(self, clearance_weight: float = 0.5) -> None:
        super().__init__()
        self.clearance_weight = clearance_weight

    def prepare(self, scenes: Sequence[Scene]) -> None:
        """Learn from all scenes of `fit` before the training."""

    def compare(
        self,
        prediction: torch.Tensor,
        target: dict[str, torch.Tensor],
        sample: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Compute the loss of a batch, in a training.

        Parameters
        ----------
        prediction : float tensor of shape (n, 1 or 2, H, W)
            Image in [0, 1] and, in the second channel, the probability that a pixel is clear.
        target : dict of tensors
            If the loss `needs_truth`: "truth" (n, 2, H, W), HR image and status map, and "in_place"
            (n,), whether frames were registered to the truth.
        sample : dict of tensors
            Inputs of the net and, if the loss has frames `left_out`, their positions.

        Returns
        -------
        scalar tensor
        """
        return self(prediction, target["truth"])

    def forward(
        self, prediction: torch.Tensor, truth: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """Compute the loss of a batch with HR images.

        Parameters
        ----------
        prediction : float tensor of shape (n, 1 or 2, H, W)
            Image in [0, 1] and, in the second channel, the probability that a pixel is clear.
        truth : float tensor of shape (n, 2, H, W)
            HR image in [0, 1] and status map (1.0 = clear).
        **options
            Passed to :meth:`image_loss`.

        Returns
        -------
        scalar tensor
        """
        clear = truth[:, 1]
        loss = self.image_loss(prediction[:, 0], truth[:, 0], clear, **options)
        if prediction.shape[1] > 1:
            loss = loss + self.clearance_weight * binary_cross_entropy(prediction[:, 1], clear)
        return loss

    def image_loss(self, sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
        """Compute the loss of images.

        Parameters
        ----------
        sr, hr, clear : float tensors of shape (n, H, W)
            Image, truth, and 1.0 where the truth is clear.

        Returns
        -------
        scalar tensor
        """
        raise NotImplementedError(f"{type(self).__name__} must override image_loss or compare")


def check_parameters(loss: SceneLoss, **constraints: list[Any]) -> None:
    """Raise a ValueError that names the attribute of a loss that is not valid, and its value."""
    values = {name: getattr(loss, name) for name in constraints}
    validate_parameter_constraints(constraints, values, type(loss).__name__)
