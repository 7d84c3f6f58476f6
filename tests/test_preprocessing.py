"""Transformers select, compose and upscale lazily, as computed by numpy and torch."""

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import sklearn
from _comparing import PARTS, assert_same_scene
from _helpers import bicubic
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from probav_estimators import BicubicUpscaler, ClearanceSelector, InputComposer, Scene, load_scenes

TRANSFORMERS = [
    ClearanceSelector(),
    ClearanceSelector(k="max"),
    ClearanceSelector(k=3, ties="last"),
    InputComposer(mode="concat", frames="mean"),
    InputComposer(frames="single", average="clearest"),
]


def scene_with_clearances(clearances):
    """Frames filled with their number, with maps of the given numbers of clear pixels."""
    lr = np.stack([np.full((4, 5), number, np.uint16) for number in range(len(clearances))])
    qm = np.stack([np.arange(20).reshape(4, 5) < clear for clear in clearances])
    return Scene(lr, qm)


def numbers_of(scene):
    """Numbers of the frames kept from a scene of `scene_with_clearances`, in order."""
    return np.rint(scene.lr[:, 0, 0] * 65535).astype(int).tolist()


def select(scene, k, ties="first"):
    return ClearanceSelector(k=k, ties=ties).transform([scene])[0]


def select_as_the_study(clearances, k):
    """Select the k clearest frames as in the study: sorted, reversed, and repeated to reach k."""
    order = np.argsort(np.array(clearances, np.float64), kind="stable")[::-1]
    while len(order) < k:
        order = np.concatenate([order, order])
    return order[:k].tolist()


class TestClearanceSelector:
    def test_clearest_frame_comes_first(self):
        scene = scene_with_clearances([12, 20, 3, 17])
        assert numbers_of(select(scene, 3)) == [1, 3, 0]

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 15))
    def test_later_frames_first_is_the_selection_of_the_study(self, clearances, k):
        scene = scene_with_clearances(clearances)
        assert numbers_of(select(scene, k, "last")) == select_as_the_study(clearances, k)

    def test_nine_frames_are_the_default(self, scenes):
        assert [len(scene) for scene in ClearanceSelector().transform(scenes)] == [9] * len(scenes)

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(st.integers(0, 20), min_size=1, max_size=12),
        st.one_of(st.integers(1, 15), st.just("max"), st.none()),
    )
    def test_any_selection_is_what_sorting_by_hand_gives(self, clearances, k):
        order = sorted(range(len(clearances)), key=lambda n: (-clearances[n], n))
        if k == "max":
            order = [n for n in order if clearances[n] == max(clearances)]
        elif k is not None:
            order = [order[position % len(order)] for position in range(k)]
        selected = select(scene_with_clearances(clearances), k)
        assert numbers_of(selected) == order
        assert len(selected) == len(order)
        assert selected.qm.sum(axis=(1, 2)).tolist() == [clearances[n] for n in order]

    def test_only_quality_maps_are_read_and_only_when_asked(self, folder, monkeypatch):
        opened = record_opened(monkeypatch)
        scene = Scene.from_dir(folder)
        selected = select(scene, 2)
        assert (len(selected), opened) == (2, [])
        assert len(select(scene, "max")) >= 1
        assert {name[:2] for name in opened} <= {"QM", "LR"}
        assert sorted(name for name in opened if name.startswith("QM")) == [
            f"QM{number:03d}.png" for number in range(len(scene))
        ]
        opened.clear()
        clearance = scene.qm.sum(axis=(1, 2))
        first, second = np.lexsort((np.arange(len(scene)), -clearance))[:2]
        opened.clear()
        assert selected.lr.shape == (2, 24, 24)
        assert set(opened) <= {f"LR{number:03d}.png" for number in (0, first, second)}


def record_opened(monkeypatch):
    """Return a list to which the name of each opened PNG file is appended."""
    opened, open_file = [], open

    def open_and_note(path, *arguments, **options):
        if str(path).endswith(".png"):
            opened.append(Path(path).name)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", open_and_note)
    return opened


def composed_by_hand(lr, qm, mode):
    """Compute the (c, h, w) channels of one sample."""
    if mode == "lr":
        return lr
    if mode == "combine":
        return np.where(qm, lr, 0)
    return np.array([*lr, *(mask.astype(float) for mask in qm)])


