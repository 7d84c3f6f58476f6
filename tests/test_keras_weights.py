"""The study's nets: sizes, outputs, and weights from Keras files."""

import pickle
import sys

import h5py
import numpy as np
import pytest
import torch
from _helpers import (
    QUICK,
    bicubic,
    clearest_frames,
    composed,
    small_scene,
    small_scenes,
    weights_of,
)
from _keras_model import MODELS, Model, random_weights
from sklearn.base import clone
from sklearn.pipeline import Pipeline

import probav_estimators
from probav_estimators import (
    SRCNN,
    SRVGG16,
    BicubicUpscaler,
    ClearanceSelector,
    InputComposer,
    SRCNNEx,
    load_model,
    save_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")

every_model = pytest.mark.parametrize("name", MODELS)


def kind_and_params(name):
    kind, *finetuned = name.split()
    return getattr(probav_estimators, kind), {"finetuned": True} if finetuned else {}


def write_keras(path, weights, *, inside="model_weights"):
    """Write a file as Keras 2.2 does: a whole model, or (inside=None) weights alone."""
    with h5py.File(path, "w") as file:
        root = file if inside is None else file.create_group(inside)
        layers = ["inputs", *dict.fromkeys(name.split("/")[0] for name in weights)]
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        for top in {file, root}:
            top.attrs["backend"], top.attrs["keras_version"] = b"tensorflow", b"2.2.4"
        if inside is not None:
            file.attrs["model_config"] = b'{"class_name": "Model", "config": {"layers": ["!"]}}'
            file.create_group("optimizer_weights").create_dataset("iterations:0", data=7)
        for layer in layers:
            group = root.create_group(layer)
            names = [f"{name}:0" for name in weights if name.startswith(f"{layer}/")]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                group.create_dataset(name, data=weights[name.removesuffix(":0")])
    return path


def weights_for(name, n_in=18, n_out=2, seed=0):
    shapes, _ = MODELS[name]
    return random_weights(shapes(n_in, n_out), seed)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Files of all models, and their weights."""
    folder = tmp_path_factory.mktemp("keras")
    found = {}
    for name in MODELS:
        weights = weights_for(name)
        found[name] = write_keras(folder / f"{name}.hdf5", weights), weights
    return found


@pytest.fixture
def vgg_file(published):
    return published["SRVGG16"][0]


class TestSizes:
    @every_model
    @pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (18, 2)])
    def test_parameters_are_as_many_as_in_the_keras_model(self, name, n_in, n_out):
        kind, params = kind_and_params(name)
        shapes, _ = MODELS[name]
        expected = sum(int(np.prod(shape)) for shape in shapes(n_in, n_out).values())
        with torch.device("meta"):
            layers = kind(**kind.keras.params, **params).build_layers(n_in, n_out, 3)
        state = layers.state_dict().items()
        # Only torch counts the batches.
        found = sum(x.numel() for key, x in state if not key.endswith("num_batches_tracked"))
        assert found == expected

    @pytest.mark.parametrize(
        ("name", "n_in", "n_out", "size"),
        [
            ("SRCNNv2", 1, 2, 258_850),
            ("SRCNNv3", 1, 2, 171_267),
            ("SRCNNv3", 1, 1, 170_433),
            ("FSRCNNv2 finetuned", 1, 2, 271_718),
            ("BottleneckSRResNet", 9, 1, 454_209),
            ("FSRCNNv2", 9, 2, 22_102),
            ("FSRCNNv2", 18, 2, 34_702),
            ("SRVGG16", 18, 2, 492_706),
        ],
    )
    def test_of_the_study(self, name, n_in, n_out, size):
        shapes, _ = MODELS[name]
        assert sum(int(np.prod(shape)) for shape in shapes(n_in, n_out).values()) == size

    @pytest.mark.parametrize("name", ["SRCNNv2", "SRCNNv3", "FSRCNNv2", "BottleneckSRResNet"])
    def test_stated_in_the_documentation(self, name):
        shapes, _ = MODELS[name if name != "FSRCNNv2" else "FSRCNNv2 finetuned"]
        n_in, n_out = {"SRCNNv3": (1, 2), "BottleneckSRResNet": (9, 1)}.get(name, (18, 2))
        size = sum(int(np.prod(shape)) for shape in shapes(n_in, n_out).values())
        text = " ".join(getattr(probav_estimators, name).__doc__.split())
        assert f"{size:,} parameters" in text


def net_of(name, path, **params):
    kind, finetuned = kind_and_params(name)
    return kind.from_published(path, verbose=0, device="cpu", **finetuned, **params)


class TestWhatIsComputed:
    @every_model
    def test_outputs_are_those_of_the_keras_model(self, name, published):
        path, weights = published[name]
        net = net_of(name, path)
        inputs = np.random.default_rng(1).random((7, 6, 18))
        _, compute = MODELS[name]
        expected = compute(Model(weights), inputs).transpose(2, 0, 1)
        with torch.no_grad():
            tensor = torch.from_numpy(inputs.transpose(2, 0, 1)[None].astype(np.float32))
            found = net.module_.eval()(tensor)[0].numpy()
        assert found.shape == expected.shape
        assert expected[:2].std() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", ["SRCNNv3", "FSRCNN"])
    def test_files_without_clearance(self, name, tmp_path):
        weights = weights_for(name, n_in=3, n_out=1)
        net = net_of(name, write_keras(tmp_path / "w.h5", weights, inside=None))
        assert (net.predict_clearance, net.n_channels_in_, net.n_frames_in_) == (False, 3, 3)
        inputs = np.random.default_rng(1).random((5, 4, 3))
        _, compute = MODELS[name]
        with torch.no_grad():
            tensor = torch.from_numpy(inputs.transpose(2, 0, 1)[None].astype(np.float32))
            found = net.module_.eval()(tensor)[0].numpy()
        expected = compute(Model(weights), inputs).transpose(2, 0, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def study_pipeline(net, k=9):
    return Pipeline(
        [
            ("select", ClearanceSelector(k=k)),
            ("compose", InputComposer("concat")),
            ("upscale", BicubicUpscaler(3)),
            ("sr", net),
        ]
    )


class TestPublishedWeights:
    def test_a_pipeline_predicts_at_once(self, published):
        path, weights = published["SRVGG16"]
        scene = small_scene(3, shape=(6, 5), n_frames=10)
        pipe = study_pipeline(SRVGG16.from_published(path))
        (found,) = pipe.predict([scene])
        channels = np.concatenate(clearest_frames(scene, 9)).astype(np.float32)
        _, compute = MODELS["SRVGG16"]
        expected = compute(Model(weights), bicubic(channels).transpose(1, 2, 0))[..., 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        net = pipe["sr"]
        assert (net.residual_, net.scale_, net.n_frames_in_) == (False, 3, 9)

    def test_fit_and_clones_go_on_from_them_when_the_file_is_gone(self, published, tmp_path):
        path = write_keras(tmp_path / "w.hdf5", weights_for("SRCNN", n_in=6))
        net = SRCNN.from_published(path, lr=1e-9, **QUICK)
        before = weights_of(net).clone()
        path.unlink()
        scenes = composed(small_scenes(2), mode="concat")
        for each in (clone(net), net):
            torch.testing.assert_close(weights_of(each.fit(scenes)), before, atol=1e-5, rtol=0)
            assert each.starts_with_weights_

    def test_pickles_and_model_files_predict_the_same(self, published, tmp_path):
        scenes = composed(small_scenes(2), mode="concat", k=9, scale=None)
        net = net_of("SRCNNv3", published["SRCNNv3"][0])
        save_model(net, tmp_path / "model.safetensors")
        for copy in (pickle.loads(pickle.dumps(net)), load_model(tmp_path / "model.safetensors")):
            np.testing.assert_array_equal(copy.predict(scenes), net.predict(scenes))

    def test_parameters_of_the_file_are_given(self, tmp_path):
        weights = weights_for("SRCNNEx", n_in=3)
        path = write_keras(tmp_path / "w.hdf5", weights)
        assert SRCNN.from_published(path, kernel_sizes=(9, 5, 5)).n_channels_in_ == 3
        with pytest.raises(ValueError, match=r"mapping/kernel of shape \(5, 5, 64, 32\) instead"):
            SRCNN.from_published(path)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"residual": True}, "not a residual: set residual=False"),
            ({"predict_clearance": False}, r"a net with clearance: set predict_clearance=True"),
            ({"scale": 1}, "'scale' parameter of SRVGG16"),
            ({"depth_multiplier": 2}, r"conv1/kernel of shape \(9, 9, 18, 64\) instead of"),
        ],
    )
    def test_parameters_that_do_not_fit_are_named(self, params, message, vgg_file):
        with pytest.raises(ValueError, match=message):
            SRVGG16.from_published(vgg_file, **params)

    def test_scenes_that_do_not_fit_are_named(self, vgg_file):
        net = SRVGG16.from_published(vgg_file, **QUICK)
        scenes = composed(small_scenes(1), k=4, mode="concat")
        with pytest.raises(ValueError, match=r"18 input channels, and the scenes have 8"):
            clone(net).fit(scenes)
        with pytest.raises(ValueError, match="SRVGG16 takes 18 channels and got scene"):
            net.predict(scenes)


class TestBadFiles:
    def refuses(self, path, message, kind=SRVGG16):
        with pytest.raises(ValueError, match=message) as caught:
            kind.from_published(path)
        assert str(path) in str(caught.value)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.hdf5 does not exist: SRVGG16\.from"):
            SRVGG16.from_published(tmp_path / "nowhere.hdf5")

    def test_without_h5py(self, vgg_file, monkeypatch):
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(ImportError, match=r'pip install "probav_estimators\[keras\]"'):
            SRVGG16.from_published(vgg_file)

    def test_a_pointer_of_git_lfs(self, tmp_path):
        path = tmp_path / "w.hdf5"
        path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5959536\n", "utf-8"
        )
        self.refuses(path, "a pointer of Git LFS")

    @pytest.mark.parametrize("n_bytes", [0, 100, 1000])
    def test_a_truncated_file(self, n_bytes, vgg_file, tmp_path):
        path = tmp_path / "w.hdf5"
        path.write_bytes(vgg_file.read_bytes()[:n_bytes])
        self.refuses(path, "may be truncated")

    def test_a_file_of_another_model(self, published):
        self.refuses(published["SRCNNEx"][0], "has no block1_conv1/kernel")
        self.refuses(published["SRCNN"][0], "mapping/kernel of shape", SRCNNEx)
        self.refuses(published["SRCNNv2"][0], "has a layer 'conv2', which that model", SRCNNEx)

    def test_values_that_are_not_finite(self, tmp_path):
        weights = weights_for("SRCNN")
        weights["mapping/bias"][4] = np.nan
        path = write_keras(tmp_path / "w.hdf5", weights)
        self.refuses(path, "mapping/bias holds NaN or infinity", SRCNN)

    def damaged(self, tmp_path, change):
        path = write_keras(tmp_path / "w.hdf5", weights_for("SRCNN"))
        with h5py.File(path, "a") as file:
            change(file["model_weights/mapping/mapping"])
        return path

    @pytest.mark.parametrize(
        "link",
        [
            lambda other: h5py.ExternalLink(other, "/model_weights/mapping/mapping/kernel:0"),
            lambda other: h5py.SoftLink("/model_weights/conv1/conv1/bias:0"),
        ],
        ids=["external", "soft"],
    )
    def test_links_are_not_followed(self, link, tmp_path):
        other = write_keras(tmp_path / "other.hdf5", weights_for("SRCNN"))

        def change(group):
            del group["kernel:0"]
            group["kernel:0"] = link(str(other))

        self.refuses(self.damaged(tmp_path, change), "has mapping/kernel not as an array", SRCNN)

    def test_values_of_other_files_are_not_read(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(64 * 32 * 4))

        def change(group):
            del group["kernel:0"]
            stored = [(str(secret), 0, 64 * 32 * 4)]
            group.create_dataset("kernel:0", (1, 1, 64, 32), "f4", external=stored)

        self.refuses(self.damaged(tmp_path, change), "in the file itself", SRCNN)

    def test_sizes_are_compared_before_values_are_read(self, tmp_path):
        def change(group):
            del group["kernel:0"]
            # Unwritten values take no space in the file.
            group.create_dataset("kernel:0", (10**6, 10**6, 64, 32), "f4", chunks=(1, 1, 1, 1))

        self.refuses(self.damaged(tmp_path, change), "does not hold Keras weights", SRCNN)
