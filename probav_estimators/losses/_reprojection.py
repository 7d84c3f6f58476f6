"""Reprojection loss: training without HR images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import torch
from sklearn.utils._param_validation import Interval
from torch.nn.functional import pixel_unshuffle

from ..scenes import estimate_psf_sigma
from ._scores import SceneLoss, check_parameters
from ._sensor_model import GREATEST_SIGMA, SensorModel, without_edges

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ReprojectionLoss"]

# Narrowest point spread function in LR pixels; for a sharper one the pixel is smaller.
_MIN_SIGMA = 0.1

# Residuals above this many medians count linearly: clouds, change.
_HUBER_SCALE = 3.0


class ReprojectionLoss(SceneLoss):
    """Difference between the degraded image and frames that were left out of the fusion.

    For fine-tuning FusionNet on scenes without HR images: ``FusionNet.from_pretrained(...,
    criterion=ReprojectionLoss()).fit(scenes)``. A quarter of the frames of each sample is left
    out of the fusion and compared with the image, blurred and sampled like them. The noise of a
    frame that was left out is independent of the image, so that the best image has the least loss.

    Parameters
    ----------
    psf_sigma : float, default=None
        Standard deviation of the sensor's Gaussian point spread function, in LR pixels, besides
        the square pixel itself, at most 1. None: `fit` estimates it from the frames.
    placement_error : float, default=0.29
        Standard deviation of the shift between image and truth along each axis, in HR pixels. No
        frame is registered to the truth, so that their shift is unknown within a pixel, and the
        image of least error is slightly smoother. The default is that of the challenge, whose score
        tolerates shifts by whole pixels; 0: the image at the mean position of the frames.
    image_sigma : float, default=0.5
        Standard deviation of the Gaussian point spread function of the image, in HR pixels, besides
        the square HR pixel itself: that of an HR camera. Without it the image would be sharper than
        that of any camera. None: the image is the scene without blur.

    Attributes
    ----------
    psf_sigma_ : float
        Standard deviation of the point spread function, in LR pixels, given or estimated.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    probav_estimators.scenes.estimate_psf_sigma : Estimate of the point spread function.

    Notes
    -----
    The kernels of the sensor model reach two LR pixels: an estimate above 1 LR pixel is clipped to
    1.

    References
    ----------
    .. [1] N. L. Nguyen, J. Anger, A. Davy, P. Arias, G. Facciolo, "Self-supervised multi-image
       super-resolution for push-frame satellite images", IEEE/CVF Conference on Computer Vision
       and Pattern Recognition Workshops, 2021.
    """

    needs_truth = False
    left_out = 0.25

    def __init__(
        self,
        psf_sigma: float | None = None,
        placement_error: float = 0.29,
        image_sigma: float | None = 0.5,
    ) -> None:
        super().__init__()
        self.psf_sigma = psf_sigma
        self.placement_error = placement_error
        self.image_sigma = image_sigma
        check_parameters(
            self,
            psf_sigma=[Interval(Real, 0, GREATEST_SIGMA, closed="both"), None],
            placement_error=[Interval(Real, 0, None, closed="left")],
            image_sigma=[Interval(Real, 0, None, closed="left"), None],
        )

    def prepare(self, scenes: Sequence[Scene]) -> None:
        """Estimate the point spread function, unless it is given.

        Parameters
        ----------
        scenes : list of Scene

        Raises
        ------
        ValueError
            If it is not given and no scene has three clear frames that can be registered.
        """
        given = self.psf_sigma
        self.psf_sigma_ = estimate_psf_sigma(scenes) if given is None else given

    def compare(
        self,
        prediction: torch.Tensor,
        target: dict[str, torch.Tensor],
        sample: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        return self(prediction, sample)

    def forward(self, prediction: torch.Tensor, sample: dict[str, torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        """Compute the loss of a batch, after :meth:`prepare` if `psf_sigma` is None.

        Parameters
        ----------
        prediction : float tensor of shape (n, 1, H, W)
            Images in pixel values.
        sample : dict of tensors
            Of an :class:`~probav_estimators.training.AlignedReader`, with "left_out".

        Returns
        -------
        scalar tensor
        """
        frames = sample["frames"]
        scale = prediction.shape[-1] // frames.shape[-1]
        level, std = (sample[key][:, :, None, None] for key in ("level", "std"))
        image = pixel_unshuffle((prediction[:, :1] - level) / std, scale)
        sensor = SensorModel(scale)
        sigma = self.psf_sigma_ if self.psf_sigma is None else self.psf_sigma
        response = self._response(sigma, scale)
        weight = sample["weights"] * sample["left_out"][..., None, None]
        weight = without_edges(weight)
        losses = []
        for offset in self._offsets(scale):
            fractions = sample["fractions"] + offset.to(frames.device)
            residual = sensor.degrade(image, sensor.kernels(fractions, **response)) - frames
            losses.append(_robust_mean(residual, weight))
        return sum(losses) / len(losses)

    def _response(self, sigma, scale):
        """Blur of a frame relative to the image, which is blurred itself; variances add up.

        The blur of the image is that of its optics and of its square pixels, which the sensor model
        adds once more.
        """
        variance = min(sigma, GREATEST_SIGMA) ** 2
        if self.image_sigma is not None:
            variance -= (self.image_sigma**2 + 2 / 12) / scale**2
        lacking = max(_MIN_SIGMA**2 - variance, 0)
        return {
            "sigma": math.sqrt(variance + lacking),
            "pixel": math.sqrt(max(1 - 12 * lacking, 1 / scale**2)),
        }

    def _offsets(self, scale):
        """Shifts of the image (n, 2) in LR pixels, of mean 0 and the std `placement_error`."""
        if not self.placement_error:
            return torch.zeros(1, 2, dtype=torch.float32)
        signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float32)
        return self.placement_error / scale * signs


def _robust_mean(residual, weight):
    """Mean Huber loss of the residuals (n, t, h, w), without the mean of each frame."""
    count = weight.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    residual = residual - (weight * residual).sum(dim=(2, 3), keepdim=True) / count
    return (weight * _huber(residual, weight)).sum() / weight.sum().clamp_min(1)


def _huber(residual, weight):
    known = residual.detach()[weight > 0].abs()
    limit = _HUBER_SCALE * known.median().clamp_min(1e-6) if len(known) else residual.new_ones(())
    size = residual.abs()
    return torch.where(size < limit, 0.5 * size.square() / limit, size - 0.5 * limit)
