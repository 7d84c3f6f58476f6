"""Searches over whole pipelines and published configurations."""

import numpy as np
import pandas as pd
import pytest
from _helpers import QUICK, quick_pipeline, quick_srcnn, small_scenes
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)

from probav_estimators import (
    FSRCNN,
    BicubicUpscaler,
    cpsnr_scorer,
    make_scenes,
    probav_scorer,
    published_configurations,
)


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(6, size=16, n_frames=(5, 9), random_state=0)


@pytest.fixture(scope="module")
def tiny_scenes():
    return small_scenes(8, shape=(8, 8), n_frames=3)


@pytest.fixture(scope="module")
def published_search(scenes):
    pipelines, param_grid, _ = published_configurations(k=3, **QUICK)
    search = GridSearchCV(
        pipelines[0][1],
        param_grid,
        scoring={"cpsnr": cpsnr_scorer, "probav": probav_scorer},
        refit="probav",
        cv=2,
        error_score="raise",
    )
    return search.fit(scenes)


def test_one_search_tries_every_published_configuration(published_search, scenes):
    found = published_search.cv_results_["mean_test_probav"]
    pipelines = published_configurations(k=3, **QUICK).pipelines
    assert len(found) == len(pipelines) == 12
    for number in (2, 5, 9):
        expected = cross_val_score(pipelines[number][1], scenes, scoring=probav_scorer, cv=2)
        assert found[number] == pytest.approx(expected.mean(), rel=1e-5)


def test_search_refits_the_best_published_configuration(published_search, scenes):
    results = published_search.cv_results_
    assert published_search.best_index_ == np.argmax(results["mean_test_probav"])
    assert results["rank_test_probav"][published_search.best_index_] == 1
    best = published_configurations(k=3, **QUICK).pipelines[published_search.best_index_][1]
    np.testing.assert_array_equal(
        published_search.predict(scenes), best.fit(scenes).predict(scenes)
    )


def test_results_read_well_as_a_data_frame(published_search):
    frame = pd.DataFrame(published_search.cv_results_)
    assert len(frame) == 12
    assert frame.loc[0, "param_sr"].max_epochs == 1
    columns = ["param_select", "param_compose", "param_upscale", "mean_test_probav"]
    lines = frame[columns].to_string().splitlines()
    assert len(lines) == 13
    assert "ClearanceSelector(k='max', ties='last')" in lines[1]
    assert "InputComposer(frames='single')" in lines[1]
    assert "BicubicUpscaler()" in lines[1]
    assert "ClearanceSelector(k=3, ties='last')" in lines[10]
    assert "InputComposer(mode='concat')" in lines[10]
    assert "passthrough" in lines[10]


def test_nets_with_and_without_an_upscaler_meet_in_one_grid(tiny_scenes):
    grid = [
        {"sr": [quick_srcnn(), quick_srcnn(lr=1e-2)], "upscale": [BicubicUpscaler(3)]},
        {"sr": [FSRCNN(**QUICK)], "upscale": ["passthrough"]},
    ]
    search = GridSearchCV(quick_pipeline(), grid, scoring=probav_scorer, cv=2, refit=False)
    found = search.fit(tiny_scenes).cv_results_["mean_test_score"]
    alone = [
        quick_pipeline(),
        quick_pipeline(sr__lr=1e-2),
        quick_pipeline(sr=FSRCNN(**QUICK), upscale="passthrough"),
    ]
    expected = [
        cross_val_score(pipe, tiny_scenes, scoring=probav_scorer, cv=2).mean() for pipe in alone
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_randomized_search_draws_from_the_grid_and_scores_alike(tiny_scenes):
    choices = {"compose__mode": ["lr", "combine", "concat"], "select__k": [1, 2, 3]}
    options = {"scoring": probav_scorer, "cv": 2, "refit": False}
    drawn = RandomizedSearchCV(quick_pipeline(), choices, n_iter=3, random_state=0, **options)
    drawn = drawn.fit(tiny_scenes).cv_results_
    grid = [{key: [value] for key, value in params.items()} for params in drawn["params"]]
    again = GridSearchCV(quick_pipeline(), grid, **options).fit(tiny_scenes).cv_results_
    assert len({tuple(params.items()) for params in drawn["params"]}) == 3
    np.testing.assert_allclose(drawn["mean_test_score"], again["mean_test_score"], rtol=1e-5)


def test_halving_gives_the_better_half_more_epochs(tiny_scenes):
    search = HalvingGridSearchCV(
        quick_pipeline(),
        {"sr__lr": [1e-5, 1e-4, 1e-3, 1e-2], "sr__residual": [True]},
        resource="sr__max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        scoring=probav_scorer,
        cv=2,
        random_state=0,
    ).fit(tiny_scenes)
    results = pd.DataFrame(search.cv_results_)
    assert search.n_candidates_ == [4, 2, 1]
    assert search.n_resources_ == [1, 2, 4]
    first = results[results["iter"] == 0].nlargest(2, "mean_test_score")
    second = results[results["iter"] == 1]
    assert set(second["param_sr__lr"]) == set(first["param_sr__lr"])
    assert search.best_estimator_["sr"].max_epochs == 4
    assert len(search.best_estimator_["sr"].history) == 4


def test_groups_keep_a_band_out_of_its_own_training(scenes):
    bands = [scene.band for scene in scenes]
    seen = []

    def note_bands(estimator, held_out, y=None):
        seen.append({scene.band for scene in held_out})
        return probav_scorer(estimator, held_out)

    search = GridSearchCV(
        quick_pipeline(), {"sr__lr": [1e-3]}, scoring=note_bands, cv=GroupKFold(2), refit=False
    ).fit(scenes, groups=bands)
    assert sorted(map(sorted, seen)) == [["NIR"], ["RED"]]
    for fold in range(2):
        train = [scene for scene in scenes if {scene.band} != seen[fold]]
        test = [scene for scene in scenes if {scene.band} == seen[fold]]
        expected = probav_scorer(quick_pipeline().fit(train), test)
        found = search.cv_results_[f"split{fold}_test_score"][0]
        assert found == pytest.approx(expected, rel=1e-5)
