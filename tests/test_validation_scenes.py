"""Validation scenes of a network in a pipeline are transformed by the preceding steps."""

import copy
import pickle

import numpy as np
import pytest
import torch
from _helpers import QUICK, small_scenes, weights_of
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch.utils.data import Subset

from probav_estimators import (
    FSRCNN,
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FrameRegistrar,
    HighResNet,
    InputComposer,
    PerBand,
    Scene,
    SceneTransformer,
    load_scenes,
    probav_scorer,
)
from probav_estimators.scenes import DerivedFrames

TRAIN = small_scenes(3)
VALID = small_scenes(2, first_seed=10)


class Darkening(SceneTransformer):
    """User-defined transformer that multiplies pixels by a factor."""

    _parameter_constraints = {"factor": [float]}

    def __init__(self, factor=0.5):
        self.factor = factor

    def transform_scene(self, scene):
        return scene.with_frames(DarkFrames(scene.frames, factor=self.factor))


class DarkFrames(DerivedFrames):
    def __init__(self, frames, factor):
        super().__init__(frames, factor=factor)
        self.factor = factor

    def read(self, *args, **kwargs):
        pixels, clear = self.source.read(*args, **kwargs)
        return np.float32(self.factor) * pixels, clear


def fsrcnn(valid, **params):
    return FSRCNN(**QUICK | {"train_split": predefined_split(valid), "lr": 1e-2} | params)


def pipeline(valid, *, k=3, **params):
    steps = [("select", ClearanceSelector(k=k)), ("compose", InputComposer())]
    return Pipeline([*steps, ("sr", fsrcnn(valid, **params))])


def by_hand(pipe, train=TRAIN, valid=VALID):
    """Fit the last step on scenes transformed by the preceding steps."""
    steps, net = clone(pipe[:-1]), clone(pipe[-1])
    valid = steps.fit_transform(valid)
    return net.set_params(train_split=predefined_split(valid)).fit(steps.transform(train))


def assert_same_training(net, expected):
    assert net.history[:, "valid_score"] == expected.history[:, "valid_score"]
    assert net.history[:, "valid_loss"] == expected.history[:, "valid_loss"]
    assert torch.equal(weights_of(net), weights_of(expected))


class TestSteps:
    def test_are_the_transformers_that_a_scene_went_through(self):
        selector = ClearanceSelector(k=2)
        (scene,) = make_pipeline(selector, InputComposer(mode="concat")).fit_transform(TRAIN[:1])
        selector.set_params(k=5)
        assert [repr(step) for step in scene.steps] == [
            "ClearanceSelector(k=2)",
            "InputComposer(mode='concat')",
        ]
        assert TRAIN[0].steps == ()

    def test_change_no_fingerprint(self):
        (scene,) = ClearanceSelector(k=2).transform(TRAIN[:1])
        assert scene.with_steps(()).fingerprint() == scene.fingerprint()

    def test_take_no_room_in_pickles(self, saved_root):
        scenes = load_scenes(saved_root)
        scenes = [copy.copy(scene) for scene in scenes for _ in range(40)]
        steps = make_pipeline(Darkening(), ClearanceSelector(k=2), InputComposer())
        made = steps.fit_transform(scenes)
        bare = len(pickle.dumps([scene.with_steps(()) for scene in made]))
        assert len(pickle.dumps(made)) - bare < 12 * len(made) + 1000
        assert len({id(scene.steps) for scene in pickle.loads(pickle.dumps(made))}) == 1


PIPELINES = {
    "upscaled": make_pipeline(
        ClearanceSelector(k=3),
        InputComposer(mode="concat"),
        BicubicUpscaler(scale=3),
        SRCNN(**QUICK, residual=True).set_params(train_split=predefined_split(VALID)),
    ),
    "single": make_pipeline(
        ClearanceSelector(k="max"), InputComposer(frames="single"), fsrcnn(VALID)
    ),
    "frames": make_pipeline(
        ClearanceSelector(k=2),
        FrameRegistrar(max_shift=2.0),
        HighResNet(n_features=4, n_blocks=1, **QUICK).set_params(
            train_split=predefined_split(VALID)
        ),
    ),
    "nested": make_pipeline(make_pipeline(Darkening(), ClearanceSelector(k=2)), pipeline(VALID)),
}


