"""Base of the nets of the study that this package starts from."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.utils._param_validation import Interval

from ..training import SceneRegressor
from ._layers import check_odd

__all__ = ["StudyNet"]

_PARAMETERS = """
    depth_multiplier : int, default=1
        Factor on the number of channels of every layer but the last."""


class StudyNet(SceneRegressor):
    """Base of the nets of the study that this package starts from, with widths to choose.

    {parameters}

    {attributes}
    """

    _documented_parameters = SceneRegressor._documented_parameters + _PARAMETERS

    _parameter_constraints = SceneRegressor._parameter_constraints | {
        "depth_multiplier": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, *, depth_multiplier: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth_multiplier = depth_multiplier

    def _multiplied(self, *widths):
        return [int(self.depth_multiplier) * width for width in widths]

    def _checked_kernel_sizes(self, number):
        sizes = self.kernel_sizes
        if len(sizes) != number:
            raise ValueError(
                f"{type(self).__name__} has {number} kernels to choose, and kernel_sizes={sizes!r} "
                f"has {len(sizes)}: give {number} odd numbers"
            )
        return [check_odd(f"kernel_sizes[{at}]", size) for at, size in enumerate(sizes)]
