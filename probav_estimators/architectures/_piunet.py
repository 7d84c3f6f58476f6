"""PIUnet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from sklearn.utils._param_validation import Interval
from skorch.utils import to_tensor
from torch import nn
from torch.nn.functional import (
    conv2d,
    interpolate,
    leaky_relu,
    pad,
    pixel_shuffle,
)

from ..losses import laplacian_loss
from ..ports import OUTPUTS, Port
from ..prediction import stack_images
from ..training import FrameNet, FrameReader, PublishedWeights
from ._frame_layers import each_frame, in_float32

if TYPE_CHECKING:
    from ..prediction import Images
    from ..scenes import Scene

__all__ = ["PIUNet"]

# Part of a frame that must be clear for it to take part.
_LEAST_CLEAR = 0.85

_BLOCKS = 16

# Size of the kernels that register features.
_KERNEL = 5

# Logarithms of deviations, in units of the frames' contrast, are cut here: a step too long must not
# end in infinity.
_LARGEST_LOG = 10

# Mean and standard deviation of the authors' data set.
_LEVEL, _STD = 7433.6436 / 65535, 2353.0723 / 65535


# The authors' names of the parts of an attended convolution: the first of a block, the second.
_FIRST = ("conv0", "norm00", "tran0", "norm0")
_SECOND = ("conv1", "norm11", "tran1", "norm1")


def _names_of_unit(ours, theirs, owner=""):
    """Beginnings of the names of an attended convolution's weights, here and in the file."""
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


