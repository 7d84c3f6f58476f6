"""Base of the training losses."""

from abc import ABC, abstractmethod

from torch import nn
from torch.nn.functional import binary_cross_entropy

__all__ = ["SceneLoss"]


class SceneLoss(nn.Module, ABC):
    """Base of losses: a measure of the image and, if the net predicts one, of the clearance map.

    A subclass says what :meth:`image_loss` is.

    Parameters
    ----------
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, where there is one.
    """

    def __init__(self, clearance_weight=0.5):
        super().__init__()
        self.clearance_weight = clearance_weight

    def forward(self, prediction, truth):
        """Loss of a batch.

        Parameters
        ----------
        prediction : float tensor of shape (n, 1 or 2, H, W)
            Image in [0, 1] and, in the second channel, the probability that a pixel is clear.
        truth : float tensor of shape (n, 2, H, W)
            HR image in [0, 1] and status map (1.0 = clear).

        Returns
        -------
        scalar tensor
        """
        clear = truth[:, 1]
        loss = self.image_loss(prediction[:, 0], truth[:, 0], clear)
        if prediction.shape[1] > 1:
            loss = loss + self.clearance_weight * binary_cross_entropy(prediction[:, 1], clear)
        return loss

    @abstractmethod
    def image_loss(self, sr, hr, clear):
        """Loss of the images, each of shape (n, H, W)."""
