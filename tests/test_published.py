"""The configurations of the starting study."""

import math

import pytest
from _helpers import small_scenes
from sklearn.model_selection import GridSearchCV

from probav_estimators import probav_scorer, published_configurations

PUBLISHED = {
    "SRCNN single lr": 0.99625,
    "SRCNN single combine": 0.99896,
    "SRCNN single concat": 0.99745,
    "SRCNN stack lr": 0.98961,
    "SRCNN stack combine": 0.99229,
    "SRCNN stack concat": 0.99143,
    "SRCNNEx stack lr": 0.99000,
    "SRCNNEx stack concat": 0.98896,
    "FSRCNN stack lr": 0.99134,
    "FSRCNN stack concat": 0.99201,
    "SRVGG16 stack lr": 0.98996,
    "SRVGG16 stack concat": 0.98886,
}


def test_all_twelve_rows_are_there_with_their_scores():
    pipelines, param_grid, scores = published_configurations()
    assert scores == PUBLISHED
    assert [name for name, _ in pipelines] == list(PUBLISHED)
    assert len(param_grid) == 12


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_configuration_is_what_its_name_says(name):
    architecture, frames, mode = name.split()
    pipe = dict(published_configurations(k=5).pipelines)[name]
    assert type(pipe["sr"]).__name__ == architecture
    assert (pipe["compose"].frames, pipe["compose"].mode) == (frames, mode)
    assert pipe["select"].k == ("max" if frames == "single" else 5)
    assert (pipe["upscale"] == "passthrough") == (architecture == "FSRCNN")
    # As published: the sigmoid at the end, whole frames, NAdam and the in-place loss.
    assert pipe["sr"].get_params()["residual"] is False
    assert pipe["sr"].patch_size is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_configuration_trains_and_predicts(name):
    scenes = small_scenes(3)
    parameters = {"max_epochs": 1, "patch_size": 8, "residual": True, "verbose": 0}
    pipe = dict(published_configurations(**parameters).pipelines)[name].fit(scenes)
    assert pipe.predict(scenes).shape == (3, *scenes[0].hr.shape)


def test_the_grid_searches_over_the_same_configurations():
    parameters = {"max_epochs": 1, "patch_size": 8, "residual": True, "verbose": 0}
    pipelines, param_grid, _ = published_configurations(**parameters)
    chosen = [param_grid[5], param_grid[8]]
    search = GridSearchCV(
        pipelines[0][1], chosen, scoring=probav_scorer, cv=2, error_score="raise"
    ).fit(small_scenes(4))
    assert [type(sr).__name__ for sr in search.cv_results_["param_sr"]] == ["SRCNN", "FSRCNN"]
    assert all(math.isfinite(score) for score in search.cv_results_["mean_test_score"])