class PIUNet(FrameNet):
    """PIUnet: frames are fused in any order, and the image comes with its uncertainty.

    2D convolutions that all frames share alternate with attention between the frames at each pixel,
    and features are weighed by their means over the scene. Each frame's features are then
    registered by a kernel of 5 x 5 that the net makes of them, and their mean over the frames
    becomes the image, as what to add to the upscaled mean frame, and the scale of its errors'
    Laplace distribution. At scale 3 it has 828,355 parameters.

    Takes scenes as they are: there is no InputComposer before it.

    {parameters}
    n_frames : int, default=9
        How many frames. Those of which 85 % or less is clear don't take part; if there are fewer,
        they are repeated in turn.
    n_features : int, default=42
        Channels of all layers.
    n_blocks : int, default=16
        Blocks of two convolutions and two attentions.
    n_heads : int, default=1
        Heads of the attention; they divide `n_features`.
    reduction : int, default=8
        How many times fewer channels the layers have that weigh features by their means.
    uncertainty_weight : float, default=0.004
        Weight of the likelihood that makes the standard deviation fit the errors.

    {attributes}
    n_features_, n_blocks_, n_heads_, reduction_ : int
        Size of the layers.

    See Also
    --------
    TRMISR : Attention between frames alone.
    FusionNet : Registers to a small part of a pixel, and respects quality maps.

    Notes
    -----
    As published, quality maps say which frames take part, and clouds take part in the fusion; what
    the paper repeats at random is repeated in turn here. Frames stay where they are unless a
    FrameRegistrar stands before it.

    The authors train the image by the likelihood too. Here the `criterion` does, as in all nets,
    and the likelihood trains what makes the standard deviations.

    Means over the image take part; in tiles, those over a tile with its surroundings.

    The repository of the authors, diegovalsesia/piunet on GitHub (MIT license), links to weights
    for each band of PROBA-V at scale 3, `nir_model_checkpoint.pt` and `red_model_checkpoint.pt`.

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

    sizes = ("n_features", "n_blocks", "n_heads", "reduction")

    # A convolution in each of the units, kernels that register, and a convolution of each head.
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
        "uncertainty_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_frames: int = 9,
        n_features: int = 42,
        n_blocks: int = _BLOCKS,
        n_heads: int = 1,
        reduction: int = 8,
        uncertainty_weight: float = 0.004,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self.n_features = n_features
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.reduction = reduction
        self.uncertainty_weight = uncertainty_weight

    def build_layers(self, scale: int) -> nn.Module:
        if self.n_features_ % self.n_heads_:
            raise ValueError(
                f"n_heads={self.n_heads_} does not divide n_features={self.n_features_}: choose "
                "one that does"
            )
        return _EquivariantLayers(
            scale, self.n_features_, self.n_blocks_, self.n_heads_, self.reduction_
        )

    def make_reader(self) -> FrameReader:
        return FrameReader(self.n_frames_, repeat=True, least_clear=_LEAST_CLEAR)

    def graph_outputs(self) -> list[Port]:
        return [OUTPUTS["image"], OUTPUTS["std"]]

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[False] = False) -> Images: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: Literal[True]) -> tuple[Images, Images]: ...

    @overload
    def predict(self, X: Sequence[Scene], return_std: bool) -> Images | tuple[Images, Images]: ...

    def predict(
        self, X: Sequence[Scene], return_std: bool = False
    ) -> Images | tuple[Images, Images]:
        """Super-resolve scenes.

        Parameters
        ----------
        X : list of Scene
            HR images are not needed.
        return_std : bool, default=False
            Whether to return the standard deviation of the error too.

        Returns
        -------
        images : float32 array of shape (n, H, W), or a list of such images if their sizes differ
            In [0, 1], unless a scene has a `value_range`.
        deviations : the same
            Standard deviation of each pixel's error, in pixel values, once the image's mean error
            and its shift by whole pixels are taken away; only with `return_std`.

        Raises
        ------
        ValueError
            If a scene has another scale than the net.
        """
        if not return_std:
            return super().predict(X)
        images, deviations = zip(*self._channels_of(X), strict=True)
        return stack_images(list(images)), stack_images(list(deviations))

    def get_loss(
        self,
        y_pred: torch.Tensor,
        y_true: dict[str, torch.Tensor],
        X: dict[str, torch.Tensor] | None = None,
        training: bool = False,
    ) -> torch.Tensor:
        loss = super().get_loss(y_pred, y_true, X, training)
        if "truth" not in y_true or not self.uncertainty_weight:
            return loss
        truth = to_tensor(y_true["truth"], device=self.device)
        return loss + self.uncertainty_weight * laplacian_loss(y_pred, truth, self.border)


class _EquivariantLayers(nn.Module):
    """Layers that treat all frames alike, the mean over the frames, and two heads."""

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
        # Of a Laplace distribution the standard deviation is the square root of 2 times the scale.
        deviation = math.sqrt(2) * log_scale.clamp(max=_LARGEST_LOG).exp()
        return torch.cat([image, deviation], dim=1)

    def _upscale(self, images):
        return interpolate(images, scale_factor=self.scale, mode="bilinear", align_corners=False)


class _FeatureAttention(nn.Module):
    """Two attended convolutions, whose features are weighed by their means and added to the input.

    The block that the paper calls TEFA.
    """

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
    """Filters the features of each frame by a kernel that is made of them.

    What the paper calls TERN.
    """

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
    """Features, (n, t, c, h, w), of each frame filtered by its kernel, (n, t, 25)."""
    # Frames become groups, and features samples of theirs.
    samples = features.permute(2, 0, 1, 3, 4)
    frames = samples.flatten(1, 2).contiguous()
    kernels = kernels.reshape(-1, 1, _KERNEL, _KERNEL)
    made = conv2d(frames, kernels, padding=_KERNEL // 2, groups=len(kernels))
    return made.reshape(samples.shape).permute(1, 2, 0, 3, 4)


def _filter(features, kernels):
    """The same in operators of ONNX, which has no convolution in any number of groups."""
    *_, height, width = features.shape
    padded = pad(features, (_KERNEL // 2,) * 4)
    return sum(
        kernels[:, :, _KERNEL * i + j, None, None, None]
        * padded[..., i : i + height, j : j + width]
        for i in range(_KERNEL)
        for j in range(_KERNEL)
    )


class _AttendedConvolution(nn.Module):
    """3x3 convolution of every frame, and attention between the frames at each pixel.

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
    """2D convolution, with the weights of a 3D one of depth 1, as the authors have them."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # In this format it takes half the time on a CPU, and so does what follows.
        to: Any = images.to
        images = to(memory_format=torch.channels_last)
        return conv2d(images, self.weight[:, :, 0], self.bias, padding=1)


class _FrameAttention(nn.Module):
    """What the frames at each pixel have to say to each other."""

    def __init__(self, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.projection = nn.Linear(n_features, 3 * n_features)
        self.merging = nn.Linear(n_features, n_features)
        # As torch.nn.MultiheadAttention begins.
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        nn.init.zeros_(self.merging.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        # Pixels become samples, frames become words.
        pixels = features.permute(0, 3, 4, 1, 2)
        words = pixels.flatten(0, 2)
        queries, keys, values = (
            x.reshape(x.shape[0], x.shape[1], self.n_heads, -1).transpose(1, 2)
            for x in self.projection(words).chunk(3, dim=2)
        )
        # Torch's own function takes twice the time where words are so few.
        scores = (queries * queries.shape[3] ** -0.5) @ keys.transpose(2, 3)
        attended = scores.softmax(dim=3) @ values
        merged = self.merging(attended.transpose(1, 2).flatten(2))
        return merged.reshape(pixels.shape).permute(0, 3, 4, 1, 2)
