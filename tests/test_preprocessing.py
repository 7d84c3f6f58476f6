"""Transformers select, compose and upscale lazily, as computed by numpy and torch."""

import copy
import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest
import sklearn
from _comparing import PARTS, assert_same_scene
from _helpers import bicubic, clearest_frames, tied_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from probav_estimators import BicubicUpscaler, ClearanceSelector, InputComposer, Scene, load_scenes
from probav_estimators.scenes import WHOLE, DerivedFrames

TRANSFORMERS = [
    ClearanceSelector(),
    ClearanceSelector(k=3),
    ClearanceSelector(k="max"),
    ClearanceSelector(k=None),
    ClearanceSelector(k=3, ties="last"),
    InputComposer(),
    InputComposer(mode="concat", frames="single"),
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

    def test_ties_keep_the_order_of_the_frames(self):
        scene = scene_with_clearances([7, 20, 7, 20, 7, 20])
        assert numbers_of(select(scene, 5)) == [1, 3, 5, 0, 2]

    def test_later_frames_of_equal_clearance_come_first_on_demand(self):
        scene = scene_with_clearances([7, 20, 7, 20, 7, 20])
        assert numbers_of(select(scene, 5, "last")) == [5, 3, 1, 4, 2]
        assert numbers_of(select(scene, 8, "last")) == [5, 3, 1, 4, 2, 0, 5, 3]
        assert numbers_of(select(scene, "max", "last")) == [5, 3, 1]
        assert numbers_of(select(scene, None, "last")) == [5, 3, 1, 4, 2, 0]

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(1, 15))
    def test_later_frames_first_is_the_selection_of_the_study(self, clearances, k):
        scene = scene_with_clearances(clearances)
        assert numbers_of(select(scene, k, "last")) == select_as_the_study(clearances, k)

    def test_missing_frames_are_repeated_in_turn(self):
        scene = scene_with_clearances([5, 20, 11])
        assert numbers_of(select(scene, 8)) == [1, 2, 0, 1, 2, 0, 1, 2]

    def test_max_keeps_all_frames_that_tie_at_the_top(self):
        assert numbers_of(select(scene_with_clearances([9, 18, 3, 18, 18]), "max")) == [1, 3, 4]
        assert numbers_of(select(scene_with_clearances([9, 18, 3]), "max")) == [1]

    def test_none_sorts_all_frames(self):
        assert numbers_of(select(scene_with_clearances([9, 18, 3, 18]), None)) == [1, 3, 0, 2]

    def test_fully_clouded_frames_come_last(self):
        assert numbers_of(select(scene_with_clearances([0, 1, 0]), None)) == [1, 0, 2]
        assert numbers_of(select(scene_with_clearances([0, 0]), "max")) == [0, 1]

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

    def test_frames_and_maps_move_together(self, scenes):
        for scene in scenes:
            lr, qm = clearest_frames(scene, 6)
            selected = select(scene, 6)
            np.testing.assert_array_equal(selected.lr, lr)
            np.testing.assert_array_equal(selected.qm, qm)

    def test_a_selection_of_a_selection_works(self):
        scene = scene_with_clearances([9, 18, 3, 18])
        assert numbers_of(select(select(scene, 3), 2)) == [1, 3]
        assert numbers_of(select(select(scene, 1), 2)) == [1, 1]

    def test_some_of_the_selected_frames_can_be_read(self):
        frames = select(scene_with_clearances([9, 18, 3, 18]), 4).frames
        np.testing.assert_array_equal(np.rint(frames.read_pixels([3, 0])[:, 0, 0] * 65535), [2, 1])

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

    def test_damaged_frames_do_not_hinder_the_selection(self, folder):
        """The size comes from the first frame; no other frame is read."""
        scene = Scene.from_dir(folder)
        for number in range(1, len(scene)):
            (folder / f"LR{number:03d}.png").write_bytes(b"damaged")
        clearance = scene.qm.sum(axis=(1, 2))
        assert len(select(scene, "max")) == np.count_nonzero(clearance == clearance.max())


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

    def test_a_repeated_frame_counts_as_often_as_it_is_given(self, scenes):
        (scene,) = make_pipeline(ClearanceSelector(k=2), ClearanceSelector(k=3)).transform(
            scenes[:1]
        )
        (composed,) = InputComposer(frames="mean").transform([scene])
        (first, second), _ = clearest_frames(scenes[0], 2)
        np.testing.assert_allclose(
            composed.inputs.read()[0, 0], (2 * first + second) / 3, rtol=1e-6
        )

    @pytest.mark.parametrize("mode", MODES)
    def test_a_window_of_the_mean_reads_that_window_alone(self, scenes, mode):
        scene = scenes[0]
        (whole,) = make_pipeline(InputComposer(mode, "mean"), BicubicUpscaler()).transform([scene])
        read = []

        class Watched(DerivedFrames):
            def read(self, index=None, window=WHOLE):
                read.append(window)
                return super().read(index, window)

        watched = whole.with_frames(Watched(scene.frames))
        window = slice(8, 12), slice(3, 5)
        part = watched.inputs.read_view(0, window)
        np.testing.assert_array_equal(part, whole.inputs.read()[0, :, 24:36, 9:15])
        assert read == [(slice(6, 14), slice(1, 7))]

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("frames", "n_views"), [("stack", 1), ("single", 5), ("mean", 1)])
    def test_numbers_of_samples_and_channels_are_known_without_reading(
        self, saved_root, monkeypatch, mode, frames, n_views
    ):
        opened = record_opened(monkeypatch)
        selected = ClearanceSelector(k=5).transform(load_scenes(saved_root))
        for scene in InputComposer(mode, frames).transform(selected):
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

    def test_of_a_frame_that_is_repeated_one_prediction_is_averaged(self):
        scene = select(scene_with_clearances([5, 20, 11, 20]), 7)
        (composed,) = InputComposer(frames="single", average="clearest").transform([scene])
        assert [numbers_of(scene)[view] for view in composed.inputs.averaged_views] == [1, 3]
        assert composed.inputs.n_views == 7

    def test_the_clearest_frames_are_found_once_and_only_when_asked_for(self, folder, monkeypatch):
        opened = record_opened(monkeypatch)
        scene = Scene.from_dir(folder)
        (composed,) = InputComposer(frames="single", average="clearest").transform([scene])
        assert (composed.inputs.n_views, composed.inputs.n_channels, opened) == (len(scene), 1, [])
        again = pickle.loads(pickle.dumps(composed))
        assert list(composed.inputs.averaged_views) == tied_frames(scene).tolist()
        assert {name for name in opened if name[:2] != "LR"} == {
            f"QM{number:03d}.png" for number in range(len(scene))
        }
        assert len([name for name in opened if name[:2] == "LR"]) <= 1
        opened.clear()
        assert len(composed.inputs.averaged_views) and opened == []
        assert list(again.inputs.averaged_views) == list(composed.inputs.averaged_views)
        assert len(pickle.dumps(composed)) < 5000

    def test_a_part_of_a_scene_has_the_clearest_frames_of_the_whole(self):
        qm = np.ones((3, 4, 5), bool)
        qm[0, :, 4] = qm[1:, 3, :3] = False
        scene = Scene(np.zeros(qm.shape, np.uint16), qm)
        (composed,) = InputComposer(frames="single", average="clearest").transform([scene])
        part = composed.crop((slice(0, 2), slice(3, 5)))
        assert part.qm.all(axis=(1, 2)).tolist() == [False, True, True]
        left = composed.crop((slice(2, 4), slice(0, 3)))
        assert left.qm.all(axis=(1, 2)).tolist() == [True, False, False]
        assert list(composed.inputs.averaged_views) == [1, 2]
        assert list(part.inputs.averaged_views) == list(left.inputs.averaged_views) == [1, 2]

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

    def test_a_second_composer_replaces_the_first(self, scenes):
        (composed,) = make_pipeline(InputComposer("concat"), InputComposer("combine")).transform(
            scenes[:1]
        )
        np.testing.assert_array_equal(composed.inputs.read()[0], scenes[0].lr * scenes[0].qm)


