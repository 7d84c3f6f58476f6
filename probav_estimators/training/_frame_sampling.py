"""Torch dataset and batches of the frames of scenes, one by one at LR size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset, default_collate

from ..imaging import BICUBIC_REACH, move_bicubic, pad_window, select_clearest
from ._sampling import SampleRequest, random_symmetry, random_window, turn_and_flip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scenes import Scene

__all__ = ["FrameChoice", "FrameDataset", "FrameReader", "collate_stacks", "fill_frames"]


class FrameChoice(NamedTuple):
    """Which frames of a scene a net is given, and how they are moved onto each other.

    Attributes
    ----------
    numbers : int array of shape (t,)
        Of the frames, in the order in which the net sees them.
    shifts : float32 array of shape (t, 2) or None
        How far their content lies down and to the right, in LR pixels. None: they stay as they
        are.
    """

    numbers: NDArray[np.intp]
    shifts: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FrameReader:
    """Chooses the frames of a scene for a net, and reads them.

    A net whose paper chooses or registers frames in another way overrides :meth:`order`,
    :meth:`find_shifts` or :meth:`read`. Readers are sent to worker processes.

    Parameters
    ----------
    n_frames : int
        How many frames at most.
    quality_maps : bool, default=False
        Whether samples hold the frames' quality maps.
    zero_outside : bool, default=False
        What lies outside of a frame that is moved: True: zeros. False: its edge, repeated.
    stable : bool, default=True
        Whether frames that are equally clear keep their order. False: they come as `numpy.argsort`
        leaves them on this machine, from the end, as in some published code.
    repeat : bool, default=False
        Whether fewer than `n_frames` are repeated in turn, so that there are always as many.
    least_clear : float, default=0.0
        Part of a frame's pixels, more than which must be clear for it to take part. Where no frame
        is as clear, the clearest take part.
    """

    n_frames: int
    quality_maps: bool = False
    zero_outside: bool = False
    stable: bool = True
    repeat: bool = False
    least_clear: float = 0.0

    def choose(self, scene: Scene) -> FrameChoice:
        """Choose the frames of a scene; a frame that repeats another is left out.

        Parameters
        ----------
        scene : Scene

        Returns
        -------
        FrameChoice
        """
        once = np.flatnonzero(~scene.frames.repeats)
        # One map after the other: a large scene has hundreds of megabytes of them.
        clearance = np.array([scene.frames.read_clear([int(number)]).sum() for number in once])
        if self.least_clear:
            enough = self.least_clear * np.prod(scene.shape)
            seen = clearance > min(enough, clearance.max() - 1)
            once, clearance = once[seen], clearance[seen]
        numbers = once[self.order(clearance)]
        return FrameChoice(numbers, self.find_shifts(scene, numbers))

    def order(self, clearance: NDArray[np.intp]) -> NDArray[np.intp]:
        """Positions of the frames to take.

        Parameters
        ----------
        clearance : int array of shape (t,)
            Clear pixels of each frame.

        Returns
        -------
        int array
            Clearest first.
        """
        ordered = select_clearest(clearance, None) if self.stable else np.argsort(clearance)[::-1]
        return np.resize(ordered, self.n_frames) if self.repeat else ordered[: self.n_frames]

    def find_shifts(self, scene: Scene, numbers: NDArray[np.intp]) -> NDArray[np.float32] | None:
        """Find how far the content of the chosen frames lies from where it is to be.

        Here: what a FrameRegistrar has left in the scene, if it did not resample the frames.

        Parameters
        ----------
        scene : Scene
        numbers : int array of shape (t,)

        Returns
        -------
        float32 array of shape (t, 2) or None
            (down, right) in LR pixels. None: frames stay as they are.
        """
        if scene.frames.aligned or scene.shifts is None:
            return None
        return scene.shifts[numbers]

    def read(
        self, scene: Scene, choice: FrameChoice, window: tuple[slice, slice] | None = None
    ) -> dict[str, torch.Tensor]:
        """Read the chosen frames.

        Parameters
        ----------
        scene : Scene
        choice : FrameChoice
        window : tuple of two slices, default=None
            Rows and columns in LR pixels. None: all.

        Returns
        -------
        dict of float32 tensors
            "frames" (t, h', w') in pixel values; "present" (t,), 1 for each of them, as batches
            are filled up with frames of 0; with `quality_maps` "clear" (t, h', w').
        """
        if window is None:
            window = slice(0, scene.shape[0]), slice(0, scene.shape[1])
        if choice.shifts is not None:
            lr, qm = self._read_moved(scene, choice, window)
        elif self.quality_maps:
            lr, qm = scene.frames.read(choice.numbers, window)
        else:
            lr, qm = scene.frames.read_pixels(choice.numbers, window), None
        sample = {"frames": torch.from_numpy(lr), "present": torch.ones(len(lr))}
        if self.quality_maps:
            sample["clear"] = torch.from_numpy(np.asarray(qm, np.float32))
        return sample

    def _read_moved(self, scene, choice, window):
        size = tuple(part.stop - part.start for part in window)
        lr = np.empty((len(choice.numbers), *size), np.float32)
        qm = np.empty(lr.shape, bool)
        for position, (number, shift) in enumerate(zip(choice.numbers, choice.shifts, strict=True)):
            reach = int(np.ceil(np.abs(shift).max())) + BICUBIC_REACH
            wanted = pad_window(window, scene.shape, reach)
            origin = wanted[0].start, wanted[1].start
            (frame,), (clear,) = scene.frames.read([number], wanted)
            lr[position], qm[position] = move_bicubic(frame, clear, shift, window, origin)
            if self.zero_outside:
                _, inside = move_bicubic(frame, np.ones_like(clear), shift, window, origin)
                lr[position][~inside] = 0
        return lr, qm


class FrameDataset(Dataset):
    """Samples of the frames of scenes: every scene is one.

    Parameters
    ----------
    scenes : list of Scene
    reader : FrameReader
        Says which frames samples hold, and reads them.
    with_truth : bool
        Whether samples hold HR image and status map.
    patch_size : int, default=None
        Samples are random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Whether samples are flipped and turned by quarters at random.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        reader: FrameReader,
        *,
        with_truth: bool,
        patch_size: int | None = None,
        augment: bool = False,
    ) -> None:
        self.scenes = scenes
        self.reader = reader
        self.with_truth = with_truth
        self.patch_size = patch_size
        self.augment = augment
        #: How many samples each scene gives.
        self.n_views = [1] * len(scenes)
        # What was chosen of a scene, so that its patches need not read all maps again.
        self._choices: dict[int, FrameChoice] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def shape_of(self, sample: int) -> tuple[int, int]:
        """(h, w) of a sample in LR pixels."""
        if self.patch_size is not None:
            return self.patch_size, self.patch_size
        return self.scenes[sample].shape

    def __getitem__(self, request: SampleRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        request = request if isinstance(request, SampleRequest) else SampleRequest(request)
        scene = self.scenes[request.sample]
        if request.sample not in self._choices:
            self._choices[request.sample] = self.reader.choose(scene)
        rng = np.random.default_rng(request.seed)
        window = None
        if self.patch_size is not None:
            window = random_window(scene, self.patch_size, rng)
        sample = self.reader.read(scene, self._choices[request.sample], window)
        target: dict[str, Any] = {"scene": request.sample}
        if self.with_truth:
            truth = np.stack(scene.read_truth(window), dtype=np.float32, casting="unsafe")
            target["truth"] = torch.from_numpy(truth)
        if self.augment:
            turn, flip = random_symmetry(self.shape_of(request.sample), rng)
            for images in (sample, target):
                for key in ("frames", "clear", "truth"):
                    if key in images:
                        images[key] = turn_and_flip(images[key], turn, flip).contiguous()
        return sample, target


def collate_stacks(
    samples: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Batch of samples; those with fewer frames get frames of 0 that are not present."""
    stacks, targets = zip(*samples, strict=True)
    most = max(len(sample["present"]) for sample in stacks)
    filled = [{key: fill_frames(x, most) for key, x in sample.items()} for sample in stacks]
    return default_collate(filled), default_collate(list(targets))


def fill_frames(values: torch.Tensor, n_frames: int, axis: int = 0) -> torch.Tensor:
    """Fill up the axis of frames with zeros.

    Parameters
    ----------
    values : tensor of any shape
    n_frames : int
        Length that the axis is to have at least.
    axis : int, default=0

    Returns
    -------
    tensor
    """
    missing = n_frames - values.shape[axis]
    if missing <= 0:
        return values
    return pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, missing))
