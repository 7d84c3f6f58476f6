"""Sources of LR frames and their quality maps, read on demand, and parts of them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..imaging import fill_hidden, is_plain
from ._fingerprint import digest

if TYPE_CHECKING:
    from ._scene import Scene

__all__ = [
    "LEAST_TO_HALVE",
    "WHOLE",
    "ChosenFrames",
    "DerivedFrames",
    "Frames",
    "Index",
    "PixelsAndClear",
    "PositionPrior",
    "SubsetFrames",
    "Window",
    "WindowFrames",
    "count_clear",
    "halve_frames",
    "open_ends",
    "within",
]

#: Least number of frames to halve, two for each half.
LEAST_TO_HALVE = 4

#: Numbers of frames, in the order in which they are wanted.
Index = Sequence[int] | NDArray[np.integer]

#: Rows and columns, in LR pixels.
Window = tuple[slice, slice]

#: The window of a whole image.
WHOLE: Window = (slice(None), slice(None))

#: Pixels (t, h, w) float32 and quality maps (t, h, w) bool, True = clear.
PixelsAndClear = tuple[NDArray[np.float32], NDArray[np.bool_]]


class PositionPrior(NamedTuple):
    """Prior of the shifts of frames by their georeferencing.

    Attributes
    ----------
    shifts : float64 array of shape (t, 2)
        Expected shift of each frame's content against the grid, (down, right) in LR pixels: not 0
        for frames whose pixels lie between those of the grid.
    std : float64 array of shape (t,)
        Standard deviation along each axis, in LR pixels.
    """

    shifts: NDArray[np.float64]
    std: NDArray[np.float64]

    def of(self, index: Index) -> PositionPrior:
        """Prior of some of the frames."""
        return PositionPrior(self.shifts[index], self.std[index])


class Frames(ABC):
    """LR frames of one scene and their quality maps.

    A source of frames of your own derives from this class and defines the number of frames, their
    shape, and `read`. It is sent to worker processes, so it should pickle small: hold a path, not
    pixels.

    See Also
    --------
    Scene.from_frames : Scene of such a source.
    probav_estimators.scenes.DerivedFrames : Base of frames that change those of another source.

    Notes
    -----
    The frames must not change: shifts and clearances that were computed once are kept.

    Pixels that a quality map hides may have any value, also NaN: values outside [0, 1] are clipped,
    and NaN becomes 0, when they are read.

    Examples
    --------
    Reflectances in 1/10000, stacked in one array on disk, where 0 is no data:

    >>> import numpy as np
    >>> from probav_estimators import Frames, Scene
    >>> class StackFrames(Frames):
    ...     def __init__(self, path):
    ...         self.path = path
    ...
    ...     def open(self):
    ...         return np.load(self.path, mmap_mode="r")
    ...
    ...     def __len__(self):
    ...         return len(self.open())
    ...
    ...     @property
    ...     def shape(self):
    ...         return self.open().shape[1:]
    ...
    ...     def read(self, index=None, window=(slice(None), slice(None))):
    ...         index = range(len(self)) if index is None else index
    ...         stored = np.stack([self.open()[number][window] for number in index])
    ...         return np.clip(stored / np.float32(10000), 0, 1), stored > 0
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/stack.npy", np.full((5, 16, 16), 1250, np.int16))
    ...     scene = Scene.from_frames(StackFrames(f"{folder}/stack.npy"), name="lake")
    ...     print(scene, scene.lr.mean())
    <Scene 'lake', 5 frames> 0.125
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own: Any = cls
        old = {"read_lr", "read_qm"} & vars(cls).keys()
        if old:
            _check_old_methods(cls, old)
            own.read = _read_by_old_methods
        if "read" in vars(cls):
            own.read = _hide_values(own.read)
        if "read_pixels" in vars(cls):
            own.read_pixels = _hide_values_of_pixels(own.read_pixels)

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(h, w) of every frame."""

    @abstractmethod
    def read(self, index: Index | None = None, window: Window = WHOLE) -> PixelsAndClear:
        """Read pixels and quality maps of some frames.

        Parameters
        ----------
        index : sequence of int, default=None
            Numbers of the frames, in any order. None: all.
        window : tuple of two slices
            Rows and columns, in LR pixels.

        Returns
        -------
        pixels : float32 array of shape (t, h', w')
            In [0, 1].
        clear : bool array of shape (t, h', w')
            True where a pixel is clear.
        """

    def read_pixels(
        self, index: Index | None = None, window: Window = WHOLE
    ) -> NDArray[np.float32]:
        """Pixels alone, as of `read`; override it where that is cheaper than `read`."""
        return self.read(index, window)[0]

    def read_clear(self, index: Index | None = None, window: Window = WHOLE) -> NDArray[np.bool_]:
        """Quality maps alone, as of `read`; override it where that is cheaper than `read`."""
        return self.read(index, window)[1]

    @property
    def shifts(self) -> NDArray[np.float32] | None:
        """Estimated shifts, (t, 2) float32 LR pixels (down, right), or None."""
        return None

    @property
    def placed(self) -> NDArray[np.bool_] | None:
        """For which frames a shift was estimated, (t,) bool, or None."""
        return None

    @property
    def aligned(self) -> bool:
        """Whether the frames were resampled to undo their shifts."""
        return False

    @property
    def position_prior(self) -> PositionPrior | None:
        """Prior of the frames' shifts by their georeferencing.

        None: the positions of the frames are not known, and a frame that cannot be registered is
        not used.
        """
        return None

    @property
    def origins(self) -> NDArray[np.intp]:
        """Numbers that identify frames, (t,) int: a frame and its copies have one number."""
        return np.arange(len(self))

    @property
    def repeats(self) -> NDArray[np.bool_]:
        """Which frames repeat an earlier one, (t,) bool."""
        repeats = np.ones(len(self), bool)
        repeats[np.unique(self.origins, return_index=True)[1]] = False
        return repeats

    @cached_property
    def clearest(self) -> NDArray[np.bool_]:
        """Which frames tie at the largest number of clear pixels, (t,) bool.

        For a window of frames, those of the whole frames: all its blocks have the same.
        """
        clearance = count_clear(self, range(len(self)))
        return clearance == clearance.max()

    @property
    def true_shifts(self) -> NDArray[np.float32] | None:
        """Simulated shifts against the HR grid, (t, 2) float32 LR pixels (down, right), or None."""
        return None

    def fingerprint(self) -> str:
        """Hash that changes when the frames change.

        By default, that of all pixels and maps, read one frame at a time. Override it where
        something cheaper identifies them, such as the bytes of compressed files.

        Returns
        -------
        str
            Hexadecimal digits, the same in every process and session.
        """
        parts = [type(self).__qualname__, self.shifts, self.placed, self.aligned, self.true_shifts]
        parts += [digest(*self.read([number])) for number in range(len(self))]
        return digest(*parts, self.origins)


def _check_old_methods(cls, old):
    """Warn of a subclass that was written for version 0.2.0."""
    remedy = (
        f"{cls.__name__} defines {' and '.join(sorted(old))}: define read(index, window), which "
        "returns pixels and quality maps"
    )
    if "read" in vars(cls) or len(old) < 2:
        raise TypeError(f"{remedy}; versions after 0.2.0 do not call one of them alone")
    warnings.warn(f"{remedy}; version 0.4 will not call them", FutureWarning, stacklevel=4)


def _read_by_old_methods(self, index=None, window=WHOLE):
    return self.read_lr(index, window), self.read_qm(index, window)


def _hide_values(read):
    """Let `read` return pixels of [0, 1] where its quality maps are False."""

    @wraps(read)
    def read_plain(self, index=None, window=WHOLE):
        pixels, clear = read(self, index, window)
        return _hide(self, pixels, clear), clear

    return read_plain


def _hide_values_of_pixels(read_pixels):
    @wraps(read_pixels)
    def read_plain(self, index=None, window=WHOLE):
        pixels = read_pixels(self, index, window)
        return pixels if is_plain(pixels) else _hide(self, pixels, self.read_clear(index, window))

    return read_plain


def _hide(frames, pixels, clear):
    if is_plain(pixels):
        return pixels
    bad = clear & ~np.isfinite(pixels)
    if bad.any():
        frame, row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{type(frames).__name__} has NaN or infinite values in {bad.sum()} pixels that are "
            f"clear, of those read the first in frame {frame}, row {row}, column {column}: "
            "return False for them in the quality maps, or fill them"
        )
    return fill_hidden(pixels, clear)


class DerivedFrames(Frames):
    """Base of frames that are derived from other frames: passes everything on.

    A subclass overrides `read` if it changes pixels or quality maps, and the properties that it
    changes. A :class:`~probav_estimators.SceneTransformer` gives each scene such frames.

    Parameters
    ----------
    frames : Frames
        What these are derived from.
    **parameters
        Parameters of the change, such as ``k=9``, for the fingerprint.

    Attributes
    ----------
    source : Frames
        `frames`.

    See Also
    --------
    probav_estimators.Frames : What there is to override.
    Scene.with_frames : The same scene with other frames.

    Examples
    --------
    >>> from probav_estimators import SceneTransformer, make_scenes
    >>> from probav_estimators.scenes import WHOLE, DerivedFrames
    >>> class DimmedFrames(DerivedFrames):
    ...     def __init__(self, frames, factor):
    ...         super().__init__(frames, factor=factor)
    ...         self.factor = factor
    ...
    ...     def read(self, index=None, window=WHOLE):
    ...         pixels, clear = self.source.read(index, window)
    ...         return self.factor * pixels, clear
    >>> class Dimmer(SceneTransformer):
    ...     _parameter_constraints = {"factor": [float]}
    ...
    ...     def __init__(self, factor=0.5):
    ...         self.factor = factor
    ...
    ...     def transform_scene(self, scene):
    ...         return scene.with_frames(DimmedFrames(scene.frames, self.factor))
    >>> scenes = make_scenes(1, size=16, random_state=0)
    >>> bool((Dimmer(0.25).fit_transform(scenes)[0].lr == 0.25 * scenes[0].lr).all())
    True
    """

    def __init__(self, frames: Frames, **parameters: object) -> None:
        self.source = frames
        self._parameters = parameters

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, int]:
        return self.source.shape

    @property
    def shifts(self) -> NDArray[np.float32] | None:
        return self.source.shifts

    @property
    def placed(self) -> NDArray[np.bool_] | None:
        return self.source.placed

    @property
    def aligned(self) -> bool:
        return self.source.aligned

    @property
    def position_prior(self) -> PositionPrior | None:
        return self.source.position_prior

    @property
    def origins(self) -> NDArray[np.intp]:
        return self.source.origins

    @property
    def true_shifts(self) -> NDArray[np.float32] | None:
        return self.source.true_shifts

    def read(self, index: Index | None = None, window: Window = WHOLE) -> PixelsAndClear:
        return self.source.read(index, window)

    def fingerprint(self) -> str:
        """Hash of the source's fingerprint, the class and its parameters; reads no pixels."""
        return digest(self.source.fingerprint(), type(self).__qualname__, self._parameters)


