"""Layers of FusionNet: residuals of the frames under the forward model, and learned stages."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_shuffle, pixel_unshuffle

from ..losses import SensorModel
from ._data_consistency import (
    REACH,
    DataConsistency,
    Evidence,
    box_mean,
    linear_estimate,
)
from ._deviation_model import DeviationModel
from ._winograd import Conv3x3

# The weights that ship have as many.
_N_STAGES = 3

# Standard deviation in LR pixels of the kernel that back-projects samples sharply.
_SPLAT_SIGMA = 0.15

# Side in LR pixels of the squares over which drift (haze, slow change) is averaged.
_DRIFT_BLOCK = 8

# Correlated pixels that count as one independent sample.
_PIXELS_PER_SAMPLE = 8

# Side in LR pixels of the squares in which frames are compared with the reference frame, and number
# of passes.
_CHANGE_SIZE = 7
_REFERENCE_PASSES = 3

# Limits of the logarithm of a standard deviation, in standard deviations of the scene: without any
# data the error is about the variation of the scene.
_LOG_STD = (-12.0, 1.0)

# Mean standard deviation of the PSFs in pretraining, in LR pixels.
_MEAN_PSF_SIGMA = 0.33

# Residual, in units of the local scatter, at which a pixel has half its weight.
_TOLERANCE = 2.0


class FusionLayers(nn.Module):
    """Iterative fusion of any number of frames into an image and its uncertainty.

    Each stage degrades the image to every frame by the forward model, back-projects the mean
    residual, and updates the image by learned layers from image, residual and coverage. Frames are
    combined by sums only, so their order and number do not matter. A data-consistency layer makes
    the learned image agree with the frames; where noise drowns the texture, a linear estimate takes
    the place of the learned image.

    Parameters
    ----------
    scale : int
        HR pixels for each LR pixel.
    width : int
        Channels of the learned layers.
    depth : int
        Residual blocks of each stage.
    data_consistency : bool or "every stage", default=True
        Whether the data-consistency layer follows the last stage, or every stage.
    """

    #: Values of buffers that files of older versions lack.
    default_state: ClassVar[dict[str, Any]] = {
        f"{part}.{name}": value
        for part, kind in (("consistency", DataConsistency), ("deviations", DeviationModel))
        for name, value in kind.defaults.items()
    }

    def __init__(
        self,
        scale: int,
        width: int,
        depth: int,
        data_consistency: Literal["every stage"] | bool = True,
    ) -> None:
        super().__init__()
        self.sensor = SensorModel(scale)
        self.data_consistency = data_consistency
        self.consistency = DataConsistency(self.sensor)
        n_pixels = scale**2
        self.stages = nn.ModuleList(
            _Stage(4 * n_pixels + 4, width, depth, n_pixels, first=number == 0)
            for number in range(_N_STAGES)
        )
        self.uncertainty = nn.Conv2d(width, n_pixels, 3, padding=1)
        nn.init.zeros_(self.uncertainty.weight)
        nn.init.constant_(self.uncertainty.bias, -2.0)  # type: ignore[arg-type]
        self.deviations = DeviationModel()
        # Factor on standard deviations, set by FusionNet.calibrate.
        self.register_buffer("calibration", torch.ones(()))

    def forward(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        fractions: torch.Tensor,
        distortion: torch.Tensor,
        level: torch.Tensor,
        std: torch.Tensor,
        psf: torch.Tensor,
        blur: torch.Tensor,
        reference: torch.Tensor | None = None,
        block: torch.Tensor | None = None,
        displacement: torch.Tensor | None = None,
        variance: torch.Tensor | None = None,
        search: torch.Tensor | None = None,
        wanted: Literal["image", "parts", "variance"] = "image",
    ) -> torch.Tensor:
        """Fuse frames.

        Parameters
        ----------
        frames : float tensor of shape (n, t, h, w)
            Of about zero mean and unit variance, registered by whole pixels.
        weights : float tensor of shape (n, t, h, w)
            1 where a frame is clear, else 0.
        fractions : float tensor of shape (n, t, 2)
            Sub-pixel remainders of their shifts, in LR pixels.
        distortion : float tensor of shape (n, t, 2, h, w)
            Additional shift of their content at each pixel.
        level, std : float tensors of shape (n, 1)
            Mean and standard deviation of the scene, in pixel values.
        psf : float tensor of shape (n, t, 2)
            Standard deviations of the frames' PSFs along each axis, in LR pixels.
        blur : float tensor of shape (n, 2)
            Estimate of the mean PSF variance and its standard error; 0: known exactly.
        reference : int tensor of shape (n,), default=None
            Frame that the image shows where the scene changes. None: the mean of all.
        block : int tensor of shape (4,), default=None
            First and last row and column, in LR pixels, of the output; stages compute only its
            receptive field. None: all.
        displacement : float tensor of shape (2,), default=None
            Added to the shifts in the learned stages, which displace images by its opposite, in LR
            pixels.
        variance : float tensor of shape (n,), default=None
            PSF variance of the frames relative to the image, in squared LR pixels. None: that of
            `blur` if it is known, else the one that fits best.
        search : int tensor of shape (4,), default=None
            First and last row and column of the window in which that is searched. None: all.
        wanted : {"image", "parts", "variance"}, default="image"
            What to return.

        Returns
        -------
        float32 tensor of shape (n, 2, scale * h, scale * w)
            Image, and standard deviation of its error, in pixel values; of the block, if given.
            "parts": five channels, also the share of the prior's variance that the frames took
            away, and the image's difference from bicubic upscaling, in pixel values: the part that
            the frames determine, and the rest. "variance": the PSF variance (n,) instead.
        """
        (*windows, last), inside, corner = self._windows(block, frames.shape[-2:])
        with torch.autocast(frames.device.type, enabled=False):
            aligned = _AlignedFrames(
                self.sensor,
                frames,
                weights,
                fractions,
                distortion,
                psf,
                blur,
                reference,
                displacement,
            )
        image, hidden = aligned.initial_image, None
        for stage, window in zip(self.stages, windows, strict=True):
            aligned.crop(window)
            image, hidden = _crop(image, window), _crop(hidden, window)
            with torch.autocast(frames.device.type, enabled=False):
                inputs = aligned.features(image)
            change, hidden = stage(inputs, hidden)
            image = image + change
            if self.data_consistency == "every stage" and stage is not self.stages[-1]:
                with torch.autocast(frames.device.type, enabled=False):
                    now = self._match(image, aligned, blur) if variance is None else variance
                    image = self._agree(image, hidden, aligned, now).mean
        aligned.crop(last)
        image, hidden = _crop(image, last), _crop(hidden, last)
        search = None if search is None else _relative_window(search, corner)
        with torch.autocast(frames.device.type, enabled=False):
            if variance is None:
                variance = self._match(image, aligned, blur, search)
            if wanted == "variance":
                return variance
            posterior = self._agree(image, hidden, aligned, variance)
            image = posterior.mean if self.data_consistency else posterior.prior_image
            deviation = self.calibration * self.deviations(posterior, image, aligned, variance)
            level, std = (x[:, :, None, None] for x in (level, std))
            outputs = [level + std * image, std * deviation]
            if wanted == "parts":
                measured = posterior.measured_detail(aligned.bicubic)
                rest = image - aligned.bicubic - measured
                outputs += [posterior.measured_share.expand_as(image), std * measured, std * rest]
        outputs = [pixel_shuffle(_crop(x, inside), self.sensor.scale) for x in outputs]
        return torch.cat(outputs, dim=1)

    def _match(self, image, aligned, blur, search=None):
        """PSF variance of the frames relative to the image."""
        evidence = aligned.evidence(search)
        found = self.consistency.match_variance(_crop(image, search), evidence)
        told = self.consistency.told_variance(blur[:, 0])
        return torch.where(blur[:, 1] == 0, told, found)

    def _agree(self, image, hidden, aligned, variance):
        """Posterior of the image of a stage, given the frames."""
        deviation = self.uncertainty(hidden.float()).clamp(*_LOG_STD).exp()
        linear = aligned.linear
        image, deviation = linear.beside(image, deviation)
        evidence = aligned.evidence(share=1 - linear.share)
        return self.consistency.posterior(image, deviation, evidence, variance)

    def _windows(self, block, shape):
        """Windows of the stages and of the last image, and the block within that.

        Each window is relative to the one before it.
        """
        n_windows = len(self.stages) + 1
        if block is None:
            return [None] * n_windows, None, (0, 0)
        top, bottom, left, right = block.tolist()
        halos, halo = [REACH], REACH
        for stage in self.stages[::-1]:
            # The residual is degraded and back-projected.
            halo += stage.reach + 2 * self.sensor.reach
            halos.append(halo)
        windows, origin = [], (0, 0)
        for halo in [*halos[:0:-1], REACH, 0]:
            axes = zip((top, left), (bottom, right), shape, strict=True)
            ends = [(max(a - halo, 0), min(b + halo, length)) for a, b, length in axes]
            windows.append(
                tuple(slice(a - o, b - o) for (a, b), o in zip(ends, origin, strict=True))
            )
            corner, origin = origin, tuple(a for a, _ in ends)
        return windows[:-1], windows[-1], corner


def _relative_window(search, corner):
    """Window of first and last rows and columns, relative to a corner."""
    top, bottom, left, right = search.tolist()
    return slice(top - corner[0], bottom - corner[0]), slice(left - corner[1], right - corner[1])


def _crop(images, window):
    """Crop images to a window; None: all."""
    return images if images is None or window is None else images[..., window[0], window[1]]


class _AlignedFrames:
    """Frames of a batch with robust weights, corrected for distortion, drift and change."""

    def __init__(
        self, sensor, frames, weights, fractions, distortion, psf, blur, reference, displacement
    ):
        self.sensor = sensor
        self.fractions, self.psf = fractions, psf
        # The learned stages take displaced frames, and nothing else does.
        moved = fractions if displacement is None else fractions + displacement
        self.blurred = sensor.kernels(moved, sigma=psf)
        self.sharp = sensor.kernels(moved, sigma=_SPLAT_SIGMA, pixel=0)
        self.clear = self.weights = weights
        guess = self._mean_of(frames, self.sharp, _filled_mean(frames, weights))
        frames = _undistort(frames, sensor.degrade(guess, self.sharp), distortion)
        guess = self._mean_of(frames, self.blurred, guess)
        drift = _drift(frames - sensor.degrade(guess, self.blurred), weights)
        if reference is not None:
            drift = drift - _of_frame(drift, reference)
        self.frames = frames - drift
        for _ in range(1 if reference is None else _REFERENCE_PASSES):
            guess = self._mean_of(self.frames, self.blurred, guess)
            residual = self.frames - sensor.degrade(guess, self.blurred)
            self.weights, scatter = _robust_weights(residual, weights)
            if reference is not None:
                self.frames = self.frames - _change(residual, weights, scatter, reference)
        self.initial_image = mean = self._mean_of(self.frames, self.blurred, guess)
        if displacement is not None:
            mean = self._mean_of(self.frames, sensor.kernels(fractions, sigma=psf), mean)
        self.linear = linear_estimate(mean, self.weights, scatter.square(), sensor.scale)
        self.bicubic = _upscaled_mean(self.frames, self.weights, sensor.scale)
        self.density = sensor.back_project(self.weights, self.sharp)
        self.coverage = sensor.back_project(self.weights, self.blurred)
        total = self.weights.sum(dim=1, keepdim=True)
        self.confidence = torch.cat(
            [
                torch.log1p(self.density),
                0.5 * torch.log1p(total),
                torch.log(scatter),
                *(x[:, None, None, None].expand_as(total) for x in _blur_features(blur)),
            ],
            dim=1,
        )

    def evidence(self, window=None, share=1.0):
        """Frames and weights for the data-consistency layer, in a window."""
        weights = self.weights * share
        return Evidence(
            _crop(self.frames, window), _crop(weights, window), self.fractions, self.psf
        )

    def crop(self, window):
        """Crop all maps to a window."""
        for name in ("frames", "weights", "density", "coverage", "confidence", "bicubic", "clear"):
            setattr(self, name, _crop(getattr(self, name), window))
        self.linear = self.linear.crop(window)

    def _mean_of(self, frames, kernels, otherwise):
        """Back-projected mean of the frames; `otherwise` where none is clear."""
        total = self.sensor.back_project(self.weights * frames, kernels)
        coverage = self.sensor.back_project(self.weights, kernels)
        return (total + 0.01 * otherwise) / (coverage + 0.01)

    def features(self, image):
        """Input of a stage: image, back-projected residuals and confidence."""
        residual = self.weights * (self.frames - self.sensor.degrade(image, self.blurred))
        blurred = self.sensor.back_project(residual, self.blurred) / (self.coverage + 0.01)
        sharp = self.sensor.back_project(residual, self.sharp) / (self.density + 0.1)
        return torch.cat([image, 4 * blurred, 4 * sharp, self.confidence], dim=1)


def _filled_mean(frames, weights):
    """Mean frame (n, 1, h, w), with gaps filled by local means."""
    total = (weights * frames).sum(dim=1, keepdim=True)
    count = weights.sum(dim=1, keepdim=True)
    for size in (7, 31):
        wide_total, wide_count = (box_mean(x, size) for x in (total, count))
        total, count = total + 0.01 * wide_total, count + 0.01 * wide_count
    return total / (count + 1e-4)


def _upscaled_mean(frames, weights, scale):
    """Bicubic upscaling (n, scale ** 2, h, w) of the mean frame."""
    count = weights.sum(dim=1, keepdim=True)
    mean = (weights * frames).sum(dim=1, keepdim=True) / count.clamp_min(0.1)
    mean = torch.where(count > 0.1, mean, _filled_mean(frames, weights))
    large = interpolate(mean, scale_factor=scale, mode="bicubic", align_corners=False)
    return pixel_unshuffle(large, scale)


def _undistort(frames, expected, distortion):
    """Correct frames for smooth distortion, to first order."""
    padded = pad(expected, (1, 1, 1, 1), mode="replicate")
    down, right = distortion.unbind(2)
    slope = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    frames = torch.addcmul(frames, down, slope, value=0.5)
    slope = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return torch.addcmul(frames, right, slope, value=0.5)


def _drift(residual, weights):
    """Low-pass residual of each frame."""
    height, width = residual.shape[-2:]
    total, count = (
        box_mean(avg_pool2d(x, _DRIFT_BLOCK, ceil_mode=True), 3)
        for x in (weights * residual, weights)
    )
    slow = interpolate(total / (count + 0.05), scale_factor=_DRIFT_BLOCK, mode="bilinear")
    return slow[..., :height, :width]


def _robust_weights(residual, weights):
    """Weights reduced at outliers of the residual, and local scatter of the inliers."""
    square = weights * residual.square()
    error = (box_mean(square, 3) + 1e-6) / (box_mean(weights, 3) + 1e-3)
    trusted = weights
    for _ in range(2):
        total = (trusted * error).sum(dim=1, keepdim=True)
        count = trusted.sum(dim=1, keepdim=True)
        scatter = (box_mean(total, 15) + 1e-6) / (box_mean(count, 15) + 1e-3) + 1e-6
        trusted = weights / (1 + (error / (_TOLERANCE**2 * scatter)).square())
    return trusted, scatter.sqrt()


def _change(residual, weights, scatter, reference):
    """Significant local difference of each frame from the reference frame."""
    both = weights * _of_frame(weights, reference)
    count = box_mean(both, _CHANGE_SIZE)
    change = box_mean(both * (residual - _of_frame(residual, reference)), _CHANGE_SIZE)
    change = change / (count + 1e-3)
    variance = 2 * scatter.square() * _PIXELS_PER_SAMPLE / (count * _CHANGE_SIZE**2 + 1)
    excess = (change.square() / (_TOLERANCE**2 * variance)).square()
    return change * excess / (1 + excess)


def _of_frame(images, number):
    """Maps (n, 1, h, w) of one frame of each of n stacks."""
    return images[torch.arange(len(images), device=images.device), number][:, None]


def _blur_features(blur):
    """Scaled mean standard deviation of the PSF and scaled error of its variance, (n,) each."""
    variance, error = blur.unbind(dim=1)
    return 4 * (variance.sqrt() - _MEAN_PSF_SIGMA), 16 * error


class _Stage(nn.Module):
    def __init__(self, in_channels, width, depth, n_pixels, *, first):
        super().__init__()
        self.enter = Conv3x3(in_channels + (0 if first else width), width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Conv2d(width, n_pixels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @property
    def reach(self):
        """Receptive field around a pixel, in LR pixels."""
        return 2 * len(self.blocks) + 2

    def forward(self, inputs, hidden):
        features = inputs.contiguous(memory_format=torch.channels_last)
        if hidden is not None:
            # The precision of the last stage's output.
            features = torch.cat([features.to(hidden.dtype), hidden], dim=1)
        features = self.enter(features)
        for block in self.blocks:
            features = block(features)
        # In float32: bfloat16 pixels would lower the score.
        with torch.autocast(inputs.device.type, enabled=False):
            return self.leave(features.float()), features


class _Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = Conv3x3(width, width)
        self.second = Conv3x3(width, width)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.first.bias)
        nn.init.kaiming_normal_(self.second.weight, nonlinearity="relu")
        with torch.no_grad():
            self.second.weight.mul_(0.1)
        nn.init.zeros_(self.second.bias)

    def forward(self, features):
        return self.second(self.first(features, relu=True), skip=features)
