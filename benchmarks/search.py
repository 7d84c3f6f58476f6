"""A grid search on two worker processes, against one.

Workers are those of a Dask cluster, each with one thread for everything, torch included, and one
core's share of the machine. Both clusters are up and have imported all before the clock starts.
What the search takes without workers, where torch spreads each net over all cores, is told too.
"""

import os
from contextlib import ExitStack
from statistics import median

from distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from probav_estimators import load_scenes, published_configurations

from ._measure import Figure, interleave, seconds_of
from ._scenes import folder_of_scenes

# An even number of trainings of the same length, so that two workers can share them fairly.
_CONFIGURATION = "SRCNN stack concat"
_LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def benchmark(rounds=3, n_scenes=8, size=64, max_epochs=4):
    with folder_of_scenes(n_scenes, size) as root, ExitStack() as clusters:
        scenes = load_scenes(root)
        search = _search(max_epochs)
        sides = {
            n_workers: _OnWorkers(search, scenes, clusters.enter_context(_workers(n_workers)))
            for n_workers in (1, 2)
        }
        sides["without"] = lambda: seconds_of(search.fit, scenes)
        seconds = {side: median(times) for side, times in interleave(sides, rounds).items()}
    ratio = seconds[2] / seconds[1]
    yield Figure(
        f"`GridSearchCV` of {2 * len(_LEARNING_RATES)} trainings, 2 Dask workers of one thread on "
        f"{os.cpu_count()} cores",
        "1 such worker",
        "at most 0.65 of the time",
        f"{ratio:.2f} ({seconds[2]:.1f} s, {seconds[1]:.1f} s; without workers, torch on all "
        f"cores, {seconds['without']:.1f} s; medians of {rounds})",
        ratio <= 0.65,
    )


class _OnWorkers:
    """Calling it runs the search on the workers of a cluster and returns the seconds."""

    def __init__(self, search, scenes, cluster):
        self.search = search
        self.scenes = scenes
        self.cluster = cluster
        # The first tasks import the package.
        self()

    def __call__(self):
        with (
            Client(self.cluster, set_as_default=False) as client,
            parallel_config(backend="dask", client=client),
        ):
            return seconds_of(self.search.fit, self.scenes)


def _workers(n_workers):
    return LocalCluster(
        n_workers=n_workers,
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
        lr_patience=None,
        random_state=0,
        verbose=0,
    )
    return GridSearchCV(
        dict(pipelines)[_CONFIGURATION], {"sr__lr": _LEARNING_RATES}, cv=2, refit=False
    )