class SubsetFrames(DerivedFrames):
    """Base of frames whose pixels and maps are a part of the source's, unchanged.

    As cheap as the source where pixels or maps are read alone.

    Parameters
    ----------
    frames, **parameters : Frames and object
        As for `DerivedFrames`.
    """

    def read(self, index: Index | None = None, window: Window = WHOLE) -> PixelsAndClear:
        return self.source.read(*self._in_source(index, window))

    def read_pixels(
        self, index: Index | None = None, window: Window = WHOLE
    ) -> NDArray[np.float32]:
        return self.source.read_pixels(*self._in_source(index, window))

    def read_clear(self, index: Index | None = None, window: Window = WHOLE) -> NDArray[np.bool_]:
        return self.source.read_clear(*self._in_source(index, window))

    def _in_source(self, index, window):
        """Index and window of the source's frames."""
        return index, window


class WindowFrames(SubsetFrames):
    """A window of other frames.

    Parameters
    ----------
    frames : Frames
    window : tuple of two slices
        Rows and columns in LR pixels, with both ends.
    """

    def __init__(self, frames: Frames, window: Window) -> None:
        super().__init__(frames, window=[(part.start, part.stop) for part in window])
        self._window = window

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self._window
        return rows.stop - rows.start, columns.stop - columns.start

    @cached_property
    def clearest(self) -> NDArray[np.bool_]:
        return self.source.clearest

    def _in_source(self, index, window):
        parts = zip(open_ends(window, self.shape), self._window, strict=True)
        return index, tuple(slice(w.start + p.start, w.start + p.stop) for p, w in parts)


