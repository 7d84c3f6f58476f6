"""Arrays as PNG files in data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EmbeddedImage", "colour_bar", "grey_picture", "map_limit", "map_picture"]

# Steps of a colour map: with the two greys of the hatching, 15 colours fit into 4 bits.
_N_STEPS = 13

# NaN is hatched: stripes of two greys, 2 pixels wide.
_HATCH = [(105, 105, 105), (150, 150, 150)]
_HATCH_WIDTH = 2

# By matplotlib's names, which is optional here. Both suit colour-blind readers.
_COLOUR_MAPS = {
    "RdBu_r": "2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b",
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
}

# Least limit of a map, as maps of exact images are 0 everywhere.
_LEAST_LIMIT = 1e-6


class EmbeddedImage(NamedTuple):
    """An image file in a page, as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, data: bytes, kind: str, width: int, height: int) -> EmbeddedImage:
        """Encode the bytes of a file; `kind` as in ``image/png``."""
        return cls(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", width, height)


def map_limit(maps: Iterable[NDArray[Any]]) -> float:
    """Return the 99th percentile of the absolute values of some maps, at least a millionth."""
    values = np.abs(np.concatenate([np.ravel(array) for array in maps]))
    values = values[np.isfinite(values)]
    return max(float(np.percentile(values, 99)), _LEAST_LIMIT) if values.size else _LEAST_LIMIT


def grey_picture(image: NDArray[Any], low: float, high: float) -> EmbeddedImage:
    """Draw an image from black at `low` to white at `high`; NaN is black."""
    levels = np.nan_to_num((image - low) / (high - low)).clip(0, 1)
    return _png(Image.fromarray(np.rint(255 * levels).astype(np.uint8)))


def map_picture(values: NDArray[Any], low: float, high: float, colours: str) -> EmbeddedImage:
    """Draw a map in the colours of a colour map, "RdBu_r" or "viridis"; NaN is hatched."""
    steps = np.nan_to_num((values - low) / (high - low)).clip(0, 1) * (_N_STEPS - 1)
    row, column = np.indices(values.shape)
    hatching = _N_STEPS + (row + column) // _HATCH_WIDTH % len(_HATCH)
    picture = Image.fromarray(np.where(np.isfinite(values), np.rint(steps), hatching).astype("u1"))
    picture.putpalette([level for colour in [*_palette(colours), *_HATCH] for level in colour])
    return _png(picture, bits=4)


def colour_bar(colours: str) -> EmbeddedImage:
    """Draw the colours of a colour map, one pixel each."""
    return map_picture(np.linspace(0, 1, _N_STEPS)[None], 0, 1, colours)


def _palette(colours):
    """Colours in equal steps, interpolated."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _COLOUR_MAPS[colours].split()])
    at = np.linspace(0, len(anchors) - 1, _N_STEPS)
    channels = [np.interp(at, range(len(anchors)), channel) for channel in anchors.T]
    return np.rint(np.stack(channels, axis=1)).astype(int).tolist()


def _png(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True, **options)
    return EmbeddedImage.of(data.getvalue(), "png", *image.size)