class TestBicubicUpscaler:
    @pytest.mark.parametrize("scale", [2, 3, 4])
    @pytest.mark.parametrize("mode", MODES)
    def test_inputs_are_what_torch_makes_of_the_composed_frames(self, mixed_scenes, mode, scale):
        for frames in ("stack", "single"):
            composed = InputComposer(mode, frames).transform(mixed_scenes)
            upscaled = BicubicUpscaler(scale=scale).transform(composed)
            for small, large in zip(composed, upscaled, strict=True):
                assert large.inputs.read().dtype == np.float32
                expected = np.stack([bicubic(sample, scale) for sample in small.inputs.read()])
                np.testing.assert_allclose(large.inputs.read(), expected, rtol=0, atol=1e-6)

    def test_the_whole_chain_is_what_numpy_and_torch_make_of_it(self, scenes):
        pipe = make_pipeline(
            ClearanceSelector(k=9), InputComposer(mode="concat"), BicubicUpscaler(scale=3)
        )
        for scene, transformed in zip(scenes, pipe.fit_transform(scenes), strict=True):
            lr, qm = clearest_frames(scene, 9)
            expected = bicubic(np.concatenate([lr, qm.astype(np.float32)]), 3)
            np.testing.assert_allclose(transformed.inputs.read()[0], expected, rtol=0, atol=1e-6)
            assert transformed.inputs.read().shape == (1, 18, 72, 72)

    def test_an_upscaler_tells_the_scale_of_scenes_without_truth(self, make_scene):
        scene = make_scene(hr=None, sm=None)
        pipe = make_pipeline(InputComposer(), BicubicUpscaler(scale=4))
        assert pipe.fit_transform([scene])[0].scale == 4

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

    @pytest.mark.parametrize(
        ("transformer", "call"),
        [
            (ClearanceSelector(), "ClearanceSelector()"),
            (ClearanceSelector(k="max"), "ClearanceSelector(k='max')"),
            (ClearanceSelector(k=None), "ClearanceSelector(k=None)"),
            (ClearanceSelector(ties="last"), "ClearanceSelector(ties='last')"),
            (
                InputComposer("concat", frames="single"),
                "InputComposer(frames='single', mode='concat')",
            ),
            (InputComposer(frames="mean"), "InputComposer(frames='mean')"),
            (
                InputComposer(frames="single", average="clearest"),
                "InputComposer(average='clearest', frames='single')",
            ),
            (BicubicUpscaler(scale=4), "BicubicUpscaler(scale=4)"),
        ],
    )
    def test_transformers_print_as_the_call_that_made_them(self, transformer, call):
        assert repr(transformer) == call
        assert repr(clone(transformer)) == call
        assert repr(pickle.loads(pickle.dumps(transformer))) == call

    def test_a_pipeline_of_transformers_takes_parameters_by_name(self, scenes):
        pipe = Pipeline([("select", ClearanceSelector()), ("compose", InputComposer())])
        pipe.set_params(select__k=2, compose__mode="concat")
        assert pipe.fit_transform(scenes)[0].inputs.read().shape == (1, 4, 24, 24)

    def test_a_global_output_format_does_not_disturb(self, scenes):
        with sklearn.config_context(transform_output="pandas"):
            transformed = ClearanceSelector(k=2).fit_transform(scenes)
        assert isinstance(transformed, list)
        assert [len(scene) for scene in transformed] == [2] * len(scenes)

    def test_any_slice_or_shuffle_is_transformed_scene_by_scene(self, scenes):
        order = [3, 0, 4, 1]
        selector = ClearanceSelector(k=2)
        whole = selector.transform(scenes)
        part = selector.transform([scenes[number] for number in order])
        for number, scene in zip(order, part, strict=True):
            assert_same_scene(scene, whole[number])


