"""Consistency of an image with its frames, and the noise of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..imaging import USUAL_SIGMA, align_frames
from ._checks import check_frames, check_shifts, check_stack
from ._degradation import response, see_frame

# Noise is estimated in a window of this many LR pixels along each axis, from this many frames.
_WINDOW = 48
_MAX_FRAMES = 16
# Least clear fraction of a frame in the window.
_MIN_CLEAR = 0.5

# Regularisation strengths to choose from, relative to the weight of the data.
_STRENGTHS = np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0], np.float32)
_MAX_STEPS = 40

# Least degrees of freedom for the choice of a strength; with fewer, a fit of the noise looks good.
_LEAST_FREEDOM = 64

# Least noise relative to the range of the clear values: the error of rounding it to 16 bits.
_LEAST_NOISE = 1 / (65535 * np.sqrt(12))

# Least number of clear pixels of a frame.
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
    """Residual of the frames against the degraded image, in units of noise.

    The image is degraded to each frame [1]_: with a Gaussian point spread function and square
    pixels, at the frame's shift, with the gain and offset that fit the frame best. The consistency
    of a frame is the standard deviation of the residual over that of its noise.

    Parameters
    ----------
    image : array of shape (scale * h, scale * w)
        Super-resolved image, in the unit of the frames but for a gain and an offset.
    frames : array of shape (t, h, w)
        LR frames: those that the image was computed from, or better held-out ones.
    quality_maps : bool array of shape (t, h, w), default=None
        True where a frame is clear. None: everywhere.
    shifts : array of shape (t, 2), default=None
        Shift of each frame's content against the image's, (down, right) in LR pixels. None: 0.
    noise : float or array of shape (t,), default=None
        Standard deviation of the noise of the frames, in their unit. None: estimated by
        :func:`estimate_noise`.
    psf_sigma : float or array of shape (t, 2), default=0.4
        Standard deviation of the point spread function along both axes, in LR pixels, without the
        square pixel.

    Returns
    -------
    float
        Median over the frames. 1: residuals are noise; more: the image lacks or adds detail that
        the frames resolve; less: it fits the noise of the frames that it was computed from. NaN if
        no frame has 16 clear pixels.

    Raises
    ------
    ValueError
        If shapes don't fit together or values are NaN where a frame is clear.

    Notes
    -----
    It needs no truth and proves none: detail that the sensor blurs away, and aliases that cancel,
    cost nothing. A wrong point spread function raises it for the true image too, and so does an
    image of another date or with clouds.

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
    else:
        noise = np.asarray(noise) / checked.unit
    noise = np.broadcast_to(noise, len(checked.frames))
    sigmas = np.broadcast_to(psf_sigma, (len(checked.frames), 2))
    ratios = []
    for frame, clear, shift, sigma, level in zip(
        checked.frames, checked.clear, checked.shifts, sigmas, noise, strict=True
    ):
        degraded, inside = see_frame(checked.image, checked.scale, shift, sigma)
        used = clear & inside
        if used.sum() >= _MIN_PIXELS:
            ratios.append(_residual_std(frame[used], degraded[used]) / level)
    return float(np.median(ratios)) if ratios else float("nan")


def estimate_noise(
    frames: NDArray[Any],
    quality_maps: NDArray[Any] | None = None,
    shifts: NDArray[Any] | None = None,
    *,
    scale: int,
    psf_sigma: Any = USUAL_SIGMA,
) -> NDArray[np.float64]:
    """Estimate the standard deviation of the noise of frames.

    A regularised image is fitted to all frames through the forward model, its regularisation chosen
    by generalized cross-validation [1]_ [2]_. The squared residual of a frame over its degrees of
    freedom is the variance of the noise [3]_.

    Parameters
    ----------
    frames : array of shape (t, h, w)
        LR frames of one site.
    quality_maps : bool array of shape (t, h, w), default=None
        True where a frame is clear. None: everywhere.
    shifts : array of shape (t, 2), default=None
        Shift of each frame's content against a common reference, (down, right) in LR pixels. None:
        0.
    scale : int
        HR pixels of the fitted image for each LR pixel.
    psf_sigma : float or array of shape (t, 2), default=0.4
        Standard deviation of the point spread function, in LR pixels.

    Returns
    -------
    float64 array of shape (t,)
        In the unit of the frames, and at least the error of 16-bit rounding of their range, or of
        values in [0, 1] where they are flat. Frames that are clouded in the window have the noise
        of the others.

    Raises
    ------
    ValueError
        If shapes don't fit together or values are NaN where a frame is clear.

    Notes
    -----
    From the clearest window of 48 x 48 LR pixels in at most 16 frames. Change between the dates and
    errors of the shifts count as noise. With fewer than about ``scale ** 2`` frames there are few
    degrees of freedom, and the result depends on the regularisation.

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
    frames, clear, _, unit = check_stack(frames, quality_maps)
    shifts = check_shifts(np.zeros((len(frames), 2)) if shifts is None else shifts, len(frames))
    window = _clearest_window(clear)
    part = (slice(None), *window)
    clearance = clear[part].mean(axis=(1, 2))
    order = np.argsort(-clearance, kind="stable")[:_MAX_FRAMES]
    chosen = order[clearance[order] >= min(_MIN_CLEAR, clearance.max())]
    alignment = align_frames([(frames[part][chosen], clear[part][chosen])], shifts[chosen])
    gains = np.asarray(alignment.gains, np.float64)
    # In standard deviations around 0, for the precision of float32.
    values = (frames[part][chosen] - alignment.offsets[:, None, None]) / gains[:, None, None]
    values = ((values - alignment.level) / alignment.std).astype(np.float32)
    sigmas = np.broadcast_to(psf_sigma, (len(frames), 2))[chosen]
    found = _Fit(values, clear[part][chosen], shifts[chosen], scale, sigmas).noise()
    noise = np.full(len(frames), np.median(found * alignment.std * gains))
    noise[chosen] = found * alignment.std * gains
    spread = np.ptp(frames[clear]) if clear.any() else 0
    return unit * np.maximum(noise, _LEAST_NOISE * (spread or 1))


def _residual_std(frame, degraded):
    """Standard deviation of a frame's residual with the best gain and offset."""
    frame, degraded = frame - frame.mean(dtype=np.float64), degraded - degraded.mean()
    energy = np.square(degraded).sum()
    gain = (frame * degraded).sum() / energy if energy > 0 else 0.0
    return np.sqrt(np.square(frame - gain * degraded).sum() / (frame.size - 2))


