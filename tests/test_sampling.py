"""Samples have the pixels of their scenes, and each is drawn once per epoch."""

import numpy as np
import pytest
import torch
from _helpers import bicubic, clearest_frames, composed, small_scene, small_scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from probav_estimators import InputComposer, Scene
from probav_estimators.training import (
    BatchPlan,
    ComposedReader,
    SampleRequest,
    SceneDataset,
    ViewAverager,
)


class Sizes:
    """Dataset stub with samples of the given sizes."""

    def __init__(self, shapes):
        self.shapes = shapes

    def __len__(self):
        return len(self.shapes)

    def shape_of(self, sample):
        return self.shapes[sample]


def dihedral(image):
    """All eight flips and rotations of a stack of images."""
    turned = [np.rot90(image, turns, axes=(-2, -1)) for turns in range(4)]
    return [*turned, *(x[..., ::-1] for x in turned)]


def places_of(patch, image):
    """Rows and columns at which an image contains a patch."""
    height, width = patch.shape
    windows = np.lib.stride_tricks.sliding_window_view(image, (height, width))
    return [tuple(place) for place in np.argwhere((windows == patch).all(axis=(2, 3)))]


def upscaled_by_hand(scene, k, mode):
    lr, qm = clearest_frames(scene, k)
    channels = {"lr": lr, "combine": lr * qm, "concat": np.concatenate([lr, qm]).astype(np.float32)}
    return bicubic(channels[mode])


def mean_by_hand(lr, qm):
    """Upscaled mean of the clear pixels, or of all where none is clear."""
    weight = qm | ~qm.any(axis=0)
    return bicubic(((lr * weight).sum(axis=0) / weight.sum(axis=0)).astype(np.float32)[None])


def scene_that_knows_its_pixels(shape=(12, 12)):
    """Scene whose single frame has the centre pixel of each 3x3 block of the HR image."""
    rng = np.random.default_rng(5)
    hr = rng.integers(0, 2**14, tuple(3 * length for length in shape), dtype=np.uint16)
    sm = rng.random(hr.shape) < 0.8
    lr = hr[None, 1::3, 1::3]
    return Scene(lr, np.ones(lr.shape, bool), hr, sm, name="imgset0042")


@pytest.mark.parametrize("mode", ["combine", "concat"])
def test_a_whole_sample_is_the_upscaled_composition_with_its_mean_and_truth(mode):
    scene = small_scene(0, shape=(16, 20))
    dataset = SceneDataset(
        composed([scene], k=3, mode=mode), ComposedReader(3, with_mean=True), with_truth=True
    )
    images, target = dataset[0]
    np.testing.assert_allclose(images["inputs"], upscaled_by_hand(scene, 3, mode), atol=1e-6)
    np.testing.assert_allclose(images["mean"], mean_by_hand(*clearest_frames(scene, 3)), atol=1e-6)
    np.testing.assert_array_equal(target["truth"][0], scene.hr)
    np.testing.assert_array_equal(target["truth"][1], scene.sm)
    assert target["scene"] == 0


def test_single_frames_are_samples_of_their_own():
    scenes = small_scenes(2, n_frames=4)
    dataset = SceneDataset(
        composed(scenes, k=None, mode="concat", frames="single"),
        ComposedReader(3, with_mean=True),
        with_truth=True,
    )
    assert len(dataset) == 8
    for sample in range(8):
        number, view = divmod(sample, 4)
        lr, qm = clearest_frames(scenes[number], 4)
        lr, qm = lr[view : view + 1], qm[view : view + 1]
        images, target = dataset[sample]
        channels = np.concatenate([lr, qm]).astype(np.float32)
        np.testing.assert_allclose(images["inputs"], bicubic(channels), atol=1e-6)
        np.testing.assert_allclose(images["mean"], mean_by_hand(lr, qm), atol=1e-6)
        assert target["scene"] == number


def scenes_with_ties():
    """Scenes of 4, 5 and 6 frames, of which 2, 3 and 4 tie for the clearest."""
    scenes = []
    for number in range(3):
        scene = small_scene(number, n_frames=number + 4, clouds=False)
        qm = scene.qm
        qm[:2, :3, :4] = False
        scenes.append(Scene(scene.lr, qm, scene.hr, scene.sm, name=scene.name))
    return scenes


def test_a_training_takes_all_frames_and_a_validation_those_that_tie_for_clearest():
    scenes = scenes_with_ties()
    given = InputComposer(frames="single", average="clearest").transform(scenes)
    options = {"with_truth": True}
    training = SceneDataset(given, ComposedReader(3), training=True, **options)
    validation = SceneDataset(given, ComposedReader(3), **options)
    assert (training.n_views, validation.n_views) == ([4, 5, 6], [2, 3, 4])
    for dataset, first in ((training, 0), (validation, 2)):
        frames = [(n, frame) for n, scene in enumerate(scenes) for frame in scene.lr[first:]]
        assert len(dataset) == len(frames)
        for (images, target), (number, frame) in zip(
            (dataset[sample] for sample in range(len(dataset))), frames, strict=True
        ):
            assert target["scene"] == number
            np.testing.assert_array_equal(images["inputs"][0], frame)


