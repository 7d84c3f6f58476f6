"""scikit-learn's estimator checks, and equivalents on scenes of those that need arrays.

The checks fit matrices of numbers, whereas these estimators accept only lists of scenes. Checks
that call fit are therefore expected to fail, each listed with a reason; all others must pass, and
a check that starts to pass must be removed from the list.
"""

import pickle

import numpy as np
import pytest
from _helpers import REGRESSORS as COMPOSED_NETS
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from probav_estimators import (
    MISRGRU,
    RAMS,
    TRMISR,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    HighResNet,
    InputComposer,
    PerBand,
    PIUNet,
    SceneEnsemble,
    make_scenes,
)
from probav_estimators.training import SceneNet

_FITS_A_MATRIX = "fits a matrix; said of scenes below"
_NO_MATRIX = "about matrices alone: their type, order, sparseness or columns"

EXPECTED_FAILURES = {
    "check_dict_unchanged": _FITS_A_MATRIX,
    "check_dont_overwrite_parameters": _FITS_A_MATRIX,
    "check_estimators_fit_returns_self": _FITS_A_MATRIX,
    "check_estimators_overwrite_params": _FITS_A_MATRIX,
    "check_estimators_pickle": _FITS_A_MATRIX,
    "check_fit_check_is_fitted": _FITS_A_MATRIX,
    "check_fit_idempotent": _FITS_A_MATRIX,
    "check_fit_score_takes_y": _FITS_A_MATRIX,
    "check_methods_sample_order_invariance": _FITS_A_MATRIX,
    "check_methods_subset_invariance": _FITS_A_MATRIX,
    "check_pipeline_consistency": _FITS_A_MATRIX,
    "check_estimator_sparse_array": _NO_MATRIX,
    "check_estimator_sparse_matrix": _NO_MATRIX,
    "check_estimator_sparse_tag": _NO_MATRIX,
    "check_estimators_dtypes": _NO_MATRIX,
    "check_f_contiguous_array_estimator": _NO_MATRIX,
    "check_fit2d_1feature": _NO_MATRIX,
    "check_fit2d_1sample": _NO_MATRIX,
    "check_positive_only_tag_during_fit": _NO_MATRIX,
    "check_readonly_memmap_input": _NO_MATRIX,
}
EXPECTED_OF_TRANSFORMERS = {
    "check_transformer_general": _FITS_A_MATRIX,
    "check_transformers_unfitted_stateless": _FITS_A_MATRIX,
    "check_transformer_preserve_dtypes": _NO_MATRIX,
}
EXPECTED_OF_NETS = {
    "check_no_attributes_set_in_init": "skorch keeps its history and its flags from the start",
    "check_do_not_raise_errors_in_init_or_set_params": (
        "sets `callbacks` to -1, of which skorch's set_params makes its callbacks at once"
    ),
}


def expected_failures(estimator):
    if hasattr(estimator, "transform"):
        return EXPECTED_FAILURES | EXPECTED_OF_TRANSFORMERS
    of_nets = EXPECTED_OF_NETS if isinstance(estimator, SceneNet) else {}
    return EXPECTED_FAILURES | of_nets


def named(estimators):
    return [pytest.param(each, id=type(each).__name__) for each in estimators]


_QUICK = {"max_epochs": 1, "batch_size": 2, "train_split": None, "verbose": 0, "random_state": 0}
TRANSFORMERS = [
    ClearanceSelector(k=2),
    FrameRegistrar(),
    InputComposer(),
    BicubicUpscaler(scale=3),
]
IMAGE_MAKERS = [
    BicubicBaseline(),
    PerBand(BicubicBaseline()),
    SceneEnsemble([("one", BicubicBaseline()), ("two", BicubicBaseline(scale=3))]),
    FusionNet(width=4, depth=1, compute_dtype="float32", **_QUICK),
]
# Nets that differ only in their layers; test_estimator.py checks their fit.
OTHER_NETS = [net(**_QUICK) for net in COMPOSED_NETS]
OTHER_NETS += [
    net(n_features=8, n_blocks=1, **_QUICK) for net in (HighResNet, MISRGRU, TRMISR, RAMS, PIUNet)
]


