"""Losses that compare an image with the truth."""

from ._base import SceneLoss
from ._shifts import align_best, batch_cpsnr

__all__ = ["CPSNRLoss", "MSELoss", "MaskedMSELoss"]


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
