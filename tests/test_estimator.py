"""Nets: fit, predict, and errors about bad input."""

import copy
import gc
import pickle
import weakref

import joblib
import numpy as np
import pytest
import torch
from _helpers import (
    bicubic,
    clearest_frames,
    composed,
    quick_srcnn,
    slow_cpsnr,
    slow_score,
    small_scene,
    small_scenes,
    tied_frames,
    weights_of,
)
from sklearn.base import clone
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch import nn

from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    CPSNRLoss,
    InputComposer,
    MaskedMSELoss,
    Scene,
    make_scenes,
    probav_scorer,
)
from probav_estimators.training import Reconstruction, resolve_device, resolve_dtype


@pytest.fixture(scope="module")
def scenes():
    return small_scenes(6)


@pytest.fixture(scope="module")
def stacked(scenes):
    return composed(scenes, k=3, mode="concat")


@pytest.fixture(scope="module")
def fitted(stacked):
    return quick_srcnn().fit(stacked)


# The net and its image


def test_without_clearance_the_net_has_one_output_channel(stacked):
    net = quick_srcnn(predict_clearance=False).fit(stacked)
    assert net.module_(torch.from_numpy(stacked[0].inputs.read())).shape == (1, 1, 48, 48)
    assert net.predict(stacked).shape == (6, 48, 48)


def test_predictions_are_float32_images_in_range_of_hr_size(fitted, stacked):
    images = fitted.predict(stacked)
    assert images.shape == (6, 48, 48)
    assert images.dtype == np.float32
    assert 0 <= images.min() <= images.max() <= 1


def test_a_prediction_is_the_module_applied_to_the_inputs(fitted, stacked):
    with torch.no_grad():
        expected = [
            fitted.module_(torch.from_numpy(scene.inputs.read()))[0, 0] for scene in stacked
        ]
    np.testing.assert_allclose(fitted.predict(stacked), torch.stack(expected), atol=1e-6)


def test_the_published_form_is_the_sigmoid_of_the_layers(fitted, stacked):
    layers = SRCNN().build_layers(6, 2, 3)
    weights = fitted.module_.state_dict().values()
    layers.load_state_dict(dict(zip(layers.state_dict(), weights, strict=True)))
    with torch.no_grad():
        raw = layers(torch.from_numpy(stacked[0].inputs.read()))[0, 0].double().numpy()
    np.testing.assert_allclose(fitted.predict(stacked[:1])[0], 1 / (1 + np.exp(-raw)), atol=1e-6)


def test_scenes_of_different_frame_counts_are_averaged_each_over_its_own():
    scenes = [small_scene(n, n_frames=n + 1) for n in range(4)]
    single = composed(scenes, k=None, mode="concat", frames="single")
    net = quick_srcnn(max_epochs=1).fit(single)
    assert net.n_channels_in_ == 2
    with torch.no_grad():
        expected = [
            net.module_(torch.from_numpy(scene.inputs.read()))[:, 0].mean(dim=0) for scene in single
        ]
    np.testing.assert_allclose(net.predict(single), torch.stack(expected), atol=1e-6)