@pytest.fixture
def every_check(monkeypatch):
    """Tag estimators as taking matrices; otherwise scikit-learn skips the checks."""
    tags_of = estimator_checks.get_tags

    def tags_for_a_matrix(estimator):
        tags = tags_of(estimator)
        tags.input_tags.two_d_array = True
        return tags

    monkeypatch.setattr(estimator_checks, "get_tags", tags_for_a_matrix)


@pytest.mark.parametrize("estimator", named(TRANSFORMERS + IMAGE_MAKERS + OTHER_NETS))
@pytest.mark.usefixtures("every_check")
def test_scikit_learns_checks(estimator):
    expected = expected_failures(estimator)
    results = check_estimator(
        estimator, expected_failed_checks=expected, on_skip=None, on_fail=None
    )
    assert [each for each in results if each["status"] == "failed"] == []
    passed = {each["check_name"] for each in results if each["status"] == "passed"}
    assert {"check_estimator_cloneable", "check_get_params_invariance"} <= passed
    failed = {each["check_name"] for each in results if each["status"] == "xfail"}
    assert failed == expected.keys(), "these pass now, or are no checks any more"


@pytest.fixture(scope="module")
def few_scenes():
    return make_scenes(3, size=12, n_frames=3, random_state=0)


def outcome(estimator, scenes):
    """Predictions or transformed scenes, as arrays."""
    if hasattr(estimator, "predict"):
        return list(estimator.predict(scenes))
    made = estimator.transform(scenes)
    return [scene.lr if scene.inputs is None else scene.inputs.read() for scene in made]


def assert_same(ours, theirs, **tolerance):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


@pytest.fixture(params=named(TRANSFORMERS + IMAGE_MAKERS))
def estimator(request):
    estimator = clone(request.param)
    if isinstance(estimator, BicubicUpscaler):
        return make_pipeline(InputComposer(), estimator)
    return estimator


def test_fit_returns_self_and_keeps_parameters(estimator, few_scenes):
    before = repr(estimator.get_params(deep=False))
    assert estimator.fit(few_scenes) is estimator
    assert repr(estimator.get_params(deep=False)) == before


def test_attributes_that_fit_adds_end_in_an_underscore(estimator, few_scenes):
    before = set(vars(estimator))
    estimator.fit(few_scenes)
    added = set(vars(estimator)) - before
    assert all(name.endswith("_") or name.startswith("_") for name in added), added


def test_use_changes_nothing(estimator, few_scenes):
    estimator.fit(few_scenes)
    before = set(vars(estimator))
    first = outcome(estimator, few_scenes)
    assert set(vars(estimator)) == before
    assert_same(outcome(estimator, few_scenes), first, rtol=0)


def test_second_fit_is_like_the_first(estimator, few_scenes):
    first = outcome(estimator.fit(few_scenes), few_scenes)
    assert_same(outcome(estimator.fit(few_scenes), few_scenes), first, rtol=0)


def test_pickled_estimator_does_the_same(estimator, few_scenes):
    first = outcome(estimator.fit(few_scenes), few_scenes)
    assert_same(outcome(pickle.loads(pickle.dumps(estimator)), few_scenes), first, rtol=0)


def test_order_and_choice_of_scenes_change_no_result(estimator, few_scenes):
    whole = outcome(estimator.fit(few_scenes), few_scenes)
    assert_same(outcome(estimator, few_scenes[::-1]), whole[::-1], atol=1e-6)
    assert_same(outcome(estimator, few_scenes[1:2]), whole[1:2], atol=1e-6)


@pytest.mark.parametrize("estimator", named(IMAGE_MAKERS[3:] + OTHER_NETS))
def test_net_that_was_not_fitted_says_so(estimator, few_scenes):
    with pytest.raises(NotFittedError, match=f"{type(estimator).__name__}.*fit"):
        clone(estimator).predict(few_scenes)
