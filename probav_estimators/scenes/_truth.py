"""HR image, status map and norm of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..imaging import (
    as_finite_pixels,
    as_mask,
    as_pixels,
    challenge_norm,
    clearest_mean,
    finite_cpsnr,
    hide_masked,
)
from ._array_frames import keep_mask, keep_pixels, keep_value_range
from ._fingerprint import digest
from ._frames import WHOLE
from ._images import ArrayImage, ClearMask
from ._stored_values import Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._frames import Frames, Window

# Hidden pixels farther than this from 0 are fill values.
_FILL_DISTANCE = 1e3


class Truth:
    """HR image, status map and norm, shared by all scenes of the same truth.

    Parameters
    ----------
    frames : Frames
        All frames of the scene, for its scale and the baseline's cPSNR.
    hr, sm : images or None
    norm : float or None
    value_range : tuple of two floats or None
    window : tuple of two slices, default=None
        HR pixels of the images that this is the truth of, with both ends. None: all.
    """

    def __init__(
        self,
        frames: Frames,
        hr: Any = None,
        sm: Any = None,
        norm: float | None = None,
        value_range: tuple[float, float] | None = None,
        window: Window | None = None,
    ) -> None:
        self.hr = hr
        self._window = window
        self.value_range = value_range
        self._frames = frames
        self._sm = ClearMask(hr) if sm is None and hr is not None else sm
        self._norm = self._given_norm = norm
        self._scale: int | None = None
        self._shape: tuple[int, int] | None = None

    @classmethod
    def of_arrays(
        cls,
        frames: Frames,
        hr: Any,
        sm: Any,
        norm: float | None,
        value_range: tuple[float, float] | None,
        label: str,
    ) -> Self:
        """Truth of arrays, copied and checked."""
        if value_range is not None:
            value_range = keep_value_range(value_range, label)
        hr, sm = hide_masked(hr, sm)
        clear = None
        if sm is not None:
            clear = keep_mask(_as_image(sm, f"{label}: sm"), f"{label}: sm")
            sm = ArrayImage(clear, f"{label}: sm")
        if hr is not None:
            hr = _as_image(hr, f"{label}: hr")
            if clear is not None and (clear.dtype != bool or clear.shape != hr.shape):
                clear = None
            keep = keep_pixels if value_range is None else _convert(value_range)
            hr = ArrayImage(keep(hr, f"{label}: hr", clear), f"{label}: hr")
        truth = cls(frames, hr, sm, norm, value_range)
        if truth.shape is not None:
            _ = truth.scale
        if sm is not None:
            truth.read_sm()
        return truth

    @property
    def shape(self) -> tuple[int, int] | None:
        """(H, W), or None if neither HR nor SM is known."""
        if self._window is not None:
            rows, columns = self._window
            return rows.stop - rows.start, columns.stop - columns.start
        if self._shape is None and (self.hr or self._sm) is not None:
            self._shape = (self.hr or self._sm).shape
        return self._shape

    @property
    def norm(self) -> float | None:
        """N in dB, given or computed once; None without HR."""
        if self._norm is None and self.hr is not None:
            baseline = clearest_mean(*self._frames.read(), self.scale)
            images = baseline, self.read_hr(), self.read_sm()
            self._norm = challenge_norm(finite_cpsnr(*images, data_range=self.data_range))
        return self._norm

    @property
    def data_range(self) -> float | None:
        """None where pixels are in [0, 1], else 1."""
        return None if self.value_range is None else 1.0

    @property
    def scale(self) -> int:
        """HR pixels for each LR pixel; checks that the sizes fit together."""
        if self._scale is None:
            height, width = self._frames.shape
            scale, rest = divmod(self.shape[0], height)  # type: ignore[index]
            if rest or scale < 2 or self.shape != (scale * height, scale * width):
                raise ValueError(
                    f"{(self.hr or self._sm).where} has shape {self.shape} and the frames have "
                    f"{(height, width)}: it must be 2 or more times as large, by the same integer "
                    "along both axes"
                )
            self._scale = scale
        return self._scale

    def crop(self, frames: Frames, window: Window) -> Truth:
        """Truth of a window of the frames, without norm."""
        if self.shape is None:
            return Truth(frames, value_range=self.value_range)
        large = self.enlarge(window)
        if self._window is not None:
            rows, columns = (
                slice(outer.start + part.start, outer.start + part.stop)
                for outer, part in zip(self._window, large, strict=True)
            )
            large = rows, columns
        return Truth(frames, self.hr, self._sm, value_range=self.value_range, window=large)

    def enlarge(self, window: Window) -> Window:
        """The HR pixels of a window of LR pixels."""
        scale = self.scale
        rows, columns = (slice(scale * part.start, scale * part.stop) for part in window)
        return rows, columns

    def fingerprint(self) -> str:
        """Hash of the images and of a norm that was given, not computed."""
        images = (None if image is None else image.fingerprint() for image in (self.hr, self._sm))
        norm = None if self._given_norm is None else float(self._given_norm)
        window = [] if self._window is None else [[(p.start, p.stop) for p in self._window]]
        return digest(*images, norm, *window)

    def read_hr(self, window: Window = WHOLE) -> NDArray[np.float32]:
        """HR image, or a window of HR pixels."""
        _ = self.scale
        values = self.hr.read()[self._window or WHOLE][window]
        convert = as_pixels if self.value_range is None else as_finite_pixels
        pixels = convert(values, self.hr.where)
        return pixels if pixels.base is None else np.array(pixels)

    def read_sm(self, window: Window = WHOLE) -> NDArray[np.bool_]:
        """Status map, or a window of HR pixels."""
        values = self._sm.read()
        if self.hr is not None and values.shape != self.hr.shape:
            raise ValueError(
                f"{self._sm.where} has shape {values.shape} and its image has "
                f"{self.hr.shape}: give a status map of its image's size"
            )
        values = as_mask(values[self._window or WHOLE], self._sm.where)
        if not values.any():
            raise ValueError(
                f"{self._sm.where} calls every pixel clouded, so nothing can be "
                "learned from this scene or scored: remove it"
            )
        return values[window].copy()


def _as_image(values, name):
    image = np.asarray(values)
    if image.ndim != 2 or 0 in image.shape:
        raise ValueError(f"{name} has shape {image.shape}: it must be (H, W), none of them 0")
    return image


def _convert(value_range):
    """Conversion to pixels of an image of any range; invalid values, which a mask hides, to 0."""
    values = Values(value_range)

    def convert(hr, name, clear):
        (pixels,), valid = values.to_pixels(hr[None], [0]), values.is_valid(hr)
        shown = ~valid if clear is None else ~valid & clear
        if shown.any():
            raise ValueError(
                f"{name} has NaN or infinite values in {np.count_nonzero(shown):,} of "
                f"{hr.size:,} pixels that are clear: hide them by sm"
            )
        if clear is not None:
            # Large values that a mask hides are fill values, which no sum should meet.
            valid &= clear | (np.abs(pixels) < _FILL_DISTANCE)
        return np.where(valid, pixels, np.float32(0))

    return convert
