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
from ._registering_reader import RegisteringReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Frames

__all__ = ["RAMS"]

# Fraction of clear pixels above which a frame is used.
_LEAST_CLEAR = 0.85


class RAMS(FrameNet):
    """RAMS: fusion of frames by 3D convolutions with residual attention.

    Frames are a volume of height, width and time. Residual blocks of 3D convolutions with channel
    attention are followed by unpadded convolutions over three frames that reduce their number to
    one. A second branch of 2D convolutions with attention over frames adds the coarse image. Pixel
    shuffle upscales the sum. At scale 3 it has 958,129 parameters: weights, biases and, with weight
    normalisation [2]_, one gain per filter.

    Takes scenes as they are: there is no InputComposer before it. Frames are moved by whole pixels
    onto the clearest one, unless a FrameRegistrar stands before it.

    {parameters}
    n_frames : int, default=9
        Number of frames, odd, clearest first. Frames at most 85 % clear are left out; if fewer
        remain, they are repeated in turn.
    n_features : int, default=32
        Filters of the 3D convolutions.
    n_blocks : int, default=12
        Residual blocks before the temporal reduction.
    reduction : int, default=8
        Ratio of filters to hidden units of the attention layers.

    {attributes}
    n_features_, n_blocks_, reduction_ : int
        Size of the layers.

    See Also
    --------
    PIUNet : Fusion independent of the order of frames.
    FusionNet : Registers frames to a fraction of a pixel and masks clouds.

    Notes
    -----
    As published, quality maps only select and register frames; clouds are not masked in the fusion.
    The paper repeats frames at random, here they are repeated in turn. The result depends on the
    order of frames; the authors' augmentation and self-ensemble by shuffling are left out.

    Attention uses means over the image; in tiled prediction, over a tile with its halo.

    The authors published TensorFlow weights only (EscVM/RAMS on GitHub): :meth:`from_published`
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
                f"n_frames={self.n_frames_} is even, and RAMS needs an odd number: choose "
                f"{self.n_frames_ - 1} or {self.n_frames_ + 1}"
            )
        return _ResidualAttentionLayers(
            scale, self.n_frames_, self.n_features_, self.n_blocks_, self.reduction_
        )

    def make_reader(self) -> FrameReader:
        return _AllPairsReader(self.n_frames_, repeat=True, least_clear=_LEAST_CLEAR)


@dataclass(frozen=True)
class _AllPairsReader(RegisteringReader):
    """Registers frames by all pairs of them."""

    def whole_shifts(
        self, frames: Frames, numbers: NDArray[np.intp], window: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        unique, inverse = np.unique(numbers, return_inverse=True)
        shifts = register_frames(*frames.read(unique, window)).shifts[inverse]
        return np.rint(shifts - shifts[0])


class _ResidualAttentionLayers(nn.Module):
    """Main branch of 3D convolutions, and coarse branch of 2D convolutions."""

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
        # Each reduces the frames by two; `details` fuses the last three.
        self.reductions = nn.ModuleList(
            nn.Sequential(block(), _NormedConv3d(n_features, n_features, 3), nn.ReLU())
            for _ in range((n_frames - 3) // 2)
        )
        self.details = _NormedConv3d(n_features, scale**2, 3)
        self.frame_attention = _AttentionBlock(_NormedConv2d, n_frames, reduction)
        self.coarse = _NormedConv2d(n_frames, scale**2, 3)

    def forward(self, frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # For the unpadded layers.
        frames = _reflect(frames)
        first = self.first(frames[:, None])
        features = self.last(self.blocks(first)) + first
        for reduce in self.reductions:
            features = reduce(_reflect(features))
        details = in_float32(self.details, features)[:, :, 0]
        coarse = in_float32(self.coarse, self.frame_attention(frames))
        return pixel_shuffle(details + coarse, self.scale)


def _reflect(values):
    """Reflection padding by one pixel on every side."""
    return pad(values, (1, 1, 1, 1) + (0, 0) * (values.ndim - 4), mode="reflect")


class _AttentionBlock(nn.Module):
    """Residual block with channel attention."""

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
    """Weight-normalised convolution; torch's parametrisation cannot be pickled."""

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
        # Halves the time on a CPU.
        to: Any = values.to
        return super().forward(to(memory_format=torch.channels_last_3d))
