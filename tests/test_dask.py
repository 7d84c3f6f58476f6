"""Searches that run on the worker processes of a Dask cluster."""

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from _helpers import quick_pipeline
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

from probav_estimators import (
    FSRCNN,
    FusionNet,
    load_scenes,
    make_scenes,
    probav_scorer,
    save_scenes,
    super_resolve,
)

distributed = pytest.importorskip("distributed")

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "plot_search.py"


class NotingScorer:
    """Challenge scorer that first records its process in a folder.

    Parameters
    ----------
    folder : path-like
    pause : float
        Minimum seconds per task, so that no worker finishes before the other one starts.
    """

    def __init__(self, folder, pause=0.3):
        self.folder = folder
        self.pause = pause

    def __call__(self, estimator, scenes, y=None):
        (self.folder / f"{os.getpid()} {uuid4().hex}").touch()
        time.sleep(self.pause)
        return probav_scorer(estimator, scenes)

    def pids(self):
        """Process id of each started task."""
        return [int(note.name.split()[0]) for note in self.folder.iterdir()]

    def kill_a_worker(self):
        """Kill the process of the first task while it runs."""
        while not (pids := self.pids()):
            time.sleep(0.02)
        os.kill(pids[0], signal.SIGKILL)


@pytest.fixture(scope="module")
def client():
    """Client of a Dask cluster of two processes."""
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    )
    with cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    save_scenes(make_scenes(6, size=16, n_frames=(5, 9), random_state=0), root)
    return load_scenes(root)


@pytest.fixture
def noting(tmp_path):
    return NotingScorer(tmp_path)


def net_search(scoring):
    small = FSRCNN(
        max_epochs=1, train_split=None, compute_dtype="float32", random_state=0, verbose=0
    )
    grid = [
        {"compose__mode": ["lr", "combine", "concat"]},
        {"sr": [small], "upscale": ["passthrough"]},
    ]
    return GridSearchCV(quick_pipeline(), grid, scoring=scoring, cv=2, error_score="raise")


def test_a_search_on_two_processes_of_which_one_is_killed_equals_a_sequential_one(
    client, scenes, noting, one_thread
):
    before = set(client.run(os.getpid).values())
    killer = threading.Thread(target=noting.kill_a_worker, daemon=True)
    killer.start()
    with parallel_config(backend="dask"):
        search = net_search(noting).fit(scenes)
    killer.join()
    client.wait_for_workers(2, timeout=30)
    after = set(client.run(os.getpid).values())
    assert len(before) == len(after) == 2 and len(before & after) == 1
    # That of the killed worker is tried again.
    assert len(noting.pids()) > 8
    assert before <= set(noting.pids()) and os.getpid() not in noting.pids()
    expected = net_search(probav_scorer).fit(scenes)
    for key in ("split0_test_score", "split1_test_score", "mean_test_score"):
        np.testing.assert_allclose(search.cv_results_[key], expected.cv_results_[key], rtol=1e-6)
    assert str(search.best_params_) == str(expected.best_params_)
    np.testing.assert_allclose(search.predict(scenes), expected.predict(scenes), atol=1e-6)


def test_workers_do_not_share_out_cores_again(client):
    assert list(client.run(torch.get_num_threads).values()) == [1, 1]


def test_a_cluster_makes_the_same_image(client, one_thread):
    xarray = pytest.importorskip("xarray")
    net = FusionNet.from_pretrained("simulated-x2", verbose=0)
    (scene,) = make_scenes(1, size=(24, 96), scale=2, n_frames=4, random_state=5)
    frames = xarray.DataArray(np.int16(10000 * scene.lr), dims=("time", "y", "x"))
    options = {"mask": scene.qm, "return_std": True}
    expected = super_resolve(frames, net, **options)
    result = super_resolve(frames.chunk(time=2, x=40), net, tile_size=16, **options).compute()
    assert np.abs(result.values.astype(int) - expected.values).max() <= 1
    np.testing.assert_allclose(result["std"], expected["std"], rtol=1e-3)
    np.testing.assert_array_equal(result.n_clear, expected.n_clear)


def test_the_example_says_how_to_install_dask(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--quick", "--dask"])
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match=r"\[dask"):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
