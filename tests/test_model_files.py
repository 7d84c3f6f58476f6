"""Files of models: saved models load unchanged, and all other content is refused."""

import copy
import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from _helpers import REGRESSORS, small_scenes, weights_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EarlyStopping, EpochScoring
from skorch.helper import predefined_split

from probav_estimators import (
    FSRCNN,
    SRCNN,
    SRVGG16,
    AdversarialLoss,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    CPSNRLoss,
    FrameRegistrar,
    FusionNet,
    HighResNet,
    InputComposer,
    PerBand,
    ReprojectionLoss,
    Scene,
    SceneLoss,
    SRResNet,
    cpsnr_scorer,
)
from probav_estimators.persistence import load_model, model_card, save_model
from probav_estimators.state_file import read_state, write_state

# Networks that are saved with other parameters than the default.
WITH_OPTIONS = {SRCNN, SRVGG16, FSRCNN, SRResNet}

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
            pipeline(SRVGG16(**QUICK), frames="single"),
            pipeline(fsrcnn(activation="elu", deconv_kernel_size=5)),
            pipeline(SRResNet(**QUICK, n_blocks=1, n_features=4, residual=True), mode="combine"),
            make_pipeline(FrameRegistrar(), HighResNet(**QUICK, n_blocks=1, n_features=4)),
            *(pipeline(kind(**QUICK)) for kind in REGRESSORS if kind not in WITH_OPTIONS),
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

    def test_frozen_estimators_and_the_best_of_a_search(self, path, net):
        search = GridSearchCV(
            pipeline(fsrcnn()), {"sr__lr": [1e-3]}, cv=2, scoring=cpsnr_scorer
        ).fit(SCENES)
        assert_same_predictions(through_file(search.best_estimator_, path), search)
        frozen = FrozenEstimator(net)
        assert_same_predictions(through_file(frozen, path), frozen, composed())

    def test_the_net_that_a_training_began_with_is_left_out(self, path, net):
        tuned = fsrcnn(residual=True, weights=FrozenEstimator(net), lr=1e-5).fit(composed())
        with pytest.warns(UserWarning, match="does not hold weights: "):
            save_model(tuned, path)
        assert_same_predictions(load_model(path), tuned, composed())

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

    def test_the_device_can_be_chosen(self, net, path, device):
        save_model(net, path)
        loaded = load_model(path, device=device)
        assert {p.device.type for p in loaded.module_.parameters()} == {device}


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
    {"callbacks__progress_bar": EpochScoring(None)},
    {"criterion": HuberSceneLoss, "criterion__delta": 0.2},
    {"optimizer": SignDescent, "optimizer__momentum": 0.5},
    {"train_split": predefined_split(composed())},
    {"random_state": np.random.RandomState(0)},
    {"iterator_train": Loader, "iterator_train__timeout": 0},
    {"iterator_valid__num_workers": 0},
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

    @pytest.mark.parametrize("params", OF_TRAINING[:1], ids=lambda params: " ".join(params))
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


# What a file must not set, by its names in the file.
PLACES = [
    {"callbacks__checkpoint__folder": "elsewhere"},
    {"callbacks__print_log__sink": {"class": "torch.optim.SGD"}},
    {"iterator_valid__num_workers": 4},
    {"resume": "elsewhere"},
    {"weights": "elsewhere"},
    {"vgg_weights": "elsewhere"},
    {"device": "cuda"},
    {"n_jobs": 8},
    {"module": {"class": "torch.nn.L1Loss"}},
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
        ("kind", "name"),
        [
            ("class", "os.system"),
            ("loss", "../../evil"),
            ("estimator", "SceneNet"),
            ("class", None),
            ("estimator", ["FSRCNN"]),
        ],
    )
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
            {"params": {"activation": "__import__('os').system('x')"}},
            {"params": {"lr": {"float": "nan"}}},
            {"params": {"resume": "/tmp/elsewhere"}},
            {"params": {"__class__": "x"}},
            {"params": {"callbacks": ["os.system"]}},
            {"fitted": {"scale_": 10**400}},
            {"fitted": {"scale_": -3}},
            {"fitted": {"scale_": "3"}},
            {"fitted": {"n_channels_in_": 2**62}},
            {"fitted": {"residual_": False}},
            {"fitted": {"std_": None}},
            {"fitted": {"module_": 3}},
            {"fitted": {"__class__": 3}},
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
            {"n_mapping": 10**12},
            {
                "criterion": [{"loss": "probav_estimators.losses.AdversarialLoss", "params": {}}]
                * 99
            },
        ],
        ids=["many", "losses"],
    )
    def test_parts_that_have_no_tensors_take_no_memory(self, path, content, params):
        resource = pytest.importorskip("resource")
        path.write_bytes(content)
        rewrite(path, lambda model: model["params"].update(params))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.refuses(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 40_000  # KiB

    def test_tensors_that_are_missing_too_many_or_named_twice(self, path, content):
        path.write_bytes(content)
        rewrite(path, lambda model: None, more=torch.ones(3))
        self.refuses(path, "the tensor more belongs to nothing")
        path.write_bytes(content)
        rewrite(path, lambda model: model["module"].popitem() and None)
        self.refuses(path, "do not fit the net")
        path.write_bytes(content)
        rewrite(path, lambda model: model["params"].update(weights=copy.deepcopy(model)))
        self.refuses(path)


FUZZ = settings(
    max_examples=60,
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
