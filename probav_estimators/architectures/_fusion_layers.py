"""The layers of FusionNet: evidence from the frames, and what is learned about landscapes."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from ..losses import SensorModel

# Width in LR pixels of a sample that is put where it was taken.
_SPLAT_SIGMA = 0.15

# Side of the blocks over which a frame may differ from the others by haze and slow change.
_DRIFT_BLOCK = 8

# A pixel that lies this many times the local scatter from the others has half its weight.
_TOLERANCE = 2.0


class FusionLayers(nn.Module):
    """Any number of frames to one image and its uncertainty.

    Frames meet in the sensor model alone: an image is compared with every frame at its exact
    place, and what the frames have in addition is put back into the image, as a mean over frames.
    The learned layers see that image, that mean and how much is known where, and improve the
    image; so often as there are stages. Sums over frames make the result independent of their
    order and of their number.

    Parameters
    ----------
    scale : int
        HR pixels for each LR pixel.
    width : int
        Channels of the learned layers.
    depth : int
        Residual blocks of each stage.
    n_stages : int, default=3
    """

    def __init__(self, scale: int, width: int, depth: int, n_stages: int = 3) -> None:
        super().__init__()
        self.sensor = SensorModel(scale)
        n_pixels = scale**2
        self.stages = nn.ModuleList(
            _Stage(4 * n_pixels + 2, width, depth, n_pixels, first=number == 0)
            for number in range(n_stages)
        )
        self.uncertainty = nn.Conv2d(width, n_pixels, 3, padding=1)
        nn.init.zeros_(self.uncertainty.weight)
        nn.init.constant_(self.uncertainty.bias, -2.0)  # type: ignore[arg-type]
        # What brings the standard deviation to the scatter of errors that were measured.
        self.register_buffer("calibration", torch.ones(()))

    def forward(
        self,
        frames: torch.Tensor,
        weights: torch.Tensor,
        fractions: torch.Tensor,
        level: torch.Tensor,
        std: torch.Tensor,
    ) -> torch.Tensor:
        """Fuse frames.

        Parameters
        ----------
        frames : float tensor of shape (n, t, h, w)
            Of about zero mean and unit variance, moved onto each other by whole pixels.
        weights : float tensor of shape (n, t, h, w)
            1 where a frame is clear, else 0.
        fractions : float tensor of shape (n, t, 2)
            The rest of their shifts, in LR pixels.
        level, std : float tensors of shape (n, 1)
            Mean and standard deviation of the scene, in pixel values.

        Returns
        -------
        float32 tensor of shape (n, 2, scale * h, scale * w)
            Image, and standard deviation of its error, in pixel values.
        """
        with torch.autocast(frames.device.type, enabled=False):
            evidence = _Evidence(self.sensor, frames, weights, fractions)
        image, hidden = evidence.first_guess, None
        for stage in self.stages:
            with torch.autocast(frames.device.type, enabled=False):
                inputs = evidence.about(image)
            change, hidden = stage(inputs, hidden)
            image = image + change
        with torch.autocast(frames.device.type, enabled=False):
            error_std = self.calibration * self.uncertainty(hidden.float()).clamp(-12, 6).exp()  # type: ignore[union-attr]
        level, std = (x[:, :, None, None] for x in (level, std))
        outputs = (level + std * image, std * error_std)
        return torch.cat([pixel_shuffle(x, self.sensor.scale) for x in outputs], dim=1)


class _Evidence:
    """What the frames of a batch say."""

    def __init__(self, sensor, frames, weights, fractions):
        self.sensor = sensor
        self.blurred = sensor.kernels(fractions)
        self.sharp = sensor.kernels(fractions, sigma=_SPLAT_SIGMA, pixel=0)
        self.frames, self.weights = frames, weights
        guess = self._mean_of(frames, self.blurred, _filled_mean(frames, weights))
        self.frames = frames - _drift(frames - sensor.see(guess, self.blurred), weights)
        guess = self._mean_of(self.frames, self.blurred, guess)
        self.weights, scatter = _doubt(self.frames - sensor.see(guess, self.blurred), weights)
        self.first_guess = self._mean_of(self.frames, self.blurred, guess)
        self.density = sensor.back_project(self.weights, self.sharp)
        self.coverage = sensor.back_project(self.weights, self.blurred)
        total = self.weights.sum(dim=1, keepdim=True)
        self.known = torch.cat(
            [torch.log1p(self.density), 0.5 * torch.log1p(total), torch.log(scatter)], dim=1
        )

    def _mean_of(self, frames, kernels, otherwise):
        """Mean of the frames, moved onto the image; `otherwise` where none is clear."""
        total = self.sensor.back_project(self.weights * frames, kernels)
        coverage = self.sensor.back_project(self.weights, kernels)
        return (total + 0.01 * otherwise) / (coverage + 0.01)

    def about(self, image):
        """What a stage sees: the image, what frames have in addition, and how well that is known.

        Returns
        -------
        tensor of shape (n, 4 * scale ** 2 + 2, h, w)
        """
        missing = self.weights * (self.frames - self.sensor.see(image, self.blurred))
        blurred = self.sensor.back_project(missing, self.blurred) / (self.coverage + 0.01)
        sharp = self.sensor.back_project(missing, self.sharp) / (self.density + 0.1)
        return torch.cat([image, 4 * blurred, 4 * sharp, self.known], dim=1)


def _filled_mean(frames, weights):
    """Mean frame (n, 1, h, w), smoothed into what no frame sees."""
    total = (weights * frames).sum(dim=1, keepdim=True)
    count = weights.sum(dim=1, keepdim=True)
    for size in (7, 31):
        wide_total, wide_count = (_box(x, size) for x in (total, count))
        total, count = total + 0.01 * wide_total, count + 0.01 * wide_count
    return total / (count + 1e-4)


def _drift(residual, weights):
    """The slow part of each frame's difference from the others."""
    height, width = residual.shape[-2:]
    total, count = (
        _box(avg_pool2d(x, _DRIFT_BLOCK, ceil_mode=True), 3) for x in (weights * residual, weights)
    )
    slow = interpolate(total / (count + 0.05), scale_factor=_DRIFT_BLOCK, mode="bilinear")
    return slow[..., :height, :width]


