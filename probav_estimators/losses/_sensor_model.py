"""Forward model of the sensor on torch tensors, and its adjoint."""

import math

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, fold, pad, unfold

from ..cpu_inference import can_compute
from ..imaging import LEAST_SIGMA, cumulative_response
from ._sensor_products import back_project_rows, degrade_rows

__all__ = ["GREATEST_SIGMA", "SensorModel", "without_edges"]

#: Standard deviation in LR pixels of the widest point spread function that the kernels can hold.
GREATEST_SIGMA = 1.0

# Radius of the kernels in LR pixels, for shifts of up to half a pixel.
_REACH = 2


class SensorModel(nn.Module):
    """Linear forward model from an image to its frames, exact in the sub-pixel shifts.

    Images are tensors of ``scale ** 2`` channels of LR size, in the order of
    `torch.nn.functional.pixel_unshuffle`.

    Parameters
    ----------
    scale : int
        HR pixels for each LR pixel.
    """

    #: Radius of the kernels in LR pixels.
    reach = _REACH

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def kernels(
        self,
        fractions: torch.Tensor,
        *,
        sigma: float | torch.Tensor,
        pixel: float | torch.Tensor = 1.0,
    ) -> torch.Tensor:
        """Weights of the HR pixels in each pixel of a frame.

        Parameters
        ----------
        fractions : tensor of shape (n, t, 2)
            Shifts of the frames in LR pixels, at most half a pixel.
        sigma : float or tensor of shape (n, t, 2)
            Standard deviation of the Gaussian point spread function in LR pixels, as a tensor for
            each frame and axis. Values below 0.05 are clipped: frames that fill a batch have 0.
        pixel : float or tensor of shape (n, 1, 1, 1)
            Side of the sensitive area of a pixel, in LR pixels.

        Returns
        -------
        tensor of shape (n, t, scale ** 2, 5, 5)
            The sum over the last three axes is 1, and each is the product of weights along rows and
            along columns.
        """
        n_taps = 2 * _REACH + 1
        numbers = torch.arange(
            n_taps * self.scale + 1, dtype=fractions.dtype, device=fractions.device
        )
        edges = numbers / self.scale
        # Position of the pixel's centre from the first edge; shifts are those of the content.
        middle = _REACH + 0.5 - fractions[..., None]
        if isinstance(sigma, torch.Tensor):
            sigma = sigma.clamp_min(LEAST_SIGMA)[..., None]
        covered = cumulative_response(
            edges - middle, sigma, pixel, cdf=_normal_cdf, exp=torch.exp
        ).diff(dim=-1)
        covered = covered / covered.sum(dim=-1, keepdim=True)
        down, right = covered.unflatten(-1, (n_taps, self.scale)).unbind(dim=2)
        weights = torch.einsum("ntai,ntbj->ntijab", down, right)
        return weights.flatten(2, 3)

    def degrade(self, image: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """Compute the frames of an image: (n, s * s, h, w) to (n, t, h, w)."""
        if can_compute(image):
            return degrade_rows(image, kernels)
        padded = pad(image, (_REACH,) * 4, mode="replicate")
        if padded.is_cuda:
            return _degrade_by_product(padded, kernels)
        n, t = kernels.shape[:2]
        frames = conv2d(padded.flatten(0, 1)[None], kernels.flatten(0, 1), groups=n)
        return frames.unflatten(1, (n, t))[0]

    def back_project(self, frames: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """Apply the adjoint of `degrade` without its padding: (n, t, h, w) to (n, s * s, h, w)."""
        if can_compute(frames):
            return back_project_rows(frames, kernels)
        if frames.is_cuda:
            return _back_project_by_product(frames, kernels)
        n = len(kernels)
        image = conv_transpose2d(
            frames.flatten(0, 1)[None], kernels.flatten(0, 1), padding=_REACH, groups=n
        )
        return image.unflatten(1, (n, -1))[0]


def without_edges(weights: torch.Tensor) -> torch.Tensor:
    """Weights (n, t, h, w) with 0 at the edges, where frames depend on the padding of the image."""
    inside = torch.zeros_like(weights[:1, :1])
    inside[..., _REACH:-_REACH, _REACH:-_REACH] = 1
    return weights * inside


# On CUDA, products of matrices are faster than convolutions with a kernel for each sample, and
# computed in full float32.


def _degrade_by_product(padded, kernels):
    n_taps = kernels.shape[-1]
    height, width = (length - n_taps + 1 for length in padded.shape[-2:])
    frames = kernels.flatten(2) @ unfold(padded, n_taps)
    return frames.unflatten(2, (height, width))


def _back_project_by_product(frames, kernels):
    n_taps = kernels.shape[-1]
    size = [length + n_taps - 1 for length in frames.shape[-2:]]
    image = fold(kernels.flatten(2).mT @ frames.flatten(2), size, n_taps)
    return image[..., _REACH:-_REACH, _REACH:-_REACH]


def _normal_cdf(z):
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))
