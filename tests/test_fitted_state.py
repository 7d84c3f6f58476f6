"""Fitted state survives changes of parameters, files and copies."""

import copy
import pickle
import shutil

import numpy as np
import pytest
import torch
from _helpers import composed, quick_srcnn, small_scenes, weights_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    FSRCNN,
    SRCNN,
    AdversarialLoss,
    BicubicBaseline,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    MSELoss,
    ReprojectionLoss,
    SceneLoss,
    SRCNNEx,
    SRResNet,
    cpsnr_scorer,
    make_scenes,
)


@pytest.fixture(scope="module")
def stacked():
    return composed(small_scenes(6))


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(3, size=32, n_frames=4, random_state=0)


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    FusionNet(scale=3, width=4, depth=1, random_state=0).initialize().save_pretrained(path)
    return path


def quick_fusion(**parameters):
    return FusionNet(width=4, depth=1, max_epochs=1, verbose=0, random_state=0, **parameters)


class TestParametersAfterFit:
    @pytest.mark.parametrize("name", ["residual", "predict_clearance"])
    def test_do_not_change_the_fitted_net(self, stacked, name):
        net = quick_srcnn(residual=True).fit(stacked)
        expected = net.predict(stacked)
        net.set_params(**{name: False})
        np.testing.assert_array_equal(net.predict(stacked), expected)

    def test_do_not_change_the_weights_that_are_saved(self, weights_file, tmp_path):
        net = FusionNet.from_pretrained(weights_file).set_params(width=32, depth=3)
        net.save_pretrained(tmp_path / "saved.safetensors")
        saved = FusionNet.from_pretrained(tmp_path / "saved.safetensors")
        assert (saved.width, saved.depth) == (4, 1)
        torch.testing.assert_close(weights_of(saved), weights_of(net), rtol=0, atol=0)

    @pytest.mark.parametrize("rewrite", [lambda net: net, copy.deepcopy])
    def test_of_optimizer_and_loaders_are_those_of_the_next_call(self, stacked, rewrite):
        net = rewrite(quick_srcnn().fit(stacked))
        expected = net.predict(stacked)
        given = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.5}
        net.set_params(**given, iterator_train__batch_size=2, iterator_valid__batch_size=1)
        np.testing.assert_array_equal(net.predict(stacked), expected)
        net.partial_fit(stacked)
        assert type(net.optimizer_) is torch.optim.SGD
        assert net.optimizer_.param_groups[0]["momentum"] == 0.5
        assert net.history[-1, "train_batch_count"] == 3
        assert clone(net).get_params().items() >= given.items()

    def test_that_ask_for_other_layers_stop_a_warm_start(self):
        composer = make_pipeline(ClearanceSelector(k=3), InputComposer())
        scenes = composer.transform(small_scenes(4))
        net = FSRCNN(max_epochs=1, train_split=None, verbose=0, warm_start=True).fit(scenes)
        net.set_params(activation="prelu")
        with pytest.raises(ValueError, match=r"warm_start=True .*ReLU.* ask for .*PReLU"):
            net.fit(scenes)
        net.set_params(warm_start=False).fit(scenes)
        assert "PReLU" in str(net.module_)

    def test_that_ask_for_another_output_stop_a_warm_start(self, stacked):
        net = quick_srcnn(warm_start=True).fit(stacked)
        with pytest.raises(ValueError, match=r"residual False.* ask for residual True"):
            net.set_params(residual=True).fit(stacked)

    def test_loss_of_an_earlier_fit_leaves_nothing(self, scenes):
        net = quick_fusion(criterion=ReprojectionLoss(psf_sigma=0.45)).fit(scenes)
        assert net.psf_sigma_ == 0.45
        net.set_params(criterion=MSELoss).fit(scenes)
        assert not hasattr(net, "psf_sigma_")


class TestCriterion:
    def test_that_is_an_instance_stays_as_it_is(self, scenes):
        loss = AdversarialLoss()
        before = copy.deepcopy(loss.get_extra_state()["discriminator"])
        first, second = (weights_of(quick_fusion(criterion=loss).fit(scenes)) for _ in range(2))
        torch.testing.assert_close(first, second, rtol=0, atol=0)
        after = loss.get_extra_state()["discriminator"]
        assert all(torch.equal(before[name], value) for name, value in after.items())

    def test_that_leaves_frames_out_is_for_nets_that_can(self, stacked):
        with pytest.raises(ValueError, match=r"ReprojectionLoss compares with frames .* SRCNN"):
            quick_srcnn(criterion=ReprojectionLoss).fit(stacked)

    def test_hooks_decide_over_truth_and_preparation(self, scenes):
        class Blind(SceneLoss):
            needs_truth = False

            def prepare(self, scenes):
                self.n_scenes = len(scenes)

            def compare(self, prediction, target, sample):
                assert "truth" not in target
                return prediction.square().mean()

        for scene in scenes:
            assert scene.has_hr
        net = quick_fusion(criterion=Blind).fit(scenes)
        assert net.criterion_.n_scenes == len(scenes)

    def test_without_a_measure_says_what_to_override(self):
        with pytest.raises(NotImplementedError, match="image_loss or compare"):
            SceneLoss()(torch.zeros(1, 1, 4, 4), torch.ones(1, 2, 4, 4))


