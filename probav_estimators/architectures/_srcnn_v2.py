"""SRCNN with an additional layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..training import KerasModel
from ._srcnn import SRCNN

__all__ = ["SRCNNv2"]


class SRCNNv2(SRCNN):
    """SRCNN with two extraction layers and large kernels.

    Four convolutions on the upscaled input: 9x9 to 64 channels, 7x7 to 64, 5x5 to 32, 5x5 to the
    image. With 18 channels in and 2 out it has 346,978 parameters.

    {parameters}
    kernel_sizes : tuple of int, default=(9, 7, 5, 5)
        Sizes of the kernels, odd: two extraction layers, mapping, reconstruction.

    {attributes}

    See Also
    --------
    SRCNNEx : One extraction layer.
    BicubicUpscaler : Makes the input that this net needs.

    References
    ----------
    .. [1] https://github.com/Shiro-LK/Super-Resolution-ProbaV, `SRCNNv2` in `model.py`.
    """

    widths = (64, 64, 32)

    keras = KerasModel(("conv1", "conv2", "mapping", "output"))

    def __init__(self, *, kernel_sizes: Sequence[int] = (9, 7, 5, 5), **kwargs: Any) -> None:
        super().__init__(kernel_sizes=kernel_sizes, **kwargs)
