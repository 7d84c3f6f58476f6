"""HTML representation of every estimator: small, with a link to its page."""

import inspect
import re

import pytest
from _helpers import small_scenes
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_html_repr
from torch.nn import Identity

import probav_estimators
from probav_estimators import (
    SRCNN,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    ModuleNet,
    PerBand,
    SceneEnsemble,
)

PUBLIC = [getattr(probav_estimators, name) for name in probav_estimators.__all__]
ESTIMATORS = [
    kind
    for kind in PUBLIC
    if inspect.isclass(kind) and issubclass(kind, BaseEstimator) and not inspect.isabstract(kind)
]
PAGE = "https://probav-estimators.readthedocs.io/en/stable/generated/probav_estimators.{}.html"


def made(kind):
    baseline = BicubicBaseline()
    required = {
        PerBand: {"estimator": baseline},
        SceneEnsemble: {"estimators": [("baseline", baseline)]},
        ModuleNet: {"module": Identity},
    }
    return kind(**required.get(kind, {}))


def links_of(text):
    return re.findall(r'href="([^"#]+)', text)


def pipeline():
    net = SRCNN(max_epochs=1, lr=0.00123, device="cpu", random_state=0, verbose=0)
    steps = [ClearanceSelector(4), InputComposer(), BicubicUpscaler(3), net]
    return Pipeline([(type(step).__name__, step) for step in steps])


def user_set(text):
    """Names of the parameters marked as set by the user."""
    rows = re.findall(r'<tr class="user-set">(.*?)</tr>', text, re.DOTALL)
    cells = (re.search(r'<td class="param">(.*?)</td>', row, re.DOTALL)[1] for row in rows)
    return {re.match(r"\w+", re.sub(r"<[^>]*>", "", cell).strip())[0] for cell in cells}


def test_there_are_estimators_of_every_kind():
    assert {FusionNet, SRCNN, BicubicBaseline, PerBand, ClearanceSelector} <= set(ESTIMATORS)


@pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
def test_estimator_links_to_its_page(kind):
    text = made(kind)._repr_html_()
    assert PAGE.format(kind.__name__) in links_of(text)
    assert kind.__name__ in text


@pytest.mark.parametrize("base", [BicubicBaseline, ClearanceSelector, SRCNN])
def test_what_is_derived_elsewhere_has_no_link(base):
    class Mine(base):
        pass

    mine = Mine()
    assert mine._get_doc_link() == ""
    assert not any("probav-estimators" in link for link in links_of(mine._repr_html_()))


def test_fitted_or_not_it_is_small_and_shows_what_is_not_the_default():
    pipe = pipeline()
    wanted = {"max_epochs", "lr", "device", "random_state", "verbose", "k"}
    before = estimator_html_repr(pipe)
    after = estimator_html_repr(pipe.fit(small_scenes(4, n_frames=4, shape=(16, 16))))
    for text in (before, after, FusionNet.from_pretrained("simulated-x3")._repr_html_()):
        assert len(text) < 150_000
    for text in (before, after):
        assert wanted <= user_set(text) and "0.00123" in text
    # Fitting does not change the parameters shown.
    assert user_set(before) == user_set(after)
    assert "Fitted" in after or "fitted" in after
