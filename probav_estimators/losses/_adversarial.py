"""Adversarial loss: a discriminator and a perceptual term."""

from functools import cached_property
from numbers import Real
from typing import Any

import torch
from sklearn.utils._param_validation import Interval
from torch import nn
from torch.nn.functional import l1_loss, leaky_relu, normalize, relu

from ..random_numbers import TorchRandom
from ._scores import CPSNRLoss, check_parameters

__all__ = ["AdversarialLoss"]

# Pixels are clipped at this many standard deviations: they are no texture.
_MAX_VALUE = 5.0

# Least size of an image in pixels: the discriminator halves it twice.
_MIN_SIZE = 4

# Steps of the power iteration of a new layer, as in torch.
_FIRST_STEPS = 16


class AdversarialLoss(CPSNRLoss):
    """CPSNRLoss with a discriminator and a perceptual term, for images that look sharp.

    A small discriminator is trained to distinguish the net's images from HR images. Its hinge loss
    and the distance between its features (perceptual term) are added to the loss. Images gain
    plausible detail and the challenge score gets worse: use it for illustrations, not for
    measurements.

    Parameters
    ----------
    norm : float, default=46.5
        As for `CPSNRLoss`.
    clearance_weight : float, default=0.5
        As for `CPSNRLoss`.
    border : int, default=3
        As for `CPSNRLoss`.
    adversarial_weight : float, default=0.1
        Weight of the hinge loss, at least 0.
    perceptual_weight : float, default=0.1
        Weight of the distance between features, at least 0.
    lr : float, default=2e-4
        Learning rate of the discriminator, greater than 0.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a batch, if the images are smaller than 4 pixels
        inside the border.

    See Also
    --------
    CPSNRLoss : The score alone, for images that are right.

    Notes
    -----
    The discriminator [2]_ [3]_ classifies overlapping patches in units of the truth's standard
    deviation. It is trained by an optimizer of its own, whenever the loss is computed with a
    gradient. Both are part of the state dict, of copies and of pickles, so that a training can be
    resumed. All discriminators have the same initial weights.

    References
    ----------
    .. [1] C. Ledig et al., "Photo-realistic single image super-resolution using a generative
       adversarial network", IEEE Conference on Computer Vision and Pattern Recognition, 2017.
    .. [2] T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for generative
       adversarial networks", International Conference on Learning Representations, 2018.
    .. [3] T.-C. Wang et al., "High-resolution image synthesis and semantic manipulation with
       conditional GANs", IEEE/CVF Conference on Computer Vision and Pattern Recognition, 2018.

    Examples
    --------
    >>> import torch
    >>> from probav_estimators import AdversarialLoss
    >>> loss = AdversarialLoss(adversarial_weight=0.01, perceptual_weight=0.01)
    >>> hr = torch.linspace(0, 0.25, 576).reshape(1, 1, 24, 24)
    >>> truth = torch.cat([hr, torch.ones_like(hr)], dim=1)
    >>> prediction = hr.flip(2).requires_grad_()
    >>> loss(prediction, truth).backward()
    >>> prediction.grad.shape
    torch.Size([1, 1, 24, 24])
    """

    def __init__(
        self,
        norm: float = 46.5,
        clearance_weight: float = 0.5,
        border: int = 3,
        adversarial_weight: float = 0.1,
        perceptual_weight: float = 0.1,
        lr: float = 2e-4,
    ) -> None:
        super().__init__(norm, clearance_weight, border)
        self.adversarial_weight = adversarial_weight
        self.perceptual_weight = perceptual_weight
        self.lr = lr
        check_parameters(
            self,
            adversarial_weight=[Interval(Real, 0, None, closed="left")],
            perceptual_weight=[Interval(Real, 0, None, closed="left")],
            lr=[Interval(Real, 0, None, closed="neither")],
        )

    @cached_property
    def _adversary(self):
        # Not before it is used: a file may name any number of losses.
        return _TrainedDiscriminator(self.lr)

    def aligned_loss(self, sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
        if min(sr.shape[1:]) < _MIN_SIZE:
            height, width = sr.shape[1:]
            raise ValueError(
                f"AdversarialLoss judges images of {_MIN_SIZE} x {_MIN_SIZE} pixels or more, got "
                f"{height} x {width} inside border={self.border}: use larger patches"
            )
        loss = super().aligned_loss(sr, hr, clear)
        known = clear.flatten(1).mean(dim=1) > 0.5
        if not known.any():
            return loss
        fake, real = _normalised(sr[known], hr[known], clear[known])
        # Validation does not train the discriminator.
        hinge, distance = self._adversary.compare(fake, real, learn=sr.requires_grad)
        return loss + self.adversarial_weight * hinge + self.perceptual_weight * distance

    def get_extra_state(self) -> dict[str, Any]:
        return self._adversary.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._adversary.load_state_dict(state)


class _TrainedDiscriminator:
    """A discriminator and the optimizer that trains it.

    It is no module, so that the optimizer of the net does not find its parameters.
    """

    def __init__(self, lr):
        with TorchRandom(0).active():
            self.discriminator = _Discriminator().float()
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=(0.5, 0.9))

    def compare(self, fake, real, *, learn):
        """Hinge loss and distance between features of the net's images (n, 1, H, W)."""
        self._move_to(fake.device)
        self.discriminator.train(learn)
        if learn:
            self._learn(fake.detach(), real)
        self.discriminator.requires_grad_(False)
        verdict, features = self.discriminator(fake)
        with torch.no_grad():
            _, expected = self.discriminator(real)
        self.discriminator.requires_grad_(True)
        distance = sum(l1_loss(a, b) for a, b in zip(features, expected, strict=True))
        return -verdict.mean(), distance

    def _learn(self, fake, real):
        self.optimizer.zero_grad(set_to_none=True)
        on_fake, on_real = (self.discriminator(image)[0] for image in (fake, real))
        (relu(1 + on_fake).mean() + relu(1 - on_real).mean()).backward()
        self.optimizer.step()

    def _move_to(self, device):
        if self.discriminator.verdict.weight.device != device:
            state = self.optimizer.state_dict()
            self.discriminator.to(device)
            # The moments must be on the device of the weights, which may be other tensors now.
            self.optimizer = torch.optim.Adam(self.discriminator.parameters())
            self.optimizer.load_state_dict(state)

    def state_dict(self):
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state):
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])


