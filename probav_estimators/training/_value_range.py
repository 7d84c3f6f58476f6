"""Value range of the scenes that a net learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from skorch import NeuralNet

from ..scenes import COUNTS

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["MIXED", "ValueRangeMixin"]

#: Value range of a net whose training scenes have several.
MIXED = "mixed"


class ValueRangeMixin(NeuralNet):
    """Mixin of nets that keep the value range of their training scenes."""

    #: Whether predictions depend on the unit of pixel values.
    depends_on_unit: ClassVar[bool] = True

    # For nets without a training, and those of versions without it.
    value_range_: tuple[float, float] | str | None = None

    def _learn_value_range(self, scenes):
        ranges = {_range_of(scene) for scene in scenes}
        self.value_range_ = ranges.pop() if len(ranges) == 1 else MIXED

    def _check_value_ranges(self, scenes: Sequence[Scene]) -> None:
        """Raise a ValueError if equal values of a scene and of the training are other pixels."""
        if not self.depends_on_unit or self.value_range_ in (None, MIXED):
            return
        for scene in scenes:
            if (_range_of(scene) or COUNTS) != self.value_range_:
                raise ValueError(
                    f"{type(self).__name__} learned from scenes of value_range="
                    f"{self.value_range_}, and that of {scene.label} is {scene.value_range}: equal "
                    "values would be other pixels. Make it with that value_range, and values in "
                    "the unit of the training scenes"
                )


def _range_of(scene):
    if scene.value_range is None:
        return None
    low, high = scene.value_range
    return float(low), float(high)
