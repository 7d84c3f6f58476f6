"""From scenes to batches of frames that lie on each other: the data side of multi-frame fusion."""

from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset, default_collate

from .registration import register_frames
from .sampling import Draw, random_symmetry, random_window, turn_and_flip

__all__ = ["Alignment", "FusionDataset", "align_scene", "collate_frames", "read_aligned"]

# Blocks of this many LR pixels along each axis tell gains: in them noise and shifts don't matter.
_GAIN_BLOCK = 4

# Frames may differ by this factor in contrast.
_GREATEST_GAIN = 3.0

# Samples of an augmented training that have fewer frames, or holes in their masks.
_FEWER_FRAMES = 0.25
_HOLES = 0.15

# Part of the frames that a self-supervised training compares the result with.
_LEFT_OUT = 0.25

# LR pixels along each axis in which shifts, gains and texture are measured.
_LARGEST_SURVEY = 512

# One step of a 16-bit image: less contrast than this is none.
_LEAST_SPREAD = 1 / 65535


@dataclass(frozen=True)
class Alignment:
    """How the frames of one scene are brought together.

    Attributes
    ----------
    index : int array of shape (t,)
        Frames that take part.
    shifts : float32 array of shape (t, 2)
        How far the content of each lies down and to the right of the middle of all, in LR pixels.
    gains, offsets : float32 arrays of shape (t,)
        A frame is gain * scene + offset.
    level, spread : float
        Mean and standard deviation of the scene.
    """

    index: np.ndarray
    shifts: np.ndarray
    gains: np.ndarray
    offsets: np.ndarray
    level: float
    spread: float

    @property
    def pixels(self):
        """Whole pixels of the shifts, int (t, 2)."""
        return np.rint(self.shifts).astype(int)

    @property
    def fractions(self):
        """What is left of them, float32 (t, 2) of at most half a pixel."""
        return self.shifts - self.pixels.astype(np.float32)

    def choose(self, chosen, *, centre=None):
        """The same with some of the frames, in the middle of these or of those in `centre`."""
        shifts = self.shifts[chosen]
        shifts = shifts - (shifts if centre is None else self.shifts[centre]).mean(axis=0)
        parts = (self.index, self.gains, self.offsets)
        index, gains, offsets = (part[chosen] for part in parts)
        return replace(self, index=index, shifts=shifts, gains=gains, offsets=offsets)


def align_scene(scene):
    """Find out how the frames of a scene are brought together.

    Shifts are those that a FrameRegistrar left in the scene, else they are estimated. The image is
    placed in the middle of all frames: the best guess of where a truth lies.

    Raises
    ------
    ValueError
        If the quality maps call every pixel clouded.
    """
    window = _clearest_part(scene)
    lr, qm = (read(window=window) for read in (scene.frames.read_lr, scene.frames.read_qm))
    seen = qm.any(axis=(1, 2))
    if not seen.any():
        raise ValueError(
            f"scene {scene.name}: the quality maps call every pixel of every frame clouded, so "
            "there is nothing to fuse: remove the scene, or give better maps"
        )
    shifts, placed = _placement(scene.frames, lr, qm)
    placed = placed & seen
    index = np.flatnonzero(placed if placed.any() else seen)
    shifts = shifts[index]
    shifts = (shifts - shifts.mean(axis=0, dtype=np.float64)).astype(np.float32)
    pixels = np.rint(shifts).astype(int)
    gains, offsets, mean, known = _radiometry(lr[index], qm[index], pixels)
    level = float(mean[known].mean())
    spread = max(float(mean[known].std()), _LEAST_SPREAD)
    return Alignment(index, shifts, gains, offsets, level, spread)