MODES = ["lr", "combine", "concat"]


class TestInputComposer:
    @pytest.mark.parametrize("mode", MODES)
    def test_stacked_frames_are_the_channels_of_one_sample(self, scenes, mixed_scenes, mode):
        given = [*scenes, *mixed_scenes]
        for scene, composed in zip(given, InputComposer(mode).transform(given), strict=True):
            expected = composed_by_hand(scene.lr, scene.qm, mode)[np.newaxis]
            assert composed.inputs.read().dtype == np.float32
            np.testing.assert_array_equal(composed.inputs.read(), expected.astype(np.float32))

    @pytest.mark.parametrize("mode", MODES)
    def test_single_frames_are_samples_of_their_own(self, scenes, mixed_scenes, mode):
        given = [*scenes, *mixed_scenes]
        composer = InputComposer(mode, frames="single")
        for scene, composed in zip(given, composer.transform(given), strict=True):
            pairs = zip(scene.lr, scene.qm, strict=True)
            expected = [composed_by_hand(lr[None], qm[None], mode) for lr, qm in pairs]
            assert composed.inputs.read().dtype == np.float32
            np.testing.assert_array_equal(
                composed.inputs.read(), np.stack(expected).astype(np.float32)
            )

    @pytest.mark.parametrize("mode", MODES)
    def test_the_mean_of_frames_and_of_maps_is_one_sample(self, scenes, mixed_scenes, mode):
        given = [*scenes, *mixed_scenes]
        for scene, composed in zip(
            given, InputComposer(mode, "mean").transform(given), strict=True
        ):
            lr, qm = (x.mean(axis=0, dtype=np.float64) for x in (scene.lr, scene.qm))
            expected = {"lr": [lr], "combine": [lr * qm], "concat": [lr, qm]}[mode]
            assert composed.inputs.read().dtype == np.float32
            np.testing.assert_allclose(composed.inputs.read(), [expected], rtol=3e-7, atol=0)
            assert (composed.inputs.n_views, composed.inputs.n_frames) == (1, 1)

    @pytest.mark.parametrize(("frames", "n_views"), [("stack", 1), ("single", 5), ("mean", 1)])
    def test_numbers_of_samples_and_channels_are_known_without_reading(
        self, saved_root, monkeypatch, frames, n_views
    ):
        opened = record_opened(monkeypatch)
        selected = ClearanceSelector(k=5).transform(load_scenes(saved_root))
        for scene in InputComposer("concat", frames).transform(selected):
            facts = (scene.inputs.n_views, scene.inputs.n_channels)
            assert opened == []
            assert scene.inputs.read().shape[:2] == facts
            assert facts[0] == n_views
            opened.clear()

    def test_predictions_of_all_samples_are_averaged_or_of_the_clearest(self):
        scene = scene_with_clearances([9, 18, 3, 18, 18])
        for frames, views in (("stack", [0]), ("mean", [0]), ("single", [0, 1, 2, 3, 4])):
            (composed,) = InputComposer(frames=frames).transform([scene])
            assert list(composed.inputs.averaged_views) == views
        (composed,) = InputComposer(frames="single", average="clearest").transform([scene])
        assert list(composed.inputs.averaged_views) == [1, 3, 4]
        assert (composed.inputs.n_views, composed.inputs.read().shape) == (5, (5, 1, 4, 5))
        assert scene.inputs is None

    def test_quality_maps_are_read_only_by_modes_that_use_them(self, folder):
        for path in folder.glob("QM*"):
            path.write_bytes(b"damaged")
        scene = Scene.from_dir(folder)
        (composed,) = InputComposer("lr").transform([scene])
        np.testing.assert_array_equal(composed.inputs.read()[0], scene.lr)
        (composed,) = InputComposer("lr", "mean").transform([scene])
        assert composed.inputs.read().shape == (1, 1, 24, 24)
        for mode, frames in itertools.product(("combine", "concat"), ("stack", "mean")):
            (composed,) = InputComposer(mode, frames).transform([scene])
            with pytest.raises(ValueError, match=r"QM000\.png"):
                _ = composed.inputs.read()


