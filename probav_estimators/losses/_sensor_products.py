"""Forward model of the sensor and its adjoint, compiled for predictions on CPUs.

Kernels are products of one along rows and one along columns, which are applied in turn.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from ..compiling import njit
from ..cpu_inference import divide_work

__all__ = ["back_project_rows", "degrade_rows"]

# Least number of rows for a thread.
_LEAST_ROWS = 8

_compiled = njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")


def degrade_rows(image: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Compute the frames of an image (n, s * s, h, w), see :meth:`SensorModel.degrade`."""
    n, _, height, width = image.shape
    frames = image.new_empty((n, kernels.shape[1], height, width))
    arrays = (x.detach().numpy() for x in (image.contiguous(), *_factors(kernels), frames))
    divide_work(partial(_degrade, *arrays), n * height, _LEAST_ROWS)
    return frames


def back_project_rows(frames: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Apply the adjoint to frames (n, t, h, w), see :meth:`SensorModel.back_project`."""
    n, _, height, width = frames.shape
    image = frames.new_empty((n, kernels.shape[2], height, width))
    arrays = (x.detach().numpy() for x in (frames.contiguous(), *_factors(kernels), image))
    divide_work(partial(_back_project, *arrays), n * height, _LEAST_ROWS)
    return image


def _factors(kernels):
    """Factors (n, t, s, 5) along rows and columns of kernels (n, t, s * s, 5, 5) of sum 1."""
    scale = round(kernels.shape[2] ** 0.5)
    parts = kernels.unflatten(2, (scale, scale))
    return parts.sum(dim=(3, 5)).contiguous(), parts.sum(dim=(2, 4)).contiguous()


@_compiled
def _degrade(image, down, right, frames, start, stop):
    """Compute rows `start` to `stop` of the frames, counted over all images."""
    height, width = image.shape[2:]
    n_frames, scale = down.shape[1:3]
    row = np.empty(width + 4, np.float32)
    for number in range(start, stop):
        n, y = divmod(number, height)
        # Rows and columns at edges are repeated.
        y0, y1 = max(y - 2, 0), max(y - 1, 0)
        y3, y4 = min(y + 1, height - 1), min(y + 2, height - 1)
        for t in range(n_frames):
            frames[n, t, y] = 0
            for j in range(scale):
                row[:] = 0
                for i in range(scale):
                    channel = i * scale + j
                    a, b, c, d, e = down[n, t, i]
                    for x in range(width):
                        row[x + 2] += (
                            a * image[n, channel, y0, x]
                            + b * image[n, channel, y1, x]
                            + c * image[n, channel, y, x]
                            + d * image[n, channel, y3, x]
                            + e * image[n, channel, y4, x]
                        )
                row[:2] = row[2]
                row[-2:] = row[-3]
                a, b, c, d, e = right[n, t, j]
                for x in range(width):
                    frames[n, t, y, x] += (
                        a * row[x]
                        + b * row[x + 1]
                        + c * row[x + 2]
                        + d * row[x + 3]
                        + e * row[x + 4]
                    )


@_compiled
def _back_project(frames, down, right, image, start, stop):
    """Compute rows `start` to `stop` of the images, counted over all images."""
    n_frames, height, width = frames.shape[1:]
    scale = down.shape[2]
    row = np.zeros(width + 4, np.float32)
    for number in range(start, stop):
        n, y = divmod(number, height)
        y0, y1 = max(y - 2, 0), max(y - 1, 0)
        y3, y4 = min(y + 1, height - 1), min(y + 2, height - 1)
        image[n, :, y] = 0
        for t in range(n_frames):
            for i in range(scale):
                e, d, c, b, a = down[n, t, i]
                # Rows and columns beyond edges are zero.
                a, b = a * (y >= 2), b * (y >= 1)
                d, e = d * (y < height - 1), e * (y < height - 2)
                for x in range(width):
                    row[x + 2] = (
                        a * frames[n, t, y0, x]
                        + b * frames[n, t, y1, x]
                        + c * frames[n, t, y, x]
                        + d * frames[n, t, y3, x]
                        + e * frames[n, t, y4, x]
                    )
                for j in range(scale):
                    channel = i * scale + j
                    e, d, c, b, a = right[n, t, j]
                    for x in range(width):
                        image[n, channel, y, x] += (
                            a * row[x]
                            + b * row[x + 1]
                            + c * row[x + 2]
                            + d * row[x + 3]
                            + e * row[x + 4]
                        )