def _clearest_part(scene):
    """The window of a scene that is surveyed: all of it, if it is not too large."""
    parts = []
    for length in scene.shape:
        bounds = np.linspace(0, length, -(-length // _LARGEST_SURVEY) + 1).astype(int).tolist()
        parts.append([slice(*ends) for ends in pairwise(bounds)])
    windows = list(product(*parts))
    if len(windows) == 1:
        return windows[0]
    return max(windows, key=lambda window: np.count_nonzero(scene.frames.read_qm(window=window)))


def _placement(frames, lr, qm):
    """Shifts of the frames as they are read, and which of them are known."""
    if frames.aligned:
        return np.zeros((len(frames), 2), np.float32), frames.placed
    if frames.shifts is not None:
        placed = frames.placed
        return frames.shifts, np.ones(len(frames), bool) if placed is None else placed
    return register_frames(lr, qm)


def _radiometry(lr, qm, pixels):
    """Gain and offset of each frame against their mean, and that mean with where it is known."""
    whole = tuple(slice(0, length) for length in lr.shape[1:])
    lr, qm = _moved(lr, qm, pixels, whole, whole)
    gains, offsets = np.ones(len(lr), np.float32), np.zeros(len(lr), np.float32)
    count = qm.sum(axis=0)
    for _ in range(2):
        corrected = (lr - offsets[:, None, None]) / gains[:, None, None]
        mean = (corrected * qm).sum(axis=0) / np.maximum(count, 1)
        for i, (frame, clear) in enumerate(zip(lr, qm, strict=True)):
            gains[i], offsets[i] = _fit_gain(frame, clear, mean)
        # The scene has the mean gain and offset of its frames.
        gains /= gains.mean()
        offsets -= offsets.mean()
    corrected = (lr - offsets[:, None, None]) / gains[:, None, None]
    return gains, offsets, (corrected * qm).sum(axis=0) / np.maximum(count, 1), count > 0


def _fit_gain(frame, clear, mean):
    if not clear.any():
        return 1.0, 0.0
    weight = _block_sums(clear.astype(np.float32))
    used = weight >= min(_GAIN_BLOCK**2 / 2, weight.max())
    weight = weight[used]
    seen, expected = (_block_sums(image * clear)[used] / weight for image in (frame, mean))
    middle = np.average(expected, weights=weight)
    level = np.average(seen, weights=weight)
    variance = np.average((expected - middle) ** 2, weights=weight)
    if variance < _LEAST_SPREAD**2:
        return 1.0, level - middle
    gain = np.average((expected - middle) * (seen - level), weights=weight) / variance
    gain = np.clip(gain, 1 / _GREATEST_GAIN, _GREATEST_GAIN)
    return gain, level - gain * middle


def _block_sums(image):
    rows, columns = (np.arange(0, length, _GAIN_BLOCK) for length in image.shape)
    return np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)


def read_aligned(scene, alignment, window=None):
    """Frames of a scene, brought together.

    Parameters
    ----------
    scene : Scene
    alignment : Alignment
    window : tuple of two slices, default=None
        Rows and columns in LR pixels of the image. None: all.

    Returns
    -------
    dict of tensors
        "frames" and "weights" (t, h', w'), "fractions" (t, 2), "level" and "spread" (1,).
    """
    window = window or tuple(slice(0, length) for length in scene.shape)
    pixels = alignment.pixels
    lows, highs = pixels.min(axis=0), pixels.max(axis=0)
    wanted = []
    for part, low, high, length in zip(window, lows, highs, scene.shape, strict=True):
        first = int(np.clip(part.start + low, 0, length - 1))
        wanted.append(slice(first, int(np.clip(part.stop + high, first + 1, length))))
    lr = scene.frames.read_lr(alignment.index, tuple(wanted))
    qm = scene.frames.read_qm(alignment.index, tuple(wanted))
    frames, weights = _moved(lr, qm, pixels, wanted, window)
    gains, offsets = (x[:, None, None] for x in (alignment.gains, alignment.offsets))
    level, spread = np.float32(alignment.level), np.float32(alignment.spread)
    frames = ((frames - offsets) / gains - level) / spread
    return {
        "frames": torch.from_numpy(frames * weights),
        "weights": torch.from_numpy(weights.astype(np.float32)),
        "fractions": torch.from_numpy(alignment.fractions),
        "level": torch.tensor([level]),
        "spread": torch.tensor([spread]),
    }


def _moved(lr, qm, pixels, origin, window):
    """Parts of frames that were read at `origin`, moved by whole pixels; unclear outside."""
    shape = tuple(part.stop - part.start for part in window)
    frames = np.zeros((len(lr), *shape), np.float32)
    weights = np.zeros((len(lr), *shape), bool)
    for i, shift in enumerate(pixels):
        source, target = [], []
        for part, wide, move, length in zip(window, origin, shift, lr.shape[1:], strict=True):
            first = part.start + move - wide.start
            low, high = max(first, 0), min(first + part.stop - part.start, length)
            source.append(slice(low, max(low, high)))
            target.append(slice(low - first, max(low, high) - first))
        frames[i, *target] = lr[i, *source]
        weights[i, *target] = qm[i, *source]
    return frames, weights


def turn_sample(sample, turn, flip):
    """Frames that are turned by quarters and then flipped left to right, with their shifts."""
    turned = dict(sample)
    for key in ("frames", "weights"):
        turned[key] = turn_and_flip(sample[key], turn, flip).contiguous()
    for _ in range(turn):
        down, right = turned["fractions"].unbind(dim=1)
        turned["fractions"] = torch.stack([-right, down], dim=1)
    if flip:
        turned["fractions"] = turned["fractions"] * torch.tensor([1.0, -1.0])
    return turned


class FusionDataset(Dataset):
    """Samples of scenes for multi-frame fusion: every scene is one.

    Parameters
    ----------
    scenes : list of Scene
    with_truth : bool
        Whether samples hold HR image and status map.
    leave_out : bool, default=False
        Whether some frames of each sample are to be compared with the result instead of being
        fused; "left_out" (t,) then says which.
    patch_size : int, default=None
        Samples are random patches of this many LR pixels along each axis. None: whole frames.
    augment : bool, default=False
        Whether samples are flipped and turned by quarters at random, and some of them lose frames
        or pixels.
    alignments : list of Alignment, default=None
        How the frames of each scene lie, where that is known.
    """

    def __init__(
        self,
        scenes,
        *,
        with_truth,
        leave_out=False,
        patch_size=None,
        augment=False,
        alignments=None,
    ):
        self.scenes = scenes
        self.with_truth = with_truth
        self.leave_out = leave_out
        self.patch_size = patch_size
        self.augment = augment
        #: How many samples each scene gives.
        self.n_views = [1] * len(scenes)
        # What a scene was found to be, so that its patches don't find it out again.
        self._alignments = dict(enumerate(alignments or ()))

    def __len__(self):
        return len(self.scenes)

    def shape_of(self, sample):
        """(h, w) of a sample in LR pixels."""
        if self.patch_size is not None:
            return self.patch_size, self.patch_size
        return self.scenes[sample].shape

    def __getitem__(self, draw):
        draw = draw if isinstance(draw, Draw) else Draw(draw)
        scene, alignment = self.scenes[draw.sample], self._alignment_of(draw.sample)
        rng = np.random.default_rng(draw.seed)
        left_out = np.zeros(0, int)
        if self.leave_out:
            if len(alignment.index) < 2:
                raise ValueError(
                    f"scene {scene.name} has no two frames that could be placed, and a training "
                    "without HR images leaves one out to compare with: remove the scene"
                )
            alignment, left_out = _leave_out(alignment, draw, rng)
        elif self.augment and rng.random() < _FEWER_FRAMES:
            alignment = _lose_frames(alignment, rng)
        window = None
        if self.patch_size is not None:
            window = random_window(scene, self.patch_size, rng)
        images = read_aligned(scene, alignment, window)
        target = {"scene": draw.sample}
        if self.with_truth:
            truth = np.stack(scene.read_truth(window), dtype=np.float32, casting="unsafe")
            target["truth"] = torch.from_numpy(truth)
        if self.augment:
            if rng.random() < _HOLES:
                _pierce(images, rng)
            turn, flip = random_symmetry(self.shape_of(draw.sample), rng)
            images = turn_sample(images, turn, flip)
            if self.with_truth:
                target["truth"] = turn_and_flip(target["truth"], turn, flip).contiguous()
        if self.leave_out:
            images["left_out"] = torch.zeros(len(alignment.index))
            images["left_out"][left_out] = 1
        return images, target

    def _alignment_of(self, sample):
        if sample not in self._alignments:
            self._alignments[sample] = align_scene(self.scenes[sample])
        return self._alignments[sample]


def _leave_out(alignment, draw, rng):
    """Alignment in the middle of the frames that are fused, and which frames are not."""
    t = len(alignment.index)
    if draw.seed is None:
        rng = np.random.default_rng(draw.sample)
    order = rng.permutation(t)
    left_out, fused = np.split(order, [max(1, round(_LEFT_OUT * t))])
    return alignment.choose(slice(None), centre=fused), left_out


def _lose_frames(alignment, rng):
    """Alignment of a few frames; as often of 1 to 3 as of 3 to 9 or 9 to 27."""
    t = len(alignment.index)
    kept = int(np.exp(rng.uniform(0, np.log(t)))) if t > 1 else 1
    return alignment.choose(rng.permutation(t)[: max(kept, 1)])


def _pierce(images, rng):
    """Hide pixels of every frame at random."""
    seen = rng.random(images["weights"].shape, np.float32) > rng.uniform(0, 0.5)
    for key in ("weights", "frames"):
        images[key] *= torch.from_numpy(seen)


def collate_frames(samples):
    """Batch of samples; those with fewer frames get frames of no weight."""
    images, targets = zip(*samples, strict=True)
    most = max(len(sample["frames"]) for sample in images)
    padded = [
        {key: _pad_frames(x, most) if key in _PER_FRAME else x for key, x in sample.items()}
        for sample in images
    ]
    return default_collate(padded), default_collate(list(targets))


_PER_FRAME = {"frames", "weights", "fractions", "left_out"}


def _pad_frames(values, most):
    return pad(values, (0, 0) * (values.ndim - 1) + (0, most - len(values)))
