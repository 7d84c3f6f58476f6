"""Nets of any torch module: inputs, outputs, copies, searches, prediction."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from _helpers import QUICK, clearest_frames, small_scene, small_scenes
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.nn.functional import interpolate

from probav_estimators import (
    ModuleNet,
    cpsnr_scorer,
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

    def test_a_class_is_made_anew_with_weights_of_random_state(self, few_scenes):
        nets = [net_of(Volume, random_state=seed).fit(few_scenes) for seed in (0, 0, 1)]
        images = [net.predict(few_scenes) for net in nets]
        np.testing.assert_array_equal(images[0], images[1])
        assert np.abs(images[0] - images[2]).max() > 1e-4

    def test_it_goes_on_from_another_net(self, few_scenes):
        first = net_of(MeanAndMore(), max_epochs=3).fit(few_scenes)
        second = net_of(MeanAndMore, weights=first, lr=1e-12).fit(few_scenes[:2])
        np.testing.assert_allclose(
            second.predict(few_scenes), first.predict(few_scenes), rtol=0, atol=1e-6
        )
        with pytest.raises(
            ValueError, match="the net given as weights has n_frames 9 and this ModuleNet has 3"
        ):
            net_of(MeanAndMore(3), n_frames=3, weights=first).fit(few_scenes)


class TestWhatIsWrong:
    @pytest.mark.parametrize("shape", [(2, 9, 48, 48), (2, 1, 16, 16), (2, 48, 47)])
    def test_output_of_another_shape(self, few_scenes, shape):
        message = (
            r"module Returns made \({}\) of frames of shape \(2, 9, 16, 16\): it must return a "
            r"tensor of shape \(2, 1, 48, 48\) or \(2, 48, 48\), 3 times"
        ).format(", ".join(map(str, shape)))
        with pytest.raises(ValueError, match=message):
            net_of(Returns(shape)).fit(few_scenes)

    def test_what_makes_no_module(self, few_scenes):
        with pytest.raises(ValueError, match=r"made a int: give a torch\.nn\.Module"):
            net_of(int).fit(few_scenes)

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


class TestScikitLearn:
    def test_search_over_modules_and_rates(self, few_scenes):
        modules = [partial(MeanAndMore, squeeze=squeeze) for squeeze in (False, True)]
        grid = {"module": modules, "lr": [1e-4, 1e-3]}
        search = GridSearchCV(net_of(Volume), grid, scoring=cpsnr_scorer, cv=2, error_score="raise")
        search.fit(few_scenes)
        assert len(search.cv_results_["params"]) == 4
        assert search.best_params_["module"] in modules
        assert search.predict(few_scenes).shape == (4, 48, 48)
