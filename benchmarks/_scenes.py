"""Simulated scenes of full size, in memory or as a folder with any number of them."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from probav_estimators import make_scenes, save_scenes

# Larger folders contain these scenes several times, under different names.
N_SIMULATED = 32


@lru_cache(maxsize=1)
def simulated_scenes(size=128, n_scenes=N_SIMULATED):
    """Scenes in memory, of about 19 frames; cached for the other benchmarks of the run."""
    return make_scenes(n_scenes, size=size, random_state=0, n_jobs=-1)


@contextmanager
def folder_of_scenes(n_scenes, size=128):
    """Root of a temporary data set.

    Files are hard links to those of the simulated scenes, which need no disk space and little time.
    The package caches decoded files by their path, so each of them is decoded.
    """
    with tempfile.TemporaryDirectory(prefix="probav-benchmark-") as temporary:
        originals = Path(temporary, "originals")
        save_scenes(simulated_scenes(size)[:n_scenes], originals)
        folders = sorted(originals.glob("train/*/imgset*"))
        root = Path(temporary, "scenes")
        for number in range(n_scenes):
            target = root / "train" / "NIR" / f"imgset{number:04d}"
            target.mkdir(parents=True)
            _link_files(folders[number % len(folders)], target)
        norms = "".join(f"imgset{number:04d} 46.5\n" for number in range(n_scenes))
        (root / "norm.csv").write_text(norms)
        yield root


def _link_files(folder, target):
    for file in folder.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy(file, target / file.name)