class TestBadParameters:
    @pytest.mark.parametrize("k", [0, -1, 2.5, "all", "min", [9]])
    def test_k_that_is_no_number_of_frames_is_refused(self, scenes, k):
        check_refused(ClearanceSelector(k=k), scenes, "'k' parameter of ClearanceSelector")

    @pytest.mark.parametrize("ties", ["random", None, True])
    def test_an_unknown_order_of_ties_is_refused(self, scenes, ties):
        check_refused(ClearanceSelector(ties=ties), scenes, "'ties' parameter of ClearanceSelector")

    @pytest.mark.parametrize("mode", ["both", None, 1, "LR"])
    def test_an_unknown_mode_is_refused(self, scenes, mode):
        check_refused(InputComposer(mode=mode), scenes, "'mode' parameter of InputComposer")

    @pytest.mark.parametrize("frames", ["all", None, 9])
    def test_an_unknown_frame_handling_is_refused(self, scenes, frames):
        check_refused(InputComposer(frames=frames), scenes, "'frames' parameter of InputComposer")

    @pytest.mark.parametrize("average", ["tied", None, 1])
    def test_an_unknown_average_is_refused(self, scenes, average):
        composer = InputComposer(frames="single", average=average)
        check_refused(composer, scenes, "'average' parameter of InputComposer")

    @pytest.mark.parametrize("frames", ["stack", "mean"])
    def test_one_prediction_leaves_nothing_to_choose_from(self, scenes, frames):
        composer = InputComposer(frames=frames, average="clearest")
        check_refused(composer, scenes, f"average='clearest' .* frames='{frames}' .*\"single\"")

    @pytest.mark.parametrize("scale", [1, 0, -3, 2.5, "3", None])
    def test_a_scale_that_is_no_integer_of_two_or_more_is_refused(self, scenes, scale):
        composed = InputComposer().transform(scenes)
        check_refused(BicubicUpscaler(scale=scale), composed, "'scale' parameter of BicubicUps")

    def test_the_choices_are_named(self, scenes):
        with pytest.raises(ValueError, match=r"(?=.*'concat')(?=.*'combine')(?=.*'lr').*'both'"):
            InputComposer(mode="both").fit(scenes)


def check_refused(transformer, scenes, message):
    for method in (transformer.fit, transformer.transform, transformer.fit_transform):
        with pytest.raises(ValueError, match=message):
            method(scenes)
