"""Published multi-image networks: sizes, use of frames, training, and the authors' weights."""

import os
import pickle

import numpy as np
import pytest
import torch
from _helpers import FRAME_NETS, QUICK, quick_net, small_scene, small_scenes
from scipy.ndimage import shift as move
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    MISRGRU,
    RAMS,
    TRMISR,
    ClearanceSelector,
    FrameRegistrar,
    HighResNet,
    MSELoss,
    PIUNet,
    Scene,
    load_model,
    make_scenes,
    save_model,
)
from probav_estimators.training import FrameNet, collate_frames

pytestmark = pytest.mark.usefixtures("one_thread")

# Nets that mask absent frames; RAMS and PIUNet have test_rams_piunet.py for the rest.
MASKING = [HighResNet, MISRGRU, TRMISR]


def _convolution(n_in, n_out, taps):
    return n_in * n_out * taps + n_out


def _rams_block(n_features, taps):
    """Number of weights of two convolutions and two for attention, with a gain per filter."""
    n_squeezed = max(n_features // 8, 1)
    return (
        2 * (_convolution(n_features, n_features, taps) + n_features)
        + (_convolution(n_features, n_squeezed, 1) + n_squeezed)
        + (_convolution(n_squeezed, n_features, 1) + n_features)
    )


# Counted by hand from the layers in the paper: weights, biases and gains of each convolution.
SIZE_OF_RAMS = (
    (_convolution(1, 32, 27) + 32)
    + 15 * _rams_block(32, 27)
    + (1 + 3) * (_convolution(32, 32, 27) + 32)
    + (_convolution(32, 9, 27) + 9)
    + _rams_block(9, 9)
    + (_convolution(9, 9, 9) + 9)
)

every_network = pytest.mark.parametrize("kind", FRAME_NETS, ids=lambda kind: kind.__name__)
masking_network = pytest.mark.parametrize("kind", MASKING, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def few_scenes():
    return small_scenes(4, n_frames=5)


@pytest.fixture(scope="module")
def fitted(few_scenes):
    return {kind: quick_net(kind).fit(few_scenes) for kind in FRAME_NETS}


def ready(kind, *, scale=3, **params):
    """Network with random weights, not fitted."""
    net = quick_net(kind, **params)
    net.learn_layout(small_scenes(1, scale=scale))
    return net.initialize()


def image_of(net, frames, present=None):
    """Output of the layers for the frames (t, h, w) of one scene."""
    frames = torch.as_tensor(np.asarray(frames, np.float32))[None]
    present = torch.ones(frames.shape[:2]) if present is None else torch.tensor([present]).float()
    with torch.no_grad():
        return net.module_.eval()(frames, present)[0, 0].numpy()


def random_frames(n_frames, *, size=(9, 12), seed=0):
    return 0.2 + 0.03 * np.random.default_rng(seed).standard_normal((n_frames, *size))


class TestSizes:
    @every_network
    def test_parameters_are_as_many_as_documented(self, kind):
        """All but RAMS are compared with the files of their authors, too."""
        net = kind(scale=3, **QUICK)
        net.learn_layout(small_scenes(1))
        count = sum(parameter.numel() for parameter in net.build_module().parameters())
        assert f"{count:,} parameters" in kind.__doc__
        assert kind is not RAMS or count == SIZE_OF_RAMS

    @every_network
    def test_images_have_the_size_of_the_truth(self, kind):
        scenes = [small_scene(0, shape=(10, 14), scale=2), small_scene(1, scale=2)]
        net = quick_net(kind, criterion__border=1).fit(scenes)
        assert net.scale_ == 2
        assert [image.shape for image in net.predict(scenes)] == [s.hr.shape for s in scenes]

    def test_scale_can_be_given(self, few_scenes):
        with pytest.raises(ValueError, match="makes images 2 times as large as the frames"):
            quick_net(TRMISR, scale=2).fit(few_scenes)
        with pytest.raises(ValueError, match="learns the scale from HR images, and scene"):
            quick_net(TRMISR).learn_layout([small_scene(0, truth=False)])

    def test_heads_divide_the_features(self, few_scenes):
        with pytest.raises(ValueError, match="n_heads=3 does not divide n_features=8"):
            quick_net(TRMISR, n_heads=3).fit(few_scenes)


class TestFrames:
    @masking_network
    @pytest.mark.parametrize("n_frames", [1, 8])
    def test_frames_that_are_not_present_change_nothing(self, kind, n_frames):
        net, frames = ready(kind), random_frames(n_frames)
        filled = np.concatenate([frames, random_frames(3, seed=1)])
        present = [1] * n_frames + [0] * 3
        np.testing.assert_allclose(
            image_of(net, filled, present), image_of(net, frames), rtol=0, atol=1e-6
        )

    @masking_network
    def test_scenes_of_a_batch_may_differ_in_their_frames(self, kind):
        net = ready(kind)
        scenes = [small_scene(0, n_frames=2), small_scene(1, n_frames=5)]
        dataset = net.make_dataset(scenes)
        images, _ = collate_frames([dataset[0], dataset[1]])
        assert images["present"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
        with torch.no_grad():
            together = net.module_.eval()(**images)[:, 0].numpy()
        for image, expected in zip(together, net.predict(scenes), strict=True):
            np.testing.assert_allclose(image.clip(0, 1), expected, rtol=0, atol=1e-6)

    def test_order_counts_where_frames_are_fused_one_after_the_other(self):
        net, frames = ready(MISRGRU), random_frames(6)
        assert np.abs(image_of(net, frames[::-1]) - image_of(net, frames)).max() > 1e-5

    def test_order_does_not_count_for_attention(self):
        net, frames = ready(TRMISR), random_frames(7)
        shuffled = frames[[3, 0, 6, 2, 5, 1, 4]]
        np.testing.assert_allclose(image_of(net, shuffled), image_of(net, frames), atol=1e-6)

    def test_pairs_are_the_clearest_with_the_least_clear(self):
        net, frames = ready(HighResNet), random_frames(4)
        # The first round fuses 0 with 3 and 1 with 2, the second round fuses the two results.
        layers = net.module_.layers
        seen = torch.as_tensor((frames - net.level_) / net.std_, dtype=torch.float32)[None]
        reference = seen.sort(dim=1).values[:, 1:2]

        def fuse(one, other):
            return one + layers.fusion(torch.cat([one, other], dim=1))

        with torch.no_grad():
            encoded = [
                layers.encoder(torch.cat([seen[:, i : i + 1], reference], dim=1)) for i in range(4)
            ]
            pair, other = fuse(encoded[0], encoded[3]), fuse(encoded[1], encoded[2])
            expected = net.level_ + net.std_ * layers.decoder(fuse(pair, other))[0, 0].numpy()
        np.testing.assert_allclose(image_of(net, frames), expected, rtol=0, atol=1e-6)

    def test_reference_is_the_median_of_the_first_nine(self):
        net, frames, seen = ready(TRMISR), random_frames(12), []
        encoder = net.module_.layers.encoder
        encoder.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
        image_of(net, frames)
        reference = (np.median(frames[:9], axis=0) - net.level_) / net.std_
        np.testing.assert_allclose(seen[0][4, 1], reference, rtol=0, atol=1e-5)

    @masking_network
    def test_clearest_frames_are_chosen(self, kind, make_scene):
        scene = make_scene(n_frames=6)
        reader = ready(kind, n_frames=4).make_reader()
        clearance = scene.qm.sum(axis=(1, 2))
        expected = sorted(range(6), key=lambda number: (-clearance[number], number))[:4]
        assert reader.choose(scene).numbers.tolist() == expected


class TestRegistration:
    def test_attention_sees_frames_moved_by_whole_pixels(self):
        # The frames must overlap by 99 %, so a shift by one row needs more than 100 rows.
        (scene,) = make_scenes(1, size=(112, 24), n_frames=3, random_state=1)
        lr = np.stack([scene.lr[0], move(scene.lr[0], (1, 0), order=0, mode="nearest")])
        moved = Scene(lr, np.ones(lr.shape, bool), name="moved")
        reader = ready(TRMISR).make_reader()
        choice = reader.choose(moved)
        assert choice.shifts.tolist() == [[0, 0], [1, 0]]
        sample = reader.read(moved, choice)["frames"].numpy()
        np.testing.assert_array_equal(sample[1, :-1], lr[0, :-1])
        # Pixels from outside the frame are 0.
        assert (sample[1, -1] == 0).all()

    @masking_network
    def test_shifts_of_a_registrar_are_used(self, kind, fitted):
        scenes = make_scenes(1, size=32, n_frames=4, random_state=2)
        known, aligned = (
            FrameRegistrar(apply=apply).transform(scenes)[0] for apply in (False, True)
        )
        reader = fitted[kind].make_reader()
        choice = reader.choose(known)
        sample = reader.read(known, choice)["frames"][:, 4:-4, 4:-4]
        np.testing.assert_allclose(sample, aligned.lr[choice.numbers][:, 4:-4, 4:-4], atol=1e-6)
        assert reader.choose(aligned).shifts is None


class TestTiles:
    @pytest.mark.parametrize("kind", [HighResNet, TRMISR], ids=lambda kind: kind.__name__)
    def test_tiles_fit_together(self, kind):
        scenes = make_scenes(1, size=(72, 80), n_frames=3, random_state=3)
        net = ready(kind, tile_size=None)
        whole = net.predict(scenes)
        tiled = net.set_params(tile_size=24).predict(scenes)
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-6)


class TestTraining:
    @every_network
    def test_fit_improves_the_image(self, kind, few_scenes):
        net = quick_net(kind, max_epochs=8, lr=5e-3, patch_size=14, augment=True).fit(few_scenes)
        losses = net.history[:, "train_loss"]
        assert losses[-1] < losses[0]
        assert net.score(few_scenes) > quick_net(kind).fit(few_scenes).score(few_scenes)

    def test_training_forgives_shifts(self, fitted):
        assert {net.criterion_.border for net in fitted.values()} == {3}

    def test_level_and_contrast_are_those_of_the_scenes(self):
        scenes = small_scenes(2, clouds=False)
        net = quick_net(TRMISR).fit(scenes)
        first = np.stack([scene.lr[0] for scene in scenes])
        assert net.level_ == pytest.approx(first.mean(), rel=1e-5)
        assert net.std_ == pytest.approx(first.std(), rel=1e-4)

    @pytest.mark.parametrize("kind", [MISRGRU, PIUNet], ids=lambda kind: kind.__name__)
    def test_training_goes_on_where_it_was_saved(self, kind, few_scenes, tmp_path):
        straight = quick_net(kind, max_epochs=3, patch_size=12).fit(few_scenes)
        torch.rand(1)  # Other draws from the global generator have no effect.
        quick_net(kind, max_epochs=1, patch_size=12, resume=tmp_path).fit(few_scenes)
        resumed = quick_net(kind, max_epochs=3, patch_size=12, resume=tmp_path).fit(few_scenes)
        np.testing.assert_array_equal(resumed.predict(few_scenes), straight.predict(few_scenes))

    @every_network
    def test_validation_and_steps_before_it_with_any_loss(self, kind, few_scenes):
        net = quick_net(kind, train_split=0.5, criterion=MSELoss)
        pipe = make_pipeline(ClearanceSelector(k=4), FrameRegistrar(), net).fit(few_scenes)
        assert np.isfinite(pipe[-1].history[-1, "valid_score"])
        assert pipe.predict(few_scenes).shape == (4, 48, 48)

    @every_network
    def test_half_precision_gives_nearly_the_same(self, kind, few_scenes, fitted):
        half = clone(fitted[kind]).set_params(compute_dtype="bfloat16").fit(few_scenes)
        difference = half.predict(few_scenes) - fitted[kind].predict(few_scenes)
        assert np.abs(difference).max() < 0.02


def _layer(name, *shape):
    """Shapes of a layer's weight and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _slope(name):
    return {f"{name}.weight": (1,)}


def _block(name, width=64):
    convolutions = _layer(f"{name}.0", width, width, 3, 3) | _layer(f"{name}.2", width, width, 3, 3)
    return convolutions | _slope(f"{name}.1") | _slope(f"{name}.3")


def _encoder(name, channels):
    return {
        **_layer(f"{name}.init_layer.0", 64, channels, 3, 3),
        **_slope(f"{name}.init_layer.1"),
        **_block(f"{name}.res_layers.0.block"),
        **_block(f"{name}.res_layers.1.block"),
        **_layer(f"{name}.final.0", 64, 64, 3, 3),
    }


def _attention(name):
    return {
        **_layer(f"{name}.0.fn.norm", 64),
        f"{name}.0.fn.fn.to_qkv.weight": (192, 64),
        **_layer(f"{name}.0.fn.fn.to_out.0", 64, 64),
        **_layer(f"{name}.1.fn.norm", 64),
        **_layer(f"{name}.1.fn.fn.net.0", 128, 64),
        **_layer(f"{name}.1.fn.fn.net.3", 64, 128),
    }


_TRANSPOSED = {
    **_layer("decode.deconv.0", 64, 64, 3, 3),
    **_slope("decode.deconv.1"),
    **_layer("decode.final", 1, 64, 1, 1),
}
# Names and shapes read from the published files.
PUBLISHED_SHAPES = {
    HighResNet: {
        **_encoder("encode", 2),
        **_block("fuse.fuse.0.block", 128),
        **_layer("fuse.fuse.1", 64, 128, 3, 3),
        **_slope("fuse.fuse.2"),
        **_TRANSPOSED,
    },
    MISRGRU: {
        **_encoder("encode.unit1", 1),
        **_encoder("encode.unit2", 128),
        **{
            name: shape
            for number in (0, 1)
            for gate in ("reset_gate", "update_gate", "out_gate")
            for name, shape in _layer(f"fuse.gru_units.{number}.{gate}", 64, 128, 3, 3).items()
        },
        **_TRANSPOSED,
    },
    TRMISR: {
        **_encoder("encode", 2),
        "superres.cls_token": (1, 1, 64),
        **{
            name: shape
            for number in range(6)
            for name, shape in _attention(f"superres.transformer.layers.{number}").items()
        },
        **_layer("decode.final.0", 9, 64, 1, 1),
        **_slope("decode.final.1"),
    },
}


def published_state(kind, *, seed=0, **changes):
    """Random weights with the names and shapes of the authors' file."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: 0.1 * torch.randn(shape, generator=generator)
        for name, shape in PUBLISHED_SHAPES[kind].items()
    }
    return {name: x for name, x in (state | changes).items() if x is not None}


@pytest.fixture
def published_path(tmp_path):
    folder = tmp_path / "images_32_NIR"
    folder.mkdir()
    return folder / "weights.pth"


class TestPublishedWeights:
    @masking_network
    def test_every_weight_has_its_place(self, kind, published_path):
        state = published_state(kind)
        torch.save(state, published_path)
        net = kind.from_published(published_path, device="cpu", verbose=0)
        found = net.module_.state_dict()
        assert len(found) == len(state)
        # Random values are distinct, so the first value identifies the weight.
        firsts = {x.flatten()[0].item(): x for x in state.values()}
        for value in found.values():
            torch.testing.assert_close(value, firsts[value.flatten()[0].item()], rtol=0, atol=0)

    @masking_network
    def test_prediction_copies_and_training(self, kind, published_path, tmp_path):
        scenes = small_scenes(1, shape=(10, 12), n_frames=3)
        torch.save(published_state(kind), published_path)
        net = kind.from_published(published_path, **QUICK)
        assert (net.scale_, net.level_, net.std_, net.published_) == (3, 0, 1, True)
        expected = net.predict(scenes)
        assert expected.shape == (1, 30, 36)
        save_model(net, tmp_path / "model.safetensors")
        published_path.unlink()
        for copy in (pickle.loads(pickle.dumps(net)), load_model(tmp_path / "model.safetensors")):
            np.testing.assert_array_equal(copy.predict(scenes), expected)
        tuned = clone(net).set_params(lr=1e-12).fit(scenes)
        np.testing.assert_allclose(tuned.predict(scenes), expected, rtol=0, atol=1e-4)

    def test_published_settings(self, published_path):
        settings = {}
        for kind in MASKING:
            torch.save(published_state(kind), published_path)
            net = kind.from_published(published_path, verbose=0)
            settings[kind] = (net.n_frames, net.make_reader().stable, net.band_)
        assert settings == {
            HighResNet: (32, False, "NIR"),
            MISRGRU: (16, False, "NIR"),
            TRMISR: (24, True, "NIR"),
        }

    def test_lowest_pixel_of_the_transformers_images_is_0(self, published_path, few_scenes):
        torch.save(published_state(TRMISR), published_path)
        images = TRMISR.from_published(published_path, verbose=0).predict(few_scenes)
        assert (images.min(axis=(1, 2)) == 0).all()
        assert images.max() <= 16383 / 65535

    def test_what_is_missing_is_named(self, published_path):
        kind, name = MISRGRU, min(PUBLISHED_SHAPES[MISRGRU])
        shown = name.removeprefix("encode.")
        for change, message in (
            ({name: None}, f"{shown} is missing"),
            ({name: torch.zeros(7, 7)}, rf"{shown} has shape \(7, 7\)"),
            ({name: published_state(kind)[name] * np.nan}, "holds NaN or infinity"),
            ({"other": torch.zeros(1)}, "has no 'other'"),
        ):
            torch.save(published_state(kind, **change), published_path)
            with pytest.raises(ValueError, match=message):
                kind.from_published(published_path)

    def test_files_of_another_kind(self, published_path):
        kind = HighResNet
        with pytest.raises(FileNotFoundError, match=r"does not exist: \w+\.from_published takes a"):
            kind.from_published(published_path)
        published_path.write_text("version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(ValueError, match="a pointer of Git LFS, or of another kind"):
            kind.from_published(published_path)
        torch.save([1, 2], published_path)
        with pytest.raises(ValueError, match="holds a list that is no state dict"):
            kind.from_published(published_path)

    def test_no_code_is_run(self, published_path, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "run"),)

        torch.save({"weight": Trap()}, published_path)
        with pytest.raises(ValueError, match="cannot be read as a state dict"):
            TRMISR.from_published(published_path)
        assert not (tmp_path / "run").exists()

    def test_a_network_without_published_weights_says_so(self):
        class Unpublished(FrameNet):
            def build_layers(self, scale):
                raise AssertionError

        with pytest.raises(ValueError, match="authors of Unpublished published no weights"):
            Unpublished.from_published("weights.pth")
