"""Small scenes and simple reference implementations shared by test modules."""

import errno
import os
import warnings

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.pipeline import Pipeline, make_pipeline
from torch.nn.functional import interpolate

from probav_estimators import (
    MISRGRU,
    RAMS,
    SRCNN,
    TRMISR,
    BicubicUpscaler,
    ClearanceSelector,
    Frames,
    HighResNet,
    InputComposer,
    PIUNet,
    Scene,
    architectures,
)
from probav_estimators.training import SceneRegressor

# All networks that take the output of InputComposer.
REGRESSORS = [
    kind
    for kind in (getattr(architectures, name) for name in architectures.__all__)
    if isinstance(kind, type) and issubclass(kind, SceneRegressor)
]

# One reproducible epoch of a multi-frame network.
QUICK = {
    "max_epochs": 1,
    "batch_size": 2,
    "train_split": None,
    "compute_dtype": "float32",
    "device": "cpu",
    "random_state": 0,
    "verbose": 0,
}

# Narrow versions of the nets on single frames.
FRAME_NETS = {
    HighResNet: {"n_features": 6, "n_blocks": 1, "n_frames": 8},
    MISRGRU: {"n_features": 6, "n_blocks": 1, "n_frames": 8},
    TRMISR: {"n_features": 8, "n_blocks": 1, "depth": 2, "n_heads": 2, "n_frames": 8},
    RAMS: {"n_features": 4, "n_blocks": 1, "reduction": 2},
    PIUNet: {"n_features": 6, "n_blocks": 1, "reduction": 2},
}

# Formulas with and without errors, markup, control characters, surrogates, overrides, lengths.
HOSTILE_NAMES = [
    "$x^$",
    r"$\frac$ and $\alpha$",
    r"a\$b",
    "cost $5",
    "_hidden",
    "",
    "two\nlines\tand\x1b[0m\x00",
    "caf\udce9.tif",
    "\u202egnp.exe",
    "</title><script>alert('\"&')</script>-->",
    "%s {0} {{ name }}",
    10_000 * "long",
    "\u05d0\u05d1 \u65e5\u672c",
    b"bytes \xff",
    7,
    "\U0001d4b3" + chr(0x10FFFF),
]


def small_scene(seed, *, shape=(16, 16), n_frames=4, scale=3, truth=True, clouds=True):
    """Scene of smooth noise, whose frames are area means with independent noise."""
    rng = np.random.default_rng(seed)
    height, width = shape
    ground = gaussian_filter(rng.standard_normal((scale * height, scale * width)), 1.2)
    ground = 0.25 + 0.04 * ground / ground.std()
    area_means = ground.reshape(height, scale, width, scale).mean(axis=(1, 3))
    frames = area_means + rng.normal(0, 0.003, (n_frames, height, width))
    quality_maps = np.ones(frames.shape, bool)
    status_map = np.ones(ground.shape, bool)
    if clouds:
        for number, size in enumerate(rng.permutation(n_frames)):
            quality_maps[number, :size, 2:7] = False
        status_map[2:9, 3:20] = False
    return Scene(
        _as_uint16(frames),
        quality_maps,
        _as_uint16(ground) if truth else None,
        status_map if truth else None,
        name=f"imgset{seed:04d}",
    )


def small_scenes(n_scenes, *, first_seed=0, **options):
    return [small_scene(first_seed + number, **options) for number in range(n_scenes)]


class ArrayFrames(Frames):
    """User-defined frames, of any pixels and without a fingerprint of their own."""

    shifts = true_shifts = None

    def __init__(self, lr, qm):
        self.pixels, self.maps = lr, qm

    def __len__(self):
        return len(self.pixels)

    @property
    def shape(self):
        return self.pixels.shape[1:]

    def read(self, index=None, window=(slice(None), slice(None))):
        index = slice(None) if index is None else list(index)
        return self.pixels[index][:, *window], self.maps[index][:, *window]


def composed(scenes, *, k=3, mode="lr", frames="stack", average="all", scale=3):
    """Compose scenes as input for SRCNN."""
    steps = [ClearanceSelector(k=k), InputComposer(mode=mode, frames=frames, average=average)]
    if scale is not None:
        steps.append(BicubicUpscaler(scale=scale))
    return make_pipeline(*steps).fit_transform(scenes)


def quick_srcnn(**params):
    """SRCNN with a short training on all scenes, without a progress bar."""
    quick = {
        "max_epochs": 1,
        "batch_size": 4,
        "train_split": None,
        "compute_dtype": "float32",
        "random_state": 0,
        "verbose": 0,
    }
    return SRCNN(**{**quick, **params})


def quick_pipeline(**params):
    """Pipeline of a short training; `sr` is quick_srcnn()."""
    steps = [
        ("select", ClearanceSelector(k=2)),
        ("compose", InputComposer(mode="lr")),
        ("upscale", BicubicUpscaler(scale=3)),
        ("sr", quick_srcnn()),
    ]
    return Pipeline(steps).set_params(**params)


def quick_net(kind, **params):
    """A narrow net on single frames, with a training of one epoch."""
    return kind(**{**FRAME_NETS[kind], **QUICK, **params})


def weights_of(net):
    return torch.cat([weight.detach().flatten() for weight in net.module_.parameters()])


def bicubic(channels, scale=3):
    """Upscale (c, h, w) channels by torch's bicubic interpolation in float64."""
    stack = torch.from_numpy(np.asarray(channels, np.float64))[None]
    return interpolate(stack, scale_factor=scale, mode="bicubic")[0].numpy()


def clearest_frames(scene, k):
    """Select the k clearest frames and their maps by counting and sorting."""
    lr, qm = scene.lr, scene.qm
    order = sorted(range(len(lr)), key=lambda number: (-int(qm[number].sum()), number))
    chosen = [order[position % len(order)] for position in range(k)]
    return lr[chosen], qm[chosen]


def tied_frames(scene):
    """Indices of the frames with the most clear pixels."""
    clearance = scene.qm.sum(axis=(1, 2))
    return np.flatnonzero(clearance == clearance.max())


def cpsnr_of_every_shift(sr, hr, sm, border):
    """cPSNR in float64 for all (2 * border + 1)**2 shifts; NaN for a shift without clear pixels."""
    sr, hr = np.asarray(sr, np.float64), np.asarray(hr, np.float64)
    height, width = (length - 2 * border for length in hr.shape)
    centre = sr[border : border + height, border : border + width]
    values = np.full((2 * border + 1, 2 * border + 1), np.nan)
    for row in range(2 * border + 1):
        for column in range(2 * border + 1):
            window = np.s_[row : row + height, column : column + width]
            errors = (hr[window] - centre)[np.asarray(sm[window], bool)]
            if errors.size:
                bias = errors.mean()
                values[row, column] = -10 * np.log10(np.mean((errors - bias) ** 2))
    return values


def slow_cpsnr(sr, hr, sm, border=3):
    return np.nanmax(cpsnr_of_every_shift(sr, hr, sm, border))


def slow_score(images, scenes):
    """Mean challenge score of images."""
    pairs = zip(images, scenes, strict=True)
    return np.mean([s.norm / slow_cpsnr(image, s.hr, s.sm) for image, s in pairs])


def _as_uint16(pixels):
    return np.round(pixels * 65535).astype(np.uint16)


def no_space(*args, **kwargs):
    """Fail as on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def quietly(call, *args, **options):
    """Call without warnings for users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call(*args, **options)


def open_files(folder):
    """Files of a folder that this process has open."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if os.path.islink(link)]
    return [path for path in paths if path.startswith(str(folder))]
