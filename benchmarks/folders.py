"""Scenes of a folder: reading every pixel against Pillow alone, listing and transforming many."""

from time import perf_counter

import numpy as np
from PIL import Image
from sklearn.pipeline import make_pipeline

from probav_estimators import BicubicUpscaler, ClearanceSelector, InputComposer, load_scenes

from ._measure import (
    Figure,
    call_in_fresh_process,
    interleave,
    peak_mib,
    resident_mib,
    seconds_of,
)


def _folder_of_scenes(n_scenes, size):
    # Imported here, so that the fresh process does not import the simulator.
    from ._scenes import folder_of_scenes

    return folder_of_scenes(n_scenes, size)


def benchmark_reading(n_scenes=200, size=128, rounds=3):
    """Reading of all pixels; the best round of each side counts.

    Scenes are listed again for every round, which is not timed. The folder is larger than the
    package's cache of decoded files, and all rounds read it in the same order, so no file is in the
    cache when it is read again.
    """
    with _folder_of_scenes(n_scenes, size) as root:
        files = [str(file) for file in sorted(root.rglob("*.png"))]
        _decode(files)
        sides = {
            "package": lambda: seconds_of(_read, load_scenes(root)),
            "Pillow": lambda: seconds_of(_decode, files),
        }
        package, pillow = (min(times) for times in interleave(sides, rounds).values())
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


def benchmark_listing(n_scenes=1160, size=128):
    """Memory and time in a process of its own, with all scenes alive at the end.

    Memory is that beyond the imports, and in all. The selection of the clearest frames with
    k="max" is also carried out, which reads every quality map.
    """
    with _folder_of_scenes(n_scenes, size) as root:
        used = call_in_fresh_process(use_folder, str(root))
    for step, after in (
        ("`load_scenes`, select, compose, upscale", used["transformed"]),
        ('the same, and the selection resolved (`len`, k="max")', used["resolved"]),
    ):
        yield Figure(
            f"{step}, {n_scenes:,} scenes",
            "-",
            "under 400 MiB held, under 30 s",
            f"{after['held']:.0f} MiB held beyond imports, {after['resident']:.0f} MiB in all "
            f"(peak {after['peak']:.0f} MiB), {after['seconds']:.1f} s",
            after["resident"] < 400 and after["seconds"] < 30,
        )


def use_folder(root):
    """Runs in the fresh process."""
    imported = resident_mib()
    start = perf_counter()

    def usage():
        return {
            "seconds": perf_counter() - start,
            "held": resident_mib() - imported,
            "resident": resident_mib(),
            "peak": peak_mib(),
        }

    pipe = make_pipeline(
        ClearanceSelector(k="max"), InputComposer(mode="concat"), BicubicUpscaler(scale=3)
    )
    scenes = pipe.fit_transform(load_scenes(root))
    used = {"transformed": usage()}
    # Keep the lengths until the memory is measured.
    lengths = [len(scene) for scene in scenes]
    used["resolved"] = usage()
    assert min(lengths) > 0
    return used
