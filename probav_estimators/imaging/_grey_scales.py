"""Grey scales of panels whose images may differ in level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._mean_level import mean_level, shift_to_level
from ._stretch import grey_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GREY_SCALES", "GreyPanel", "Picture", "check_grey_scale", "scale_greys"]

GREY_SCALES = ("auto", "common", "own", "truth")

# Levels differ if they are further apart than this part of the widest range of a panel: with
# common limits, images then would have less than two thirds of the grey levels each.
_LEVEL_TOLERANCE = 1 / 2


class Picture(NamedTuple):
    """An image and its mask.

    Attributes
    ----------
    image : array of shape (h, w)
    clear : bool array of shape (h, w), or None
        None: all pixels are clear.
    """

    image: NDArray[Any]
    clear: NDArray[np.bool_] | None = None

    @property
    def clear_pixels(self) -> NDArray[Any]:
        """Values of the clear pixels."""
        return self.image if self.clear is None else self.image[self.clear]


class GreyPanel(NamedTuple):
    """An image as it is drawn.

    Attributes
    ----------
    image : array of shape (h, w)
    limits : tuple of two floats
        Values of black and white.
    note : str
        How values or limits differ from those of other panels; may be empty.
    """

    image: NDArray[Any]
    limits: tuple[float, float]
    note: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Options of matplotlib's ``imshow``."""
        low, high = self.limits
        return {"cmap": "gray", "vmin": low, "vmax": high}


def check_grey_scale(grey_scale: str, *, truth: bool) -> None:
    """Raise ValueError if there is no such scale, or not without an HR image."""
    if grey_scale not in GREY_SCALES:
        raise ValueError(f"grey_scale must be one of {list(GREY_SCALES)}, got {grey_scale!r}")
    if grey_scale == "truth" and not truth:
        raise ValueError("grey_scale='truth' needs an HR image: give one, or take 'auto' or 'own'")


def scale_greys(
    pictures: Sequence[Picture], grey_scale: str, truth: Picture | None, unit: str
) -> list[GreyPanel]:
    """Choose the limits of each picture, and move pictures to the truth's level if asked to.

    Parameters
    ----------
    pictures : sequence of Picture
        The truth among them.
    grey_scale : {"auto", "common", "own", "truth"}
        "common" takes one pair of limits for all, "own" one for each picture; "truth" adds a
        constant to each picture, to have the truth's mean, and takes the truth's limits. "auto" is
        "common" if levels do not differ; else "truth", or "own" without a truth.
    truth : Picture or None
        Its mask also counts for pictures of its shape without a mask.
    unit : str
        Of the values.

    Returns
    -------
    list of GreyPanel
    """
    if grey_scale == "auto":
        differ = _levels_differ(pictures, truth)
        grey_scale = "common" if not differ else "own" if truth is None else "truth"
    if grey_scale == "own":
        return [_on_own_scale(picture, unit) for picture in pictures]
    if grey_scale == "truth" and truth is not None:
        return _on_scale_of(truth, pictures)
    limits = grey_limits(picture.clear_pixels for picture in pictures)
    return [GreyPanel(picture.image, limits) for picture in pictures]


def _levels_differ(pictures, truth):
    limits = [grey_limits([picture.clear_pixels]) for picture in pictures]
    widest = max(high - low for low, high in limits)
    levels = [mean_level(picture.image, _mask(picture, truth)) for picture in pictures]
    return np.nanmax(levels) - np.nanmin(levels) > _LEVEL_TOLERANCE * widest


def _on_own_scale(picture, unit):
    low, high = grey_limits([picture.clear_pixels])
    shown = [f"{value:.{_decimals(low, high)}f}" for value in (low, high)]
    return GreyPanel(picture.image, (low, high), f"{shown[0]} to {shown[1]} ({unit})")


def _on_scale_of(truth, pictures):
    limits = grey_limits([truth.clear_pixels])
    level = mean_level(*truth)
    panels = []
    for picture in pictures:
        clear = _mask(picture, truth)
        offset = level - mean_level(picture.image, clear)
        shown = f"{offset:+.{_decimals(*limits)}f}"
        note = f"offset {shown}" if float(shown) else ""
        panels.append(GreyPanel(shift_to_level(picture.image, level, clear), limits, note))
    return panels


def _mask(picture, truth):
    """The picture's mask, or the truth's if the picture has none."""
    if picture.clear is None and truth is not None and picture.image.shape == truth.image.shape:
        return truth.clear
    return picture.clear


def _decimals(low, high):
    """Decimals that resolve a thousandth of a range."""
    return max(0, int(np.ceil(3 - np.log10(high - low))))
