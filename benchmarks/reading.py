"""Reading every pixel of a folder, against Pillow alone decoding the same files.

Scenes are listed again for every round, which is not timed. The folder is larger than the package's
cache of decoded files, and all rounds read it in the same order, so no file is in the cache when it
is read again. The best round of each side counts.
"""

import numpy as np
from PIL import Image

from probav_estimators import load_scenes

from ._measure import Figure, interleave, seconds_of
from ._scenes import folder_of_scenes


def benchmark(n_scenes=200, size=128, rounds=3):
    with folder_of_scenes(n_scenes, size) as root:
        files = [str(file) for file in sorted(root.rglob("*.png"))]
        _decode(files)
        times = interleave(
            {
                "package": lambda: seconds_of(_read, load_scenes(root)),
                "Pillow": lambda: seconds_of(_decode, files),
            },
            rounds,
        )
    package, pillow = min(times["package"]), min(times["Pillow"])
    yield Figure(
        f"reading every pixel of {n_scenes} scenes ({len(files):,} files)",
        "decoding the same files with Pillow alone",
        "at most 1.3 times the time",
        f"{package / pillow:.2f} times ({package:.2f} s, {pillow:.2f} s; best of {rounds})",
        package <= 1.3 * pillow,
    )


def _read(scenes):
    for scene in scenes:
        for attribute in ("lr", "qm", "hr", "sm"):
            getattr(scene, attribute)


def _decode(files):
    for file in files:
        np.asarray(Image.open(file))