def test_predictions_of_the_clearest_frames_alone_are_averaged():
    scenes = [
        Scene(s.lr, np.roll(s.qm, 1, axis=0) | s.qm, s.hr, s.sm, name=s.name)
        for s in small_scenes(3, n_frames=5)
    ]
    given = composed(scenes, k=None, mode="concat", frames="single", average="clearest")
    net = quick_srcnn().fit(given)
    for image, scene in zip(net.predict(given), scenes, strict=True):
        tied = tied_frames(scene)
        assert 0 < len(tied) < len(scene)
        pairs = zip(scene.lr[tied], scene.qm[tied], strict=True)
        inputs = [bicubic(np.stack(pair)) for pair in pairs]
        with torch.no_grad():
            images = net.module_(torch.from_numpy(np.stack(inputs).astype(np.float32)))[:, 0]
        np.testing.assert_allclose(image, images.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("frames", ["stack", "mean"])
def test_an_untrained_residual_net_predicts_the_upscaled_mean_of_clear_pixels(scenes, frames):
    given = composed(scenes, k=3, mode="concat", frames=frames)
    net = quick_srcnn(residual=True, lr=1e-30).fit(given)
    assert net.n_frames_in_ == (3 if frames == "stack" else 1)
    for image, scene in zip(net.predict(given), scenes, strict=True):
        lr, qm = clearest_frames(scene, 3)
        mean = (lr * qm).sum(axis=0) / qm.sum(axis=0)
        np.testing.assert_allclose(image, bicubic(mean[None])[0], atol=1e-6)


def test_a_residual_net_adds_its_layers_to_the_mean():
    torch.manual_seed(0)
    layers = SRCNN().build_layers(4, 2, 3)
    module = Reconstruction(layers, n_frames=2, std=0.25)
    inputs, mean = torch.rand(2, 4, 12, 12), torch.rand(2, 1, 12, 12)
    torch.testing.assert_close(module(inputs, mean)[:, :1], mean, rtol=0, atol=0)
    nn.init.normal_(layers[-1].weight, std=0.1)
    with torch.no_grad():
        normalised = inputs.clone()
        for sample in normalised:
            sample[:2] = (sample[:2] - sample[:2].mean()) / 0.25
        raw = layers(normalised)
        output = module(inputs, mean)
    torch.testing.assert_close(output[:, :1], mean + 0.25 * raw[:, :1])
    torch.testing.assert_close(output[:, 1:], raw[:, 1:].sigmoid())


def test_predictions_of_different_sizes_come_as_a_list():
    shapes = [(16, 16), (12, 20), (16, 16)]
    scenes = [small_scene(n, shape=shape) for n, shape in enumerate(shapes)]
    net = quick_srcnn(max_epochs=2).fit(composed(scenes))
    images = net.predict(composed(scenes))
    assert isinstance(images, list)
    assert [image.shape for image in images] == [(48, 48), (36, 60), (48, 48)]
    alone = [net.predict(composed([scene]))[0] for scene in scenes]
    for image, other in zip(images, alone, strict=True):
        np.testing.assert_allclose(image, other, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_scale_is_that_of_the_scenes(scale):
    scenes = composed(small_scenes(3, scale=scale, shape=(10, 12)), scale=scale)
    net = quick_srcnn(residual=True, patch_size=6).fit(scenes)
    assert net.scale_ == scale
    assert net.predict(scenes).shape == (3, 10 * scale, 12 * scale)


def test_hr_images_are_not_needed_to_predict(fitted, scenes, stacked):
    without = composed(small_scenes(6, truth=False), mode="concat")
    np.testing.assert_array_equal(fitted.predict(without), fitted.predict(stacked))


def test_score_is_the_mean_cpsnr(fitted, stacked):
    images = fitted.predict(stacked)
    pairs = zip(images, stacked, strict=True)
    expected = np.mean([slow_cpsnr(image, scene.hr, scene.sm) for image, scene in pairs])
    assert fitted.score(stacked) == pytest.approx(expected, abs=1e-4)


# Training


def test_fit_lowers_the_loss(stacked):
    losses = quick_srcnn(max_epochs=5, lr=1e-3).fit(stacked).history[:, "train_loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


def test_a_few_epochs_beat_the_baseline_on_scenes_that_were_not_seen():
    scenes = composed(make_scenes(32, size=24, n_frames=(9, 9), random_state=0), k=5)
    net = quick_srcnn(residual=True, max_epochs=10).fit(scenes[:16])
    assert -probav_scorer(net, scenes[16:]) < 1.0


@pytest.mark.parametrize("options", [{}, {"patch_size": 8, "augment": True, "residual": True}])
def test_equal_random_states_make_equal_nets(stacked, options):
    first, again, other = (
        quick_srcnn(max_epochs=2, batch_size=2, train_split=0.4, random_state=seed, **options).fit(
            stacked
        )
        for seed in (3, 3, 4)
    )
    assert torch.equal(weights_of(first), weights_of(again))
    assert first.history[:, "valid_loss"] == again.history[:, "valid_loss"]
    assert not torch.allclose(weights_of(first), weights_of(other))


def test_worker_processes_do_not_change_what_is_learned(stacked):
    options = {"patch_size": 8, "augment": True, "batch_size": 2, "max_epochs": 2}
    net = quick_srcnn(**options).fit(stacked)
    parallel = quick_srcnn(
        **options, iterator_train__num_workers=2, iterator_valid__num_workers=2
    ).fit(stacked)
    assert torch.equal(weights_of(net), weights_of(parallel))
    np.testing.assert_array_equal(net.predict(stacked), parallel.predict(stacked))


def test_every_epoch_and_every_call_draws_patches_of_its_own(stacked):
    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            self.patches_ = getattr(self, "patches_", [])

        def on_batch_end(self, net, batch=None, **kwargs):
            self.patches_ += [patch.tobytes() for patch in batch[0]["inputs"].numpy()]

    watch = Watch()
    net = quick_srcnn(max_epochs=2, patch_size=5, augment=True, callbacks=[watch]).fit(stacked)
    net.partial_fit(stacked)
    assert len(watch.patches_) == 4 * 6
    # With 144 positions and 8 orientations per scene, single draws may coincide, but not many.
    assert len(set(watch.patches_)) > 20


def test_partial_fit_goes_on_where_fit_stopped(stacked):
    parts = quick_srcnn(max_epochs=2, patch_size=8).fit(stacked)
    parts.partial_fit(stacked)
    whole = quick_srcnn(max_epochs=4, patch_size=8).fit(stacked)
    assert len(parts.history) == 4
    assert torch.equal(weights_of(parts), weights_of(whole))


@pytest.mark.parametrize("criterion", [MaskedMSELoss, CPSNRLoss])
def test_the_validation_loss_is_the_criterion_of_the_validation_scenes(stacked, criterion):
    net = quick_srcnn(criterion=criterion, train_split=predefined_split(stacked[4:]))
    net.fit(stacked[:4])
    with torch.no_grad():
        inputs = np.concatenate([scene.inputs.read() for scene in stacked[4:]])
        prediction = net.module_(torch.from_numpy(inputs))
    truth = np.stack([np.stack([scene.hr, scene.sm]) for scene in stacked[4:]])
    expected = criterion()(prediction, torch.from_numpy(truth).float()).item()
    assert net.history[-1, "valid_loss"] == pytest.approx(expected, rel=1e-5)


# Validation


@pytest.mark.parametrize(
    ("train_split", "n_valid"), [(None, 0), (0.2, 2), (0.5, 3), (ValidSplit(3), 2)]
)
def test_train_split_says_how_many_scenes_are_kept_from_training(stacked, train_split, n_valid):
    net = quick_srcnn(train_split=train_split, batch_size=1).fit(stacked)
    (sizes,) = net.history[:, "batches", :, "train_batch_size"]
    assert sum(sizes) == 6 - n_valid
    assert ("valid_score" in net.history[-1]) == (n_valid > 0)


def test_views_of_one_scene_stay_on_one_side_of_the_split(scenes):
    single = composed(scenes, k=3, frames="single")
    net = quick_srcnn(train_split=0.5, batch_size=1).fit(single)
    (sizes,) = net.history[:, "batches", :, "train_batch_size"]
    assert sum(sizes) == 9
    assert np.isfinite(net.history[-1, "valid_score"])


@pytest.mark.parametrize(("frames", "residual"), [("stack", True), ("single", False)])
def test_valid_score_is_the_mean_challenge_score_of_the_validation_scenes(scenes, frames, residual):
    prepared = composed(scenes, frames=frames)
    net = quick_srcnn(
        residual=residual, patch_size=8, train_split=predefined_split(prepared[1:])
    ).fit(prepared[:1])
    expected = slow_score(net.predict(prepared[1:]), scenes[1:])
    assert net.history[-1, "valid_score"] == pytest.approx(expected, rel=1e-5)
    assert {"train_loss", "valid_loss", "valid_score"} <= set(net.history[-1])


# Device and precision


def test_device_auto_stays_what_the_user_said(stacked):
    net = quick_srcnn().fit(stacked)
    assert net.get_params()["device"] == "auto"
    assert "device" not in repr(net)
    assert clone(net).get_params()["device"] == "auto"
    assert pickle.loads(pickle.dumps(net)).get_params()["device"] == "auto"
    assert clone(SRCNN(device="cpu")).get_params()["device"] == "cpu"
    assert SRCNN().set_params(device="cpu").get_params()["device"] == "cpu"


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"),
    [(True, False, "cuda"), (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_auto_is_the_fastest_there_is(monkeypatch, has_cuda, has_mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert resolve_device("auto") == expected
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_dtype_auto_is_what_the_processor_computes_in(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_dtype("auto", "cpu") == expected
    assert resolve_dtype("float32", "cpu") == torch.float32
    assert resolve_dtype("bfloat16", "cpu") == torch.bfloat16
    assert resolve_dtype("auto", "mps") == torch.float32


def test_bfloat16_predicts_nearly_the_same(stacked):
    net = quick_srcnn(residual=True, max_epochs=2).fit(stacked)
    exact = net.predict(stacked)
    rounded = net.set_params(compute_dtype="bfloat16").predict(stacked)
    assert rounded.dtype == np.float32
    difference = np.abs(rounded - exact).max()
    assert 0 < difference < 0.005


# What scikit-learn expects of an estimator


def test_a_net_prints_as_the_call_that_made_it(stacked):
    assert repr(SRCNN()) == "SRCNN()"
    net = SRCNN(max_epochs=1, verbose=0, optimizer__weight_decay=0.25, random_state=0)
    text = "SRCNN(max_epochs=1, optimizer__weight_decay=0.25, random_state=0, verbose=0)"
    assert repr(net).replace("\n      ", "") == text
    assert repr(eval(text)) == repr(net) == repr(net.fit(stacked))


def test_a_fitted_net_survives_pickle_joblib_and_deepcopy(stacked, tmp_path):
    net = quick_srcnn(residual=True, train_split=0.4).fit(stacked)
    expected = net.predict(stacked)
    joblib.dump(net, tmp_path / "net.joblib")
    copies = [
        pickle.loads(pickle.dumps(net)),
        joblib.load(tmp_path / "net.joblib"),
        copy.deepcopy(net),
    ]
    for twin in copies:
        np.testing.assert_array_equal(twin.predict(stacked), expected)
        assert twin.history[:, "train_loss"] == net.history[:, "train_loss"]
        assert repr(twin) == repr(net)


def test_a_fitted_net_pickles_no_larger_for_more_scenes():
    sizes = []
    for n_scenes in (4, 12):
        scenes = composed(small_scenes(n_scenes))
        net = quick_srcnn(train_split=0.5).fit(scenes)
        net.predict(scenes)
        pickled = pickle.dumps(net)
        assert b"probav_estimators.scenes" not in pickled
        sizes.append(len(pickled))
    # The history grows by a line per batch; the pixels of eight scenes would be 75 kB.
    assert abs(sizes[1] - sizes[0]) < 2000


def test_a_fitted_net_lets_its_scenes_go():
    scenes = composed(small_scenes(4))
    net = quick_srcnn(train_split=0.5).fit(scenes)
    net.predict(scenes)
    watched = [weakref.ref(scene) for scene in scenes]
    del scenes
    gc.collect()
    assert not any(reference() for reference in watched)


# Bad input


def without_composer():
    return small_scenes(2)


def without_upscaler():
    return composed(small_scenes(2), scale=None)


def without_truth():
    return composed([small_scene(0), small_scene(1, truth=False)])


def of_two_scales():
    return composed([small_scene(0), small_scene(1, scale=2)])


def of_two_frame_counts():
    scenes = [small_scene(n, n_frames=n + 4) for n in range(2)]
    return BicubicUpscaler().transform(InputComposer().transform(scenes))


BAD_SCENES = [
    (without_composer, "scene imgset0000.*no inputs.*InputComposer"),
    (without_upscaler, r"scene imgset0000.*add BicubicUpscaler\(scale=3\) after InputComposer"),
    (without_truth, "scene imgset0001 has no HR image.*leave it out"),
    (of_two_scales, "scene imgset0001 are 2 times as large.*one net for each scale"),
    (of_two_frame_counts, "takes 4 channels.*scene imgset0001 with 5.*ClearanceSelector"),
    (list, "empty list"),
]


@pytest.mark.parametrize(("make", "message"), BAD_SCENES, ids=lambda x: getattr(x, "__name__", ""))
def test_fit_says_what_is_wrong_with_scenes(make, message):
    with pytest.raises(ValueError, match=message):
        quick_srcnn().fit(make())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: composed(small_scenes(2), k=5), "takes 3 channels.*imgset0000 with 5.*k=..."),
        (without_composer, "scene imgset0000.*no inputs.*InputComposer"),
        (
            lambda: composed(small_scenes(2, scale=2), scale=2),
            r"imgset0000 upscaled 2 times: add BicubicUpscaler\(scale=3\)",
        ),
    ],
)
def test_predict_says_what_is_wrong_with_scenes(make, message):
    net = quick_srcnn().fit(composed(small_scenes(1)))
    with pytest.raises(ValueError, match=message):
        net.predict(make())


def test_a_validation_scene_without_truth_is_named():
    train_split = predefined_split(without_truth())
    with pytest.raises(ValueError, match="imgset0001 has no HR image"):
        quick_srcnn(train_split=train_split).fit(composed(small_scenes(2)))


def test_a_patch_larger_than_a_scene_is_named(stacked):
    with pytest.raises(ValueError, match="patch_size=17 is larger than scene imgset000"):
        quick_srcnn(patch_size=17).fit(stacked)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 1.5),
        ("micro_batch_size", 0),
        ("lr", -1e-3),
        ("compute_dtype", "float16"),
        ("patch_size", "big"),
        ("residual", 2),
        ("criterion", "mse"),
        ("train_split", 1.5),
        ("random_state", "zero"),
    ],
)
def test_fit_names_an_invalid_parameter(stacked, name, value):
    net = quick_srcnn(**{name: value})
    assert net.get_params()[name] == value
    with pytest.raises(ValueError, match=f"'{name}' parameter of SRCNN must be .*{value}"):
        net.fit(stacked)


@pytest.mark.parametrize(
    ("name", "prepare"), [("max_epoch", lambda net: net), ("optimizer_weight_decay", clone)]
)
def test_fit_names_an_unknown_argument(stacked, name, prepare):
    with pytest.raises(ValueError, match=f"unexpected argument.*{name}"):
        prepare(quick_srcnn(**{name: 1})).fit(stacked)


@pytest.mark.parametrize("name", ["iterator_train__shuffle", "iterator_valid__sampler"])
def test_fit_refuses_another_choice_of_batches(stacked, name):
    with pytest.raises(ValueError, match=f"no use for {name}: leave it out"):
        quick_srcnn(**{name: False}).fit(stacked)
