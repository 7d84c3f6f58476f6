"""MISR-GRU."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from sklearn.utils._param_validation import Interval
from torch import nn

from ..training import FrameNet, FrameReader, PublishedWeights
from ._frame_layers import (
    each_frame,
    encoder,
    encoder_names,
    in_float32,
    transposed_decoder,
    with_reference,
)

__all__ = ["MISRGRU"]

_GATES = ("reset_gate", "update_gate", "out_gate")


class MISRGRU(FrameNet):
    """MISR-GRU: frames are fused by convolutional gated recurrent units.

    Every frame is encoded, then encoded again together with the encoded reference frame, the median
    of the nine clearest. Two layers of recurrent units process the frames, clearest first; the mean
    of their outputs is upscaled by a transposed convolution. At scale 3 it has 923,468 parameters.

    Takes scenes as they are: there is no InputComposer before it.

    {parameters}
    n_frames : int, default=24
        Number of frames at most, clearest first.
    n_features : int, default=64
        Channels of all layers.
    n_blocks : int, default=2
        Residual blocks of each of the two encoders.
    n_layers : int, default=2
        Layers of recurrent units.

    {attributes}
    n_features_, n_blocks_, n_layers_ : int
        Size of the layers.

    See Also
    --------
    HighResNet : Pairwise fusion of frames.
    TRMISR : Fusion by attention, independent of the order.

    Notes
    -----
    The paper's ShiftNet, which registers the image with the truth, is replaced by the best shift of
    at most `border` pixels. Quality maps only rank the frames.

    The authors' weights are `resources/MISR-GRU.pth` of rarefin/MISR-GRU on GitHub, under Apache
    2.0 with the Do No Harm license, for both bands of PROBA-V at scale 3. :meth:`from_published`
    takes the 16 clearest frames, as their submission did, with ties in the order of
    `numpy.argsort`. With fewer than nine frames, which PROBA-V does not have, the reference is
    their median; the authors' code pads them with zeros to nine.

    References
    ----------
    .. [1] M. R. Arefin et al., "Multi-image super-resolution for remote sensing using deep
       recurrent networks", IEEE Conference on Computer Vision and Pattern Recognition Workshops,
       2020.

    Examples
    --------
    >>> from probav_estimators import MISRGRU, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = MISRGRU(n_features=8, n_blocks=1, max_epochs=1, random_state=0, verbose=0)
    >>> net.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    sizes = ("n_features", "n_blocks", "n_layers")

    # Twelve encoder convolutions. The recurrent units reach further with every frame, but the
    # influence of pixels beyond 24 is below float32 precision.
    reach = 32

    published = PublishedWeights(
        source="resources/MISR-GRU.pth of rarefin/MISR-GRU",
        names={
            **encoder_names("layers.encoder", "unit1"),
            **encoder_names("layers.joint_encoder", "unit2"),
            **{
                f"layers.units.{layer}.{gate}": f"fuse.gru_units.{layer}.{gate}"
                for layer in range(2)
                for gate in _GATES
            },
            "layers.decoder.0": "decode.deconv.0",
            "layers.decoder.1": "decode.deconv.1",
            "layers.decoder.2": "decode.final",
        },
        params={"scale": 3, "n_frames": 16, "n_features": 64, "n_blocks": 2, "n_layers": 2},
        # The file has the names of an earlier version of the code.
        prefixes=("encode.",),
    )

    _parameter_constraints = FrameNet._parameter_constraints | {
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_frames: int = 24,
        n_features: int = 64,
        n_blocks: int = 2,
        n_layers: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self.n_features = n_features
        self.n_blocks = n_blocks
        self.n_layers = n_layers

    def build_layers(self, scale: int) -> nn.Module:
        return _RecurrentLayers(scale, self.n_features_, self.n_blocks_, self.n_layers_)

    def make_reader(self) -> FrameReader:
        return FrameReader(self.n_frames_, stable=not self.published_)


class _RecurrentLayers(nn.Module):
    """Two encoders, recurrent units and decoder."""

    def __init__(self, scale: int, n_features: int, n_blocks: int, n_layers: int) -> None:
        super().__init__()
        self.encoder = encoder(1, n_features, n_blocks)
        self.joint_encoder = encoder(2 * n_features, n_features, n_blocks)
        self.units = nn.ModuleList(_RecurrentUnit(n_features) for _ in range(n_layers))
        self.decoder = transposed_decoder(n_features, scale)

    def forward(self, frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # The reference is appended to the frames, to be encoded once.
        reference = with_reference(frames, present)[:, :1, 1]
        every = torch.cat([frames, reference], dim=1)
        encoded = each_frame(self.encoder, every[:, :, None])
        pairs = torch.cat([encoded[:, :-1], encoded[:, -1:].expand_as(encoded[:, :-1])], dim=2)
        joint = each_frame(self.joint_encoder, pairs)
        states: list[torch.Tensor] = [torch.zeros_like(joint[:, 0]) for _ in self.units]
        total = torch.zeros_like(states[0])
        for features, mask in zip(joint.unbind(1), present.unbind(1), strict=True):
            for layer, unit in enumerate(self.units):
                states[layer] = features = unit(features, states[layer])
            total = total + mask[:, None, None, None] * features
        mean = total / present.sum(dim=1)[:, None, None, None]
        return in_float32(self.decoder, mean)


class _RecurrentUnit(nn.Module):
    """Gated recurrent unit whose gates are 3x3 convolutions."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.reset_gate, self.update_gate, self.out_gate = (
            nn.Conv2d(2 * n_features, n_features, 3, padding=1) for _ in _GATES
        )

    def forward(self, features: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        both = torch.cat([features, state], dim=1)
        reset, update = self.reset_gate(both).sigmoid(), self.update_gate(both).sigmoid()
        candidate = self.out_gate(torch.cat([features, reset * state], dim=1)).tanh()
        return state + update * (candidate - state)
