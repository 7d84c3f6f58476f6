"""Shared fixtures: small simulated scenes, in memory and on disk, and the sample data."""

import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _helpers import composed, small_scenes
from hypothesis import settings

from probav_estimators import Scene, make_scenes, save_scenes

# Every run draws the same examples, so that failures can be reproduced, and no test is timed.
settings.register_profile("plain", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("plain")


def pytest_configure():
    """Let tests of signals work where the shell ignores them, as by `nohup make test &`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGTERM"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="session")
def scenes():
    """Five simulated scenes of one size with 4 to 7 frames: RED and NIR in turn."""
    return make_scenes(5, size=24, n_frames=(4, 7), random_state=0)


@pytest.fixture(scope="session")
def mixed_scenes():
    """Scenes of different sizes, scales and frame counts, none of them square."""
    return [
        make_scenes(1, size=size, scale=scale, n_frames=n_frames, random_state=seed)[0]
        for seed, (size, scale, n_frames) in enumerate(
            [((16, 24), 2, 3), ((20, 12), 4, 5), ((12, 18), 3, 4)]
        )
    ]


@pytest.fixture(scope="session")
def saved_root(scenes, tmp_path_factory):
    """Data set root with `scenes`; read-only."""
    root = tmp_path_factory.mktemp("saved")
    save_scenes(scenes, root)
    return root


@pytest.fixture(scope="session")
def train():
    """Four small scenes, composed as input for SRCNN."""
    return composed(small_scenes(4))


@pytest.fixture(scope="session")
def valid():
    """Two others."""
    return composed(small_scenes(2, first_seed=10))


@pytest.fixture
def root(scenes, tmp_path):
    """Data set root with two of `scenes`, which tests may modify."""
    save_scenes(scenes[:2], tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(root):
    """Folder of imgset0000 in `root`."""
    return root / "train" / "RED" / "imgset0000"


@pytest.fixture(scope="session")
def samples():
    """Folder of sample data, from the environment variable PROBAV_SAMPLES."""
    if "PROBAV_SAMPLES" not in os.environ:
        pytest.skip("PROBAV_SAMPLES is not set")
    return Path(os.environ["PROBAV_SAMPLES"])


@pytest.fixture(scope="module")
def one_thread():
    """Use one thread: small images gain nothing from more, and busy machines lose."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def devices():
    """The CPU and all accelerators that torch finds on this machine."""
    others = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    return ["cpu", *(name for name, is_there in others.items() if is_there())]


@pytest.fixture(params=devices())
def device(request):
    """Each available device in turn."""
    return request.param


@pytest.fixture
def make_scene():
    """Scene of noise from its own random number generator; arguments override its parts."""

    def make(n_frames=4, size=(6, 8), scale=3, seed=0, **parts):
        rng = np.random.default_rng(seed)
        large = tuple(scale * length for length in size)
        given = {
            "lr": rng.integers(0, 16384, (n_frames, *size), dtype=np.uint16),
            "qm": rng.random((n_frames, *size)) < 0.8,
            "hr": rng.integers(0, 16384, large, dtype=np.uint16),
            "sm": rng.random(large) < 0.8,
            "name": "imgset0042",
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return Scene(**given | parts)

    return make
