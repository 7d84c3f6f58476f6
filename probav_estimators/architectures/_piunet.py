"""PIUnet."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from sklearn.utils._param_validation import Interval
from torch import nn
from torch.nn.functional import (
    conv2d,
    interpolate,
    leaky_relu,
    pad,
    pixel_shuffle,
)

from ..losses import laplacian_loss
from ..training import FrameNet, FrameReader, PublishedWeights
from ._frame_layers import check_heads, each_frame, in_float32
from ._std_net import StdNet

__all__ = ["PIUNet"]

# Fraction of clear pixels above which a frame is used.
_LEAST_CLEAR = 0.85

_BLOCKS = 16

# Size of the registering kernels.
_KERNEL = 5

# Cap on logarithms of standard deviations, in units of the frames' contrast, against overflow.
_LARGEST_LOG = 10

# Mean and standard deviation of the authors' data set.
_LEVEL, _STD = 7433.6436 / 65535, 2353.0723 / 65535

# The authors' names of the parts of the first and the second attended convolution of a block.
_FIRST = ("conv0", "norm00", "tran0", "norm0")
_SECOND = ("conv1", "norm11", "tran1", "norm1")


def _names_of_unit(ours, theirs, owner=""):
    """Map prefixes of an attended convolution's weight names to those of the file."""
    convolution, norm, attention, attended_norm = (f"{owner}{name}" for name in theirs)
    return {
        f"{ours}.convolution.0": convolution,
        f"{ours}.convolution.1": norm,
        f"{ours}.attention.projection.weight": f"{attention}.in_proj_weight",
        f"{ours}.attention.projection.bias": f"{attention}.in_proj_bias",
        f"{ours}.attention.merging": f"{attention}.out_proj",
        f"{ours}.norm": attended_norm,
    }


def _names_of_block(number):
    ours, owner = f"layers.blocks.{number}", f"res.{number}."
    return {
        **_names_of_unit(f"{ours}.first", _FIRST, owner),
        **_names_of_unit(f"{ours}.second", _SECOND, owner),
        f"{ours}.squeeze": f"{owner}lin0",
        f"{ours}.expand": f"{owner}lin1",
    }