class ChosenFrames(SubsetFrames):
    """Some of the frames of a source, in any order, also repeatedly.

    Parameters
    ----------
    frames : Frames
    index : sequence of int
        Their numbers.
    """

    def __init__(self, frames: Frames, index: Index) -> None:
        numbers = [int(number) for number in index]
        super().__init__(frames, index=numbers)
        self._index = numbers

    @property
    def index(self) -> list[int]:
        """Numbers of the chosen frames."""
        return self._index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shifts(self) -> NDArray[np.float32] | None:
        return self._rows_of(self.source.shifts)

    @property
    def placed(self) -> NDArray[np.bool_] | None:
        return self._rows_of(self.source.placed)

    @property
    def position_prior(self) -> PositionPrior | None:
        prior = self.source.position_prior
        return None if prior is None else prior.of(self.index)

    @property
    def origins(self) -> NDArray[np.intp]:
        return self.source.origins[self.index]

    @property
    def true_shifts(self) -> NDArray[np.float32] | None:
        return self._rows_of(self.source.true_shifts)

    def _rows_of(self, values):
        return None if values is None else values[self.index]

    def _in_source(self, index, window):
        numbers = self.index if index is None else [self.index[number] for number in index]
        return numbers, window


def halve_frames(
    scene: Scene,
    index: NDArray[np.integer] | None = None,
    clearance: NDArray[np.integer] | None = None,
) -> tuple[Scene, Scene]:
    """Split the frames of a scene into two scenes that are about equally clear.

    Parameters
    ----------
    scene : Scene
    index : int array of shape (t,), default=None
        Numbers of the frames to split. None: all, without repeats.
    clearance : int array of shape (t,), default=None
        Clear pixels of each of them. None: counted.

    Returns
    -------
    tuple of two Scene
    """
    if index is None:
        index = np.flatnonzero(~scene.frames.repeats)
    if clearance is None:
        clearance = count_clear(scene.frames, index)
    order = np.asarray(index)[np.argsort(-np.asarray(clearance), kind="stable")]
    # The first half gets the clearest, the second the next two, the first the next two, and so on.
    first = np.isin(np.arange(len(order)) % 4, [0, 3])
    one, other = (
        scene.with_frames(ChosenFrames(scene.frames, np.sort(order[part])))
        for part in (first, ~first)
    )
    return one, other


def count_clear(frames: Frames, index: Index) -> NDArray[np.intp]:
    """Number of clear pixels of some frames, (t,) int."""
    # One map after the other: a large scene has hundreds of megabytes of them.
    return np.array([frames.read_clear([int(number)]).sum() for number in index])


def open_ends(window: Window, shape: tuple[int, int]) -> Window:
    """Replace ends that are left out or negative by row and column numbers."""
    rows, columns = (
        slice(*part.indices(length)[:2]) for part, length in zip(window, shape, strict=True)
    )
    return rows, columns


def within(window: Window, outer: Window) -> Window:
    """Express a window relative to the first row and column of an outer one."""
    rows, columns = (
        slice(part.start - wide.start, part.stop - wide.start)
        for part, wide in zip(window, outer, strict=True)
    )
    return rows, columns
