"""Scene: frames of one site, and its HR image where that is known; lists of scenes."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._array_frames import frames_of_arrays
from ._fingerprint import digest
from ._frames import WHOLE, Frames, WindowFrames, open_ends
from ._images import ClearMask, NpyImage, PngImage, StoredFrames
from ._layout import band_by_name, find_norms, list_scene_files
from ._truth import Truth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..preprocessing import Inputs
    from ._frames import Window

__all__ = ["Scene", "check_scenes", "clip_image", "name_in_errors"]


class Scene:
    """LR frames of one site with their quality maps, and the HR image where it is known.

    Scenes are lazy. A scene of a folder holds paths and reads pixels at each access of an
    attribute; transformers record what to do with pixels that are read. Keep an array in a variable
    if you need it twice.

    Parameters
    ----------
    lr : array of shape (t, h, w)
        Low-resolution frames; uint16, uint8 or float in [0, 1]. Values of any type and range with
        `value_range`. A dask array is read window by window. Pixels that a masked array of NumPy
        masks are not clear; so in `hr`, and in both masks.
    qm : array of shape (t, h, w), default=None
        Quality maps, True (or 1 or 255) where a frame is clear. None: all clear, with a warning.
    hr : array of shape (H, W), default=None
        High-resolution image, an integer multiple (2 or more) of the frames in size.
    sm : array of shape (H, W), default=None
        Status map, True (or 1 or 255) where `hr` is clear. None: all clear.
    norm : float, default=None
        N, the baseline's cPSNR of this scene in dB. None: computed on demand.
    name : str, default=None
        The challenge's names look like "imgset0594".
    band : str, default=None
        Spectral band, such as "RED" or "NIR".
    value_range : tuple of two floats, default=None
        Values of pixels of 0 and 1, such as (0, 10000) for reflectances in 1/10000. Values of `lr`
        and `hr` outside of it, as of clouds and water, give pixels outside [0, 1]. NaN is clouded
        in `lr`, and allowed in `hr` where `sm` masks it. None: [0, 1], or all values of an unsigned
        integer.

    Raises
    ------
    ValueError
        If sizes don't fit together, values are NaN or outside [0, 1], masked or not,
        a mask has other values than 0 and 1 or 255, or `sm` is clouded everywhere.

    See Also
    --------
    Scene.from_dir, Scene.from_frames : Scenes whose pixels are read on demand.
    load_scenes : Scenes from a data set's folder.
    make_scenes : Simulated scenes.

    Notes
    -----
    Arrays are copied, integers in their own type. Memory maps (``numpy.memmap``) are not: leave
    their files as they are while the scene is in use. Neither are dask arrays, nor `lr` and `qm`
    with `value_range`, of which windows are read and checked on demand. A scene of arrays pickles
    with its pixels, one of a folder with its paths.

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators import Scene
    >>> lr = np.zeros((9, 16, 16), np.uint16)
    >>> scene = Scene(lr, qm=lr == 0, hr=np.zeros((48, 48), np.uint16), name="imgset0001")
    >>> len(scene), scene.scale
    (9, 3)
    """

    def __init__(
        self,
        lr: NDArray[Any],
        qm: NDArray[Any] | None = None,
        hr: NDArray[Any] | None = None,
        sm: NDArray[Any] | None = None,
        *,
        norm: float | None = None,
        name: str | None = None,
        band: str | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        frames = frames_of_arrays(lr, qm, value_range, _label(name))
        truth = Truth.of_arrays(frames, hr, sm, _check_norm(norm, name), value_range, _label(name))
        self._set_up(frames, truth, name, band)

    @classmethod
    def _of(cls, frames, truth, name, band):
        scene = cls.__new__(cls)
        scene._set_up(frames, truth, name, band)
        return scene

    def _set_up(self, frames, truth, name, band):
        self.name = name
        self.band = band
        self._frames = frames
        self._truth = truth
        self._inputs: Inputs | None = None
        self._steps: tuple[Any, ...] = ()

    @classmethod
    def from_dir(cls, path: str | os.PathLike[str], *, norm: float | None = None) -> Self:
        """Scene of one folder: LR000.png, QM000.png, ... and, where known, HR.png and SM.png.

        Only the folder is listed; pixels are read on demand.

        Parameters
        ----------
        path : path-like
            The folder. Its name is the scene's name, and that of its parent folder is the band if
            it is in capitals, as "RED".
        norm : float, default=None
            N in dB. None: looked up in the nearest norm.csv (in the folders above, up to the data
            set's root), else computed from the baseline on demand.

        Returns
        -------
        Scene

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If it holds no frames, some frames have a quality map and others don't, or an image has
            another format than PNG. When pixels are read: if a file is damaged, larger
            than 8192 x 8192 pixels, or of other bits for each value than the first frame.
        """
        path = os.path.abspath(path)
        if norm is None:
            norm = find_norms(path).get(os.path.basename(path))
        scene, n_maps = cls._list_dir(path, norm=norm)
        if not n_maps:
            warnings.warn(
                f"{path} has no quality maps (QM000.png, ...): every pixel is taken as clear",
                stacklevel=2,
            )
        return scene

    @classmethod
    def from_frames(
        cls,
        frames: Frames,
        hr: NDArray[Any] | None = None,
        sm: NDArray[Any] | None = None,
        *,
        norm: float | None = None,
        name: str | None = None,
        band: str | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> Self:
        """Scene of a source of frames of your own.

        Parameters
        ----------
        frames : Frames
            Its shape is read if there is a truth, and pixels on demand.
        hr, sm, norm, name, band : arrays, float and str
            As for :class:`Scene`.
        value_range : tuple of two floats, default=None
            Values of `hr` of pixels of 0 and 1. With it, pixels outside [0, 1] are allowed.

        Returns
        -------
        Scene

        Raises
        ------
        ValueError
            If `frames` are no Frames, sizes don't fit together, or values of the truth are not
            valid.

        See Also
        --------
        Frames : How to write a source.
        """
        if not isinstance(frames, Frames):
            raise ValueError(
                f"{_label(name)}: frames is a {type(frames).__name__}: derive its class from "
                "Frames, or pass arrays to Scene"
            )
        truth = Truth.of_arrays(frames, hr, sm, _check_norm(norm, name), value_range, _label(name))
        return cls._of(frames, truth, name, band)

    @classmethod
    def _list_dir(cls, path, *, norm):
        """Return the scene of a folder and how many quality maps it has."""
        files = list_scene_files(path)
        pixels = PngImage if files.bounded else NpyImage
        lr = [pixels(file) for file in files.frames]
        qm = [PngImage(file) for file in files.maps] or [ClearMask(image) for image in lr]
        frames = StoredFrames(lr, qm, bounded=files.bounded)
        hr, sm = files.hr and pixels(files.hr), files.sm and PngImage(files.sm)
        parent, name = os.path.split(path)
        truth = Truth(frames, hr, sm, _check_norm(norm, name), files.value_range)
        band = band_by_name(os.path.basename(parent))
        return cls._of(frames, truth, name, band), len(files.maps)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    def __repr__(self) -> str:
        parts = [repr(self.name)] if self.name is not None else []
        if self.band is not None:
            parts.append(f"band={self.band!r}")
        return f"<Scene {', '.join([*parts, f'{len(self)} frames'])}>"

    @property
    def lr(self) -> NDArray[np.float32]:
        """Frames, (t, h, w) float32 in [0, 1]."""
        return self._frames.read_pixels()

    @property
    def qm(self) -> NDArray[np.bool_]:
        """Quality maps, (t, h, w) bool, True = clear."""
        return self._frames.read_clear()

    @property
    def hr(self) -> NDArray[np.float32] | None:
        """High-resolution image, (H, W) float32 in [0, 1], or None."""
        return self._truth.read_hr() if self.has_hr else None

    @property
    def sm(self) -> NDArray[np.bool_] | None:
        """Status map, (H, W) bool, True = clear; None if there is neither a map nor an image."""
        return self._truth.read_sm() if self._truth.shape is not None else None

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Values of pixels of 0 and 1, or None: pixels are in [0, 1]."""
        return self._truth.value_range

    @property
    def data_range(self) -> float | None:
        """Argument of :func:`~probav_estimators.cpsnr`: None, or 1 with `value_range`."""
        return self._truth.data_range

    @property
    def has_hr(self) -> bool:
        """Whether there is an HR image; reads nothing."""
        return self._truth.hr is not None

    @property
    def norm(self) -> float | None:
        """N, the baseline's cPSNR of the scene in dB; None without `hr`.

        Without a given value, it is computed from all frames of the scene, once, and is at most
        107.1 dB, the cPSNR of 16-bit rounding.
        """
        with name_in_errors(self):
            return self._truth.norm

    @property
    def scale(self) -> int | None:
        """HR pixels for each LR pixel along each axis.

        None if the scene has neither HR image nor status map and was not upscaled.
        """
        if self._truth.shape is not None:
            return self._truth.scale
        return None if self._inputs is None or self._inputs.scale == 1 else self._inputs.scale

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the frames; reads at most a file's header."""
        return self._frames.shape

    @property
    def shifts(self) -> NDArray[np.float32] | None:
        """Registered shifts, (t, 2) float32 LR pixels (down, right), or None."""
        return self._frames.shifts

    @property
    def placed(self) -> NDArray[np.bool_] | None:
        """For which frames a shift was estimated, (t,) bool, or None."""
        return self._frames.placed

    @property
    def true_shifts(self) -> NDArray[np.float32] | None:
        """Shifts against the HR grid, (t, 2) float32 LR pixels (down, right), or None.

        Known for simulated scenes only.
        """
        return self._frames.true_shifts

    @property
    def inputs(self) -> Inputs | None:
        """Inputs of a net, composed on demand; None before InputComposer.

        ``inputs.read(window=None)`` gives v samples of c channels, (v, c, h', w') float32;
        `n_views`, `n_channels` and `scale` are known without reading.
        """
        return self._inputs

    def read_truth(
        self, window: Window | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read the HR image and status map, or a window of them.

        Parameters
        ----------
        window : tuple of two slices, default=None
            Rows and columns in LR pixels.

        Returns
        -------
        hr : float32 array of shape (H', W')
        sm : bool array of shape (H', W')
        """
        window = WHOLE if window is None else self._truth.enlarge(window)
        return self._truth.read_hr(window), self._truth.read_sm(window)

    def fingerprint(self) -> str:
        """Hash of all that a training uses of this scene.

        That is pixels, maps, truth, a given norm, and the transformers' selection, registration,
        composition and upscaling, but not name, band and path.

        Returns
        -------
        str
            32 hexadecimal digits, the same in every process and session.

        Raises
        ------
        FileNotFoundError
            If a file of the scene is gone.

        Notes
        -----
        PNG files are hashed without decoding: a scene on disk and the same pixels in memory have
        different fingerprints.

        Examples
        --------
        >>> from probav_estimators import ClearanceSelector, make_scenes
        >>> (scene,) = make_scenes(1, size=16, random_state=0)
        >>> (selected,) = ClearanceSelector(k=5).transform([scene])
        >>> scene.fingerprint() == selected.fingerprint()
        False
        """
        return digest(
            self._frames.fingerprint(),
            self._truth.fingerprint(),
            None if self._inputs is None else self._inputs.recipe,
        )

    @property
    def frames(self) -> Frames:
        """The :class:`~probav_estimators.Frames` that this scene reads."""
        return self._frames

    def with_frames(self, frames: Frames) -> Self:
        """Scene with other frames of the same site, and the same truth and norm."""
        inputs = None if self._inputs is None else self._inputs.with_frames(frames)
        return self._changed(_frames=frames, _inputs=inputs)

    @property
    def steps(self) -> tuple[Any, ...]:
        """Copies of the transformers that were applied to the scene, in their order.

        They do not affect :meth:`fingerprint`.
        """
        return self._steps

    def with_steps(self, steps: tuple[Any, ...]) -> Self:
        """Scene with other recorded transformers; nothing else changes."""
        return self._changed(_steps=steps)

    def without_truth(self) -> Self:
        """Scene of the same frames, without HR image, status map and norm."""
        return self._changed(_truth=Truth(self._frames, value_range=self.value_range))

    def with_inputs(self, inputs: Inputs) -> Self:
        """Scene with composed inputs of its frames."""
        return self._changed(_inputs=inputs)

    def crop(self, window: Window) -> Self:
        """A window of the scene, still lazy.

        Parameters
        ----------
        window : tuple of two slices
            Rows and columns in LR pixels.

        Returns
        -------
        Scene
            Without the norm, which is that of the whole.
        """
        window = open_ends(window, self.shape)
        scene = self.with_frames(WindowFrames(self._frames, window))
        scene._truth = self._truth.crop(scene._frames, window)
        return scene

    @property
    def label(self) -> str:
        """Name in messages: "scene imgset0594", or "unnamed scene"."""
        return _label(self.name)

    def _changed(self, **attributes):
        scene = copy.copy(self)
        vars(scene).update(attributes)
        return scene


def clip_image(image: NDArray[np.floating], scene: Scene) -> NDArray[np.floating]:
    """Clip an image of a scene to [0, 1] in place, unless the scene has a `value_range`."""
    return np.clip(image, 0, 1, out=image) if scene.value_range is None else image


def _check_norm(norm, name):
    if norm is not None and not (isinstance(norm, Real) and np.isfinite(norm) and norm > 0):
        raise ValueError(
            f"{_label(name)}: norm must be a positive number of dB, got {norm!r}: give the N of "
            "norm.csv, or None to compute it"
        )
    return norm


def _label(name):
    return "unnamed scene" if name is None else f"scene {name}"


@contextmanager
def name_in_errors(scene: Scene) -> Iterator[None]:
    """Name a scene in ValueErrors that do not, as of functions of arrays.

    Parameters
    ----------
    scene : Scene

    Yields
    ------
    None
    """
    try:
        yield
    except ValueError as error:
        if str(scene.label if scene.name is None else scene.name) in str(error):
            raise
        raise ValueError(f"{scene.label}: {error}") from error


def check_scenes(scenes: Sequence[Scene], caller: str, *, truth: bool = False) -> Sequence[Scene]:
    """Return `scenes` as a list, or raise an error.

    Parameters
    ----------
    scenes : sequence of Scene, or a dataset whose attribute `scenes` is one
    caller : str
        Name of the caller, for the error.
    truth : bool, default=False
        Whether every scene must have an HR image.

    Returns
    -------
    list of Scene

    Raises
    ------
    ValueError
        If the list is empty or holds anything else, if it is a table, a generator or joined
        columns, or if truth is missing.
    """
    scenes = _as_list(scenes, caller)
    if not scenes:
        raise ValueError(f"{caller} got an empty list: give at least one scene")
    for position, scene in enumerate(scenes):
        if not isinstance(scene, Scene):
            raise ValueError(
                f"{caller} takes a list of scenes, got {type(scene).__name__} at position "
                f"{position}: make a Scene of it first"
            )
        if truth and not scene.has_hr:
            raise ValueError(
                f"{caller} needs the truth, and {scene.label} has no HR image (position "
                f"{position}): leave it out, or pass scenes of the training split"
                f"{_without_truth(caller)}"
            )
    return scenes


def _as_list(scenes, caller):
    kind = type(scenes).__name__
    expected = f"{caller} takes a list of scenes"
    if isinstance(scenes, Scene):
        raise ValueError(f"{expected}, got one Scene: wrap it, [scene]")
    if isinstance(scenes, Iterator):
        raise ValueError(f"{expected}, got a {kind}, which can be read only once: pass a list")
    if hasattr(scenes, "columns"):
        raise ValueError(
            f"{expected}, got a {kind}: scenes are no table, pass the column that holds them, as "
            "list(table[column])"
        )
    # Scorers that are callbacks of skorch are given the dataset of the training.
    scenes = getattr(scenes, "scenes", scenes)
    if _is_joined(scenes):
        raise ValueError(
            f"{expected}, got an array in which every scene repeats, with other frames or inputs: "
            "FeatureUnion joins columns, and scenes have none, make a Pipeline of the transformers"
        )
    try:
        return list(scenes)
    except TypeError:
        raise ValueError(
            f"{expected}, got {kind}: make one with load_scenes or make_scenes"
        ) from None


def _is_joined(scenes):
    """Whether FeatureUnion concatenated the outputs of several transformers."""
    if not isinstance(scenes, np.ndarray) or scenes.dtype != object or scenes.ndim != 1:
        return False
    truths = [id(getattr(scene, "_truth", scene)) for scene in scenes]
    if truths[:1] * 2 != [x for x in truths if x == truths[0]][:2]:
        return False
    period = truths.index(truths[0], 1)
    repeats = truths == truths[:period] * (len(truths) // period)
    # A bootstrap sample repeats the same objects.
    return repeats and any(scene is not scenes[i % period] for i, scene in enumerate(scenes))


def _without_truth(caller):
    # Scores always need HR images.
    if caller == "scoring":
        return ""
    return "; FusionNet(criterion=ReprojectionLoss()) is trained without HR images"