class TestRefusals:
    def test_device_is_checked_in_fit_alone(self, stacked):
        net = clone(quick_srcnn(device="gpu"))
        assert "device='gpu'" in repr(net)
        with pytest.raises(ValueError, match="device='gpu' is no device of torch"):
            net.fit(stacked)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_device_that_is_not_there(self, stacked):
        with pytest.raises(ValueError, match=r"device='cuda', but torch finds no such device"):
            quick_srcnn(device="cuda").fit(stacked)

    @pytest.mark.parametrize("wrong", [{"scale": 4}, {"depth": 2}])
    def test_pretrained_weights_of_another_kind(self, wrong):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name} {value} and the weights 'simulated-x3'"):
            FusionNet.from_pretrained("simulated-x3", **wrong)

    @pytest.mark.parametrize("name", ["module__x", "dataset__x"])
    def test_parameters_that_nothing_uses(self, stacked, name):
        with pytest.raises(ValueError, match=name):
            quick_srcnn(**{name: 3}).fit(stacked)

    @pytest.mark.parametrize("optimizer", ["SparseAdam", torch.optim.LBFGS])
    def test_optimizers_that_cannot_train_a_net(self, stacked, optimizer):
        with pytest.raises(ValueError, match=r"optimizer=.* can't train"):
            quick_srcnn(optimizer=optimizer).fit(stacked)

    @pytest.mark.parametrize("out", [np.zeros((2, 95, 96)), np.zeros((2, 96, 96), int)])
    def test_array_to_write_to_must_fit(self, scenes, out):
        with pytest.raises(ValueError, match=r"out must be a float array of shape \(2, 96, 96\)"):
            FusionNet.from_pretrained("simulated-x3").predict_into(scenes[0], out=out)


class TestInitialWeights:
    def test_fitted_search_gives_its_best_net(self, stacked):
        search = GridSearchCV(quick_srcnn(), {"lr": [1e-3]}, cv=2, scoring=cpsnr_scorer)
        with pytest.raises(ValueError, match="GridSearchCV without a best estimator"):
            quick_srcnn(weights=search).fit(stacked)
        search.fit(stacked)
        tuned = quick_srcnn(weights=FrozenEstimator(search), lr=1e-12).fit(stacked[:3])
        best = search.best_estimator_
        torch.testing.assert_close(weights_of(tuned), weights_of(best), rtol=0, atol=1e-6)
        assert tuned.std_ == best.std_

    def test_other_estimators_are_named(self, stacked):
        with pytest.raises(
            ValueError, match="the net given as weights has class SRCNN and this SRCNNEx"
        ):
            SRCNNEx(weights=quick_srcnn().fit(stacked), verbose=0).fit(stacked)
        with pytest.raises(ValueError, match="the net given as weights is not fitted"):
            quick_srcnn(weights=SRCNN()).fit(stacked)
        with pytest.raises(ValueError, match=r"SRResNet reads no files of weights.*'a\.pt'"):
            SRResNet(weights="a.pt", verbose=0).fit(stacked)
        with pytest.raises(ValueError, match="must end in a fitted net, got a BicubicBaseline"):
            quick_srcnn(weights=BicubicBaseline()).fit(stacked)


class TestCopies:
    def test_clones_outlive_the_file_of_their_weights(self, scenes, weights_file, tmp_path):
        net = FusionNet.from_pretrained(weights_file, max_epochs=1, lr=1e-12, verbose=0)
        shutil.move(weights_file, tmp_path / "elsewhere.safetensors")
        twin = clone(clone(net)).fit(scenes)
        torch.testing.assert_close(weights_of(twin), weights_of(net), rtol=0, atol=1e-6)
        with pytest.raises(FileNotFoundError):
            FusionNet(weights=weights_file).fit(scenes)

    def test_of_another_version_warn(self, stacked, monkeypatch):
        pickled = pickle.dumps(quick_srcnn().fit(stacked))
        monkeypatch.setattr("probav_estimators.version.__version__", "99.0")
        with pytest.warns(UserWarning, match=r"this SRCNN was written by version .* read by 99\.0"):
            pickle.loads(pickled)


def test_nothing_is_printed_about_parts_that_are_made_anew(scenes, capsys):
    net = FusionNet.from_pretrained("simulated-x3", max_epochs=1)
    net.fit(scenes)
    assert "Re-initializing" not in capsys.readouterr().out


def test_html_lists_parameters_and_no_state(stacked):
    net = quick_srcnn().fit(stacked)
    html = net._repr_html_()
    assert "batch_size" in html
    # With the quote, as in a row's copy button: other descriptions may mention the name.
    assert "'callbacks__" not in html
