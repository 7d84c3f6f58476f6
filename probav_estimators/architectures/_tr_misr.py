"""TR-MISR."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ..training import FrameNet, FrameReader, PublishedWeights
from ._frame_layers import (
    check_heads,
    each_frame,
    encoder,
    encoder_names,
    in_float32,
    with_reference,
)
from ._registering_reader import RegisteringReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Frames

__all__ = ["TRMISR"]

# Least overlap of the frames, as a fraction of the greatest, at a shift that is considered.
_LEAST_OVERLAP = 0.99

# The greatest pixel value of PROBA-V, at which the authors clip images.
_GREATEST_PIXEL = 16383 / 65535

_DEPTH = 6

# Names of a transformer layer's weights, here (and in saved models) and in the authors' files.
_NAMES_IN_LAYERS = {
    "attention_norm": "0.fn.norm",
    "projection": "0.fn.fn.to_qkv",
    "merging": "0.fn.fn.to_out.0",
    "mixing.0": "1.fn.norm",
    "mixing.1": "1.fn.fn.net.0",
    "mixing.4": "1.fn.fn.net.3",
}


class TRMISR(FrameNet):
    """TR-MISR: per-pixel fusion of frames by a transformer.

    Every frame is encoded together with a reference frame, the median of the nine clearest. At each
    pixel, self-attention acts on the encoded frames and a learned token; a 1x1 convolution and
    pixel shuffle decode the token. The result does not depend on the order of frames, for a given
    set of nine clearest. At scale 3 it has 386,191 parameters.

    Takes scenes as they are: there is no InputComposer before it. Frames are registered to the
    clearest one by whole pixels with masked cross-correlation [2]_, unless a FrameRegistrar
    precedes.

    {parameters}
    n_frames : int, default=24
        Number of frames at most, clearest first.
    n_features : int, default=64
        Channels of an encoded frame and of a token.
    n_blocks : int, default=2
        Residual blocks of the encoder.
    depth : int, default=6
        Layers of the transformer.
    n_heads : int, default=8
        Attention heads, a divisor of `n_features`.
    dropout : float, default=0.1
        Dropout rate.

    {attributes}
    n_features_, n_blocks_, depth_, n_heads_ : int
        Size of the layers.

    See Also
    --------
    MISRGRU : Recurrent fusion of frames.
    FusionNet : Registers frames to a fraction of a pixel and masks clouds.

    Notes
    -----
    As published, quality maps only rank and register frames; clouds are not masked in the fusion.

    The authors' weights are `TRNet.pth` in `models/weights/images_32_batchsize_4_epoch_400_NIR` and
    `..._RED` of Suanmd/TR-MISR on GitHub, which states no license: one file for each band of
    PROBA-V, at scale 3. Their images have an arbitrary level, so the lowest pixel is set to 0 and
    values are clipped at 16383 / 65535, as in their code; :func:`super_resolve`, which predicts
    block by block, leaves this out. It takes the 24 clearest frames; for the 32 in the folder
    names, give ``n_frames=32``.

    References
    ----------
    .. [1] T. An et al., "TR-MISR: multiimage super-resolution based on feature fusion with
       transformers", IEEE Journal of Selected Topics in Applied Earth Observations and Remote
       Sensing 15, 1373-1388, 2022.
    .. [2] D. Padfield, "Masked object registration in the Fourier domain", IEEE Transactions on
       Image Processing 21(5), 2706-2718, 2012.

    Examples
    --------
    >>> from probav_estimators import TRMISR, make_scenes
    >>> scenes = make_scenes(4, size=16, random_state=0)
    >>> net = TRMISR(n_features=8, n_blocks=1, depth=1, max_epochs=1, random_state=0, verbose=0)
    >>> net.fit(scenes).predict(scenes).shape
    (4, 48, 48)
    """

    sizes = ("n_features", "n_blocks", "depth", "n_heads")

    # Six encoder convolutions; the rest works per pixel.
    reach = 6

    takes_any_number = True

    published = PublishedWeights(
        source="models/weights/images_32_batchsize_4_epoch_400_NIR (or _RED)/TRNet.pth of "
        "Suanmd/TR-MISR",
        names={
            **encoder_names("layers.encoder", "encode"),
            "layers.token": "superres.cls_token",
            **{
                f"layers.transformer.{n}.{ours}": f"superres.transformer.layers.{n}.{theirs}"
                for n in range(_DEPTH)
                for ours, theirs in _NAMES_IN_LAYERS.items()
            },
            "layers.decoder.0": "decode.final.0",
            "layers.decoder.1": "decode.final.1",
        },
        params={
            **{"scale": 3, "n_frames": 24, "n_features": 64, "n_blocks": 2},
            **{"depth": _DEPTH, "n_heads": 8},
        },
    )

    _parameter_constraints = FrameNet._parameter_constraints | {
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        *,
        n_frames: int = 24,
        n_features: int = 64,
        n_blocks: int = 2,
        depth: int = _DEPTH,
        n_heads: int = 8,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_frames=n_frames, **kwargs)
        self.n_features = n_features
        self.n_blocks = n_blocks
        self.depth = depth
        self.n_heads = n_heads
        self.dropout = dropout

    def build_layers(self, scale: int) -> nn.Module:
        check_heads(self.n_features_, self.n_heads_)
        return _AttentionLayers(
            scale, self.n_features_, self.n_blocks_, self.depth_, self.n_heads_, self.dropout
        )

    def make_reader(self) -> FrameReader:
        return _CorrelatingReader(self.n_frames_, zero_outside=True)

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        if not self.published_:
            return images
        lowest = images.amin(dim=(1, 2), keepdim=True)
        return (images - lowest).clamp(max=_GREATEST_PIXEL)


@dataclass(frozen=True)
class _CorrelatingReader(RegisteringReader):
    """Registers frames to the clearest one by masked cross-correlation."""

    def whole_shifts(
        self, frames: Frames, numbers: NDArray[np.intp], window: tuple[slice, slice]
    ) -> NDArray[np.float32]:
        reference, clear = _read_one(frames, numbers[0], window)
        shifts = np.zeros((len(numbers), 2), np.float32)
        for position, number in enumerate(numbers[1:], 1):
            shifts[position] = _whole_shift(reference, clear, *_read_one(frames, number, window))
        return shifts


def _read_one(frames, number, window):
    (frame,), (clear,) = frames.read([number], window)
    return frame.astype(np.float64), clear


def _whole_shift(reference, reference_clear, frame, clear):
    """Shift (down, right) of a frame's content against the reference."""
    # Slow to import.
    from skimage.registration import phase_cross_correlation

    move, _, _ = phase_cross_correlation(
        reference,
        frame,
        reference_mask=reference_clear,
        moving_mask=clear,
        overlap_ratio=_LEAST_OVERLAP,
    )
    return -move


