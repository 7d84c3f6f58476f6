"""Fine-tuning for images that look sharp, by a discriminator."""

import torch
from torch import nn
from torch.nn.functional import l1_loss, leaky_relu, relu
from torch.nn.utils.parametrizations import spectral_norm

from ._scores import CPSNRLoss
from ._shifts import align_best

__all__ = ["AdversarialLoss"]

# Pixels beyond this many standard deviations tell nothing about texture.
_MAX_VALUE = 5.0


class AdversarialLoss(CPSNRLoss):
    """CPSNRLoss with a discriminator and a perceptual term, for images that look sharp.

    A small discriminator learns to tell the nets' images from HR images; the net learns to deceive
    it (hinge loss) and to give it the same features (perceptual term). Images gain detail that is
    likely and not certain, so that the challenge score gets worse: use it for pictures, not for
    measurements.

    Parameters
    ----------
    norm, clearance_weight : float
        As for `CPSNRLoss`.
    border : int, default=3
        As for `CPSNRLoss`.
    adversarial_weight : float, default=0.1
        Weight of the hinge loss.
    perceptual_weight : float, default=0.1
        Weight of the distance between features.
    lr : float, default=2e-4
        Learning rate of the discriminator.

    Notes
    -----
    The discriminator learns while the loss is computed in training, with an optimizer of its own;
    both are part of the state dict, so that a training can be resumed.

    References
    ----------
    .. [1] C. Ledig et al., "Photo-realistic single image super-resolution using a generative
       adversarial network", IEEE Conference on Computer Vision and Pattern Recognition, 2017.
    .. [2] T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for generative
       adversarial networks", International Conference on Learning Representations, 2018.
    .. [3] T.-C. Wang et al., "High-resolution image synthesis and semantic manipulation with
       conditional GANs", IEEE/CVF Conference on Computer Vision and Pattern Recognition, 2018.
    """

    def __init__(
        self,
        norm=46.5,
        clearance_weight=0.5,
        border=3,
        adversarial_weight=0.1,
        perceptual_weight=0.1,
        lr=2e-4,
    ):
        super().__init__(norm, clearance_weight, border)
        self.adversarial_weight = adversarial_weight
        self.perceptual_weight = perceptual_weight
        self.lr = lr
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            discriminator = _Discriminator()
        optimizer = torch.optim.Adam(discriminator.parameters(), lr=lr, betas=(0.5, 0.9))
        # Hidden from parameters(): the optimizer of the net must not train its opponent.
        self._opponent = (discriminator, optimizer)

    def image_loss(self, sr, hr, clear):
        loss = super().image_loss(sr, hr, clear)
        sr, hr, clear = align_best(sr, hr, clear, self.border)
        seen = clear.flatten(1).mean(dim=1) > 0.5
        if not seen.any():
            return loss
        fake, real = _normalised(sr[seen], hr[seen], clear[seen])
        discriminator, _ = self._opponent
        discriminator.to(fake.device)
        # Without a gradient the net is only looked at, and its opponent learns nothing.
        if sr.requires_grad:
            self._train_opponent(fake.detach(), real)
        discriminator.requires_grad_(False)
        verdict, features = discriminator(fake)
        with torch.no_grad():
            _, expected = discriminator(real)
        discriminator.requires_grad_(True)
        distance = sum(l1_loss(a, b) for a, b in zip(features, expected, strict=True))
        return loss - self.adversarial_weight * verdict.mean() + self.perceptual_weight * distance

    def _train_opponent(self, fake, real):
        discriminator, optimizer = self._opponent
        optimizer.zero_grad(set_to_none=True)
        verdicts = (discriminator(image)[0] for image in (fake, real))
        on_fake, on_real = verdicts
        (relu(1 + on_fake).mean() + relu(1 - on_real).mean()).backward()
        optimizer.step()

    def get_extra_state(self):
        discriminator, optimizer = self._opponent
        return {"discriminator": discriminator.state_dict(), "optimizer": optimizer.state_dict()}

    def set_extra_state(self, state):
        discriminator, optimizer = self._opponent
        discriminator.load_state_dict(state["discriminator"])
        optimizer.load_state_dict(state["optimizer"])


def _normalised(sr, hr, clear):
    """Both images in units of the truth, equal where the truth is not known."""
    count = clear.sum(dim=(1, 2), keepdim=True)
    level = (clear * hr).sum(dim=(1, 2), keepdim=True) / count
    std = ((clear * (hr - level).square()).sum(dim=(1, 2), keepdim=True) / count).sqrt()
    bias = (clear * (hr - sr)).sum(dim=(1, 2), keepdim=True) / count

    def normalise(image):
        image = clear * (image - level) / std.clamp_min(1e-6)
        return image.clamp(-_MAX_VALUE, _MAX_VALUE)[:, None]

    return normalise(sr + bias), normalise(hr)


class _Discriminator(nn.Module):
    """Verdicts on overlapping patches of 47 HR pixels, and the features that lead to them."""

    def __init__(self, width=32):
        super().__init__()
        sizes = [(1, width, 1), (width, width, 2), (width, 2 * width, 1), (2 * width, 4 * width, 2)]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(inside, outside, 3 + stride - 1, stride, padding=1))
            for inside, outside, stride in sizes
        )
        self.verdict = spectral_norm(nn.Conv2d(4 * width, 1, 3, padding=1))

    def forward(self, image):
        features = []
        for layer in self.layers:
            image = leaky_relu(layer(image), 0.2)
            features.append(image)
        return self.verdict(image), features