class TestBicubicUpscaler:
    @pytest.mark.parametrize(("scale", "mode"), [(2, "lr"), (3, "concat"), (4, "combine")])
    def test_inputs_are_what_torch_makes_of_the_composed_frames(self, mixed_scenes, mode, scale):
        for frames in ("stack", "single"):
            composed = InputComposer(mode, frames).transform(mixed_scenes)
            upscaled = BicubicUpscaler(scale=scale).transform(composed)
            for small, large in zip(composed, upscaled, strict=True):
                assert large.inputs.read().dtype == np.float32
                expected = np.stack([bicubic(sample, scale) for sample in small.inputs.read()])
                np.testing.assert_allclose(large.inputs.read(), expected, rtol=0, atol=1e-6)

    def test_a_missing_composer_is_asked_for(self, scenes):
        with pytest.raises(ValueError, match=r"imgset0000.*put an InputComposer before it"):
            BicubicUpscaler().fit_transform(scenes)

    def test_a_second_upscaler_is_refused(self, scenes):
        pipe = make_pipeline(InputComposer(), BicubicUpscaler(), BicubicUpscaler())
        with pytest.raises(ValueError, match="upscaled already"):
            pipe.fit_transform(scenes)


class TestConventions:
    @pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
    def test_transform_works_without_fit_and_as_after_it(self, transformer, scenes):
        without = clone(transformer).transform(scenes)
        fitted = clone(transformer)
        assert fitted.fit(scenes) is fitted
        for one, other in zip(without, fitted.transform(scenes), strict=True):
            assert_same_scene(one, other)

    @pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
    def test_fit_learns_nothing(self, transformer, scenes):
        fitted = clone(transformer).fit(scenes)
        assert vars(fitted) == transformer.get_params()

    @pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
    def test_the_scenes_that_are_given_stay_as_they_are(self, transformer, scenes):
        given = list(scenes)
        before = [copy.deepcopy(vars(scene)) for scene in given]
        pixels = [[getattr(scene, part) for part in PARTS] for scene in given]
        for scene in transformer.fit_transform(given):
            assert scene.lr.size and (scene.inputs is None or scene.inputs.read().size)
        assert all(one is other for one, other in zip(given, scenes, strict=True))
        for scene, attributes, arrays in zip(given, before, pixels, strict=True):
            assert set(vars(scene)) == set(attributes)
            assert scene.inputs is None
            for part, array in zip(PARTS, arrays, strict=True):
                np.testing.assert_array_equal(getattr(scene, part), array)

    @pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
    def test_a_transformed_scene_keeps_truth_norm_name_and_band(self, transformer, scenes):
        for scene, transformed in zip(scenes, transformer.transform(scenes), strict=True):
            assert (transformed.name, transformed.band) == (scene.name, scene.band)
            assert transformed.norm == scene.norm
            assert transformed.scale == scene.scale
            np.testing.assert_array_equal(transformed.hr, scene.hr)
            np.testing.assert_array_equal(transformed.sm, scene.sm)

    def test_a_global_output_format_does_not_disturb(self, scenes):
        with sklearn.config_context(transform_output="pandas"):
            transformed = ClearanceSelector(k=2).fit_transform(scenes)
        assert isinstance(transformed, list)
        assert [len(scene) for scene in transformed] == [2] * len(scenes)


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        *((ClearanceSelector(k=k), "'k' parameter of ClearanceSelector") for k in (0, 2.5, "all")),
        (ClearanceSelector(ties=True), "'ties' parameter of ClearanceSelector"),
        (InputComposer(mode="both"), r"(?=.*'concat')(?=.*'combine')(?=.*'lr').*'both'"),
        (InputComposer(frames=9), "'frames' parameter of InputComposer"),
        (InputComposer(frames="single", average=None), "'average' parameter of InputComposer"),
        (
            InputComposer(frames="mean", average="clearest"),
            "average='clearest' .* frames='mean' .*\"single\"",
        ),
        *((BicubicUpscaler(scale=scale), "'scale' parameter of Bicubic") for scale in (1, "3")),
    ],
)
def test_invalid_parameters_are_named(scenes, transformer, message):
    composed = InputComposer().transform(scenes)
    for method in (transformer.fit, transformer.transform, transformer.fit_transform):
        with pytest.raises(ValueError, match=message):
            method(composed)
