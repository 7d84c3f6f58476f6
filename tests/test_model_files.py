"""Files of models: saved models load unchanged, and all other content is refused."""

import copy
import json
import os
import pickle
import threading
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from _helpers import REGRESSORS, small_scenes, weights_of
from _state_files import write_described
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EarlyStopping, EpochScoring
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split

from probav_estimators import (
    FSRCNN,
    MISRGRU,
    RAMS,
    SRCNN,
    SRVGG16,
    TRMISR,
    AdversarialLoss,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    CPSNRLoss,
    FrameRegistrar,
    FSRCNNv2,
    FusionNet,
    HighResNet,
    InputComposer,
    PerBand,
    PIUNet,
    ReprojectionLoss,
    Scene,
    SceneLoss,
    SRCNNEx,
    SRCNNv3,
    SRResNet,
    cpsnr_scorer,
)
from probav_estimators.persistence import is_model_file, load_model, model_card, save_model
from probav_estimators.state_file import read_state, write_state

# Of version 0.2: an ensemble of a pipeline, and of a net that started from another.
WRITTEN = Path(__file__).parent / "files" / "ensemble.safetensors"

QUICK = {"max_epochs": 1, "batch_size": 4, "train_split": None, "random_state": 0, "verbose": 0}
SCENES = small_scenes(2)


def pipeline(net, *, mode="lr", frames="stack", upscale=None):
    upscale = "passthrough" if net.upscales else BicubicUpscaler(scale=3)
    steps = [
        ("select", ClearanceSelector(k=3)),
        ("register", FrameRegistrar(max_shift=2.0)),
        ("compose", InputComposer(mode=mode, frames=frames)),
        ("upscale", upscale),
        ("sr", net),
    ]
    return Pipeline(steps)


def composed(scenes=SCENES):
    return make_pipeline(ClearanceSelector(k=3), InputComposer()).fit_transform(scenes)


def fsrcnn(**params):
    return FSRCNN(**{**QUICK, **params})


