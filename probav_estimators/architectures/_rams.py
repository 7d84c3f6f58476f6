"""RAMS."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import nn
from torch.nn.functional import normalize, pad, pixel_shuffle

from ..imaging import register_frames
from ..training import FrameNet, FrameReader
from ._frame_layers import in_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["RAMS"]

# Part of a frame that must be clear for it to take part.
_LEAST_CLEAR = 0.85

# Shifts of larger frames are found in their middle, of this many LR pixels along an axis.
_REGISTERED_SIZE = 512


class RAMS(FrameNet):
    """RAMS: 3D convolutions with residual attention fuse frames step by step.

    Frames are a volume of height, width and time. Residual blocks of 3D convolutions weigh their
    features by attention; then, block by block, convolutions over three frames without padding
    leave fewer frames, until there is one. A second branch of 2D convolutions weighs the frames
    themselves and makes the coarse image. Both make scale**2 channels that become the pixels of the
    image. At scale 3 it has 958,129 parameters: weights, biases and, as all weights are normalised,
    one gain for each filter.

    Takes scenes as they are: there is no InputComposer before it. Frames are moved by whole pixels
    onto the clearest one, unless a FrameRegistrar stands before it.

    {parameters}
    n_frames : int, default=9
        How many frames, the clearest first; an odd number, as each step takes two away. Frames of
        which 85 % or less is clear don't take part; if there are fewer, they are repeated in turn.
    n_features : int, default=32
        Filters of the 3D convolutions.
    n_blocks : int, default=12
        Residual blocks before those that leave fewer frames.
    reduction : int, default=8
        How many times fewer filters the layers of attention have in their middle.

    {attributes}
    n_features_, n_blocks_, reduction_ : int
        Size of the layers.

    See Also
    --------
    PIUNet : Fuses frames in any order.
    FusionNet : Registers to a small part of a pixel, and respects quality maps.

    Notes
    -----
    As published, quality maps say which frames take part and how they are registered, and clouds
    take part in the fusion. What the paper repeats at random is repeated in turn here. The order of
    frames counts; the authors also shuffle it to have more samples, and average images of
    shuffled frames, which is not done here.

    The layers' attention is of means over the image; in tiles, over a tile with its surroundings.

    The authors published weights of TensorFlow only (EscVM/RAMS on GitHub): :meth:`from_published`
    raises an error.

    References
    ----------
    .. [1] F. Salvetti et al., "Multi-image super resolution of remotely sensed images using
       residual attention deep neural networks", Remote Sensing 12(14), 2207, 2020.
    .. [2] T. Salimans, D. P. Kingma, "Weight normalization: a simple reparameterization to
       accelerate training of deep neural networks", Neural Information Processing Systems, 2016.

    Examples
    --------
    >>> from probav_estimators import RAMS, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = RAMS(n_features=8, n_blocks=1, max_epochs=1, random_state=0, verbose=0)
    >>> net.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    sizes = ("n_frames", "n_features", "n_blocks", "reduction")

    _parameter_constraints = FrameNet._parameter_constraints | {
        "n_frames": [Interval(Integral, 3, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "reduction": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_frames: int = 9,
        n_features: int = 32,
        n_blocks: int = 12,
        reduction: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self.n_features = n_features
        self.n_blocks = n_blocks
        self.reduction = reduction

    def build_layers(self, scale: int) -> nn.Module:
        if self.n_frames_ % 2 == 0:
            raise ValueError(
                f"n_frames={self.n_frames_} is even, and RAMS takes two frames away at each step "
                f"until one is left: choose {self.n_frames_ - 1} or {self.n_frames_ + 1}"
            )
        return _ResidualAttentionLayers(
            scale, self.n_frames_, self.n_features_, self.n_blocks_, self.reduction_
        )

    def make_reader(self) -> FrameReader:
        return _RegisteringReader(self.n_frames_, repeat=True, least_clear=_LEAST_CLEAR)


@dataclass(frozen=True)
class _RegisteringReader(FrameReader):
    """Moves frames by whole pixels onto the clearest one."""

    def find_shifts(self, scene: Scene, numbers: NDArray[np.intp]) -> NDArray[np.float32] | None:
        if scene.frames.aligned or scene.shifts is not None:
            return super().find_shifts(scene, numbers)
        once, places = np.unique(numbers, return_inverse=True)
        window = tuple(_middle(length) for length in scene.shape)
        shifts = register_frames(*scene.frames.read(once, window)).shifts[places]
        whole = np.rint(shifts - shifts[0])
        return whole if whole.any() else None


def _middle(length):
    start = max(length - _REGISTERED_SIZE, 0) // 2
    return slice(start, min(start + _REGISTERED_SIZE, length))


class _ResidualAttentionLayers(nn.Module):
    """Volume of features that becomes an image, and a branch from the frames to the image."""

    def __init__(
        self, scale: int, n_frames: int, n_features: int, n_blocks: int, reduction: int
    ) -> None:
        super().__init__()
        self.scale = scale

        def block():
            return _AttentionBlock(_NormedConv3d, n_features, reduction)

        self.first = _NormedConv3d(1, n_features, 3, padding=1)
        self.blocks = nn.Sequential(*(block() for _ in range(n_blocks)))
        self.last = _NormedConv3d(n_features, n_features, 3, padding=1)
        # Each leaves two frames fewer; what makes the image takes the last three.
        self.reductions = nn.ModuleList(
            nn.Sequential(block(), _NormedConv3d(n_features, n_features, 3), nn.ReLU())
            for _ in range((n_frames - 3) // 2)
        )
        self.details = _NormedConv3d(n_features, scale**2, 3)
        self.frame_attention = _AttentionBlock(_NormedConv2d, n_frames, reduction)
        self.coarse = _NormedConv2d(n_frames, scale**2, 3)

    def forward(self, frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # One pixel more on every side, for the layers that have no padding.
        frames = _reflect(frames)
        first = self.first(frames[:, None])
        features = self.last(self.blocks(first)) + first
        for reduce in self.reductions:
            features = reduce(_reflect(features))
        details = in_float32(self.details, features)[:, :, 0]
        coarse = in_float32(self.coarse, self.frame_attention(frames))
        return pixel_shuffle(details + coarse, self.scale)


def _reflect(values):
    """Values with one row and one column more on every side, those beside its border."""
    return pad(values, (1, 1, 1, 1) + (0, 0) * (values.ndim - 4), mode="reflect")


class _AttentionBlock(nn.Module):
    """Two convolutions, whose features are weighed by their means and added to the input."""

    def __init__(self, convolution: Any, n_features: int, reduction: int) -> None:
        super().__init__()
        n_squeezed = max(n_features // reduction, 1)
        self.features = nn.Sequential(
            convolution(n_features, n_features, 3, padding=1),
            nn.ReLU(),
            convolution(n_features, n_features, 3, padding=1),
        )
        self.attention = nn.Sequential(
            convolution(n_features, n_squeezed, 1),
            nn.ReLU(),
            convolution(n_squeezed, n_features, 1),
            nn.Sigmoid(),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.features(inputs)
        means = features.mean(dim=tuple(range(2, features.ndim)), keepdim=True)
        return inputs + features * self.attention(means)


class _Normed:
    """Convolution whose filters have a direction and a length of their own.

    Torch's own parametrisation of this cannot be pickled.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(self.weight.detach().flatten(1).norm(dim=1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        directions = normalize(self.weight.flatten(1), dim=1)
        weight = (self.gain[:, None] * directions).view_as(self.weight)
        convolve: Any = super()
        return convolve._conv_forward(values, weight, self.bias)


class _NormedConv2d(_Normed, nn.Conv2d):
    pass


class _NormedConv3d(_Normed, nn.Conv3d):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        # In this format it takes about half the time on a CPU.
        to: Any = values.to
        return super().forward(to(memory_format=torch.channels_last_3d))
