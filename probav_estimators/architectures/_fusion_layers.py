"""The layers of FusionNet: evidence from the frames, and what is learned about landscapes."""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, pad, pixel_shuffle

from ..losses import SensorModel

# Width in LR pixels of a sample that is put where it was taken.
_SPLAT_SIGMA = 0.15

# Side of the blocks over which a frame may differ from the others by haze and slow change.
_DRIFT_BLOCK = 8

# Neighbouring pixels share their noise: so many count as one.
_PIXELS_PER_SAMPLE = 8

# Side in LR pixels of the squares in which frames are compared with a frame of reference, and how
# often.
_CHANGE_SIZE = 7
_REFERENCE_PASSES = 3

# Least and greatest logarithm of a standard deviation, in standard deviations of the scene: not to
# know a place at all is no worse than what a scene varies by.
_LOG_STD = (-12.0, 1.0)

# Mean point spread function of the sensors of the training, in LR pixels.
_MEAN_PSF_SIGMA = 0.33

# Means over larger squares are made of those over rows and columns.
_SMALL_BOX = 5

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
            _Stage(4 * n_pixels + 4, width, depth, n_pixels, first=number == 0)
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
        distortion: torch.Tensor,
        level: torch.Tensor,
        std: torch.Tensor,
        psf: torch.Tensor,
        blur: torch.Tensor,
        reference: torch.Tensor | None = None,
        core: torch.Tensor | None = None,
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
        distortion : float tensor of shape (n, t, 2, h, w)
            How much more than that their content is shifted at each pixel.
        level, std : float tensors of shape (n, 1)
            Mean and standard deviation of the scene, in pixel values.
        psf : float tensor of shape (n, t, 2)
            Standard deviations of the frames' point spread functions along each axis, in LR pixels.
        blur : float tensor of shape (n, 2)
            Most probable mean of their squares, and its standard error; 0: it is known.
        reference : int tensor of shape (n,), default=None
            Which frame the image is to look like where the scene changes. None: the mean of all.
        core : int tensor of shape (4,), default=None
            First and last row and column, in LR pixels, of the part that is wanted of the image:
            each stage sees no more around it than changes it. None: all.

        Returns
        -------
        float32 tensor of shape (n, 2, scale * h, scale * w)
            Image, and standard deviation of its error, in pixel values; of the core alone, if there
            is one.
        """
        with torch.autocast(frames.device.type, enabled=False):
            evidence = _Evidence(
                self.sensor, frames, weights, fractions, distortion, psf, blur, reference
            )
        image, hidden = evidence.first_guess, None
        *parts, last = self._parts(core, frames.shape[-2:])
        for stage, part in zip(self.stages, parts, strict=True):
            evidence.crop(part)
            image, hidden = _crop(image, part), _crop(hidden, part)
            with torch.autocast(frames.device.type, enabled=False):
                inputs = evidence.about(image)
            change, hidden = stage(inputs, hidden)
            image = image + change
        with torch.autocast(frames.device.type, enabled=False):
            error_std = self.calibration * self.uncertainty(hidden.float()).clamp(*_LOG_STD).exp()  # type: ignore[union-attr]
        level, std = (x[:, :, None, None] for x in (level, std))
        outputs = (_crop(x, last) for x in (level + std * image, std * error_std))
        return torch.cat([pixel_shuffle(x, self.sensor.scale) for x in outputs], dim=1)

    def _parts(self, core, shape):
        """Rows and columns that each stage sees, and those of the core, within the ones before."""
        if core is None:
            return [None] * (len(self.stages) + 1)
        top, bottom, left, right = core.tolist()
        # A last convolution makes standard deviations.
        margins, margin = [0], 1
        for stage in self.stages[::-1]:
            # It also compares the image with frames, and puts back what these have in addition.
            margin += stage.reach + 2 * self.sensor.reach
            margins.append(margin)
        parts, origin = [], (0, 0)
        for margin in margins[::-1]:
            axes = zip((top, left), (bottom, right), shape, strict=True)
            seen = [(max(a - margin, 0), min(b + margin, length)) for a, b, length in axes]
            parts.append(tuple(slice(a - o, b - o) for (a, b), o in zip(seen, origin, strict=True)))
            origin = tuple(a for a, _ in seen)
        return parts


def _crop(images, part):
    """Rows and columns of images; all if there is no `part`."""
    return images if images is None or part is None else images[..., part[0], part[1]]


class _Evidence:
    """What the frames of a batch say."""

    def __init__(self, sensor, frames, weights, fractions, distortion, psf, blur, reference):
        self.sensor = sensor
        self.blurred = sensor.kernels(fractions, sigma=psf)
        self.sharp = sensor.kernels(fractions, sigma=_SPLAT_SIGMA, pixel=0)
        self.weights = weights
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
            self.weights, scatter = _doubt(residual, weights)
            if reference is not None:
                self.frames = self.frames - _change(residual, weights, scatter, reference)
        self.first_guess = self._mean_of(self.frames, self.blurred, guess)
        self.density = sensor.back_project(self.weights, self.sharp)
        self.coverage = sensor.back_project(self.weights, self.blurred)
        total = self.weights.sum(dim=1, keepdim=True)
        self.known = torch.cat(
            [
                torch.log1p(self.density),
                0.5 * torch.log1p(total),
                torch.log(scatter),
                *(x[:, None, None, None].expand_as(total) for x in _told(blur)),
            ],
            dim=1,
        )

    def crop(self, part):
        """Leave out what lies outside of some rows and columns."""
        for name in ("frames", "weights", "density", "coverage", "known"):
            setattr(self, name, _crop(getattr(self, name), part))

    def _mean_of(self, frames, kernels, otherwise):
        """Mean of the frames, moved onto the image; `otherwise` where none is clear."""
        total = self.sensor.back_project(self.weights * frames, kernels)
        coverage = self.sensor.back_project(self.weights, kernels)
        return (total + 0.01 * otherwise) / (coverage + 0.01)

    def about(self, image):
        """What a stage sees: the image, what frames have in addition, and how well that is known.

        Returns
        -------
        tensor of shape (n, 4 * scale ** 2 + 4, h, w)
        """
        missing = self.weights * (self.frames - self.sensor.degrade(image, self.blurred))
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


def _undistort(frames, expected, distortion):
    """Frames without their slow distortion, to first order."""
    padded = pad(expected, (1, 1, 1, 1), mode="replicate")
    down, right = distortion.unbind(2)
    slope = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    frames = torch.addcmul(frames, down, slope, value=0.5)
    slope = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return torch.addcmul(frames, right, slope, value=0.5)


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


def _change(residual, weights, scatter, reference):
    """How much each frame differs from one of them, place by place, where that is no noise."""
    both = weights * _of_frame(weights, reference)
    count = _box(both, _CHANGE_SIZE)
    change = _box(both * (residual - _of_frame(residual, reference)), _CHANGE_SIZE)
    change = change / (count + 1e-3)
    variance = 2 * scatter.square() * _PIXELS_PER_SAMPLE / (count * _CHANGE_SIZE**2 + 1)
    excess = (change.square() / (_TOLERANCE**2 * variance)).square()
    return change * excess / (1 + excess)


def _of_frame(images, number):
    """Images (n, 1, h, w) of one frame of each of n stacks."""
    return images[torch.arange(len(images), device=images.device), number][:, None]


def _told(blur):
    """Mean size of the point spread functions and its error, (n,) each, in handy units."""
    variance, error = blur.unbind(dim=1)
    return 4 * (variance.sqrt() - _MEAN_PSF_SIGMA), 16 * error


def _box(images, size):
    """Mean over squares of `size` pixels, of those inside the image."""
    # One axis after the other, where that is faster.
    for shape in [(size, 1), (1, size)] if size > _SMALL_BOX else [(size, size)]:
        reach = shape[0] // 2, shape[1] // 2
        images = avg_pool2d(images, shape, stride=1, padding=reach, count_include_pad=False)
    return images


class _Stage(nn.Module):
    def __init__(self, in_channels, width, depth, n_pixels, *, first):
        super().__init__()
        self.enter = nn.Conv2d(in_channels + (0 if first else width), width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.leave = nn.Conv2d(width, n_pixels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @property
    def reach(self):
        """How far around a pixel the stage looks."""
        return 2 * len(self.blocks) + 2

    def forward(self, inputs, hidden):
        features = inputs.contiguous(memory_format=torch.channels_last)
        if hidden is not None:
            # In the type of what came out of the last stage: there is no more in it.
            features = torch.cat([features.to(hidden.dtype), hidden], dim=1)
        features = self.enter(features)
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
