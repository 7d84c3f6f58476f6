"""Listing and transforming the scenes of a large folder, in a process of its own.

Memory is measured at the end, with all scenes alive: beyond the imports, and in all. The selection
of the clearest frames with k="max" is also carried out, which reads every quality map.
"""

from time import perf_counter

from sklearn.pipeline import make_pipeline

from probav_estimators import BicubicUpscaler, ClearanceSelector, InputComposer, load_scenes

from ._measure import Figure, call_in_fresh_process, peak_mib, resident_mib


def benchmark(n_scenes=1160, size=128):
    # Imported here, so that the fresh process does not import the simulator.
    from ._scenes import folder_of_scenes

    with folder_of_scenes(n_scenes, size) as root:
        used = call_in_fresh_process(use_folder, str(root))
    goal = "under 400 MiB held, under 30 s"
    for step, after in (
        ("`load_scenes`, select, compose, upscale", used["transformed"]),
        ('the same, and the selection resolved (`len`, k="max")', used["resolved"]),
    ):
        yield Figure(
            f"{step}, {n_scenes:,} scenes",
            "-",
            goal,
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