def _clearest_window(clear):
    """Rows and columns of the window with most clear pixels."""
    shape = clear.shape[1:]
    size = [min(_WINDOW, length) for length in shape]
    count = clear.sum(axis=0, dtype=np.float32)
    middles = ndimage.uniform_filter(count, size, mode="constant")
    # Only windows inside the frame: one begins half its size before its centre.
    starts = tuple(
        slice(n // 2, n // 2 + length - n + 1) for n, length in zip(size, shape, strict=True)
    )
    inside = middles[starts]
    first = np.unravel_index(inside.argmax(), inside.shape)
    return tuple(slice(int(a), int(a) + n) for a, n in zip(first, size, strict=True))


class _Fit:
    """Regularised least-squares fit of an image to frames."""

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
        # Weight of the data for a constant image.
        self.unit = len(values) / scale**2
        # A fixed seed makes the estimate reproducible.
        self.signs = np.random.default_rng(0).choice(np.float32([-1, 1]), values.shape)

    def noise(self):
        """Standard deviation of the noise of each frame, (t,)."""
        squares, freedom = self.residuals(_STRENGTHS)
        total = freedom.sum(axis=0)
        error = np.where(total > _LEAST_FREEDOM, squares.sum(axis=0) / total**2, np.inf)
        best = error.argmin() if np.isfinite(error).any() else len(error) - 1
        noise = np.sqrt(squares[:, best] / freedom[:, best])
        # Once more, with each frame weighted by its noise.
        trust = np.square(np.median(noise) / np.maximum(noise, 1e-2 * np.median(noise) + 1e-12))
        self.trust = trust.astype(np.float32)[:, None, None]
        squares, freedom = self.residuals(_STRENGTHS[best : best + 1])
        return np.sqrt(squares[:, 0] / freedom[:, 0])

    def residuals(self, strengths):
        """Squared residuals and degrees of freedom of each frame, (t, k), for k strengths."""
        k = len(strengths)
        right = self.back_project(np.stack([self.values, self.signs], axis=1))
        smoothness = self.unit * np.concatenate([strengths, strengths])[:, None, None]

        def normal(images):
            return self.back_project(self.degrade(images)) + smoothness * _roughness(images)

        degraded = self.degrade(_conjugate_gradients(normal, np.repeat(right, k, axis=0)))
        # Hutchinson's estimate of the trace with random signs.
        left = self.weight[:, None] * (1 - self.signs[:, None] * degraded[:, k:])
        freedom = left.sum(axis=(2, 3), dtype=np.float64)
        least = np.maximum(1e-3 * self.weight.sum(axis=(1, 2), dtype=np.float64), 1)
        return self._squares(degraded[:, :k]), np.maximum(freedom - 2, least[:, None])

    def _squares(self, degraded):
        """Squared residuals of each frame with the best gain and offset, (t, k)."""
        squares = np.zeros(degraded.shape[:2])
        for i, (frame, weight) in enumerate(zip(self.values, self.weight > 0, strict=True)):
            if weight.sum() > 2:
                squares[i] = [_residual_std(frame[weight], one[weight]) ** 2 for one in degraded[i]]
                squares[i] *= weight.sum() - 2
        return squares

    def degrade(self, images):
        """(n, H, W) to (t, n, h, w)."""
        return self.rows @ images @ self.columns.swapaxes(-1, -2)

    def back_project(self, frames):
        """The adjoint of `degrade`, where frames are clear."""
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

    images, residual = np.zeros_like(right), right.copy()
    step, energy = residual.copy(), dot(residual, residual)
    tolerance = 1e-6 * energy
    for _ in range(_MAX_STEPS):
        if (energy <= tolerance).all():
            break
        product = operator(step)
        length = energy / np.maximum(dot(step, product), np.float32(1e-30))
        images += length * step
        residual -= length * product
        before, energy = energy, dot(residual, residual)
        step = residual + energy / np.maximum(before, np.float32(1e-30)) * step
    return images