class _AttentionLayers(nn.Module):
    """Encoder, transformer over the frames at each pixel, and decoder."""

    def __init__(self, scale, n_features, n_blocks, depth, n_heads, dropout):
        super().__init__()
        self.encoder = encoder(2, n_features, n_blocks)
        self.token = nn.Parameter(torch.randn(1, 1, n_features))
        self.transformer = nn.ModuleList(
            _AttentionLayer(n_features, n_heads, dropout) for _ in range(depth)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(n_features, scale**2, 1), nn.PReLU(), nn.PixelShuffle(scale)
        )

    def forward(self, frames: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        n_scenes, height, width = frames.shape[0], frames.shape[2], frames.shape[3]
        features = each_frame(self.encoder, with_reference(frames, present))
        # Pixels become samples, frames become tokens behind the learned one.
        pixels = features.permute(0, 3, 4, 1, 2).flatten(0, 2)
        learned = self.token.to(pixels.dtype).expand(pixels.shape[0], -1, -1)
        tokens = torch.cat([learned, pixels], dim=1)
        mask = torch.cat([torch.ones_like(present[:, :1]), present], dim=1) > 0
        mask = mask[:, None, None].expand(-1, height, width, -1).flatten(0, 2)[:, None, None]
        for number, layer in enumerate(self.transformer, 1):
            # Only the learned token is decoded.
            query = tokens[:, :1] if number == len(self.transformer) else tokens
            tokens = layer(query, tokens, mask)
        fused = tokens[:, 0].reshape(n_scenes, height, width, -1).permute(0, 3, 1, 2)
        return in_float32(self.decoder, fused)


class _AttentionLayer(nn.Module):
    """Self-attention and feed-forward network, both with pre-normalisation and residual."""

    def __init__(self, n_features, n_heads, dropout):
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(n_features)
        self.projection = nn.Linear(n_features, 3 * n_features, bias=False)
        self.merging = nn.Linear(n_features, n_features)
        self.dropout = nn.Dropout(dropout)
        self.mixing = nn.Sequential(
            nn.LayerNorm(n_features),
            nn.Linear(n_features, 2 * n_features),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * n_features, n_features),
            nn.Dropout(dropout),
        )

    def forward(self, query, tokens, mask):
        """Update the first m tokens, the query (n, m, c), by attention to all, (n, t, c)."""
        n_features = tokens.shape[2]
        parts = self.projection(self.attention_norm(tokens)).chunk(3, dim=2)
        queries, keys, values = (
            x.reshape(x.shape[0], x.shape[1], self.n_heads, -1).transpose(1, 2)
            for x in (parts[0][:, : query.shape[1]], *parts[1:])
        )
        # As published, scaled by the features of all heads.
        attended = scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=n_features**-0.5
        )
        merged = self.merging(attended.transpose(1, 2).flatten(2))
        updated = query + self.dropout(merged)
        return updated + self.mixing(updated)
