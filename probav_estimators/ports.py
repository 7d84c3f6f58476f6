"""Names, axes and units of the tensors that a net takes and returns."""

from __future__ import annotations

from typing import NamedTuple


class Port(NamedTuple):
    """A tensor that a net takes or returns.

    Attributes
    ----------
    name : str
    axes : tuple of str or int
        Names of the axes of any length, lengths of the others.
    description : str
        Content and unit.
    """

    name: str
    axes: tuple[str | int, ...]
    description: str


STACK: tuple[str | int, ...] = ("batch", "frames", "height", "width")
_LARGE: tuple[str | int, ...] = ("batch", "hr_height", "hr_width")

OUTPUTS = {
    "image": Port("image", _LARGE, "image, pixel values; clip to [0, 1] where these are"),
    "std": Port("deviation", _LARGE, "standard deviation of its error, pixel values"),
    "clearance": Port("clearance", _LARGE, "probability that a pixel is clear, in [0, 1]"),
}