def test_patches_are_cut_at_one_place_from_inputs_mean_and_truth():
    scene = small_scene(0, shape=(11, 13))
    dataset = SceneDataset(
        composed([scene], mode="concat"),
        ComposedReader(3, with_mean=True),
        with_truth=True,
        patch_size=6,
    )
    inputs = upscaled_by_hand(scene, 3, "concat")
    mean = mean_by_hand(*clearest_frames(scene, 3))
    for seed in range(30):
        images, target = dataset[SampleRequest(0, seed)]
        truth = target["truth"].numpy()
        ((row, column),) = places_of(truth[0], scene.hr)
        window = np.s_[..., row : row + 18, column : column + 18]
        assert row % 3 == column % 3 == 0
        np.testing.assert_array_equal(truth[1], scene.sm[window])
        np.testing.assert_allclose(images["inputs"], inputs[window], atol=1e-6)
        np.testing.assert_allclose(images["mean"], mean[window], atol=1e-6)


def test_patches_come_from_everywhere_in_the_scene():
    scene = small_scene(0, shape=(9, 10))
    dataset = SceneDataset(composed([scene]), ComposedReader(3), with_truth=True, patch_size=8)
    truths = (dataset[SampleRequest(0, seed)][1]["truth"][0].numpy() for seed in range(100))
    found = {place for truth in truths for place in places_of(truth, scene.hr)}
    assert found == {(row, column) for row in (0, 3) for column in (0, 3, 6)}


@pytest.mark.parametrize("patch_size", [None, 5])
def test_augmentation_turns_inputs_mean_and_truth_alike(patch_size):
    scenes = InputComposer().transform([scene_that_knows_its_pixels()])
    dataset = SceneDataset(
        scenes,
        ComposedReader(3, with_mean=True),
        with_truth=True,
        patch_size=patch_size,
        augment=True,
    )
    for seed in range(40):
        images, target = dataset[SampleRequest(0, seed)]
        # Flips and rotations keep the centre of each 3x3 block.
        np.testing.assert_array_equal(target["truth"][:1, 1::3, 1::3], images["inputs"])
        np.testing.assert_allclose(images["mean"][:, 1::3, 1::3], images["inputs"], atol=1e-6)


def test_augmentation_is_one_of_eight_flips_and_turns():
    scene = scene_that_knows_its_pixels()
    dataset = SceneDataset(
        InputComposer().transform([scene]), ComposedReader(3), with_truth=True, augment=True
    )
    expected = dihedral(np.stack([scene.hr, scene.sm]))
    drawn = [dataset[SampleRequest(0, seed)][1]["truth"].numpy() for seed in range(100)]
    which = [[np.array_equal(truth, x) for x in expected] for truth in drawn]
    assert all(sum(row) == 1 for row in which)
    assert np.any(which, axis=0).all()


def test_equal_draws_give_equal_samples_and_others_differ():
    dataset = SceneDataset(
        composed(small_scenes(2)),
        ComposedReader(3, with_mean=True),
        with_truth=True,
        patch_size=8,
        augment=True,
    )
    (first, _), (again, _), (other, _) = (dataset[SampleRequest(1, seed)] for seed in (7, 7, 8))
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
    assert not np.array_equal(first["inputs"], other["inputs"])


def test_a_patch_larger_than_a_scene_is_an_error_that_names_both():
    dataset = SceneDataset(
        composed([small_scene(3, shape=(8, 16))]), ComposedReader(3), with_truth=True, patch_size=9
    )
    with pytest.raises(ValueError, match=r"patch_size=9 .*imgset0003.*\(8, 16\).*smaller patch"):
        dataset[SampleRequest(0, 0)]


sizes = st.lists(st.sampled_from([(16, 16), (16, 24), (24, 16), (9, 9)]), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shapes=sizes, batch_size=st.integers(1, 12), seed=st.none() | st.integers(0, 2**31))
def test_every_sample_appears_once_an_epoch_in_batches_of_one_size(shapes, batch_size, seed):
    plan = BatchPlan(Sizes(shapes), batch_size, seed=None if seed is None else lambda: [seed, 0])
    batches = list(plan)
    assert sorted(draw.sample for batch in batches for draw in batch) == list(range(len(shapes)))
    assert all(len({shapes[draw.sample] for draw in batch}) == 1 for batch in batches)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert len(plan) == len(batches)
    smaller = [shapes[batch[0].sample] for batch in batches if len(batch) < batch_size]
    assert len(smaller) == len(set(smaller))


def test_order_and_draws_differ_between_epochs_and_are_equal_for_equal_seeds():
    def epochs(seed):
        history = []
        plan = BatchPlan(Sizes([(8, 8)] * 32), 4, seed=lambda: [seed, len(history)])
        for _ in range(3):
            history.append([draw for batch in plan for draw in batch])
        return history

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert first == again
    assert first[0] != other[0]
    orders = {tuple(draw.sample for draw in epoch) for epoch in first}
    assert len(orders) == 3
    assert len({draw.seed for epoch in first for draw in epoch}) == 3 * 32


def test_without_a_seed_samples_come_in_order():
    plan = BatchPlan(Sizes([(8, 8)] * 5), 2)
    assert [draw.sample for batch in plan for draw in batch] == [0, 1, 2, 3, 4]


def test_views_are_averaged_however_they_are_batched():
    scenes = composed(
        [small_scene(n, n_frames=n_frames) for n, n_frames in enumerate((3, 1, 4))],
        k=None,
        frames="single",
    )
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((8, 1, 5, 6), np.float32))
    numbers = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    averager = ViewAverager(SceneDataset(scenes, ComposedReader(3), with_truth=False))
    finished = {}
    for part in np.array_split(rng.permutation(8), 3):
        for number, image in averager.add(({}, {"scene": numbers[part]}), images[part]):
            assert number not in finished
            finished[number] = image
    assert set(finished) == {0, 1, 2}
    for number, views in enumerate((images[:3], images[3:4], images[4:])):
        np.testing.assert_allclose(finished[number], views[:, 0].mean(dim=0), rtol=1e-6)