class PIUNet(StdNet, FrameNet):
    """PIUnet: permutation-invariant fusion of frames with uncertainty.

    2D convolutions shared by all frames alternate with self-attention across frames at each pixel,
    with channel attention over the scene. Features of each frame are registered by a predicted 5x5
    kernel and averaged over frames; two heads predict a residual to the upscaled mean frame, and
    the scale of a Laplace distribution of errors. At scale 3 it has 828,355 parameters.

    Takes scenes as they are: there is no InputComposer before it.

    {parameters}
    n_frames : int, default=9
        Number of frames. Frames at most 85 % clear are left out; if fewer remain, they are repeated
        in turn.
    n_features : int, default=42
        Channels of all layers.
    n_blocks : int, default=16
        Blocks of two convolutions and two attentions.
    n_heads : int, default=1
        Attention heads, a divisor of `n_features`.
    reduction : int, default=8
        Ratio of features to hidden units of the channel attention.

    {attributes}
    n_features_, n_blocks_, n_heads_, reduction_ : int
        Size of the layers.

    See Also
    --------
    TRMISR : Attention between frames only.
    FusionNet : Registers frames to a fraction of a pixel and masks clouds.

    Notes
    -----
    As published, quality maps only select frames; clouds are not masked in the fusion. The paper
    repeats frames at random, here they are repeated in turn. Frames are not registered beforehand
    unless a FrameRegistrar precedes.

    The authors train the image by the likelihood. Here the `criterion` trains the image, as in all
    nets, and the likelihood the standard deviations.

    Channel attention uses means over the image; in tiled prediction, over a tile with its halo.

    The authors' repository, diegovalsesia/piunet on GitHub (MIT license), links to weights for each
    band of PROBA-V at scale 3, `nir_model_checkpoint.pt` and `red_model_checkpoint.pt`.

    References
    ----------
    .. [1] D. Valsesia, E. Magli, "Permutation invariance and uncertainty in multitemporal image
       super-resolution", IEEE Transactions on Geoscience and Remote Sensing 60, 2022.

    Examples
    --------
    >>> from probav_estimators import PIUNet, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = PIUNet(n_features=8, n_blocks=1, max_epochs=1, random_state=0, verbose=0)
    >>> images, deviations = net.fit(scenes).predict(scenes, return_std=True)
    >>> images.shape, deviations.shape
    ((4, 48, 48), (4, 48, 48))
    """

    likelihood = staticmethod(laplacian_loss)

    sizes = ("n_features", "n_blocks", "n_heads", "reduction")

    # A convolution in each unit, the registering kernels, and a convolution in each head.
    reach = 40

    published = PublishedWeights(
        source="nir_model_checkpoint.pt (or red_model_checkpoint.pt) of diegovalsesia/piunet",
        names={
            **_names_of_unit("layers.first", ("conv_in", "norm00", "tran_in", "norm0")),
            **{k: name for i in range(_BLOCKS) for k, name in _names_of_block(i).items()},
            **_names_of_unit("layers.middle", ("conv_mid", "norm11", "tran_mid", "norm1")),
            **_names_of_unit("layers.registration.unit", _FIRST, "regnet."),
            "layers.registration.kernels": "regnet.conv1",
            "layers.details": "conv_d2s_mu",
            "layers.deviation.0": "conv_d2s_sigma",
            "layers.deviation.1": "norm_sigma",
            "layers.log_scale": "conv_out_sigma",
        },
        params={
            **{"scale": 3, "n_frames": 9, "n_features": 42, "n_blocks": _BLOCKS},
            **{"n_heads": 1, "reduction": 8},
        },
        level=_LEVEL,
        std=_STD,
    )

    _parameter_constraints = FrameNet._parameter_constraints | {
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "reduction": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_frames: int = 9,
        n_features: int = 42,
        n_blocks: int = _BLOCKS,
        n_heads: int = 1,
        reduction: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self.n_features = n_features
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.reduction = reduction

    def build_layers(self, scale: int) -> nn.Module:
        check_heads(self.n_features_, self.n_heads_)
        return _EquivariantLayers(
            scale, self.n_features_, self.n_blocks_, self.n_heads_, self.reduction_
        )

    def make_reader(self) -> FrameReader:
        return FrameReader(self.n_frames_, repeat=True, least_clear=_LEAST_CLEAR)


class _EquivariantLayers(nn.Module):
    """Permutation-equivariant layers, mean over frames, and two heads."""

    def __init__(
        self, scale: int, n_features: int, n_blocks: int, n_heads: int, reduction: int
    ) -> None:
        super().__init__()
        self.scale = scale
        self.first = _AttendedConvolution(1, n_features, n_heads)
        self.blocks = nn.Sequential(
            *(_FeatureAttention(n_features, n_heads, reduction) for _ in range(n_blocks))
        )
        self.middle = _AttendedConvolution(n_features, n_features, n_heads)
        self.registration = _Registration(n_features, n_heads)
        self.details = nn.Conv2d(n_features, scale**2, 3, padding=1)
        self.deviation = nn.Sequential(
            nn.Conv2d(n_features, n_features, 3, padding=1),
            nn.BatchNorm2d(n_features),
            nn.LeakyReLU(),
        )
        self.log_scale = nn.Conv2d(n_features, 1, 1)

    def forward(self, frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        first = self.first(frames[:, :, None])
        features = first + leaky_relu(self.middle(self.blocks(first)))
        fused = self.registration(features).mean(dim=1)
        details = pixel_shuffle(in_float32(self.details, fused), self.scale)
        image = details + self._upscale(frames.mean(dim=1, keepdim=True))
        log_scale = in_float32(self.log_scale, self.deviation(self._upscale(fused)))
        # Standard deviation of a Laplace distribution.
        std = math.sqrt(2) * log_scale.clamp(max=_LARGEST_LOG).exp()
        return torch.cat([image, std], dim=1)

    def _upscale(self, images):
        return interpolate(images, scale_factor=self.scale, mode="bilinear", align_corners=False)


class _FeatureAttention(nn.Module):
    """Residual block of two attended convolutions with channel attention, TEFA of the paper."""

    def __init__(self, n_features: int, n_heads: int, reduction: int) -> None:
        super().__init__()
        n_squeezed = max(n_features // reduction, 1)
        self.first = _AttendedConvolution(n_features, n_features, n_heads)
        self.second = _AttendedConvolution(n_features, n_features, n_heads)
        self.squeeze = nn.Linear(n_features, n_squeezed)
        self.expand = nn.Linear(n_squeezed, n_features)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.second(leaky_relu(self.first(inputs)))
        means = features.mean(dim=(1, 3, 4))
        weights = self.expand(leaky_relu(self.squeeze(means))).sigmoid()
        return inputs + features * weights[:, None, :, None, None]


class _Registration(nn.Module):
    """Filter of each frame's features by a predicted kernel, TERN of the paper."""

    def __init__(self, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.unit = _AttendedConvolution(n_features, n_features, n_heads)
        self.kernels = nn.Conv1d(n_features, _KERNEL**2, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        means = leaky_relu(self.unit(features)).mean(dim=(3, 4))
        kernels = self.kernels(means.transpose(1, 2)).transpose(1, 2)
        apply = _filter if torch.onnx.is_in_onnx_export() else _convolve
        return apply(features, kernels)


def _convolve(features, kernels):
    """Filter features (n, t, c, h, w) of each frame by its kernel (n, t, 25)."""
    # Frames become groups, features become samples.
    samples = features.permute(2, 0, 1, 3, 4)
    frames = samples.flatten(1, 2).contiguous()
    kernels = kernels.reshape(-1, 1, _KERNEL, _KERNEL)
    made = conv2d(frames, kernels, padding=_KERNEL // 2, groups=len(kernels))
    return made.reshape(samples.shape).permute(1, 2, 0, 3, 4)


def _filter(features, kernels):
    """The same in ONNX operators, which have no dynamic number of groups."""
    *_, height, width = features.shape
    padded = pad(features, (_KERNEL // 2,) * 4)
    return sum(
        kernels[:, :, _KERNEL * i + j, None, None, None]
        * padded[..., i : i + height, j : j + width]
        for i in range(_KERNEL)
        for j in range(_KERNEL)
    )


class _AttendedConvolution(nn.Module):
    """3x3 convolution of every frame and self-attention across frames at each pixel.

    From features of shape (n, t, c, h, w) to (n, t, n_features, h, w).
    """

    def __init__(self, in_features: int, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.convolution = nn.Sequential(
            _FlatConvolution(in_features, n_features, (1, 3, 3)),
            nn.BatchNorm2d(n_features),
            nn.LeakyReLU(),
        )
        self.attention = _FrameAttention(n_features, n_heads)
        self.norm = nn.BatchNorm2d(n_features)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = each_frame(self.convolution, features)
        return each_frame(self.norm, features + self.attention(features))


class _FlatConvolution(nn.Conv3d):
    """2D convolution with the authors' weights of a 3D one of depth 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # Halves the time on a CPU, also of the layers that follow.
        to: Any = images.to
        images = to(memory_format=torch.channels_last)
        return conv2d(images, self.weight[:, :, 0], self.bias, padding=1)


class _FrameAttention(nn.Module):
    """Self-attention across frames at each pixel."""

    def __init__(self, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.projection = nn.Linear(n_features, 3 * n_features)
        self.merging = nn.Linear(n_features, n_features)
        # Initialisation of torch.nn.MultiheadAttention.
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        nn.init.zeros_(self.merging.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Pixels become samples, frames become tokens.
        pixels = features.permute(0, 3, 4, 1, 2)
        tokens = pixels.flatten(0, 2)
        queries, keys, values = (
            x.reshape(x.shape[0], x.shape[1], self.n_heads, -1).transpose(1, 2)
            for x in self.projection(tokens).chunk(3, dim=2)
        )
        # Twice as fast as scaled_dot_product_attention for few tokens.
        scores = (queries * queries.shape[3] ** -0.5) @ keys.transpose(2, 3)
        attended = scores.softmax(dim=3) @ values
        merged = self.merging(attended.transpose(1, 2).flatten(2))
        return merged.reshape(pixels.shape).permute(0, 3, 4, 1, 2)
