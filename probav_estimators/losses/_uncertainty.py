"""Likelihood of the standard deviations that a net predicts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._shifts import align_best

if TYPE_CHECKING:
    import torch

__all__ = ["laplacian_loss", "uncertainty_loss"]

# Squared error, in units of the variance, that counts at most.
_MAX_MISFIT = 50


def uncertainty_loss(prediction: torch.Tensor, truth: torch.Tensor, border: int) -> torch.Tensor:
    """How badly standard deviations fit the errors: their mean Gaussian log-likelihood, negated.

    Errors are those that the score knows: at the best shift, without their mean over the clear
    pixels of an image. No gradient flows into the images.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations, in pixel values; deviations are greater than 0.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Greatest shift that is forgiven, in HR pixels.

    Returns
    -------
    scalar tensor
        Mean of ``log(deviation) + error ** 2 / (2 * deviation ** 2)`` over the clear pixels of the
        batch, without the constant of the normal distribution; 0 if there are none.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.

    Notes
    -----
    A squared error counts as at most 50 times the variance: beyond that it is a cloud which the
    status map missed, or change.

    References
    ----------
    .. [1] D. A. Nix, A. S. Weigend, "Estimating the mean and variance of the target probability
       distribution", IEEE International Conference on Neural Networks, 1994.
    """
    error, deviation, clear = _aligned_errors(prediction, truth, border)
    # A cloud that the status map missed must not outweigh everything else.
    misfit = (error / deviation).square().clamp(max=_MAX_MISFIT)
    return (clear * (deviation.log() + 0.5 * misfit)).sum() / clear.sum().clamp_min(1)


def laplacian_loss(prediction: torch.Tensor, truth: torch.Tensor, border: int) -> torch.Tensor:
    """How badly standard deviations fit the errors: their mean Laplacian log-likelihood, negated.

    Errors are those of :func:`uncertainty_loss`. No gradient flows into the images.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations, in pixel values; deviations are greater than 0.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Greatest shift that is forgiven, in HR pixels.

    Returns
    -------
    scalar tensor
        Mean of ``log(deviation) + sqrt(2) * abs(error) / deviation`` over the clear pixels of the
        batch, without the constant of the Laplace distribution; 0 if there are none.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.

    References
    ----------
    .. [1] D. Valsesia, E. Magli, "Permutation invariance and uncertainty in multitemporal image
       super-resolution", IEEE Transactions on Geoscience and Remote Sensing 60, 2022.
    """
    error, deviation, clear = _aligned_errors(prediction, truth, border)
    misfit = math.sqrt(2) * error.abs() / deviation
    return (clear * (deviation.log() + misfit)).sum() / clear.sum().clamp_min(1)


def _aligned_errors(prediction, truth, border):
    """Errors at the best shift without their mean, standard deviations, and what is clear."""
    sr, hr, clear = align_best(prediction[:, 0].detach(), truth[:, 0], truth[:, 1], border)
    height, width = sr.shape[1:]
    deviation = prediction[:, 1, border : border + height, border : border + width]
    count = clear.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    error = hr - sr
    return error - (clear * error).sum(dim=(1, 2), keepdim=True) / count, deviation, clear
