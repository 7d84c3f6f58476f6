"""Nets of any torch module: inputs, outputs, copies, searches, prediction."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from _helpers import QUICK, clearest_frames, small_scene, small_scenes
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.nn.functional import interpolate

from probav_estimators import (
    FrameRegistrar,
    ModuleNet,
    MSELoss,
    cpsnr_scorer,
    export_onnx,
    onnx_inputs,
    save_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class MeanAndMore(nn.Module):
    """Upscaled mean of the clear frames, plus the output of a convolution."""

    def __init__(self, n_frames=9, scale=3, *, masks=False, squeeze=False):
        super().__init__()
        self.scale, self.masks, self.squeeze = scale, masks, squeeze
        self.layers = nn.Sequential(
            nn.Conv2d(n_frames, scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )
        nn.init.zeros_(self.layers[0].weight)
        nn.init.zeros_(self.layers[0].bias)

    def forward(self, frames, masks=None):
        assert (masks is not None) == self.masks
        clear = torch.ones_like(frames) if masks is None else masks
        mean = (clear * frames).sum(1, keepdim=True) / clear.sum(1, keepdim=True).clamp_min(1)
        image = interpolate(mean, scale_factor=self.scale, mode="nearest") + self.layers(frames)
        return image[:, 0] if self.squeeze else image


class Volume(nn.Module):
    """3D convolutions, whose kernels cannot be channels_last."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Conv3d(1, 9, 3, padding=1)

    def forward(self, frames):
        return nn.functional.pixel_shuffle(self.layers(frames[:, None]).mean(2), 3)


