"""A grid search on two worker processes, against one.

Workers are those of a Dask cluster, each with one thread, also for torch. They are started and have
imported the package before the time is measured. The time without workers, where torch uses all
cores for each net, is also given.
"""

import os
from functools import partial
from statistics import median

from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from probav_estimators import load_scenes, published_configurations

from ._measure import Figure, interleave, seconds_of
from ._scenes import folder_of_scenes

# An even number of trainings of the same length, for equal shares of two workers.
_CONFIGURATION = "SRCNN stack concat"
_LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def benchmark(rounds=3, n_scenes=8, size=64, max_epochs=6):
    with (
        folder_of_scenes(n_scenes, size) as root,
        _two_workers() as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        scenes = load_scenes(root)
        search = _search(max_epochs)
        sides = {
            "two": lambda: _fit_on_two(search, scenes, client),
            "one": lambda: _fit_on_one(search, scenes, client),
            "none": lambda: search.fit(scenes),
        }
        # The first tasks import the package.
        sides["two"]()
        timed = {side: partial(seconds_of, fit) for side, fit in sides.items()}
        seconds = {side: median(times) for side, times in interleave(timed, rounds).items()}
    ratio = seconds["two"] / seconds["one"]
    yield Figure(
        f"`GridSearchCV` of {2 * len(_LEARNING_RATES)} trainings, 2 Dask workers of one thread on "
        f"{os.cpu_count()} cores",
        "1 such worker",
        "at most 0.65 of the time",
        f"{ratio:.2f} ({seconds['two']:.1f} s, {seconds['one']:.1f} s; without workers, torch on "
        f"all cores, {seconds['none']:.1f} s; medians of {rounds})",
        ratio <= 0.65,
    )


def _fit_on_two(search, scenes, client):
    with parallel_config(backend="dask", client=client):
        search.fit(scenes)


def _fit_on_one(search, scenes, client):
    # As one task: joblib does not use a single worker, but computes in this process.
    client.submit(search.fit, scenes, pure=False).result()


def _two_workers():
    return LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    )


def _search(max_epochs):
    pipelines, _, _ = published_configurations(
        max_epochs=max_epochs,
        batch_size=4,
        patch_size=32,
        train_split=None,
        callbacks__lr_schedule=None,
        random_state=0,
        verbose=0,
    )
    return GridSearchCV(
        dict(pipelines)[_CONFIGURATION], {"sr__lr": _LEARNING_RATES}, cv=2, refit=False
    )
