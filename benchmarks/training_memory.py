"""Memory while training, on few and on many scenes on disk.

Each training is one epoch of SRCNN on patches, with its default validation on whole frames, in a
process of its own. Peak memories of both processes are compared.
"""

from sklearn.pipeline import make_pipeline

from ._measure import Figure, call_in_fresh_process, peak_mib
from ._scenes import folder_of_scenes


def benchmark(few=100, many=1000, size=128):
    peaks = {}
    for n_scenes in (few, many):
        with folder_of_scenes(n_scenes, size) as root:
            peaks[n_scenes] = call_in_fresh_process(peak_of_training, str(root))
    growth = peaks[many] / peaks[few] - 1
    yield Figure(
        f"peak memory of an epoch on {many:,} scenes on disk",
        f"on {few:,} scenes",
        "they differ by under 10 %",
        f"{100 * growth:+.1f} % ({peaks[many]:.0f} MiB, {peaks[few]:.0f} MiB)",
        abs(growth) < 0.1,
    )


def peak_of_training(root):
    """Runs in the fresh process."""
    from probav_estimators import (
        SRCNN,
        BicubicUpscaler,
        ClearanceSelector,
        InputComposer,
        load_scenes,
    )

    net = SRCNN(max_epochs=1, batch_size=32, patch_size=32, device="cpu", random_state=0, verbose=0)
    make_pipeline(
        ClearanceSelector(k=9), InputComposer(mode="concat"), BicubicUpscaler(scale=3), net
    ).fit(load_scenes(root))
    return peak_mib()
