"""Likelihood of standard deviations."""

from ._shifts import align_best

__all__ = ["uncertainty_loss"]

# Squared error in standard deviations that counts at most.
_MAX_MISFIT = 50


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
    misfit = (error / deviation).square().clamp(max=_MAX_MISFIT)
    return (clear * (deviation.log() + 0.5 * misfit)).sum() / clear.sum().clamp_min(1)
