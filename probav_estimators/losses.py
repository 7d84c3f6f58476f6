"""Training losses."""

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

from .metrics import bias_corrected_mse, shift_moments

__all__ = ["CPSNRLoss", "MSELoss", "MaskedMSELoss", "SceneLoss"]

# cMSE below which nothing is gained: -100 dB, far under the noise of 16-bit values.
_LEAST_CMSE = 1e-10

# Squared error in standard deviations that counts at most.
_GREATEST_MISFIT = 50


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


class CPSNRLoss(SceneLoss):
    """The challenge score as a loss: norm / cPSNR + clearance_weight * BCE.

    Parameters
    ----------
    norm : float, default=46.5
        Numerator in dB, close to the mean N of the data set.
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, where there is one.
    border : int, default=0
        0: the image is compared in place, as in the published loss. Greater: the image, `border`
        pixels cropped from every side, is compared with every window of its size in the truth, the
        best counts, and the gradient flows through that one alone.

    See Also
    --------
    probav_estimators.cpsnr : The same measure as a function of arrays.

    Notes
    -----
    Samples without a clear pixel count nothing.

    References
    ----------
    .. [1] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.

    Examples
    --------
    >>> import torch
    >>> from probav_estimators import CPSNRLoss
    >>> hr = torch.linspace(0, 0.25, 144).reshape(1, 1, 12, 12)
    >>> truth = torch.cat([hr, torch.ones_like(hr)], dim=1)
    >>> round(CPSNRLoss(norm=22.89, border=3)(hr.flip(2), truth).item(), 3)
    1.0
    """

    def __init__(self, norm=46.5, clearance_weight=0.5, border=0):
        super().__init__(clearance_weight)
        self.norm = norm
        self.border = border

    def image_loss(self, sr, hr, clear):
        if self.border:
            sr, hr, clear = align_best(sr, hr, clear, self.border)
        seen = clear.any(dim=2).any(dim=1)
        return (self.norm / batch_cpsnr(sr[seen], hr[seen], clear[seen])).sum() / len(sr)


class MaskedMSELoss(SceneLoss):
    """Mean squared error of the clear pixels + clearance_weight * BCE.

    Parameters
    ----------
    clearance_weight : float, default=0.5

    Examples
    --------
    >>> import torch
    >>> from probav_estimators import MaskedMSELoss
    >>> truth = torch.tensor([[[[0.5, 0.5]], [[1.0, 0.0]]]])
    >>> MaskedMSELoss()(torch.tensor([[[[0.25, 0.0]]]]), truth).item()
    0.0625
    """

    def image_loss(self, sr, hr, clear):
        return (clear * (sr - hr) ** 2).sum() / clear.sum().clamp_min(1)


class MSELoss(SceneLoss):
    """Mean squared error of all pixels, clear or not, + clearance_weight * BCE.

    Parameters
    ----------
    clearance_weight : float, default=0.5
    """

    def image_loss(self, sr, hr, clear):
        return ((sr - hr) ** 2).mean()


def uncertainty_loss(prediction, truth, border):
    """How badly standard deviations fit the errors: their mean Gaussian log-likelihood, negated.

    Errors are those that the score knows: at the best shift, without their mean over the clear
    pixels of an image. No gradient flows into the images.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Greatest shift that is forgiven, in HR pixels.

    Returns
    -------
    scalar tensor
    """
    sr, hr, clear = align_best(prediction[:, 0].detach(), truth[:, 0], truth[:, 1], border)
    height, width = sr.shape[1:]
    deviation = prediction[:, 1, border : border + height, border : border + width]
    count = clear.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    error = hr - sr
    error = error - (clear * error).sum(dim=(1, 2), keepdim=True) / count
    # A cloud that the status map missed must not outweigh everything else.
    misfit = (error / deviation).square().clamp(max=_GREATEST_MISFIT)
    return (clear * (deviation.log() + 0.5 * misfit)).sum() / clear.sum().clamp_min(1)


def batch_cpsnr(sr, hr, clear):
    """cPSNR in dB of each image of a batch, compared in place; differentiable.

    Parameters
    ----------
    sr, hr, clear : float tensors of shape (n, H, W)
        `clear` is 1.0 where the truth is known, and nowhere all 0.

    Returns
    -------
    tensor of shape (n,)
    """
    count = clear.sum(dim=(1, 2))
    error = hr - sr
    # cMSE does not feel a constant, and float32 keeps its digits for the rest.
    level = (clear * error.detach()).sum(dim=(1, 2), keepdim=True) / count[:, None, None]
    error = clear * (error - level)
    cmse = bias_corrected_mse(count, error.sum(dim=(1, 2)), error.square().sum(dim=(1, 2)))
    return -10 * cmse.clamp_min(_LEAST_CMSE).log10()


def align_best(sr, hr, clear, border):
    """Crop a batch to the shift at which each image has its best cPSNR.

    Parameters
    ----------
    sr, hr, clear : float tensors of shape (n, H, W)
    border : int

    Returns
    -------
    tuple of tensors of shape (n, H - 2 * border, W - 2 * border)
        `sr` and, from the best window, `hr` and `clear`.
    """
    rows, columns = best_shifts(sr.detach(), hr, clear, border)
    height, width = (length - 2 * border for length in sr.shape[1:])

    def windows(stack):
        return torch.stack(
            [
                image[u : u + height, v : v + width]
                for image, u, v in zip(stack, rows, columns, strict=True)
            ]
        )

    return sr[:, border : border + height, border : border + width], windows(hr), windows(clear)


def best_shifts(sr, hr, clear, border):
    """Row and column at which the best window of each image begins: two lists of int."""
    find_moments = _moments_on_device if sr.is_cuda else _moments_on_cpu
    count, total, total_of_squares = find_moments(sr, hr, clear, border)
    cmse = bias_corrected_mse(count, total, total_of_squares)
    # 0 / 0 where no pixel is clear: such a window is never the best one.
    cmse = torch.where(count > 0, cmse, torch.inf).reshape(len(sr), -1)
    best = cmse.argmin(dim=1)
    n_shifts = 2 * border + 1
    return (best // n_shifts).tolist(), (best % n_shifts).tolist()


def _moments_on_cpu(sr, hr, clear, border):
    moments = [
        shift_moments(*images, border)
        for images in zip(sr.float().numpy(), hr.float().numpy(), clear.bool().numpy(), strict=True)
    ]
    return [torch.stack([torch.from_numpy(image[kind]) for image in moments]) for kind in range(3)]


def _moments_on_device(sr, hr, clear, border):
    n_shifts = 2 * border + 1
    height, width = (length - 2 * border for length in sr.shape[1:])
    centre = sr[:, border : border + height, border : border + width]
    level = (hr - sr).mean(dim=(1, 2), keepdim=True)
    moments = []
    for u in range(n_shifts):
        for v in range(n_shifts):
            weight = clear[:, u : u + height, v : v + width]
            error = weight * (hr[:, u : u + height, v : v + width] - centre - level)
            moments.append([x.sum(dim=(1, 2)) for x in (weight, error, error.square())])
    return [torch.stack(kind, dim=1) for kind in zip(*moments, strict=True)]
