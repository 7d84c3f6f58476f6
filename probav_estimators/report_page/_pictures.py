"""Arrays as small PNGs in the text of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Steps of a map's colours: with the two greys of a hatching, they fit into 4 bits.
N_STEPS = 13

# Where a map has no value: stripes of two greys, so wide in pixels.
_HATCH = [(105, 105, 105), (150, 150, 150)]
_HATCH_WIDTH = 2

# ColorBrewer's RdBu, blue first, and matplotlib's viridis: both are told apart by the colour-blind.
_ERRORS = "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b"
_DEVIATIONS = "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725"


class Picture(NamedTuple):
    """A picture of a page.

    Attributes
    ----------
    uri : str
        The PNG, as a data URI.
    width, height : int
        In pixels.
    """

    uri: str
    width: int
    height: int


def map_limit(maps: Iterable[NDArray[Any]]) -> float:
    """One scale for some maps: the 99th percentile of their absolute values.

    At least a millionth, so that maps of an exact image have a scale too.
    """
    together = np.abs(np.concatenate([np.ravel(array) for array in maps]))
    together = together[np.isfinite(together)]
    return max(float(np.percentile(together, 99)), 1e-6) if together.size else 1e-6


def grey_picture(image: NDArray[Any], low: float, high: float) -> Picture:
    """Grey levels from black at `low` to white at `high`."""
    levels = np.nan_to_num((image - low) / (high - low)).clip(0, 1)
    return _picture(Image.fromarray(np.rint(255 * levels).astype(np.uint8)))


def error_picture(error: NDArray[Any], limit: float) -> Picture:
    """Blue at ``-limit``, white at 0, red at `limit`."""
    return _map_picture(error, -limit, limit, _ERRORS)


def deviation_picture(deviation: NDArray[Any], limit: float) -> Picture:
    """Dark at 0, bright at `limit`."""
    return _map_picture(deviation, 0.0, limit, _DEVIATIONS)


def error_bar() -> Picture:
    """The colours of errors, from the least to the greatest."""
    return error_picture(np.linspace(-1, 1, N_STEPS)[None], 1.0)


def deviation_bar() -> Picture:
    """The colours of standard deviations, from the least to the greatest."""
    return deviation_picture(np.linspace(0, 1, N_STEPS)[None], 1.0)


def _map_picture(values, low, high, colours):
    steps = np.nan_to_num((values - low) / (high - low)).clip(0, 1) * (N_STEPS - 1)
    row, column = np.indices(values.shape)
    hatching = N_STEPS + (row + column) // _HATCH_WIDTH % len(_HATCH)
    index = np.where(np.isfinite(values), np.rint(steps), hatching).astype(np.uint8)
    picture = Image.fromarray(index)
    picture.putpalette([level for colour in [*_palette(colours), *_HATCH] for level in colour])
    return _picture(picture, bits=4)


def _palette(colours: str) -> Sequence[tuple[int, ...]]:
    """Colours in equal steps, interpolated between those that are given."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in colours.split()])
    places = np.linspace(0, len(anchors) - 1, N_STEPS)
    channels = [np.interp(places, range(len(anchors)), channel) for channel in anchors.T]
    return [tuple(round(float(level)) for level in colour) for colour in np.stack(channels, 1)]


def _picture(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True, **options)
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{text}", *image.size)
