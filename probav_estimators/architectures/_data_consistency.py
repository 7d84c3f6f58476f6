"""Data-consistency layer: the most probable image, given the learned one and the frames."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_shuffle, pixel_unshuffle

from ..imaging import LEAST_SIGMA
from ..losses import SensorModel, without_edges

__all__ = [
    "REACH",
    "DataConsistency",
    "Evidence",
    "LinearEstimate",
    "Posterior",
    "box_mean",
    "linear_estimate",
]

#: LR pixels beyond which a pixel of a frame changes the image by less than 2e-6 of its contrast.
REACH = 16

# Steps of the iteration, and the least eigenvalue that it resolves; the greatest is 1.
_N_STEPS, _LEAST_EIGENVALUE = 6, 0.05
# Steps where no image is known to begin with.
_N_STEPS_OF_PARTS = 12

# Side in LR pixels of the squares in which frames are compared with the image.
_RESIDUAL_SIZE = 7

# Search for the PSF: mean and standard deviation of its prior, greatest value, steps, difference
# for derivatives, all in squared LR pixels; pixels that count as one independent sample.
_PRIOR, _PRIOR_STD, _GREATEST, _N_SEARCHES, _APART = 0.05, 0.1, 0.6, 3, 0.01
_PIXELS_PER_SAMPLE = 20

# Prediction blurs by slightly more than the variance that fits best: the learned image has errors,
# and their regression lowers the estimate. In squared HR pixels.
_REGRESSION = 0.018

# Standard deviations in LR pixels of the Gaussians between bands of the linear estimate.
_SIGMAS = (0.5, 1.0, 2.0)

# Noise variance of these bands of the mean of frames, times the number of frames: of white noise of
# unit variance, back-projected from frames at random positions.
_BAND_NOISE = (0.050, 0.040, 0.023)

# Ratio of the noise of one frame to the variance of the image's texture at which the linear
# estimate has half the weight, and steepness.
_NOISY, _STEEPNESS = 10.0, 3.0

# Sides of the squares over which posterior variances are averaged, in LR pixels.
_CELL = 4

# Side of the squares in which texture is measured, in LR pixels; twice in turn.
_TEXTURE_SIZE = 15


class Evidence(NamedTuple):
    """Frames as evidence for an image.

    Attributes
    ----------
    frames, weights : float tensors of shape (n, t, h, w)
        Corrected frames and their robust weights.
    fractions : float tensor of shape (n, t, 2)
        Sub-pixel parts of their shifts, in LR pixels.
    psf : float tensor of shape (n, t, 2)
        Standard deviations of the frames' PSFs along each axis in LR pixels; 0: no frame.
    """

    frames: torch.Tensor
    weights: torch.Tensor
    fractions: torch.Tensor
    psf: torch.Tensor


class DataConsistency(nn.Module):
    """Moves an image to the posterior mean of a Gaussian prior around it, given its frames.

    With the learned image z, its standard deviation tau, the forward model A, frames y, weights w
    and the variance sigma**2 of their residuals, it approximates the image x that minimises
    ``sum(w * (y - A x)**2 / sigma**2) + sum((x - z)**2 / tau**2)``, as in deep unfolding [1]_ [2]_.
    sigma**2 is local, and some times the mean square residual, because errors of the model are
    shared by neighbours. The Chebyshev iteration has fixed coefficients: the row sums of the matrix
    are its preconditioner, which bounds the spectrum by 1. So no step depends on more than a
    neighbourhood, and the result does not depend on tiles.

    Parameters
    ----------
    sensor : SensorModel

    References
    ----------
    .. [1] H. K. Aggarwal, M. P. Mani, M. Jacob, "MoDL: Model-based deep learning architecture for
       inverse problems", IEEE Transactions on Medical Imaging 38(2), 2019.
    .. [2] K. Zhang, L. Van Gool, R. Timofte, "Deep unfolding network for image super-resolution",
       IEEE/CVF Conference on Computer Vision and Pattern Recognition, 2020.
    """

    #: Factor on the mean square residual.
    residual_factor: torch.Tensor
    #: Coefficients of the sensor's PSF variance as a polynomial of that relative to the image: of
    #: the square, linear, constant.
    psf_curve: torch.Tensor

    #: Values of the buffers for layers that were not calibrated.
    defaults: ClassVar[dict[str, Any]] = {"residual_factor": 4.0, "psf_curve": [0.0, 1.05, 0.05]}

    def __init__(self, sensor: SensorModel) -> None:
        super().__init__()
        self.sensor = sensor
        for name, value in self.defaults.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    @property
    def least(self) -> float:
        """Least variance: a pixel of a frame has the size of a pixel of the image."""
        return -(1 - 1 / self.sensor.scale**2) / 12

    def kernels(self, evidence: Evidence, variance: torch.Tensor) -> torch.Tensor:
        """Kernels of the frames, blurred relative to the image by `variance` (n,)."""
        known = evidence.psf[..., :1] > 0
        squares = evidence.psf.square()
        mean = (squares * known).sum(dim=(1, 2)) / (2 * known.sum(dim=(1, 2))).clamp_min(1)
        # The square pixel is smaller where the image is blurrier than the frames.
        lacking = (LEAST_SIGMA**2 - variance).clamp_min(0)
        sigma = squares + (variance + lacking - mean)[:, None, None]
        sigma = sigma.clamp_min(LEAST_SIGMA**2).sqrt()
        pixel = (1 - 12 * lacking).clamp_min(1 / self.sensor.scale**2).sqrt()
        return self.sensor.kernels(
            evidence.fractions, sigma=sigma, pixel=pixel[:, None, None, None]
        )

    @torch.no_grad()
    def match_variance(self, image: torch.Tensor, evidence: Evidence) -> torch.Tensor:
        """Estimate the PSF variance of the frames relative to an image: the one that fits best.

        Parameters
        ----------
        image : float tensor of shape (n, scale ** 2, h, w)
        evidence : Evidence

        Returns
        -------
        float tensor of shape (n,)
            In squared LR pixels; negative where the image is blurrier than the frames.
        """
        variance = torch.full_like(image[:, 0, 0, 0], _PRIOR)
        rows, columns = (slice(n // 4, n - n // 4) for n in image.shape[-2:])
        inner = image[..., rows, columns]
        inner_evidence = evidence._replace(
            frames=evidence.frames[..., rows, columns], weights=evidence.weights[..., rows, columns]
        )
        # The last step decides: those before it need no more than the inner part.
        for _ in range(_N_SEARCHES - 1):
            variance = self._improve_variance(variance, inner, inner_evidence)
        return self._improve_variance(variance, image, evidence)

    def _improve_variance(self, variance, image, evidence):
        """One step of the Gauss-Newton method towards the variance that fits best."""
        weights = without_edges(evidence.weights)
        count = weights.sum(dim=(1, 2, 3)).clamp_min(1)
        below, above = (
            (variance + step).clamp(self.least, _GREATEST) for step in (-_APART, _APART)
        )
        sharp, blurred = (
            self.sensor.degrade(image, self.kernels(evidence, one)) for one in (below, above)
        )
        change = blurred - sharp
        residual = evidence.frames - torch.add(sharp, change, alpha=0.5)
        apart, middle = above - below, 0.5 * (below + above)
        fit = _inner_product(weights * change, residual) / apart
        information = _inner_product(weights * change, change) / apart**2
        noise = _inner_product(weights * residual, residual)
        # The prior decides where frames have no texture.
        prior = _PIXELS_PER_SAMPLE * (noise / count + 1e-9) / _PRIOR_STD**2
        step = (fit + prior * (_PRIOR - middle)) / (information + prior)
        return (middle + step).clamp(self.least, _GREATEST)

    def told_variance(self, sensor_variance: torch.Tensor) -> torch.Tensor:
        """PSF variance relative to the image, of a sensor whose variance is known."""
        square, linear, constant = self.psf_curve.unbind()
        rest = sensor_variance - constant
        root = (linear.square() + 4 * square * rest).clamp_min(0).sqrt()
        return (2 * rest / (linear + root)).clamp(self.least, _GREATEST)

    def sensor_variance(self, variance: torch.Tensor) -> torch.Tensor:
        """PSF variance of a sensor, from that relative to the image; not negative."""
        square, linear, constant = self.psf_curve.unbind()
        return (square * variance**2 + linear * variance + constant).clamp_min(0)

    def posterior(
        self,
        image: torch.Tensor,
        deviation: torch.Tensor,
        evidence: Evidence,
        variance: torch.Tensor,
    ) -> Posterior:
        """Posterior of the image given the frames.

        Parameters
        ----------
        image, deviation : float tensors of shape (n, scale ** 2, h, w)
            Mean and standard deviation of the prior.
        evidence : Evidence
        variance : float tensor of shape (n,)
            Of the PSF relative to the image, in squared LR pixels.

        Returns
        -------
        Posterior
        """
        lowered = _REGRESSION / self.sensor.scale**2
        kernels = self.kernels(evidence, variance + lowered)
        return Posterior(self.sensor, evidence, kernels, image, deviation, self.residual_factor)


class Posterior:
    """Posterior of an image given its frames, see :meth:`DataConsistency.posterior`."""

    def __init__(
        self,
        sensor: SensorModel,
        evidence: Evidence,
        kernels: torch.Tensor,
        image: torch.Tensor,
        deviation: torch.Tensor,
        residual_factor: torch.Tensor,
    ) -> None:
        self.sensor, self.kernels = sensor, kernels
        self.frames = evidence.frames
        #: Mean and standard deviation of the prior (n, scale ** 2, h, w).
        self.prior_image, self.prior_deviation = image, deviation
        self.weights = without_edges(evidence.weights)
        self._residual = self.frames - sensor.degrade(image, kernels)
        mean_square = self._mean_square(self._residual)
        self._precision = self.weights / (residual_factor * mean_square)
        self._prior_precision = deviation.square().reciprocal()
        # The sum of each row of the posterior precision: kernels have a sum of 1.
        self._row_sum = self._prior_precision + sensor.back_project(self._precision, kernels)

    @cached_property
    def mean(self) -> torch.Tensor:
        """Posterior mean (n, scale ** 2, h, w)."""
        return self.prior_image + self._solve(self._residual, _N_STEPS)

    @cached_property
    def noise(self) -> torch.Tensor:
        """Local mean square residual of the frames against the posterior mean, (n, 1, h, w)."""
        return self._mean_square(self.frames - self.sensor.degrade(self.mean, self.kernels))

    @cached_property
    def deviation(self) -> torch.Tensor:
        """Standard deviation of the posterior (n, scale ** 2, h, w)."""
        return self.prior_deviation * (1 - self.measured_share).sqrt()

    @cached_property
    def measured_share(self) -> torch.Tensor:
        """Share of the prior's variance that the frames take away, (n, 1, h, w), in [0, 1].

        The posterior precision is taken as constant over squares of four LR pixels, and its inverse
        is averaged over four frequencies of the LR grid.
        """
        n_pixels = self.prior_image.shape[1]
        size = self.prior_image.shape[-2:]
        prior = self.prior_deviation.square().mean(dim=1, keepdim=True)
        ratio = self.weights * prior / self.noise
        ratio = avg_pool2d(ratio, _CELL, ceil_mode=True, count_include_pad=False)
        # Signs of the waves of 0 and of half a cycle an LR pixel, at the taps of the kernels.
        taps = torch.arange(self.kernels.shape[-1], device=ratio.device)
        waves = torch.stack([torch.ones_like(taps), 1 - 2 * (taps % 2)]).to(ratio.dtype)
        spectra = torch.einsum("ntiab,fa,gb->ntfgi", self.kernels, waves, waves).flatten(2, 3)
        squares = spectra[..., :, None] * spectra[..., None, :]
        matrix = torch.einsum("ntfij,nthw->ijnfhw", squares, ratio)
        unit = torch.eye(n_pixels, dtype=ratio.dtype, device=ratio.device)
        matrix = matrix + unit[:, :, None, None, None, None]
        left = _diagonal_of_inverse(matrix).mean(dim=(0, 2))[:, None]
        left = interpolate(left, scale_factor=_CELL, mode="bilinear")
        return (1 - left[..., : size[0], : size[1]]).clamp(0, 1)

    def measured_detail(self, base: torch.Tensor) -> torch.Tensor:
        """Part of the posterior mean's difference from `base` that the frames determine."""
        return self._solve(self.frames - self.sensor.degrade(base, self.kernels), _N_STEPS_OF_PARTS)

    def _mean_square(self, residual):
        square = (self.weights * residual.square()).sum(dim=1, keepdim=True)
        count = box_mean(self.weights.sum(dim=1, keepdim=True), _RESIDUAL_SIZE)
        return (box_mean(square, _RESIDUAL_SIZE) + 1e-7) / (count + 1e-3)

    def _solve(self, residual, n_steps):
        """Change of the image by the residual of its frames: Chebyshev iteration [1]_.

        .. [1] Y. Saad, "Iterative methods for sparse linear systems", SIAM, 2003, algorithm 12.1.
        """
        middle, half = (1 + _LEAST_EIGENVALUE) / 2, (1 - _LEAST_EIGENVALUE) / 2
        ratio = half / middle
        rest = self.sensor.back_project(self._precision * residual, self.kernels)
        step = rest / (middle * self._row_sum)
        change = step
        for _ in range(n_steps - 1):
            seen = self._precision * self.sensor.degrade(step, self.kernels)
            rest = rest - self._prior_precision * step
            rest = rest - self.sensor.back_project(seen, self.kernels)
            following = 1 / (2 * middle / half - ratio)
            step = following * ratio * step + 2 * following / half * rest / self._row_sum
            ratio = following
            change = change + step
        return change