class Returns(nn.Module):
    """Returns None or zeros of a given shape."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, frames):
        return self.what if self.what is None else self.weight + torch.zeros(self.what)


def net_of(module, **params):
    return ModuleNet(module=module, **{**QUICK, **params})


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_state(module, state):
    torch.testing.assert_close(dict(module.state_dict()), state, rtol=0, atol=0)


@pytest.fixture(scope="module")
def few_scenes():
    return small_scenes(4, n_frames=5)


def nearest(frames):
    return np.repeat(np.repeat(frames.mean(axis=0), 3, axis=0), 3, axis=1)


class TestPredictionAtOnce:
    @pytest.mark.parametrize(("level", "std"), [(0.0, 1.0), (0.3, 0.05)])
    def test_with_the_modules_own_weights(self, few_scenes, level, std):
        net = net_of(MeanAndMore(), scale=3, level=level, std=std).initialize()
        for image, scene in zip(net.predict(few_scenes), few_scenes, strict=True):
            expected = nearest(clearest_frames(scene, 9)[0])
            np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)
        assert np.isfinite(net.score(few_scenes))

    def test_quality_maps_are_the_second_argument(self, few_scenes):
        module = MeanAndMore(masks=True)
        net = net_of(module, scale=3, inputs="frames, masks", level=0.1, std=1).initialize()
        frames, clear = clearest_frames(few_scenes[0], 9)
        mean = (frames * clear).sum(axis=0) / clear.sum(axis=0)
        (image,) = net.predict(few_scenes[:1])
        np.testing.assert_allclose(image, nearest(mean[None]), rtol=0, atol=1e-6)

    def test_what_it_has_to_know_is_named(self):
        with pytest.raises(ValueError, match="ModuleNet learns level and std from scenes: call"):
            net_of(MeanAndMore(), scale=3).initialize()

    def test_images_without_a_channel(self, few_scenes):
        nets = [
            net_of(MeanAndMore(squeeze=squeeze), scale=3, level=0, std=1).initialize()
            for squeeze in (False, True)
        ]
        np.testing.assert_array_equal(*(net.predict(few_scenes) for net in nets))


class TestTraining:
    @pytest.mark.parametrize("scale", [2, 3, 4])
    def test_fit_lowers_the_loss_and_leaves_the_module(self, scale):
        scenes = [small_scene(seed, scale=scale, n_frames=4) for seed in range(4)]
        module = MeanAndMore(scale=scale)
        before = state_of(module)
        params = {"max_epochs": 6, "lr": 3e-3, "patch_size": 14, "augment": True}
        net = net_of(module, scale=scale, **params).fit(scenes)
        losses = net.history[:, "train_loss"]
        assert losses[-1] < losses[0]
        assert_same_state(module, before)
        assert not torch.equal(net.module_.layers.module.layers[0].weight, module.layers[0].weight)

    def test_any_loss(self, few_scenes):
        net = net_of(MeanAndMore(), criterion=MSELoss).fit(few_scenes)
        assert np.isfinite(net.history[-1, "train_loss"])

    def test_every_fit_begins_with_the_modules_weights(self, few_scenes):
        net = net_of(MeanAndMore())
        first, second = (net.fit(few_scenes).predict(few_scenes) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_weights_that_training_does_not_better_are_kept(self, few_scenes):
        module = MeanAndMore()
        net = net_of(module, lr=1e6, optimizer="SGD", train_split=0.5)
        with pytest.warns(ConvergenceWarning, match="returns to the best weights, .* of epoch 0"):
            net.fit(few_scenes)
        assert_same_state(net.module_.layers.module, state_of(module))

    def test_a_class_is_made_anew_with_weights_of_random_state(self, few_scenes):
        nets = [net_of(Volume, random_state=seed).fit(few_scenes) for seed in (0, 0, 1)]
        images = [net.predict(few_scenes) for net in nets]
        np.testing.assert_array_equal(images[0], images[1])
        assert np.abs(images[0] - images[2]).max() > 1e-4

    def test_a_registrar_may_stand_before_it(self, few_scenes):
        pipe = make_pipeline(FrameRegistrar(), net_of(MeanAndMore())).fit(few_scenes)
        assert pipe.predict(few_scenes).shape == (4, 48, 48)

    def test_it_goes_on_from_another_net(self, few_scenes):
        first = net_of(MeanAndMore(), max_epochs=3).fit(few_scenes)
        second = net_of(MeanAndMore, start_from=first, lr=1e-12).fit(few_scenes[:2])
        np.testing.assert_allclose(
            second.predict(few_scenes), first.predict(few_scenes), rtol=0, atol=1e-6
        )
        with pytest.raises(ValueError, match="start_from has n_frames 9 and this ModuleNet has 3"):
            net_of(MeanAndMore(3), n_frames=3, start_from=first).fit(few_scenes)


class TestWhatIsWrong:
    @pytest.mark.parametrize("shape", [(2, 9, 48, 48), (2, 1, 16, 16), (2, 48, 47)])
    def test_output_of_another_shape(self, few_scenes, shape):
        message = (
            r"module Returns made \({}\) of frames of shape \(2, 9, 16, 16\): it must return a "
            r"tensor of shape \(2, 1, 48, 48\) or \(2, 48, 48\), 3 times"
        ).format(", ".join(map(str, shape)))
        with pytest.raises(ValueError, match=message):
            net_of(Returns(shape)).fit(few_scenes)

    def test_output_that_is_no_tensor(self, few_scenes):
        with pytest.raises(ValueError, match="module Returns made NoneType of frames"):
            net_of(Returns(None)).fit(few_scenes)

    def test_what_makes_no_module(self, few_scenes):
        with pytest.raises(ValueError, match=r"made a int: give a torch\.nn\.Module"):
            net_of(int).fit(few_scenes)

    @pytest.mark.parametrize("params", [{"inputs": "masks"}, {"std": 0.0}, {"n_frames": 0}])
    def test_parameters_out_of_range(self, few_scenes, params):
        with pytest.raises(ValueError, match=f"The '{next(iter(params))}' parameter of ModuleNet"):
            net_of(MeanAndMore(), **params).fit(few_scenes)
        with pytest.raises(ValueError, match="The 'module' parameter of ModuleNet"):
            net_of("MeanAndMore").fit(few_scenes)

    def test_model_files_refuse_it(self, few_scenes, tmp_path):
        net = net_of(MeanAndMore()).fit(few_scenes)
        with pytest.raises(ValueError, match="ModuleNet is no class that a model file knows"):
            save_model(net, tmp_path / "model.safetensors")
        assert list(tmp_path.iterdir()) == []


class TestCopies:
    def test_clones_have_a_module_of_their_own(self, few_scenes):
        net = net_of(MeanAndMore(), n_frames=9, level=0.2).fit(few_scenes)
        copy = clone(net)
        assert not copy.initialized_
        assert repr(copy) == repr(net)
        assert copy.module is not net.module
        assert_same_state(copy.module, state_of(net.module))
        np.testing.assert_array_equal(
            copy.fit(few_scenes).predict(few_scenes), net.predict(few_scenes)
        )

    def test_pickles_predict_the_same(self, few_scenes):
        net = net_of(MeanAndMore(masks=True), inputs="frames, masks").fit(few_scenes)
        copy = pickle.loads(pickle.dumps(net))
        np.testing.assert_array_equal(copy.predict(few_scenes), net.predict(few_scenes))

    def test_parameters_can_be_set(self, few_scenes):
        net, other = net_of(MeanAndMore()), MeanAndMore(3)
        assert net.get_params()["module"] is net.module
        net.set_params(module=other, n_frames=3, lr=0.1)
        assert net.get_params()["module"] is other
        net.fit(few_scenes).set_params(module=MeanAndMore(2), n_frames=2)
        # Until the next fit, the net predicts with the fitted module.
        assert net.predict(few_scenes).shape == (4, 48, 48)
        assert net.fit(few_scenes).module_.layers.module.layers[0].in_channels == 2

    def test_graphs(self, few_scenes, tmp_path):
        onnxruntime = pytest.importorskip("onnxruntime")
        net = net_of(MeanAndMore(masks=True), inputs="frames, masks").fit(few_scenes)
        export_onnx(net, tmp_path / "net.onnx")
        inputs = onnx_inputs(net, few_scenes[0])
        assert list(inputs) == ["frames", "present", "clear"]
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
        wanted = {each.name for each in session.get_inputs()}
        ((image,),) = session.run(None, {name: inputs[name] for name in inputs if name in wanted})
        np.testing.assert_allclose(
            image.clip(0, 1), net.predict(few_scenes[:1])[0], rtol=0, atol=1e-5
        )


class TestScikitLearn:
    def test_cross_validation(self, few_scenes):
        scores = cross_val_score(net_of(MeanAndMore()), few_scenes, scoring=cpsnr_scorer, cv=2)
        assert scores.shape == (2,)
        assert np.isfinite(scores).all()

    def test_search_over_modules_and_rates(self, few_scenes):
        modules = [partial(MeanAndMore, squeeze=squeeze) for squeeze in (False, True)]
        grid = {"module": modules, "lr": [1e-4, 1e-3]}
        search = GridSearchCV(net_of(Volume), grid, scoring=cpsnr_scorer, cv=2, error_score="raise")
        search.fit(few_scenes)
        assert len(search.cv_results_["params"]) == 4
        assert search.best_params_["module"] in modules
        assert search.predict(few_scenes).shape == (4, 48, 48)