class TestPredefinedSplit:
    @pytest.mark.parametrize("kind", PIPELINES)
    def test_in_a_pipeline_is_that_of_transformed_scenes(self, kind):
        pipe = clone(PIPELINES[kind]).fit(TRAIN)
        inner = pipe if kind != "nested" else make_pipeline(*pipe[:-1], *pipe[-1])
        assert_same_training(inner[-1], by_hand(inner))
        # The validation score equals the score of the pipeline on untransformed scenes.
        score = inner[-1].history[-1, "valid_score"]
        assert -probav_scorer(inner, VALID) == pytest.approx(score, rel=1e-5)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda scenes: Dataset(scenes),
            lambda scenes: Subset(Dataset(scenes, length=len(scenes)), range(len(scenes))),
        ],
        ids=["dataset of equal scenes", "subset of a dataset"],
    )
    def test_takes_datasets_of_scenes(self, wrap):
        expected = pipeline(VALID).fit(TRAIN)[-1]
        assert_same_training(pipeline(wrap(VALID)).fit(TRAIN)[-1], expected)
        made = pipeline(VALID)[:-1].fit_transform(VALID)
        assert_same_training(pipeline(wrap(made)).fit(TRAIN)[-1], expected)

    def test_applies_the_steps_that_are_missing(self):
        selected = ClearanceSelector(k=3).transform(VALID)
        assert_same_training(pipeline(selected).fit(TRAIN)[-1], pipeline(VALID).fit(TRAIN)[-1])

    def test_leaves_scenes_that_went_through_all_steps_as_they_are(self):
        steps = make_pipeline(ClearanceSelector(k=2), InputComposer(frames="single"))
        valid = steps.fit_transform(VALID)
        pipe = pipeline(valid).set_params(compose__frames="single").fit(TRAIN)
        assert -probav_scorer(pipe[-1], valid) == pytest.approx(
            pipe[-1].history[-1, "valid_score"], rel=1e-5
        )

    def test_without_a_pipeline_takes_transformed_scenes(self):
        valid = ClearanceSelector(k=2).transform(VALID)
        net = HighResNet(n_features=4, n_blocks=1, **QUICK)
        net.set_params(train_split=predefined_split(valid)).fit(TRAIN)
        score = net.history[-1, "valid_score"]
        assert -probav_scorer(net, valid) == pytest.approx(score, rel=1e-5)

    @pytest.mark.parametrize(
        "steps",
        [
            InputComposer(),
            make_pipeline(Darkening(), ClearanceSelector(k=3)),
        ],
    )
    def test_names_scenes_that_went_through_other_steps(self, steps):
        valid = steps.fit_transform(VALID)
        last = repr(valid[0].steps[-1])
        with pytest.raises(ValueError, match="train_split has scene imgset0010") as caught:
            pipeline(valid).fit(TRAIN)
        for word in (last, "ClearanceSelector(k=3), InputComposer()", "as they were loaded"):
            assert word in str(caught.value)

    @pytest.mark.filterwarnings("ignore:.*save_model will leave out")
    def test_a_resumed_training_knows_its_scenes_again(self, tmp_path):
        params = {"sr__resume": tmp_path, "sr__max_epochs": 1}
        pipeline(VALID).set_params(**params).fit(TRAIN)
        pipe = pipeline(VALID).set_params(**params | {"sr__max_epochs": 2}).fit(TRAIN)
        assert_same_training(pipe[-1], pipeline(VALID, max_epochs=2).fit(TRAIN)[-1])
        other = pipeline(small_scenes(2, first_seed=20)).set_params(**params)
        with pytest.raises(ValueError, match="train_split"):
            other.fit(TRAIN)


class TestSearch:
    def test_over_steps_transforms_for_each_candidate(self):
        # As sent by joblib to worker processes.
        pipe, train = pickle.loads(pickle.dumps((pipeline(VALID, max_epochs=2), TRAIN)))
        search = GridSearchCV(
            pipe,
            {"select__k": [1, 2, 3]},
            cv=[([0, 1], [2])],
            scoring=score_of_validation,
            refit=False,
            error_score="raise",
        ).fit(train)
        expected = [by_hand(pipeline(VALID, k=k, max_epochs=2), TRAIN[:2]) for k in (1, 2, 3)]
        expected = [-min(net.history[:, "valid_score"]) for net in expected]
        np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-6)
        assert len(set(expected)) == 3


def score_of_validation(pipe, scenes):
    return -min(pipe[-1].history[:, "valid_score"])


def in_band(scenes, band):
    return [Scene(s.lr, s.qm, s.hr, s.sm, name=s.name, band=band) for s in scenes]


def test_one_estimator_a_band_validates_with_it():
    train = [*in_band(TRAIN[:2], "RED"), *in_band(TRAIN[1:], "NIR")]
    pipe = pipeline(VALID)
    model = make_pipeline(*pipe[:-1], PerBand(pipe[-1], n_jobs=1)).fit(train)
    fitted = model[-1].estimators_
    for band, net in fitted.items():
        assert_same_training(net, by_hand(pipe, [scene for scene in train if scene.band == band]))
