"""RAMS and PIUNet: sizes, use of frames, registration, uncertainty, and the authors' weights."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from _helpers import quick_net, small_scene, small_scenes
from scipy.ndimage import shift as move
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from probav_estimators import (
    RAMS,
    FrameRegistrar,
    PIUNet,
    Scene,
    load_model,
    make_scenes,
    save_model,
)
from probav_estimators.losses import laplacian_loss

pytestmark = pytest.mark.usefixtures("one_thread")

each_network = pytest.mark.parametrize("kind", [RAMS, PIUNet], ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def few_scenes():
    return small_scenes(4, n_frames=5, clouds=False)


@pytest.fixture(scope="module")
def fitted(few_scenes):
    return {kind: quick_net(kind).fit(few_scenes) for kind in (RAMS, PIUNet)}


@pytest.fixture(scope="module")
def moved():
    """One frame, and the same shifted by 2 LR pixels down and 1 to the left."""
    (scene,) = make_scenes(1, size=(40, 32), n_frames=3, random_state=1)
    lr = np.stack([scene.lr[0], move(scene.lr[0], (2, -1), order=0, mode="nearest")])
    return Scene(lr, np.ones(lr.shape, bool), name="moved")


@pytest.fixture(scope="module")
def weighty(fitted):
    """Convolution of RAMS whose filter norms differ from the gains."""
    layers = fitted[RAMS].module_.modules()
    ours = deepcopy(next(layer for layer in layers if isinstance(layer, nn.Conv3d)))
    with torch.no_grad():
        ours.gain.mul_(torch.linspace(0.5, 2, len(ours.weight)).view_as(ours.gain))
    return ours


@pytest.fixture(scope="module")
def trained():
    params = {"max_epochs": 15, "lr": 1e-2, "batch_size": 4, "n_frames": 5}
    return quick_net(PIUNet, **params).fit(small_scenes(8, n_frames=5))


def outputs_of(net, frames):
    """Output (c, H, W) of the network for the frames (t, h, w) of one scene."""
    frames = torch.as_tensor(np.asarray(frames, np.float32))[None]
    with torch.no_grad():
        return net.module_.eval()(frames, torch.ones(frames.shape[:2]))[0].numpy()


def random_frames(n_frames=9, *, size=(9, 12), seed=0):
    return 0.25 + 0.04 * np.random.default_rng(seed).standard_normal((n_frames, *size))


def clouded(scene, parts):
    """Return the scene with the given fraction of each frame clouded."""
    qm = np.ones(scene.lr.shape, bool)
    for map_, part in zip(qm, parts, strict=True):
        map_.ravel()[: round(part * map_.size)] = False
    return Scene(scene.lr, qm, scene.hr, scene.sm, name="clouded")


class TestSizes:
    def test_rams_takes_odd_numbers_of_frames(self, few_scenes):
        net = quick_net(RAMS, n_frames=5).fit(few_scenes)
        assert len(net.module_.layers.reductions) == 1
        assert net.predict(few_scenes).shape == (4, 48, 48)
        with pytest.raises(ValueError, match="n_frames=4 is even, and RAMS needs an odd number"):
            quick_net(RAMS, n_frames=4).fit(few_scenes)


class TestFrames:
    @each_network
    def test_fewer_frames_are_repeated_in_turn(self, kind, fitted):
        choice = fitted[kind].make_reader().choose(small_scene(0, n_frames=2, clouds=False))
        assert choice.numbers.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]

    @each_network
    def test_clouded_frames_do_not_take_part(self, kind, fitted):
        reader = fitted[kind].make_reader()
        scene = small_scene(0, n_frames=4, clouds=False)
        chosen = reader.choose(clouded(scene, [0.2, 0.1, 0.16, 0])).numbers
        assert chosen.tolist() == [3, 1, 3, 1, 3, 1, 3, 1, 3]
        # The clearest frames, if none is clear enough.
        chosen = reader.choose(clouded(scene, [0.9, 0.5, 0.6, 0.5])).numbers
        assert chosen.tolist() == [1, 3, 1, 3, 1, 3, 1, 3, 1]
        chosen = reader.choose(clouded(scene, [1, 1, 1, 1])).numbers
        assert set(chosen.tolist()) == {0, 1, 2, 3}

    @each_network
    def test_scenes_of_a_batch_may_differ_in_their_frames(self, kind, fitted):
        scenes = [small_scene(0, n_frames=1), small_scene(1, n_frames=11)]
        dataset = fitted[kind].make_dataset(scenes)
        images, _ = fitted[kind].collate([dataset[0], dataset[1]])
        assert images["frames"].shape == (2, 9, 16, 16)
        assert (images["present"] == 1).all()
        with torch.no_grad():
            together = fitted[kind].module_.eval()(**images)[:, 0].numpy()
        for image, expected in zip(together, fitted[kind].predict(scenes), strict=True):
            np.testing.assert_allclose(image.clip(0, 1), expected, rtol=0, atol=1e-6)

    def test_order_counts_for_rams(self, fitted):
        frames = random_frames()
        change = outputs_of(fitted[RAMS], frames[::-1]) - outputs_of(fitted[RAMS], frames)
        assert np.abs(change).max() > 1e-4

    def test_order_does_not_count_for_piunet(self, fitted):
        frames = random_frames()
        expected = outputs_of(fitted[PIUNet], frames)
        for seed in range(3):
            shuffled = np.random.default_rng(seed).permutation(frames)
            np.testing.assert_allclose(outputs_of(fitted[PIUNet], shuffled), expected, atol=2e-6)


class TestRegistration:
    def test_rams_sees_frames_moved_by_whole_pixels(self, fitted, moved):
        reader = fitted[RAMS].make_reader()
        choice = reader.choose(moved)
        assert choice.shifts[:3].tolist() == [[0, 0], [2, -1], [0, 0]]
        frames = reader.read(moved, choice)["frames"].numpy()
        np.testing.assert_array_equal(frames[1, :-2, 1:], moved.lr[0][:-2, 1:])
        np.testing.assert_array_equal(frames[0], frames[2])

    def test_piunet_sees_frames_where_they_are(self, fitted, moved):
        assert fitted[PIUNet].make_reader().choose(moved).shifts is None

    @each_network
    def test_shifts_of_a_registrar_are_used(self, kind, fitted, moved):
        reader = fitted[kind].make_reader()
        (known,) = FrameRegistrar(apply=False).transform([moved])
        choice = reader.choose(known)
        np.testing.assert_array_equal(choice.shifts, known.shifts[choice.numbers])
        (aligned,) = FrameRegistrar(apply=True).transform([moved])
        assert reader.choose(aligned).shifts is None


class TestLayers:
    def test_normed_convolutions_are_torchs(self, weighty):
        n_out, n_in, *size = weighty.weight.shape
        theirs = weight_norm(nn.Conv3d(n_in, n_out, size, padding=weighty.padding))
        with torch.no_grad():
            theirs.parametrizations.weight.original0.copy_(weighty.gain.view(n_out, 1, 1, 1, 1))
            theirs.parametrizations.weight.original1.copy_(weighty.weight)
            theirs.bias.copy_(weighty.bias)
        values = torch.randn(2, n_in, 4, 6, 5)
        torch.testing.assert_close(weighty(values), theirs(values), rtol=0, atol=1e-5)

    def test_attention_is_torchs(self, few_scenes):
        layers = quick_net(PIUNet, n_heads=3).fit(few_scenes[:1]).module_.modules()
        ours = next(layer for layer in layers if hasattr(layer, "projection"))
        theirs = nn.MultiheadAttention(6, 3)
        with torch.no_grad():
            theirs.in_proj_weight.copy_(ours.projection.weight)
            theirs.in_proj_bias.copy_(ours.projection.bias)
            theirs.out_proj.weight.copy_(ours.merging.weight)
            theirs.out_proj.bias.copy_(ours.merging.bias)
        features = torch.randn(2, 4, 6, 3, 5)
        words = features.permute(1, 0, 3, 4, 2).reshape(4, 30, 6)
        expected = theirs(words, words, words)[0].reshape(4, 2, 3, 5, 6).permute(1, 0, 4, 2, 3)
        torch.testing.assert_close(ours(features), expected, rtol=0, atol=1e-5)

    @each_network
    def test_tiles_fit_nearly(self, kind, fitted):
        # Global means of the network differ between a tile with its halo and the image.
        scenes = make_scenes(1, size=(190, 16), n_frames=3, random_state=3)
        net = quick_net(kind, tile_size=None).fit(scenes)
        whole = net.predict(scenes)
        tiled = net.set_params(tile_size=40).predict(scenes)
        assert 0 < np.abs(tiled - whole).max() < 0.1 * whole.std()


class TestUncertainty:
    def test_deviations_are_as_large_as_errors(self, trained):
        scenes = small_scenes(4, first_seed=50, n_frames=5, clouds=False)
        images, deviations = trained.predict(scenes, return_std=True)
        # These scenes are registered to their HR image.
        errors = np.stack([scene.hr for scene in scenes]) - images
        errors -= errors.mean(axis=(1, 2), keepdims=True)
        assert 0.6 < np.abs(errors / deviations).mean() / np.sqrt(0.5) < 1.6

    def test_likelihood_is_the_laplace_distributions(self):
        rng = np.random.default_rng(0)
        hr, sm = rng.random((2, 12, 10)), rng.random((2, 12, 10)) > 0.3
        sr, deviation = rng.random((2, 12, 10)), 0.1 + rng.random((2, 12, 10))
        total = 0
        for error, spread, clear in zip(hr - sr, deviation, sm, strict=True):
            error = error - error[clear].mean()
            density = np.exp(-np.sqrt(2) * np.abs(error) / spread) / (np.sqrt(2) * spread)
            total -= np.log(np.sqrt(2) * density)[clear].sum()
        prediction, truth = torch.tensor(np.stack([[sr, deviation], [hr, sm]])).transpose(1, 2)
        prediction.requires_grad_()
        loss = laplacian_loss(prediction, truth, border=0)
        assert loss.item() == pytest.approx(total / sm.sum())
        loss.backward()
        assert (prediction.grad[:, 0] == 0).all()
        assert (prediction.grad[:, 1][torch.tensor(sm)] != 0).all()


def _names(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name):
    statistics = {f"{name}.running_mean": (42,), f"{name}.running_var": (42,)}
    return {**_names(name, 42), **statistics, f"{name}.num_batches_tracked": ()}


def _unit(owner, convolution, norm, attention, attended_norm, n_in=42):
    return {
        **_names(f"{owner}{convolution}", 42, n_in, 1, 3, 3),
        **_norm(f"{owner}{norm}"),
        f"{owner}{attention}.in_proj_weight": (126, 42),
        f"{owner}{attention}.in_proj_bias": (126,),
        **_names(f"{owner}{attention}.out_proj", 42, 42),
        **_norm(f"{owner}{attended_norm}"),
    }


# Names and shapes in the authors' checkpoints.
PUBLISHED_SHAPES = {
    **_unit("", "conv_in", "norm00", "tran_in", "norm0", n_in=1),
    **{
        name: shape
        for n in range(16)
        for name, shape in {
            **_unit(f"res.{n}.", "conv0", "norm00", "tran0", "norm0"),
            **_unit(f"res.{n}.", "conv1", "norm11", "tran1", "norm1"),
            **_names(f"res.{n}.lin0", 5, 42),
            **_names(f"res.{n}.lin1", 42, 5),
        }.items()
    },
    **_unit("", "conv_mid", "norm11", "tran_mid", "norm1"),
    **_unit("regnet.", "conv0", "norm00", "tran0", "norm0"),
    **_names("regnet.conv1", 25, 42, 1),
    **_names("conv_d2s_mu", 9, 42, 3, 3),
    **_names("conv_d2s_sigma", 42, 42, 3, 3),
    **_norm("norm_sigma"),
    **_names("conv_out_sigma", 1, 42, 1, 1),
}


def published_state():
    generator = torch.Generator().manual_seed(0)
    state = {}
    for number, (name, shape) in enumerate(PUBLISHED_SHAPES.items()):
        state[name] = 0.1 * torch.rand(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1000 + number)
    return state


@pytest.fixture(scope="module")
def published_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("piunet") / "nir_model_checkpoint.pt"
    torch.save(published_state(), path)
    return path


class TestPublishedWeights:
    def test_every_weight_has_its_place(self, published_path):
        net = PIUNet.from_published(published_path, device="cpu", verbose=0)
        found, state = net.module_.state_dict(), published_state()
        assert len(found) == len(state)
        # Random values are distinct, so the first value identifies the weight.
        firsts = {x.flatten()[0].item(): x for x in state.values()}
        for name, value in found.items():
            torch.testing.assert_close(value, firsts[value.flatten()[0].item()], rtol=0, atol=0)
            assert name.rpartition(".")[2].rpartition("_")[2] in {
                *("weight", "bias", "mean", "var", "tracked")
            }

    def test_frames_are_scaled_as_the_authors_do(self, published_path, tmp_path):
        net = PIUNet.from_published(published_path, device="cpu", verbose=0)
        assert (net.scale_, net.n_frames_, net.band_) == (3, 9, "NIR")
        assert (net.level_ * 65535, net.std_ * 65535) == pytest.approx((7433.6436, 2353.0723))
        scenes = small_scenes(1, shape=(10, 12), n_frames=3)
        expected = net.predict(scenes, return_std=True)
        save_model(net, tmp_path / "model.safetensors")
        for copy in (pickle.loads(pickle.dumps(net)), load_model(tmp_path / "model.safetensors")):
            np.testing.assert_array_equal(copy.predict(scenes, return_std=True), expected)

    def test_rams_has_none_that_can_be_read(self, tmp_path):
        with pytest.raises(ValueError, match="authors of RAMS published no weights of PyTorch"):
            RAMS.from_published(tmp_path / "ckpt-71.index")
