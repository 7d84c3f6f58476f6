"""Frames of a scene, their masks, clearance and shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..imaging import grey_limits, register_frames, select_clearest
from ..scenes import Scene
from ._arguments import one_scene
from ._base import Display
from ._drawing import COLOURS, label_text, set_title, shade_clouds, show_image


@dataclass(kw_only=True, eq=False, repr=False)
class SceneDisplay(Display):
    """Frames of a scene with their masks, the clearance of all of them, and their shifts.

    Make one by `from_scene`. All parameters are stored as attributes.

    Parameters
    ----------
    frames : array of shape (n, h, w)
        Frames to draw.
    clear : bool array of shape (n, h, w)
        Where they are clear.
    numbers : int array of shape (n,)
        Their numbers in the scene.
    clearance : array of shape (t,)
        Part of the pixels that is clear, of all frames of the scene.
    shifts : array of shape (t, 2), default=None
        Shift of each frame against the reference, down and to the right, in LR pixels. NaN where
        it is unknown.
    title : str, default=None
        Of the whole.

    Attributes
    ----------
    axes_ : array of Axes of shape (n,)
        Of the frames.
    clearance_ax_ : Axes
        Bars of clearance.
    shifts_ax_ : Axes
        Arrows from the reference to the frames.
    bars_ : matplotlib BarContainer
        The bars, in the order of the frames of the scene.
    arrows_ : matplotlib Quiver or None
        The arrows.
    {panels_}

    See Also
    --------
    ComparisonDisplay : Images of a scene and their errors.

    Examples
    --------
    >>> from probav_estimators import make_scenes
    >>> from probav_estimators.displays import SceneDisplay
    >>> (scene,) = make_scenes(1, size=32, n_frames=9, random_state=0)
    >>> SceneDisplay.from_scene(scene, max_frames=6).axes_.shape
    (6,)
    """

    frames: NDArray[Any]
    clear: NDArray[np.bool_]
    numbers: NDArray[np.integer]
    clearance: NDArray[np.floating]
    shifts: NDArray[np.floating] | None = None
    title: str | None = None

    @classmethod
    def from_scene(cls, scene: Scene, *, max_frames: int | None = 12, ax: Any = None) -> Self:
        """Draw a scene; its truth is not needed.

        Parameters
        ----------
        scene : Scene
            Shifts of registered frames are drawn; those of other frames are estimated.
        max_frames : int, default=12
            How many frames to draw, clearest first. None: all.
        {ax}

        {returns}

        Raises
        ------
        ValueError
            If `max_frames` is less than 1.
        """
        scene = one_scene(scene, cls.__name__)
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames must be at least 1 or None, got {max_frames!r}")
        lr, clear = scene.frames.read()
        numbers = select_clearest(clear.sum(axis=(1, 2)), None)[:max_frames]
        title = [scene.label, scene.band, f"{len(scene)} frames of {lr.shape[1]} x {lr.shape[2]}"]
        display = cls(
            frames=lr[numbers],
            clear=clear[numbers],
            numbers=numbers,
            clearance=clear.mean(axis=(1, 2)),
            shifts=_shifts_of(scene, lr, clear),
            title=", ".join(filter(None, title)),
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        n_frames, height, width = self.frames.shape
        # Frames of all shapes have the same area, and their grid is about as wide as high.
        inch = 1.6 / np.sqrt(height * width)
        columns = min(max(round(np.sqrt(1.4 * n_frames * height / width)), 1), n_frames)
        rows = -(-n_frames // columns)
        frames_width = max(columns * width * inch, 2.0)

        def arrange(spec):
            frames, charts = spec.subgridspec(1, 2, width_ratios=[frames_width, 2.6])
            grid = frames.subgridspec(rows, columns)
            return [*(grid[number] for number in range(n_frames)), *charts.subgridspec(2, 1)]

        figsize = frames_width + 3.2, max(rows * (height * inch + 0.3), 4.2) + 0.6
        panels = self._panels(ax, arrange, figsize)
        self.axes_, (self.clearance_ax_, self.shifts_ax_) = panels[:-2], panels[-2:]
        low, high = grey_limits([self.frames[self.clear] if self.clear.any() else self.frames])
        for axes, number, frame, clear in zip(
            self.axes_, self.numbers, self.frames, self.clear, strict=True
        ):
            show_image(axes, frame, frame.shape, cmap="gray", vmin=low, vmax=high)
            shade_clouds(axes, clear, frame.shape)
            set_title(axes, f"{number}: {_percent(clear.mean())} clear", fontsize=8)
        self._draw_clearance()
        self._draw_shifts()
        if self.title and ax is None:
            title = label_text(self.title, width=60 * figsize[0], fontsize=11)
            self.figure_.suptitle(f"{title}; shaded: clouded", fontsize=11)
        return self

    def _draw_clearance(self):
        ax, numbers = self.clearance_ax_, np.arange(len(self.clearance))
        colours = np.where(np.isin(numbers, self.numbers), COLOURS[0], "0.7")
        self.bars_ = ax.bar(numbers, 100 * self.clearance, color=colours)
        ax.set_ylim(0, 100)
        ax.xaxis.get_major_locator().set_params(integer=True)
        hidden = len(self.clearance) > len(self.numbers)
        ax.set_xlabel("frame (grey: not drawn)" if hidden else "frame", fontsize=8)
        ax.set_ylabel("clear (%)", fontsize=8)
        ax.tick_params(labelsize=8)

    def _draw_shifts(self):
        ax, self.arrows_ = self.shifts_ax_, None
        known = np.zeros(0) if self.shifts is None else np.isfinite(self.shifts).all(axis=1)
        if not known.any():
            ax.set_axis_off()
            ax.text(0.5, 0.5, "no shift is known", ha="center", fontsize=8)
            return
        down, right = self.shifts[known].T
        start = np.zeros(len(down))
        self.arrows_ = ax.quiver(
            start, start, right, down, color=COLOURS[0], alpha=0.5, angles="xy", scale_units="xy",
            scale=1, width=0.006,
        )  # fmt: skip
        ax.plot(right, down, "o", color=COLOURS[0], markersize=3)
        reach = 1.15 * max(float(np.abs(self.shifts[known]).max()), 0.5)
        # Rows of frames count downwards.
        ax.set(xlim=(-reach, reach), ylim=(reach, -reach))
        ax.set_aspect("equal")
        ax.axhline(0, color="0.8", lw=0.7, zorder=0)
        ax.axvline(0, color="0.8", lw=0.7, zorder=0)
        unknown = len(known) - known.sum()
        rest = f" ({unknown} not placed)" if unknown else ""
        ax.set_xlabel(f"right (LR px){rest}", fontsize=8)
        ax.set_ylabel("down (LR px)", fontsize=8)
        ax.tick_params(labelsize=8)


def _shifts_of(scene, lr, clear):
    """Shifts against the clearest frame; NaN for frames that could not be registered."""
    shifts, placed = scene.shifts, scene.placed
    if shifts is None:
        shifts, placed = register_frames(lr, clear)
    placed = np.ones(len(lr), bool) if placed is None else placed
    return np.where(placed[:, None], shifts, np.nan)


def _percent(part):
    # Rounded down: 99.9 % must not become 100 %.
    return f"{np.floor(100 * part):.0f} %"
