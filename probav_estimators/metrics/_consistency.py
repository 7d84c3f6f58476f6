"""Consistency: what an image, seen through the sensor, leaves of the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..imaging import align_frames
from ._checks import check_frames, check_shifts, check_stack
from ._sensor import USUAL_SIGMA, response, see_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["consistency", "estimate_noise"]

# Noise is estimated in a window of this many LR pixels along each axis, from this many frames.
_WINDOW = 48
_MAX_FRAMES = 16
# Frames that are clear in less than this part of the window don't take part.
_MIN_CLEAR = 0.5

# Strengths of the smoothness, in units of what the frames weigh; the best of them is taken.
_STRENGTHS = np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0], np.float32)
_MAX_STEPS = 40

# With fewer degrees of freedom than this, an image that follows the noise looks like a good one.
_LEAST_FREEDOM = 64

# Error of rounding to 16 bits: noise is no less.
_LEAST_NOISE = 1 / (65535 * np.sqrt(12))

# Fewer clear pixels than this tell nothing of a frame.
_MIN_PIXELS = 16


def consistency(
    image: NDArray[Any],
    frames: NDArray[Any],
    quality_maps: NDArray[Any] | None = None,
    shifts: NDArray[Any] | None = None,
    *,
    noise: Any = None,
    psf_sigma: Any = USUAL_SIGMA,
) -> float:
    """What an image, seen through the sensor, leaves of the frames, in units of their noise.

    The image is seen as each frame would see it [1]_: through a Gaussian point spread function and
    square pixels, at the frame's place, with the gain and offset that fit the frame best. The
    consistency of a frame is the standard deviation of what is left over that of its noise.

    Parameters
    ----------
    image : array of shape (scale * h, scale * w)
        Super-resolved image, in the unit of the frames but for a gain and an offset.
    frames : array of shape (t, h, w)
        LR frames: those that the image was made of, or better those that were kept from it.
    quality_maps : bool array of shape (t, h, w), default=None
        True where a frame is clear. None: everywhere.
    shifts : array of shape (t, 2), default=None
        How far the content of each frame lies down and to the right of the image's, in LR pixels.
        None: nowhere.
    noise : float or array of shape (t,), default=None
        Standard deviation of the noise of the frames, in their unit. None: estimated by
        :func:`estimate_noise`.
    psf_sigma : float or array of shape (t, 2), default=0.4
        Standard deviation of the point spread function along both axes, in LR pixels; the square
        pixel comes on top.

    Returns
    -------
    float
        The median over the frames. 1 is as good as noise allows; more: the image misses or adds
        what the frames can tell; less: it follows the noise of the very frames it was made of. NaN
        if no frame has 16 clear pixels.

    Raises
    ------
    ValueError
        If shapes don't fit together or values are NaN where a frame is clear.

    Notes
    -----
    Needs no truth, and so proves no truth: all that the sensor blurs away, and aliases that cancel
    each other, may be invented at no cost. A point spread function that is assumed too sharp or too
    wide raises it for the true image too. So does a truth of another date, or with clouds:
    that figure tells of the truth, and not of the sensor.

    References
    ----------
    .. [1] M. Irani, S. Peleg, "Improving resolution by image registration", CVGIP: Graphical Models
       and Image Processing 53(3), 231-239, 1991.
    """
    checked = check_frames(image, frames, quality_maps, shifts)
    if noise is None:
        noise = estimate_noise(
            checked.frames, checked.clear, checked.shifts, scale=checked.scale, psf_sigma=psf_sigma
        )
    noise = np.broadcast_to(noise, len(checked.frames))
    sigmas = np.broadcast_to(psf_sigma, (len(checked.frames), 2))
    ratios = []
    for frame, clear, shift, sigma, level in zip(
        checked.frames, checked.clear, checked.shifts, sigmas, noise, strict=True
    ):
        seen, inside = see_frame(checked.image, checked.scale, shift, sigma)
        used = clear & inside
        if used.sum() >= _MIN_PIXELS:
            ratios.append(_left_over(frame[used], seen[used]) / level)
    return float(np.median(ratios)) if ratios else float("nan")


def estimate_noise(
    frames: NDArray[Any],
    quality_maps: NDArray[Any] | None = None,
    shifts: NDArray[Any] | None = None,
    *,
    scale: int,
    psf_sigma: Any = USUAL_SIGMA,
) -> NDArray[np.float64]:
    """Standard deviation of the noise of frames: of what no single image can explain.

    The smooth image that fits all frames best is found through the model of the sensor, its
    smoothness by generalized cross-validation [1]_ [2]_. What it leaves of a frame, over the
    degrees of freedom that it leaves, is the variance of the noise [3]_.

    Parameters
    ----------
    frames : array of shape (t, h, w)
        LR frames of one place.
    quality_maps : bool array of shape (t, h, w), default=None
        True where a frame is clear. None: everywhere.
    shifts : array of shape (t, 2), default=None
        How far the content of each frame lies down and to the right of a common place, in LR
        pixels. None: nowhere.
    scale : int
        HR pixels for each LR pixel of the image that is fitted.
    psf_sigma : float or array of shape (t, 2), default=0.4
        Standard deviation of the point spread function, in LR pixels.

    Returns
    -------
    float64 array of shape (t,)
        In the unit of the frames, and at least the error of 16-bit rounding of values in [0, 1].
        Frames that are clouded in the window that is looked at have that of the others.

    Raises
    ------
    ValueError
        If shapes don't fit together or values are NaN where a frame is clear.

    Notes
    -----
    Seen is the clearest window of 48 x 48 LR pixels in at most 16 frames. What changed between the
    dates, and errors of the shifts, count as noise. Fewer than about ``scale ** 2`` frames leave
    few degrees of freedom, and the smoothness then has its say.

    References
    ----------
    .. [1] G. H. Golub, M. Heath, G. Wahba, "Generalized cross-validation as a method for choosing
       a good ridge parameter", Technometrics 21(2), 215-223, 1979.
    .. [2] N. Nguyen, P. Milanfar, G. Golub, "Efficient generalized cross-validation with
       applications to parametric image restoration and resolution enhancement", IEEE Transactions
       on Image Processing 10(9), 1299-1308, 2001.
    .. [3] G. Wahba, "Bayesian 'confidence intervals' for the cross-validated smoothing spline",
       Journal of the Royal Statistical Society B 45(1), 133-150, 1983.
    """
    frames = np.asarray(frames)
    clear = check_stack(frames, quality_maps)
    frames = np.where(clear, frames, 0).astype(np.float32)
    shifts = check_shifts(np.zeros((len(frames), 2)) if shifts is None else shifts, len(frames))
    window = _clearest_window(clear)
    part = (slice(None), *window)
    seen = clear[part].mean(axis=(1, 2))
    order = np.argsort(-seen, kind="stable")[:_MAX_FRAMES]
    chosen = order[seen[order] >= min(_MIN_CLEAR, seen.max())]
    alignment = align_frames([(frames[part][chosen], clear[part][chosen])], shifts[chosen])
    gains = np.asarray(alignment.gains, np.float64)
    # In standard deviations around 0, where float32 has its digits.
    values = (frames[part][chosen] - alignment.offsets[:, None, None]) / gains[:, None, None]
    values = ((values - alignment.level) / alignment.std).astype(np.float32)
    sigmas = np.broadcast_to(psf_sigma, (len(frames), 2))[chosen]
    found = _Fit(values, clear[part][chosen], shifts[chosen], scale, sigmas).noise()
    noise = np.full(len(frames), np.median(found * alignment.std * gains))
    noise[chosen] = found * alignment.std * gains
    return np.maximum(noise, _LEAST_NOISE)


def _left_over(frame, seen):
    """Standard deviation of what is left of a frame by the best gain and offset."""
    frame, seen = frame - frame.mean(dtype=np.float64), seen - seen.mean()
    energy = np.square(seen).sum()
    gain = (frame * seen).sum() / energy if energy > 0 else 0.0
    return np.sqrt(np.square(frame - gain * seen).sum() / (frame.size - 2))


def _clearest_window(clear):
    """Rows and columns of the window with most clear pixels."""
    shape = clear.shape[1:]
    size = [min(_WINDOW, length) for length in shape]
    count = clear.sum(axis=0, dtype=np.float32)
    middles = ndimage.uniform_filter(count, size, mode="constant")
    # Only windows that lie inside: one begins half its size before its middle.
    starts = tuple(
        slice(n // 2, n // 2 + length - n + 1) for n, length in zip(size, shape, strict=True)
    )
    inside = middles[starts]
    first = np.unravel_index(inside.argmax(), inside.shape)
    return tuple(slice(int(a), int(a) + n) for a, n in zip(first, size, strict=True))


class _Fit:
    """Least squares of a smooth image to frames."""

    def __init__(self, values, clear, shifts, scale, sigmas):
        self.values = values
        self.trust = np.ones((len(values), 1, 1), np.float32)
        rows, columns = (
            np.stack(
                [
                    response(values.shape[1 + axis], scale, shift[axis], sigma[axis]).toarray()
                    for shift, sigma in zip(shifts, sigmas, strict=True)
                ]
            ).astype(np.float32)
            for axis in (0, 1)
        )
        self.rows, self.columns = rows[:, None], columns[:, None]
        inside = rows.sum(-1)[:, :, None] * columns.sum(-1)[:, None, :] > 0.999
        self.weight = (clear & inside).astype(np.float32)
        # What the frames weigh where they see an even image.
        self.unit = len(values) / scale**2
        # Fixed, so that a figure is the same whenever it is asked for.
        self.signs = np.random.default_rng(0).choice(np.float32([-1, 1]), values.shape)

    def noise(self):
        """Standard deviation of the noise of each frame, (t,)."""
        squares, freedom = self.residuals(_STRENGTHS)
        total = freedom.sum(axis=0)
        error = np.where(total > _LEAST_FREEDOM, squares.sum(axis=0) / total**2, np.inf)
        best = error.argmin() if np.isfinite(error).any() else len(error) - 1
        noise = np.sqrt(squares[:, best] / freedom[:, best])
        # Once more, each frame with the weight that its noise leaves it.
        trust = np.square(np.median(noise) / np.maximum(noise, 1e-2 * np.median(noise) + 1e-12))
        self.trust = trust.astype(np.float32)[:, None, None]
        squares, freedom = self.residuals(_STRENGTHS[best : best + 1])
        return np.sqrt(squares[:, 0] / freedom[:, 0])

    def residuals(self, strengths):
        """Squared residuals of each frame and its degrees of freedom, (t, k), by smoothness."""
        k = len(strengths)
        right = self.back_project(np.stack([self.values, self.signs], axis=1))
        smoothness = self.unit * np.concatenate([strengths, strengths])[:, None, None]

        def normal(images):
            return self.back_project(self.see(images)) + smoothness * _roughness(images)

        seen = self.see(_conjugate_gradients(normal, np.repeat(right, k, axis=0)))
        # What is left of random signs is left to chance: their squares are 1.
        left = self.weight[:, None] * (1 - self.signs[:, None] * seen[:, k:])
        freedom = left.sum(axis=(2, 3), dtype=np.float64)
        least = np.maximum(1e-3 * self.weight.sum(axis=(1, 2), dtype=np.float64), 1)
        return self._squares(seen[:, :k]), np.maximum(freedom - 2, least[:, None])

    def _squares(self, seen):
        """What the images leave of each frame by its best gain and offset, (t, k)."""
        squares = np.zeros(seen.shape[:2])
        for i, (frame, weight) in enumerate(zip(self.values, self.weight > 0, strict=True)):
            if weight.sum() > 2:
                squares[i] = [_left_over(frame[weight], one[weight]) ** 2 for one in seen[i]]
                squares[i] *= weight.sum() - 2
        return squares

    def see(self, images):
        """(n, H, W) to (t, n, h, w)."""
        return self.rows @ images @ self.columns.swapaxes(-1, -2)

    def back_project(self, frames):
        """The adjoint of `see`, where frames are clear."""
        weighted = (self.trust * self.weight)[:, None] * frames
        return (self.rows.swapaxes(-1, -2) @ weighted @ self.columns).sum(axis=0)


def _roughness(images):
    """Gradient of half the sum of squared differences of neighbours, along the last two axes."""
    total = np.zeros_like(images)
    for axis in (-2, -1):
        steps = np.diff(images, axis=axis)
        edge = [(0, 0)] * images.ndim
        edge[axis] = (1, 1)
        total -= np.diff(np.pad(steps, edge), axis=axis)
    return total


def _conjugate_gradients(operator, right):
    """Solve a system for each of some images, (n, H, W)."""

    def dot(a, b):
        return np.einsum("nij,nij->n", a, b)[:, None, None]

    images, rest = np.zeros_like(right), right.copy()
    step, energy = rest.copy(), dot(rest, rest)
    aim = 1e-6 * energy
    for _ in range(_MAX_STEPS):
        if (energy <= aim).all():
            break
        seen = operator(step)
        length = energy / np.maximum(dot(step, seen), np.float32(1e-30))
        images += length * step
        rest -= length * seen
        before, energy = energy, dot(rest, rest)
        step = rest + energy / np.maximum(before, np.float32(1e-30)) * step
    return images
