"""HighRes-net."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from sklearn.utils._param_validation import Interval
from torch import nn
from torch.nn.functional import pad

from ..training import FrameNet, FrameReader, PublishedWeights
from ._frame_layers import (
    each_frame,
    encoder,
    encoder_names,
    in_float32,
    residual_block,
    transposed_decoder,
    with_reference,
)

__all__ = ["HighResNet"]


class HighResNet(FrameNet):
    """HighRes-net: recursive pairwise fusion of frames.

    Every frame is encoded together with a reference frame, the median of the nine clearest. The
    encoded frames are fused in pairs, the clearest with the least clear, by layers shared by all
    rounds, and the result is upscaled by a transposed convolution. Frames without a partner pass
    unchanged. At scale 3 it has 591,818 parameters.

    Takes scenes as they are: there is no InputComposer before it.

    {parameters}
    n_frames : int, default=32
        Number of frames at most, clearest first; padded to a power of two.
    n_features : int, default=64
        Channels of an encoded frame.
    n_blocks : int, default=2
        Residual blocks of the encoder.

    {attributes}
    n_features_, n_blocks_ : int
        Size of the layers.

    See Also
    --------
    MISRGRU : Recurrent fusion of frames.
    FusionNet : Registers frames to a fraction of a pixel and masks clouds.

    Notes
    -----
    The paper's ShiftNet, which registers the image with the truth, is replaced by the best shift of
    at most `border` pixels. Quality maps only rank the frames.

    The authors published code (ElementAI/HighRes-net, Apache 2.0 with the Do No Harm license) but
    no weights. :meth:`from_published` reads the `HRNet.pth` that their training writes.

    References
    ----------
    .. [1] M. Deudon et al., "HighRes-net: recursive fusion for multi-frame super-resolution of
       satellite imagery", arXiv:2002.06460, 2020.

    Examples
    --------
    >>> from probav_estimators import HighResNet, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = HighResNet(n_features=8, n_blocks=1, max_epochs=1, random_state=0, verbose=0)
    >>> net.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    sizes = ("n_features", "n_blocks")

    # Six encoder convolutions, and three in each of five rounds of fusion.
    reach = 24

    published = PublishedWeights(
        source="HRNet.pth, as the training code of ElementAI/HighRes-net saves it",
        names={
            **encoder_names("layers.encoder", "encode"),
            "layers.fusion.0": "fuse.fuse.0.block",
            "layers.fusion.1": "fuse.fuse.1",
            "layers.fusion.2": "fuse.fuse.2",
            "layers.decoder.0": "decode.deconv.0",
            "layers.decoder.1": "decode.deconv.1",
            "layers.decoder.2": "decode.final",
        },
        params={"scale": 3, "n_frames": 32, "n_features": 64, "n_blocks": 2},
    )

    _parameter_constraints = FrameNet._parameter_constraints | {
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, *, n_frames: int = 32, n_features: int = 64, n_blocks: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self.n_features = n_features
        self.n_blocks = n_blocks

    def build_layers(self, scale: int) -> nn.Module:
        return _HighResLayers(scale, self.n_features_, self.n_blocks_)

    def make_reader(self) -> FrameReader:
        return FrameReader(self.n_frames_, stable=not self.published_)


class _HighResLayers(nn.Module):
    """Encoder, recursive fusion and decoder."""

    def __init__(self, scale: int, n_features: int, n_blocks: int) -> None:
        super().__init__()
        self.encoder = encoder(2, n_features, n_blocks)
        self.fusion = nn.Sequential(
            residual_block(2 * n_features),
            nn.Conv2d(2 * n_features, n_features, 3, padding=1),
            nn.PReLU(),
        )
        self.decoder = transposed_decoder(n_features, scale)

    def forward(self, frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        features = each_frame(self.encoder, with_reference(frames, present))
        # A traced graph has a fixed number of frames.
        n_frames = int(features.shape[1])
        missing = _next_power_of_two(n_frames) - n_frames
        features = pad(features, (0, 0) * 3 + (0, missing))
        present = pad(present, (0, missing))[:, :, None, None, None]
        while (half := features.shape[1] // 2) > 0:
            first, last = features[:, :half], features[:, half:].flip(1)
            fused = each_frame(self.fusion, torch.cat([first, last], dim=2))
            # Pairs with a padded partner are left unchanged.
            features = first + present[:, half:].flip(1) * fused
            present = present[:, :half]
        return in_float32(self.decoder, features[:, 0])


def _next_power_of_two(number):
    return 1 << (number - 1).bit_length()
