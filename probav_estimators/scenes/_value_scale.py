"""What pixels stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from ._scene import Scene

__all__ = ["ValueScale"]


class ValueScale(NamedTuple):
    """Values that pixels of a scene stand for.

    Attributes
    ----------
    low, high : float
        Values of pixels of 0 and 1.
    unit : str
        Of these values.
    """

    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, scene: Scene, unit: str | None = None) -> Self:
        """That of a scene, in the unit that is given or, without `value_range`, 16-bit numbers."""
        if scene.value_range is None:
            return cls(0.0, 65535.0, unit or "16-bit counts")
        low, high = map(float, scene.value_range)
        return cls(low, high, unit or f"values, range {low:g} to {high:g}")

    def values(self, pixels: Any) -> Any:
        """Values of pixels."""
        return self.low + (self.high - self.low) * np.asarray(pixels)

    def differences(self, pixels: Any) -> Any:
        """Differences of values, of differences of pixels."""
        return (self.high - self.low) * np.asarray(pixels)