def _normalised(sr, hr, clear):
    """Both images in units of the truth's standard deviation, 0 where the truth is not clear."""
    count = clear.sum(dim=(1, 2), keepdim=True)
    level = (clear * hr).sum(dim=(1, 2), keepdim=True) / count
    std = ((clear * (hr - level).square()).sum(dim=(1, 2), keepdim=True) / count).sqrt()
    bias = (clear * (hr - sr)).sum(dim=(1, 2), keepdim=True) / count

    def normalise(image):
        image = clear * (image - level) / std.clamp_min(1e-6)
        return image.clamp(-_MAX_VALUE, _MAX_VALUE)[:, None]

    return normalise(sr + bias), normalise(hr)


class _Discriminator(nn.Module):
    """Scores of overlapping patches of 47 HR pixels, and the features of each layer."""

    def __init__(self, width=32):
        super().__init__()
        sizes = [(1, width, 1), (width, width, 2), (width, 2 * width, 1), (2 * width, 4 * width, 2)]
        self.layers = nn.ModuleList(
            _SpectralConv2d(inside, outside, 2 + stride, stride, padding=1)
            for inside, outside, stride in sizes
        )
        self.verdict = _SpectralConv2d(4 * width, 1, 3, padding=1)

    def forward(self, image):
        features = []
        for layer in self.layers:
            image = leaky_relu(layer(image), 0.2)
            features.append(image)
        return self.verdict(image), features


class _SpectralConv2d(nn.Conv2d):
    """Convolution whose weight, as a matrix, is divided by its greatest singular value.

    In training every call takes one step of the power iteration. The weight is a plain parameter:
    a module with a parametrization of torch cannot be pickled.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, length in zip(("left", "right"), self.weight.flatten(1).shape, strict=True):
            self.register_buffer(name, normalize(torch.randn(length), dim=0))
        for _ in range(_FIRST_STEPS):
            self._iterate()

    def forward(self, image):
        if self.training:
            self._iterate()
        norm = self.left @ (self.weight.flatten(1) @ self.right)
        return self._conv_forward(image, self.weight / norm, self.bias)

    @torch.no_grad()
    def _iterate(self):
        # New tensors: the gradient of the last call needs the old ones.
        matrix = self.weight.flatten(1)
        self.left = normalize(matrix @ self.right, dim=0)
        self.right = normalize(matrix.mT @ self.left, dim=0)
