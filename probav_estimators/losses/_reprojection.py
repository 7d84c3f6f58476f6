"""Reprojection loss: training without HR images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

import torch
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from torch.nn.functional import pixel_unshuffle

from ..scenes import estimate_psf_sigma
from ._base import SceneLoss
from ._sensor_model import SensorModel

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["ReprojectionLoss"]

# Narrowest point spread function in LR pixels: what is sharper makes the pixel smaller.
_MIN_SIGMA = 0.1

# Widest one, in LR pixels: the sensor model reaches no further.
_MAX_SIGMA = 1.0

# Residuals beyond this many times the median count linearly: clouds, change.
_HUBER_SCALE = 3.0


class ReprojectionLoss(SceneLoss):
    """Compare the image, as the sensor would see it, with frames that were left out of it.

    For fine-tuning FusionNet on scenes without HR images: ``FusionNet.from_pretrained(...,
    criterion=ReprojectionLoss()).fit(scenes)``. A quarter of the frames of each sample is left
    out of the fusion; the image is blurred and sampled as each of these was, and the difference is
    the loss. The noise of a frame that was left out is independent of the image, so that the least
    loss is that of the best image.

    Parameters
    ----------
    psf_sigma : float, default=None
        Standard deviation of the sensor's Gaussian point spread function, in LR pixels, besides
        the square pixel itself, at most 1. None: `fit` estimates it from the frames.
    placement_error : float, default=0.29
        Standard deviation of the place of the image along each axis, in HR pixels. A truth that no
        frame is registered to lies anywhere within a pixel, and the image of least error is a
        little smoother for it. The default is that of the challenge, whose score forgives whole
        pixels; 0 asks for the image right in the middle of the frames.
    image_sigma : float, default=0.5
        Standard deviation of the Gaussian point spread function of the image that is wanted, in HR
        pixels, besides the square HR pixel itself: that of the camera that would have taken it.
        Without this the image would come out sharper than any camera's. None asks for the ground
        itself.

    Attributes
    ----------
    psf_sigma_ : float
        The point spread function that :meth:`prepare` estimated or was given, in LR pixels.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    probav_estimators.scenes.estimate_psf_sigma : How the point spread function is estimated.

    Notes
    -----
    The sensor model reaches two LR pixels: a point spread function that is estimated as wider than
    1 LR pixel counts as 1.

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
        validate_parameter_constraints(
            {
                "psf_sigma": [Interval(Real, 0, _MAX_SIGMA, closed="both"), None],
                "placement_error": [Interval(Real, 0, None, closed="left")],
                "image_sigma": [Interval(Real, 0, None, closed="left"), None],
            },
            {
                "psf_sigma": psf_sigma,
                "placement_error": placement_error,
                "image_sigma": image_sigma,
            },
            type(self).__name__,
        )
        self.psf_sigma = psf_sigma
        self.placement_error = placement_error
        self.image_sigma = image_sigma

    def prepare(self, scenes: Sequence[Scene]) -> None:
        """Estimate the point spread function, unless it was given.

        Parameters
        ----------
        scenes : list of Scene

        Raises
        ------
        ValueError
            If it was not given and no scene has three clear frames that can be registered.
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
        """Loss of a batch; without a given point spread function, :meth:`prepare` comes first.

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
        # What the repeated edge of the image reaches is not the sensor's doing.
        weight = weight * _inside(weight, sensor.reach)
        losses = []
        for offset in self._offsets(scale):
            fractions = sample["fractions"] + offset.to(frames.device)
            residual = sensor.see(image, sensor.kernels(fractions, **response)) - frames
            losses.append(_robust_mean(residual, weight))
        return sum(losses) / len(losses)

    def _response(self, sigma, scale):
        """What a frame's pixel responds to in the image, which is blurred already.

        The image was seen through its own optics and its own square pixels, and the sensor model
        spreads each of its pixels over its square once more. Variances of blurs add up.
        """
        variance = min(sigma, _MAX_SIGMA) ** 2
        if self.image_sigma is not None:
            variance -= (self.image_sigma**2 + 2 / 12) / scale**2
        lacking = max(_MIN_SIGMA**2 - variance, 0)
        return {
            "sigma": math.sqrt(variance + lacking),
            "pixel": math.sqrt(max(1 - 12 * lacking, 1 / scale**2)),
        }

    def _offsets(self, scale):
        """Places in LR pixels, (n, 2), whose mean is 0 and whose deviation is that of the image."""
        if not self.placement_error:
            return torch.zeros(1, 2)
        signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        return self.placement_error / scale * signs


def _robust_mean(residual, weight):
    """Mean Huber loss of the residuals (n, t, h, w), apart from the mean of each frame."""
    count = weight.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    residual = residual - (weight * residual).sum(dim=(2, 3), keepdim=True) / count
    return (weight * _huber(residual, weight)).sum() / weight.sum().clamp_min(1)


def _inside(like, reach):
    inside = torch.zeros_like(like[:1, :1])
    inside[..., reach:-reach, reach:-reach] = 1
    return inside


def _huber(residual, weight):
    known = residual.detach()[weight > 0].abs()
    limit = _HUBER_SCALE * known.median().clamp_min(1e-6) if len(known) else residual.new_ones(())
    size = residual.abs()
    return torch.where(size < limit, 0.5 * size.square() / limit, size - 0.5 * limit)