def _diagonal_of_inverse(matrix):
    """Diagonals (m, ...) of the inverses of positive definite matrices (m, m, ...).

    By Gauss-Jordan elimination without a second matrix: each column of the unit matrix is written
    over the one that it replaces. ONNX has no operator for inverses.
    """
    unit = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    unit = unit.view(*unit.shape, *[1] * (matrix.ndim - 2))
    for k in range(len(matrix)):
        pivot, column = matrix[k, k], matrix[:, k] - unit[k]
        replaced = torch.where(unit[k, None] > 0, unit[k][:, None], matrix)
        matrix = torch.addcmul(replaced, column[:, None], replaced[k, None] / pivot, value=-1)
    return torch.stack([matrix[k, k] for k in range(len(matrix))])


def _inner_product(a, b):
    """Sums (n,) of the products of two stacks (n, t, h, w)."""
    return (a.flatten(1)[:, None] @ b.flatten(1)[..., None])[:, 0, 0]


class LinearEstimate(NamedTuple):
    """Mean of the registered frames, smoothed as far as its noise requires.

    Attributes
    ----------
    image : float tensor of shape (n, scale ** 2, h, w)
    variance : float tensor of shape (n, 1, h, w)
        Of its error.
    share : float tensor of shape (n, 1, h, w)
        Weight that it should have beside the learned image, in [0, 1].
    """

    image: torch.Tensor
    variance: torch.Tensor
    share: torch.Tensor

    def beside(
        self, image: torch.Tensor, deviation: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted mean with another image, and its standard deviation."""
        variance = deviation.square().lerp(self.variance, self.share)
        return image.lerp(self.image, self.share), variance.sqrt()

    def crop(self, window: tuple[slice, slice] | None) -> LinearEstimate:
        """Crop all maps to a window; None: all."""
        if window is None:
            return self
        return LinearEstimate(*(x[..., window[0], window[1]] for x in self))


def linear_estimate(
    mean: torch.Tensor, weights: torch.Tensor, noise: torch.Tensor, scale: int
) -> LinearEstimate:
    """Linear estimate of an image from the mean of its frames, for frames of much noise.

    Local Wiener filters of band-passed images: each band is multiplied by the share of its variance
    that is not noise.

    Parameters
    ----------
    mean : float tensor of shape (n, scale ** 2, h, w)
        Back-projected mean of the registered frames.
    weights : float tensor of shape (n, t, h, w)
    noise : float tensor of shape (n, 1, h, w)
        Variance of the noise of one frame.
    scale : int

    Returns
    -------
    LinearEstimate
    """
    count = box_mean(weights.sum(dim=1, keepdim=True), 3).clamp_min(0.3)
    noise = _smooth(noise)
    rest = pixel_shuffle(mean, scale)
    image, texture, error = (torch.zeros((), device=mean.device) for _ in range(3))
    for sigma, share in zip(_SIGMAS, _BAND_NOISE, strict=True):
        smooth = _blur(rest, sigma * scale)
        band, rest = rest - smooth, smooth
        total = _smooth(avg_pool2d(band.square(), scale))
        noise_of_band = share * noise / count
        true = (total - noise_of_band).clamp_min(0)
        gain = interpolate(true / (total + 1e-9), scale_factor=scale)
        image = image + gain * band
        texture, error = texture + true, error + torch.minimum(noise_of_band, total)
    ratio = (noise / (_NOISY * (texture + 1e-6))) ** _STEEPNESS
    return LinearEstimate(
        pixel_unshuffle(image + rest, scale), error + 0.02 * texture, 1 - 1 / (1 + ratio)
    )


def _smooth(images):
    """Mean over squares, twice."""
    return box_mean(box_mean(images, _TEXTURE_SIZE), _TEXTURE_SIZE)


def _blur(image, sigma):
    """Gaussian filter of images (n, 1, H, W)."""
    reach = math.ceil(3 * sigma)
    kernel = [math.exp(-0.5 * (place / sigma) ** 2) for place in range(reach + 1)]
    middle, *sides = (weight / (2 * sum(kernel) - kernel[0]) for weight in kernel)
    padded = pad(image, (reach,) * 4, mode="replicate")
    # Faster than a convolution of one channel.
    for axis in (-1, -2):
        length = image.shape[axis]
        total = middle * padded.narrow(axis, reach, length)
        for place, weight in enumerate(sides, 1):
            both = padded.narrow(axis, reach - place, length)
            both = both + padded.narrow(axis, reach + place, length)
            total = torch.add(total, both, alpha=weight)
        padded = total
    return padded


def box_mean(images: torch.Tensor, size: int) -> torch.Tensor:
    """Mean over squares of `size` pixels, an odd number, clipped to the image.

    Several times faster than `torch.nn.functional.avg_pool2d` on CPUs.
    """
    count = torch.ones_like(images[(0,) * (images.ndim - 2)])
    return _box_sum(images, size) * _box_sum(count, size).reciprocal()


def _box_sum(images, size):
    """Sum over squares, along rows and columns in turn, of parts whose lengths are powers of 2."""
    for axis in (-2, -1):
        length = images.shape[axis]
        reach = size // 2
        part = pad(images, (0, 0, reach, reach) if axis == -2 else (reach, reach))
        total, start, width = part.narrow(axis, 0, length), 1, 2
        while width <= size:
            rest = part.shape[axis] - width // 2
            part = part.narrow(axis, 0, rest) + part.narrow(axis, width // 2, rest)
            if size & width:
                total = total + part.narrow(axis, start, length)
                start += width
            width *= 2
        images = total
    return images
