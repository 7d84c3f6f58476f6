"""Likelihood of the standard deviations that a net predicts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ._shifts import align_best

if TYPE_CHECKING:
    import torch

__all__ = ["laplacian_loss", "uncertainty_loss"]

# Largest squared error in units of the variance.
_MAX_MISFIT = 50


def uncertainty_loss(prediction: torch.Tensor, truth: torch.Tensor, border: int) -> torch.Tensor:
    """Negative mean Gaussian log-likelihood of the predicted standard deviations.

    Errors are those of the challenge score: at the best shift, without their mean over the clear
    pixels of an image. The loss has no gradient with respect to the images.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations, greater than 0, in pixel values.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Largest shift in HR pixels.

    Returns
    -------
    scalar tensor
        Mean of ``log(std) + error ** 2 / (2 * std ** 2)`` over the clear pixels of the
        batch, without the constant of the normal distribution; 0 if there are none.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.

    Notes
    -----
    Squared errors are clipped at 50 times the variance: larger ones are clouds that the status map
    misses, or change.

    References
    ----------
    .. [1] D. A. Nix, A. S. Weigend, "Estimating the mean and variance of the target probability
       distribution", IEEE International Conference on Neural Networks, 1994.
    """
    error, std, clear = _aligned_errors(prediction, truth, border)
    misfit = (error / std).square().clamp(max=_MAX_MISFIT)
    return (clear * (std.log() + 0.5 * misfit)).sum() / clear.sum().clamp_min(1)


def laplacian_loss(prediction: torch.Tensor, truth: torch.Tensor, border: int) -> torch.Tensor:
    """Negative mean Laplacian log-likelihood of the predicted standard deviations.

    Errors are those of :func:`uncertainty_loss`.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations, greater than 0, in pixel values.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Largest shift in HR pixels.

    Returns
    -------
    scalar tensor
        Mean of ``log(std) + sqrt(2) * abs(error) / std`` over the clear pixels of the
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
    error, std, clear = _aligned_errors(prediction, truth, border)
    misfit = math.sqrt(2) * error.abs() / std
    return (clear * (std.log() + misfit)).sum() / clear.sum().clamp_min(1)


def _aligned_errors(prediction, truth, border):
    """Errors at the best shift without their mean, standard deviations, and clear pixels."""
    sr, hr, clear = align_best(prediction[:, 0].detach(), truth[:, 0], truth[:, 1], border)
    height, width = sr.shape[1:]
    std = prediction[:, 1, border : border + height, border : border + width]
    count = clear.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    error = hr - sr
    return error - (clear * error).sum(dim=(1, 2), keepdim=True) / count, std, clear
