"""Images without a scene, from arrays and PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging import as_mask, as_pixels
from ..scenes import PngImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_images", "read_truth"]


def read_images(images: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Return images of one size by name, as pixels in [0, 1].

    Parameters
    ----------
    images : dict of str to array of shape (H, W) or path
        uint16, uint8 or float in [0, 1], or grey PNG files.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If there is no image, one is not of shape (H, W), or sizes differ.
    """
    if not isinstance(images, Mapping):
        raise ValueError(
            f"images must be a dict of arrays or paths by name, got {type(images).__name__}: give "
            '{"bicubic": "imgset0594.png"}'
        )
    if not images:
        raise ValueError("images is empty: give at least one image by name")
    read: dict[str, NDArray[np.float32]] = {}
    for name, image in images.items():
        values, label = _read(image, f"image {name!r}")
        read[name] = as_pixels(values, label)
        _check_size(read[name], label, read)
    return read


def read_truth(
    hr: Any, sm: Any, images: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return an HR image of the size of the images, and its status map.

    Parameters
    ----------
    hr, sm : array of shape (H, W) or path
        `sm` may be None: all pixels are clear.
    images : dict of str to array of shape (H, W)
        As returned by :func:`read_images`.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If sizes differ, or values are no pixels or no mask.
    """
    values, label = _read(hr, "hr")
    pixels = as_pixels(values, label)
    _check_size(pixels, label, images)
    if sm is None:
        return pixels, np.ones(pixels.shape, bool)
    values, label = _read(sm, "sm")
    clear = as_mask(values, label)
    _check_size(clear, label, images)
    return pixels, clear


def _read(image, label):
    """Values of an image, and its label for errors, with the path of a file."""
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        return PngImage(path).read(), f"{label} ({path})"
    return np.asarray(image), label


def _check_size(image, label, images):
    name, first = next(iter(images.items()))
    if image.ndim != 2:
        raise ValueError(
            f"{label} has the shape {image.shape}: give a grey image of shape (H, W), such as "
            "one band of a colour image"
        )
    if image.shape != first.shape:
        raise ValueError(
            f"{label} has the shape {image.shape}, and image {name!r} has {first.shape}: give "
            "images of one size"
        )