def _doubt(residual, weights):
    """Weights without the pixels that contradict the others, and the scatter of the rest."""
    square = weights * residual.square()
    error = (_box(square, 3) + 1e-6) / (_box(weights, 3) + 1e-3)
    trusted = weights
    for _ in range(2):
        total = (trusted * error).sum(dim=1, keepdim=True)
        count = trusted.sum(dim=1, keepdim=True)
        scatter = (_box(total, 15) + 1e-6) / (_box(count, 15) + 1e-3) + 1e-6
        trusted = weights / (1 + (error / (_TOLERANCE**2 * scatter)).square())
    return trusted, scatter.sqrt()


def _box(images, size):
    """Mean over squares of `size` pixels, of those inside the image."""
    return avg_pool2d(images, size, stride=1, padding=size // 2, count_include_pad=False)


class _Stage(nn.Module):
    def __init__(self, in_channels, width, depth, n_pixels, *, first):
        super().__init__()
        self.enter = nn.Conv2d(in_channels + (0 if first else width), width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Conv2d(width, n_pixels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, inputs, hidden):
        features = inputs if hidden is None else torch.cat([inputs, hidden.to(inputs.dtype)], dim=1)
        features = self.enter(features.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            features = block(features)
        # The last layer makes pixels: eight bits of mantissa would show in the score.
        with torch.autocast(inputs.device.type, enabled=False):
            return self.leave(features.float()), features


class _Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.first.bias)
        nn.init.kaiming_normal_(self.second.weight, nonlinearity="relu")
        with torch.no_grad():
            self.second.weight.mul_(0.1)
        nn.init.zeros_(self.second.bias)

    def forward(self, features):
        return features + self.second(torch.relu(self.first(features)))