def in_bands(scenes=SCENES):
    return [
        Scene(s.lr, s.qm, s.hr, s.sm, name=s.name, band=band)
        for s, band in zip(scenes, ("RED", "NIR"), strict=True)
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def net():
    return fsrcnn(residual=True).fit(composed())


def through_file(estimator, path):
    save_model(estimator, path)
    return load_model(path)


def assert_same_predictions(found, expected, scenes=SCENES):
    for ours, theirs in zip(found.predict(scenes), expected.predict(scenes), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class TestWhatIsSavedIsLoaded:
    @pytest.mark.parametrize(
        "pipe",
        [
            pipeline(SRCNN(**QUICK, residual=True), mode="concat"),
            pipeline(SRCNNEx(**QUICK, predict_clearance=False)),
            pipeline(SRVGG16(**QUICK), frames="single"),
            pipeline(fsrcnn(activation="elu", deconv_kernel_size=5)),
            pipeline(fsrcnn(residual=True), mode="combine", frames="mean"),
            pipeline(SRResNet(**QUICK, n_blocks=1, n_features=4, residual=True), mode="combine"),
            make_pipeline(FrameRegistrar(), HighResNet(**QUICK, n_blocks=1, n_features=4)),
            make_pipeline(MISRGRU(**QUICK, n_blocks=1, n_features=4)),
            make_pipeline(TRMISR(**QUICK, n_blocks=1, n_features=8, depth=1)),
            make_pipeline(RAMS(**QUICK, n_blocks=1, n_features=4)),
            make_pipeline(PIUNet(**QUICK, n_blocks=1, n_features=4)),
            pipeline(FSRCNNv2(**QUICK, finetuned=True, weight_init="glorot_uniform")),
            pipeline(SRCNNv3(**QUICK, residual=True, depth_multiplier=2, kernel_sizes=[3, 1, 3])),
            *(pipeline(kind(**QUICK)) for kind in REGRESSORS if kind is not SRResNet),
        ],
        ids=lambda pipe: type(pipe[-1]).__name__,
    )
    def test_pipelines_of_every_architecture(self, pipe, path):
        pipe = clone(pipe).fit(SCENES)
        loaded = through_file(pipe, path)
        assert repr(loaded) == repr(pipe)
        assert_same_predictions(loaded, pipe)

    def test_fusion_net_with_its_calibration(self, path):
        net = FusionNet.from_pretrained("simulated-x3", verbose=0, n_augment=2).calibrate(SCENES)
        loaded = through_file(net, path)
        assert (loaded.weights, loaded.scale_) == ("simulated-x3", 3)
        for ours, theirs in zip(
            loaded.predict(SCENES, return_std=True),
            net.predict(SCENES, return_std=True),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)

    def test_fusion_net_of_a_file_of_weights_that_is_gone(self, path, tmp_path):
        FusionNet(scale=3, width=2, depth=1).initialize().save_pretrained(tmp_path / "w")
        net = FusionNet.from_pretrained(tmp_path / "w", verbose=0)
        with pytest.warns(UserWarning, match="does not hold weights: "):
            save_model(net, path)
        (tmp_path / "w").unlink()
        loaded = load_model(path)
        assert (loaded.weights, loaded.left_out_["weights"]) == (None, repr(tmp_path / "w"))
        assert_same_predictions(loaded, net)

    def test_the_baseline(self, path):
        assert through_file(BicubicBaseline().fit(SCENES), path).scale_ == 3
        assert_same_predictions(load_model(path), BicubicBaseline().fit(SCENES))

    def test_one_estimator_a_band(self, path):
        scenes = in_bands()
        model = PerBand(pipeline(fsrcnn()), n_jobs=1).fit(scenes)
        loaded = through_file(model, path)
        assert loaded.bands_ == ["NIR", "RED"]
        assert_same_predictions(loaded, model, scenes)
        assert_same_predictions(loaded.fit(scenes), model, scenes)

    def test_one_frozen_net_for_each_band(self, path, net):
        scenes = composed()
        for scene, band in zip(scenes, ["RED", "NIR"] * len(scenes), strict=False):
            scene.band = band
        model = PerBand(FrozenEstimator(net)).fit(scenes)
        assert_same_predictions(through_file(model, path), model, scenes)

    def test_frozen_estimators_and_the_best_of_a_search(self, path, net):
        search = GridSearchCV(
            pipeline(fsrcnn()), {"sr__lr": [1e-3]}, cv=2, scoring=cpsnr_scorer
        ).fit(SCENES)
        assert_same_predictions(through_file(search.best_estimator_, path), search)
        frozen = FrozenEstimator(net)
        assert_same_predictions(through_file(frozen, path), frozen, composed())

    def test_what_a_training_began_with(self, path, net):
        tuned = fsrcnn(residual=True, start_from=FrozenEstimator(net), lr=1e-5).fit(composed())
        loaded = through_file(tuned, path)
        assert torch.equal(weights_of(loaded.start_from.estimator), weights_of(net))
        assert torch.equal(weights_of(loaded.fit(composed())), weights_of(tuned))

    def test_each_net_of_a_long_chain_is_encoded_once(self, path, net, monkeypatch):
        for _ in range(6):
            net = fsrcnn(residual=True, start_from=net).set_params(max_epochs=1).fit(composed())
        encoded = []
        original = FSRCNN.get_params

        def get_params(self, deep=True):
            encoded.append(self)
            return original(self, deep)

        monkeypatch.setattr(FSRCNN, "get_params", get_params)
        save_model(net, path)
        assert len(encoded) < 7 * 4

    def test_weights_of_vgg16_given_as_tensors(self, path):
        layers = SRVGG16(**QUICK).build_layers(3, 2, 3)
        names = {"features.2": 4, "features.5": 6, "features.7": 8}
        state = {
            f"{name}.{kind}": value.detach()
            for name, at in names.items()
            for kind, value in layers[at].named_parameters()
        }
        pipe = pipeline(SRVGG16(**QUICK, vgg_weights=state)).fit(SCENES)
        loaded = through_file(pipe, path)
        assert torch.equal(loaded[-1].vgg_weights["features.5.bias"], state["features.5.bias"])
        assert torch.equal(weights_of(loaded.fit(SCENES)[-1]), weights_of(pipe[-1]))

    @pytest.mark.parametrize(
        "params",
        [
            {"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.1},
            {"optimizer": "SGD", "optimizer__momentum": np.float32(0.5)},
            {"optimizer__betas": (0.8, 0.9), "callbacks__divergence": None},
            {"criterion": torch.nn.L1Loss},
            {"criterion": AdversarialLoss, "criterion__adversarial_weight": 0.5},
            {"criterion": CPSNRLoss(norm=40.0, border=1), "callbacks": []},
            {"max_epochs": np.int64(1), "iterator_valid__batch_size": 2},
        ],
        ids=lambda params: " ".join(params),
    )
    def test_parameters(self, params, path):
        net = fsrcnn(**params).fit(composed())
        loaded = through_file(net, path)
        params = loaded.get_params(deep=False)
        for name, value in net.get_params(deep=False).items():
            found = params[name]
            if isinstance(value, torch.nn.Module):
                assert type(found) is type(value)
                assert vars(found).items() >= {"norm": 40.0, "border": 1}.items()
            else:
                assert found == value
        assert_same_predictions(loaded, net, composed())

    def test_a_point_spread_function_that_was_estimated(self, path):
        net = FusionNet(width=2, depth=1, scale=3, criterion=ReprojectionLoss(0.4), **QUICK)
        assert through_file(net.fit(SCENES), path).psf_sigma_ == 0.4

    def test_a_file_of_version_0_2(self, path):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* was written by version")
            model = load_model(WRITTEN)
        first, second = model.estimators_
        assert [type(step).__name__ for step in first] == [
            *("ClearanceSelector", "FrameRegistrar", "InputComposer", "SRResNet")
        ]
        assert (first[-1].optimizer, first[-1].optimizer__betas) == (torch.optim.AdamW, (0.8, 0.9))
        assert first[-1].get_params(deep=False)["callbacks__divergence"] is None
        assert second.criterion.norm == 40.0
        with safe_open(WRITTEN, framework="pt") as file:
            start = "SceneEnsemble.estimators.1.1.start_from.estimator.module."
            state = second.start_from.estimator.module_.state_dict()
            for name, value in state.items():
                assert torch.equal(value, file.get_tensor(start + name))
        assert model.predict(SCENES).shape == (2, 48, 48)
        assert_same_predictions(through_file(model, path), model)

    def test_history(self, net, path):
        loaded = through_file(net, path)
        assert loaded.history[-1, "train_loss"] == net.history[-1, "train_loss"]

    def test_places_on_this_machine_are_left_out(self, path, tmp_path):
        net = fsrcnn(resume=tmp_path / "c").fit(composed())
        loaded = through_file(net, path)
        assert loaded.resume is None
        assert str(tmp_path) not in path.read_bytes().decode("latin1")


class TestGoingOn:
    def test_fit_and_partial_fit(self, net, path):
        loaded = through_file(net, path)
        loaded.partial_fit(composed())
        assert len(loaded.history) == 2
        assert not torch.equal(weights_of(loaded), weights_of(net))
        loaded.fit(composed())
        assert torch.equal(weights_of(loaded), weights_of(net))

    def test_a_loaded_net_can_be_saved_cloned_copied_and_pickled(self, net, path):
        loaded = through_file(through_file(net, path), path)
        for other in (loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
            assert_same_predictions(other, net, composed())
        assert repr(clone(loaded)) == repr(net)

    def test_the_device_of_the_training_is_not_in_the_file(self, path):
        net = fsrcnn(device="cpu").fit(composed())
        assert through_file(net, path).get_params()["device"] == "auto"

    def test_the_device_can_be_chosen(self, net, path, device):
        save_model(net, path)
        loaded = load_model(path, device=device)
        assert {p.device.type for p in loaded.module_.parameters()} == {device}

    def test_global_random_state_is_left_alone(self, net, path):
        torch.manual_seed(3)
        before = torch.get_rng_state()
        through_file(net, path)
        assert torch.equal(torch.get_rng_state(), before)


def whole(dataset, y=None):
    return dataset, dataset


class SignDescent(torch.optim.SGD):
    """User-defined optimizer."""


class HuberSceneLoss(SceneLoss):
    """User-defined loss, with a learned attribute that no file can hold."""

    def __init__(self, delta=0.1):
        super().__init__()
        self.delta, self.seen_ = delta, object()

    def image_loss(self, sr, hr, clear):
        return torch.nn.functional.huber_loss(sr, hr, delta=self.delta)


class Loader(torch.utils.data.DataLoader):
    """User-defined loader."""


OF_TRAINING = [
    {"callbacks": [("stop", EarlyStopping(monitor="train_loss")), ("n", None)]},
    {"callbacks": [EpochScoring(cpsnr_scorer)], "callbacks__divergence": None},
    {"callbacks__progress_bar": EpochScoring(None)},
    {"criterion": partial(CPSNRLoss, border=1)},
    {"criterion": HuberSceneLoss, "criterion__delta": 0.2},
    {"criterion": torch.nn.L1Loss()},
    {"optimizer": SignDescent, "optimizer__momentum": 0.5},
    {"train_split": predefined_split(composed())},
    {"train_split": ValidSplit(2)},
    {"train_split": whole},
    {"random_state": np.random.RandomState(0)},
    {"iterator_train": Loader, "iterator_train__timeout": 0},
    {"iterator_valid__collate_fn": torch.utils.data.default_collate},
    {"iterator_valid__num_workers": 0},
    {"callbacks__divergence__attempts": 3},
]


class TestParametersOfTrainings:
    """Parameters that prediction does not need never prevent saving."""

    @pytest.mark.parametrize("params", OF_TRAINING, ids=lambda params: " ".join(params))
    def test_that_a_file_cannot_hold_are_left_out_with_a_warning(self, params, path):
        net = fsrcnn(**params).fit(composed())
        with pytest.warns(UserWarning, match="does not hold .*defaults: give them again") as caught:
            save_model(net, path)
        (message,) = [str(warning.message) for warning in caught]
        assert all(name in message for name in params)
        loaded = load_model(path)
        assert_same_predictions(loaded, net, composed())
        assert loaded.left_out_.keys() == params.keys()
        defaults = FSRCNN().get_params(deep=False)
        found = loaded.get_params(deep=False)
        for name, value in params.items():
            assert found.get(name) == defaults.get(name)
            assert loaded.left_out_[name][:100] == repr(value)[:100]
            assert f"| {name} | `{loaded.left_out_[name]}`" in model_card(loaded, name="a net")
        loaded.fit(composed())

    def test_that_name_an_unknown_estimator_to_start_from_are_left_out(self, path, net):
        search = GridSearchCV(fsrcnn(residual=True), {"lr": [1e-3]}, cv=2, scoring=cpsnr_scorer)
        search.fit(composed())
        tuned = fsrcnn(residual=True, start_from=FrozenEstimator(search)).fit(composed())
        with pytest.warns(UserWarning, match="does not hold start_from"):
            loaded = through_file(tuned, path)
        assert loaded.start_from is None
        assert_same_predictions(loaded, tuned, composed())

    def test_that_were_left_out_are_named_until_it_is_trained_anew(self, path):
        net = fsrcnn(callbacks=[EarlyStopping(monitor="train_loss")]).fit(composed())
        with pytest.warns(UserWarning, match="does not hold callbacks"):
            loaded = through_file(net, path)
        again = through_file(loaded, path)
        assert again.left_out_ == loaded.left_out_
        assert not hasattr(again.fit(composed()), "left_out_")

    def test_that_a_file_can_hold_are_written_without_a_warning(self, path, net):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not hasattr(through_file(net, path), "left_out_")

    @pytest.mark.parametrize("params", OF_TRAINING[:2], ids=lambda params: " ".join(params))
    def test_are_named_before_a_long_training_begins(self, params, tmp_path):
        net = fsrcnn(resume=tmp_path / "resume", **params)
        with pytest.warns(UserWarning, match="save_model will leave out .*callbacks") as caught:
            net.fit(composed())
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fsrcnn(resume=tmp_path / "another").fit(composed())


class OtherNet(FSRCNN):
    pass


class TestWhatCannotBeWritten:
    def refuses(self, path, estimator, message):
        path.write_text("before")
        with pytest.raises(ValueError, match=message):
            save_model(estimator, path)
        assert path.read_text() == "before"
        assert list(path.parent.iterdir()) == [path]

    def test_classes_that_are_not_known(self, path, net):
        self.refuses(path, OtherNet(**QUICK).fit(composed()), "^OtherNet is no class .*pickle")
        pipe = make_pipeline(FunctionTransformer(), BicubicBaseline()).fit(SCENES)
        self.refuses(path, pipe, r"Pipeline\.steps\.0\.1 is FunctionTransformer")
        self.refuses(path, object(), "object is no class")
        search = GridSearchCV(BicubicBaseline(), {"scale": [3]}, scoring=cpsnr_scorer)
        self.refuses(path, search, "GridSearchCV is no class .*save its best_estimator_")

    def test_nets_that_are_not_fitted_or_diverged(self, path, net):
        with pytest.raises(NotFittedError):
            save_model(pipeline(fsrcnn()), path)
        diverged = copy.deepcopy(net)
        with torch.no_grad():
            diverged.module_.head.bias[0] = torch.nan
        self.refuses(path, diverged, "holds NaN or infinity")

    def test_parameters_that_ask_for_other_layers(self, path, net):
        changed = copy.deepcopy(net).set_params(activation="elu")
        self.refuses(path, changed, r"layers that have .*ReLU.* now ask for .*ELU.*set them back")


def rewrite(path, change, **tensors):
    """Change the model in a file and update its checksum."""
    state = read_state(path, "model")
    changed = change(state.config)
    config = state.config if changed is None else changed
    write_state(path, "model", config, state.tensors | tensors)


@pytest.fixture(scope="module")
def sound(net, tmp_path_factory):
    """File of a small net; read-only."""
    path = tmp_path_factory.mktemp("sound") / "sound.safetensors"
    save_model(net, path)
    return path


@pytest.fixture
def content(sound):
    return sound.read_bytes()


ADVERSARIAL = "probav_estimators.losses.AdversarialLoss"

# What a file must not set, by its names in the file.
PLACES = [
    {"callbacks__checkpoint__folder": "elsewhere"},
    {"callbacks__history_csv__path": "elsewhere"},
    {"callbacks__print_log__sink": {"class": "torch.optim.SGD"}},
    {"callbacks": {"tuple": []}},
    {"iterator_valid__num_workers": 4},
    {"iterator_train__worker_init_fn": {"class": "torch.optim.SGD"}},
    {"train_split": {"class": "torch.optim.SGD"}},
    {"resume": "elsewhere"},
    {"memory": "elsewhere"},
    {"weights": "elsewhere"},
    {"vgg_weights": "elsewhere"},
    {"device": "cuda"},
    {"n_jobs": 8},
    {"module": {"class": "torch.nn.L1Loss"}},
    {"dataset": {"class": "torch.nn.L1Loss"}},
    {"compile": True},
]


def objects_in(node):
    """All objects of JSON in a value, and itself."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from objects_in(part)


class TestHostileFiles:
    def refuses(self, path, message=""):
        with pytest.raises(ValueError, match=rf"model\.safetensors.*{message}"):
            load_model(path)

    @pytest.mark.parametrize(
        "name",
        [
            "os.system",
            "builtins.eval",
            "../../evil",
            "torch.load",
            "",
            "SceneNet",
            3,
            None,
            ["FSRCNN"],
        ],
    )
    @pytest.mark.parametrize("kind", ["class", "loss", "estimator"])
    def test_names_that_are_not_in_the_list(self, path, content, name, kind):
        path.write_bytes(content)
        node = {kind: name, "params": {}, "fitted": {}}
        rewrite(path, lambda model: model["params"].update(criterion=node))
        self.refuses(path, "is no class that a model may have")
        rewrite(path, lambda model: node)
        self.refuses(path)

    @pytest.mark.parametrize(
        "change",
        [
            {"params": {"deconv_kernel_size": 10**9}},
            {"params": {"mapping_kernel_size": 10**12 + 1}},
            {"params": {"activation": "__import__('os').system('x')"}},
            {"params": {"lr": {"float": "nan"}}},
            {"params": {"verbose": "loud"}},
            {"params": {"resume": "/tmp/elsewhere"}},
            {"params": {"resume": {"path": "/tmp/elsewhere"}}},
            {"params": {"module": 3}},
            {"params": {"__class__": "x"}},
            {"params": {"iterator_train": "x"}},
            {"params": {"callbacks": ["os.system"]}},
            {"params": {"device": "cpu"}},
            {"params": {"memory": "/tmp/elsewhere"}},
            {"params": {"weights": "/dev/stdin"}},
            {"params": {"callbacks__checkpoint__folder": "/tmp/elsewhere"}},
            {"params": {"callbacks__history_csv__path": "/tmp/elsewhere"}},
            {"params": {"callbacks__checkpoint": "/tmp/elsewhere"}},
            {"params": {"iterator_valid__num_workers": 10**6}},
            {"params": {"iterator_train__multiprocessing_context": "fork"}},
            {"fitted": {"scale_": 10**9}},
            {"fitted": {"scale_": 10**400}},
            {"fitted": {"scale_": -3}},
            {"fitted": {"scale_": "3"}},
            {"fitted": {"scale_": None}},
            {"fitted": {"n_channels_in_": 2**62}},
            {"fitted": {"n_channels_in_": 4.0}},
            {"fitted": {"residual_": False}},
            {"fitted": {"std_": None}},
            {"fitted": {"std_": "much"}},
            {"fitted": {"module_": 3}},
            {"fitted": {"__class__": 3}},
            {"fitted": {"predict": 3}},
        ],
        ids=str,
    )
    def test_values_that_no_net_has(self, path, content, change):
        path.write_bytes(content)

        def put(model):
            for part, values in change.items():
                inner = model[part]
                inner.update(values)

        rewrite(path, put)
        self.refuses(path)

    @pytest.mark.parametrize("number", range(len(PLACES)))
    def test_places_processes_devices_and_functions_in_any_part(self, path, number):
        text = json.dumps(read_state(WRITTEN, "model").config)
        n_parts = text.count('"estimator": "')
        for part in range(number % 8, n_parts, 8):
            state = read_state(WRITTEN, "model")
            named = [x for x in objects_in(state.config) if isinstance(x.get("estimator"), str)]
            named[part]["params"] |= PLACES[number]
            write_state(path, "model", state.config, state.tensors)
            self.refuses(path, "no parameter that a file may set")

    @pytest.mark.parametrize(
        "params",
        [
            {"n_mapping": 10**8},
            {"n_mapping": 10**12},
            {
                "criterion": [{"loss": "probav_estimators.losses.AdversarialLoss", "params": {}}]
                * 99
            },
        ],
        ids=["some", "many", "losses"],
    )
    def test_parts_that_have_no_tensors_take_no_memory(self, path, content, params):
        resource = pytest.importorskip("resource")
        path.write_bytes(content)
        rewrite(path, lambda model: model["params"].update(params))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.refuses(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 40_000  # KiB

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "null", "3", "[]", "{}", "NaN", '{"a": NaN}', "[" * 10**5),
            *('{"tuple":' * 10**4, '{"tuple": [' * 100 + "]}" * 100, "1" * 10**4),
            '{"estimator": "FSRCNN"}',
        ],
        ids=lambda text: text[:12],
    )
    def test_text_that_is_no_model(self, path, text):
        self.refuses(write_described(path, "model", text, {}))

    def test_nets_that_other_threads_make_meanwhile_are_left_alone(self, path, content):
        path.write_bytes(content)
        failed = []

        def make_nets():
            try:
                while not done.is_set():
                    torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 1) for _ in range(600)))
            except ValueError as error:
                failed.append(error)

        done = threading.Event()
        thread = threading.Thread(target=make_nets)
        thread.start()
        for _ in range(10):
            load_model(path)
        done.set()
        thread.join()
        assert not failed

    @pytest.mark.parametrize("name", ["scale_", "residual_", "predict_clearance_", "n_frames_in_"])
    def test_values_that_are_missing(self, path, content, name):
        path.write_bytes(content)
        rewrite(path, lambda model: model["fitted"].pop(name) and None)
        self.refuses(path)

    def test_losses_with_layers_of_any_size_are_not_made(self, path, content):
        path.write_bytes(content)
        params = {
            "criterion": {"class": "torch.nn.AdaptiveLogSoftmaxWithLoss"},
            **{"criterion__in_features": 10**6, "criterion__n_classes": 10**6},
        }
        rewrite(path, lambda model: model["params"].update(params))
        self.refuses(path, "is no class that a model may have")

    def test_tensors_that_are_missing_too_many_or_named_twice(self, path, content):
        path.write_bytes(content)
        rewrite(path, lambda model: None, more=torch.ones(3))
        self.refuses(path, "the tensor more belongs to nothing")
        path.write_bytes(content)
        rewrite(path, lambda model: model["module"].popitem() and None)
        self.refuses(path, "do not fit the net")
        path.write_bytes(content)
        rewrite(path, lambda model: model["params"].update(start_from=copy.deepcopy(model)))
        self.refuses(path)

    def test_newer_formats_and_files_of_weights(self, path, tmp_path):
        old = {"architecture": "model", "layout": "{}", "package_version": "0.1.0"}
        save_file({}, path, old)
        self.refuses(path, r"earlier version of probav_estimators \(0\.1\.0\).* no longer read")
        save_file({}, path, {"format": "3", "package_version": "9.1"})
        self.refuses(path, r"format 3, written by .* 9\.1, .*upgrade probav_estimators")
        FusionNet.from_pretrained("simulated-x3").save_pretrained(path)
        self.refuses(path, "kind 'weights' and no model: give a file that save_model wrote")
        assert not is_model_file(path)
        with pytest.raises(FileNotFoundError, match="is no file"):
            load_model(tmp_path / "nothing")

    def test_other_versions_are_told(self, path, content, monkeypatch):
        path.write_bytes(content)
        monkeypatch.setattr("probav_estimators.state_file.__version__", "9.1")
        rewrite(path, lambda model: None)
        with pytest.warns(UserWarning, match=r"model\.safetensors was written by version 9\.1"):
            load_model(path)

    @pytest.mark.parametrize("dump", [pickle.dump, torch.save])
    def test_a_pickle_runs_nothing(self, tmp_path, path, dump):
        marker = tmp_path / "marker"

        class Hostile:
            def __reduce__(self):
                return os.mkdir, (str(marker),)

        with path.open("wb") as file:
            dump(Hostile(), file)
        self.refuses(path)
        assert not marker.exists()

    def test_metadata_is_all_that_is_not_numbers(self, path, content):
        path.write_bytes(content)
        with safe_open(path, framework="pt") as file:
            assert file.metadata().keys() == {
                *("format", "package_version", "kind", "config", "checksum"),
            }


FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

VALUES = st.recursive(
    # JSON has no infinity and no NaN; TestHostileFiles covers such texts.
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tuple", "dict", "float", "path", "tensor", "class", "loss", "estimator", "params"]
            ),
            inner | st.sampled_from(["FSRCNN", "Pipeline", "torch.optim.LBFGS", "0.head.bias"]),
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places_in(node, here=()):
    """Paths to all values of a model, from its root."""
    yield here
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places_in(value, (*here, key))


class TestFuzz:
    def assert_refused_or_an_estimator(self, path):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = load_model(path)
        except ValueError as error:
            message = str(error)
        else:
            assert hasattr(loaded, "fit")
            return
        assert str(path) in message

    @FUZZ
    @given(data=st.data())
    def test_one_value_of_the_model_is_another(self, path, sound, data):
        path.write_bytes(sound.read_bytes())

        def put(model):
            place = data.draw(st.sampled_from([p for p in places_in(model) if p]))
            *outer, last = place
            for key in outer:
                model = model[key]
            if isinstance(model, dict) and data.draw(st.booleans()):
                value = model.pop(last)
                if data.draw(st.booleans()):
                    model[data.draw(st.text(max_size=8))] = value
            else:
                model[last] = data.draw(VALUES)

        rewrite(path, put)
        self.assert_refused_or_an_estimator(path)


class TestCards:
    def test_front_matter_and_sections(self, net):
        card = model_card(
            net, name="x | y", training_data="Simulated scenes.", scores={"N / cPSNR": 0.9}
        )
        front, body = card.removeprefix("---\n").split("---\n", maxsplit=1)
        fields = dict(line.split(": ", 1) for line in front.splitlines())
        assert json.loads(fields["license"]) == "bsd-3-clause"
        assert {"super-resolution", "fsrcnn"} <= set(json.loads(fields["tags"]))
        assert json.loads(fields["metrics"]) == ["N / cPSNR"]
        assert body.startswith("# x | y\n")
        assert "| N / cPSNR | 0.9000 |" in body
        assert f"scale 3, {sum(p.numel() for p in net.module_.parameters()):,} parameters" in body
        assert "Simulated scenes." in body and "load_model" in body and "Limitations" in body

    def test_of_what_has_no_net(self):
        model = PerBand(BicubicBaseline()).fit(in_bands())
        assert "PerBand(estimator=BicubicBaseline())" in model_card(model, name="baseline")
