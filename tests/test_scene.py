"""Scenes give exact pixels, read lazily, and do not pickle pixels of files."""

import pickle
import tracemalloc

import numpy as np
import pytest
from _comparing import assert_same_scene, upscale_clearest
from PIL import Image

from probav_estimators import (
    BicubicUpscaler,
    ClearanceSelector,
    InputComposer,
    Scene,
    cpsnr,
    load_scenes,
)


class TestPixels:
    def test_every_16_bit_value_becomes_itself_over_65535(self, make_scene):
        values = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
        scene = make_scene(lr=values, qm=np.ones(values.shape, bool), hr=None, sm=None)
        assert scene.lr.dtype == np.float32
        np.testing.assert_array_equal(scene.lr, (values / np.float64(65535)).astype(np.float32))

    def test_every_8_bit_value_becomes_itself_over_255(self, make_scene):
        values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
        scene = make_scene(lr=values, qm=np.ones(values.shape, bool), hr=None, sm=None)
        np.testing.assert_array_equal(scene.lr, (values / np.float64(255)).astype(np.float32))

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_floats_stay_as_they_are(self, make_scene, dtype):
        rng = np.random.default_rng(0)
        lr, hr = rng.random((4, 6, 8)).astype(dtype), rng.random((18, 24)).astype(dtype)
        scene = make_scene(lr=lr, hr=hr)
        assert scene.lr.dtype == scene.hr.dtype == np.float32
        np.testing.assert_array_equal(scene.lr, lr.astype(np.float32))
        np.testing.assert_array_equal(scene.hr, hr.astype(np.float32))

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
    def test_masks_of_any_type_are_true_where_they_are_not_zero(self, make_scene, dtype):
        rng = np.random.default_rng(0)
        clear = {"qm": rng.random((4, 6, 8)) < 0.5, "sm": rng.random((18, 24)) < 0.5}
        high = 255 if np.issubdtype(dtype, np.integer) else 1
        scene = make_scene(**{name: (mask * high).astype(dtype) for name, mask in clear.items()})
        for name, mask in clear.items():
            assert getattr(scene, name).dtype == bool
            np.testing.assert_array_equal(getattr(scene, name), mask)

    def test_writing_to_what_a_scene_returned_does_not_change_it(self, make_scene, root):
        rng = np.random.default_rng(0)
        floats = {"lr": rng.random((4, 6, 8), np.float32), "hr": rng.random((18, 24), np.float32)}
        unmasked = {"qm": None, "sm": None}
        for scene in [
            make_scene(),
            make_scene(**floats),
            make_scene(**unmasked),
            *load_scenes(root),
        ]:
            for part in ("lr", "qm", "hr", "sm"):
                returned = getattr(scene, part)
                before = returned.copy()
                returned[:] = 1 - returned
                np.testing.assert_array_equal(getattr(scene, part), before)

    def test_without_masks_every_pixel_is_clear(self, make_scene):
        scene = make_scene(qm=None, sm=None)
        assert scene.qm.shape == scene.lr.shape and scene.qm.all()
        assert scene.sm.shape == scene.hr.shape and scene.sm.all()

    def test_without_truth_there_is_no_hr_no_mask_no_norm_and_no_scale(self, make_scene):
        scene = make_scene(hr=None, sm=None)
        assert (scene.hr, scene.sm, scene.norm, scene.scale) == (None, None, None, None)
        assert not scene.has_hr


class TestFacts:
    def test_a_scene_prints_its_name_band_and_number_of_frames(self, make_scene):
        assert repr(make_scene(band="NIR")) == "<Scene 'imgset0042', band='NIR', 4 frames>"
        assert repr(make_scene(name=None)) == "<Scene 4 frames>"

    def test_shifts_and_inputs_are_none_before_somebody_makes_them(self, make_scene):
        scene = make_scene()
        assert (scene.shifts, scene.true_shifts, scene.inputs) == (None, None, None)


class TestNorm:
    def test_norm_is_the_cpsnr_of_the_baseline(self, make_scene):
        scene = make_scene(size=(10, 12))
        baseline = upscale_clearest(scene)
        assert scene.norm == pytest.approx(cpsnr(baseline, scene.hr, scene.sm), abs=1e-5)

    def test_norm_is_computed_once_and_kept_through_transformers(self, folder, monkeypatch):
        (folder.parents[2] / "norm.csv").unlink()
        scene = Scene.from_dir(folder)
        (selected,) = ClearanceSelector(k=1).transform([scene])
        (composed,) = InputComposer().transform([selected])
        norm = composed.norm
        assert norm == pytest.approx(cpsnr(upscale_clearest(scene), scene.hr, scene.sm), abs=1e-5)
        forbid_opening(monkeypatch)
        for file in folder.glob("*.png"):
            file.unlink()
        assert (scene.norm, selected.norm, pickle.loads(pickle.dumps(scene)).norm) == (norm,) * 3

    def test_norm_comes_from_norm_csv(self, folder):
        (folder.parents[2] / "norm.csv").write_text("imgset0000 41.390660380927926\n")
        assert Scene.from_dir(folder).norm == 41.390660380927926
        assert Scene.from_dir(folder, norm=46.5).norm == 46.5

    def test_norm_csv_of_the_challenge_is_read_whole(self, samples, folder):
        published = (samples / "probav_norm.csv").read_text()
        (folder.parents[2] / "norm.csv").write_text(published)
        moved = folder.rename(folder.with_name("imgset0594"))
        assert Scene.from_dir(moved).norm == pytest.approx(50.0739, abs=5e-5)


def forbid_opening(monkeypatch):
    def refuse(path, *arguments, **options):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(Image, "open", refuse)


class TestLaziness:
    def test_no_image_is_opened_before_it_is_asked_for(self, root, folder, monkeypatch):
        with monkeypatch.context() as patch:
            forbid_opening(patch)
            scene = Scene.from_dir(folder)
            scenes = [scene, *load_scenes(root), *load_scenes(root / "train", bands="NIR")]
            for transformer in (ClearanceSelector(), InputComposer(), BicubicUpscaler()):
                scenes = transformer.fit_transform(scenes)
            facts = [(len(s), s.name, s.band, s.norm, s.has_hr, repr(s)) for s in scenes]
            scenes = pickle.loads(pickle.dumps(scenes))
            assert len(facts) == 4
        assert scenes[0].inputs.read().shape == (1, 9, 72, 72)

    def test_only_the_image_that_is_asked_for_is_read(self, folder):
        for name in ("LR001.png", "QM001.png", "SM.png"):
            (folder / name).write_bytes(b"damaged")
        scene = Scene.from_dir(folder)
        assert scene.hr.shape == (72, 72)
        assert scene.frames.read_pixels([0, 2]).shape == (2, 24, 24)
        assert scene.frames.read_clear([0, 2]).shape == (2, 24, 24)
        with pytest.raises(ValueError, match=r"imgset0000.LR001\.png"):
            _ = scene.lr
        with pytest.raises(ValueError, match=r"imgset0000.SM\.png"):
            _ = scene.sm

    def test_a_file_that_was_written_anew_is_read_anew(self, folder, make_scene):
        scene = Scene.from_dir(folder)
        before = scene.hr
        values = np.full((72, 72), 65535, np.uint16)
        Image.fromarray(values).save(folder / "HR.png")
        assert not np.array_equal(before, scene.hr)
        np.testing.assert_array_equal(scene.hr, 1)

    def test_a_relative_path_survives_a_change_of_folder(self, folder, monkeypatch, tmp_path):
        monkeypatch.chdir(folder.parent)
        scene = Scene.from_dir(folder.name)
        expected = scene.lr
        monkeypatch.chdir(tmp_path)
        np.testing.assert_array_equal(scene.lr, expected)
        assert (scene.name, scene.band) == ("imgset0000", "RED")


class TestPickles:
    def test_a_scene_on_disk_pickles_as_its_path(self, saved_root):
        scenes = load_scenes(saved_root)
        for scene in [*scenes, *ClearanceSelector(k=2).transform(scenes)]:
            assert scene.lr.size and scene.hr.size
            assert len(pickle.dumps(scene)) < 4000

    def test_a_pickled_transformed_scene_is_the_same_scene(self, scenes, saved_root):
        for given in (scenes, load_scenes(saved_root)):
            transformed = given
            for transformer in (ClearanceSelector(k=5), InputComposer("concat"), BicubicUpscaler()):
                transformed = transformer.transform(transformed)
            for scene in transformed:
                copy = pickle.loads(pickle.dumps(scene))
                assert_same_scene(copy, scene)
                np.testing.assert_array_equal(copy.inputs.read(), scene.inputs.read())


class TestFolder:
    def test_a_scene_of_a_folder_is_the_scene_that_was_saved(self, scenes, folder):
        assert_same_scene(Scene.from_dir(folder), scenes[0])
        assert_same_scene(Scene.from_dir(f"{folder}/"), scenes[0])

    def test_frames_come_in_the_order_of_their_numbers(self, folder):
        """LR010 sorts after LR003, and LR1000 after both."""
        for file in [*folder.glob("LR*"), *folder.glob("QM*")]:
            file.unlink()
        for number in (1000, 10, 3, 0):
            Image.fromarray(np.full((24, 24), number, np.uint16)).save(
                folder / f"LR{number:03d}.png"
            )
            Image.fromarray(np.full((24, 24), 255, np.uint8)).save(folder / f"QM{number:03d}.png")
        np.testing.assert_array_equal(
            np.rint(Scene.from_dir(folder).lr[:, 0, 0] * 65535), [0, 3, 10, 1000]
        )

    def test_a_scene_without_truth_loads(self, folder):
        (folder / "HR.png").unlink()
        scene = Scene.from_dir(folder)
        assert scene.hr is None and not scene.has_hr
        assert scene.sm.shape == (72, 72) and scene.scale == 3
        (folder / "SM.png").unlink()
        scene = Scene.from_dir(folder, norm=46.5)
        assert (scene.hr, scene.sm, scene.scale, scene.norm) == (None, None, None, 46.5)

    def test_eight_bit_files_are_read_on_their_own_scale(self, folder):
        for file in folder.glob("LR*"):
            Image.fromarray(np.full((24, 24), 51, np.uint8)).save(file)
        np.testing.assert_array_equal(Scene.from_dir(folder).lr, np.float32(51 / 255))

    def test_maps_of_one_bit_are_read(self, folder):
        mask = np.eye(24, dtype=bool)
        Image.fromarray(mask).save(folder / "QM000.png")
        np.testing.assert_array_equal(Scene.from_dir(folder).qm[0], mask)


class TestPatches:
    """Reading a window by `read_*` gives the same as cropping the whole scene."""

    WINDOWS = [
        (slice(3, 9), slice(2, 11)),
        (slice(7, 12), slice(6, 12)),
        (slice(0, 12), slice(0, 12)),
        (slice(5, 6), slice(5, 6)),
    ]

    @pytest.mark.parametrize("window", WINDOWS)
    @pytest.mark.parametrize(("mode", "frames"), [("concat", "stack"), ("combine", "single")])
    def test_a_patch_of_the_inputs_is_a_crop(self, mixed_scenes, mode, frames, window):
        composed = InputComposer(mode, frames).transform(mixed_scenes)
        for scene in [*composed, *BicubicUpscaler(scale=2).transform(composed)]:
            crop = crop_of(window, scene.inputs.scale)
            whole = scene.inputs.read()
            for view in range(scene.inputs.n_views):
                np.testing.assert_allclose(
                    scene.inputs.read_view(view, window), whole[view][:, *crop], rtol=0, atol=1e-6
                )

    @pytest.mark.parametrize("window", WINDOWS)
    def test_a_patch_of_the_truth_is_a_crop(self, mixed_scenes, window):
        for scene in mixed_scenes:
            crop = crop_of(window, scene.scale)
            hr, sm = scene.read_truth(window)
            np.testing.assert_array_equal(hr, scene.hr[crop])
            np.testing.assert_array_equal(sm, scene.sm[crop])

    def test_the_mean_counts_clear_pixels_and_falls_back_on_all(self, make_scene):
        lr = np.stack([np.full((6, 8), value, np.float32) for value in (0.1, 0.3, 0.8)])
        qm = np.ones(lr.shape, bool)
        qm[2] = False
        qm[:, :, 4:] = False
        (scene,) = InputComposer().transform([make_scene(lr=lr, qm=qm, hr=None, sm=None)])
        mean = scene.inputs.read_mean(0, 2)
        np.testing.assert_allclose(mean[:, :4], 0.2, atol=1e-6)
        np.testing.assert_allclose(mean[:, 12:], 0.4, atol=1e-6)


def crop_of(window, scale):
    return tuple(slice(scale * part.start, scale * part.stop) for part in window)


class TestSnapshots:
    """Later changes of the input arrays do not affect a scene."""

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
    def test_changing_the_arrays_does_not_change_the_scene(self, dtype):
        rng = np.random.default_rng(0)
        full_scale = {np.uint16: 65535, np.uint8: 255}.get(dtype, 1)
        lr, hr = ((full_scale * rng.random(s)).astype(dtype) for s in [(3, 6, 8), (18, 24)])
        qm, sm = np.ones(lr.shape, np.uint8), np.ones(hr.shape, bool)
        scene = Scene(lr, qm, hr, sm)
        before = [scene.lr, scene.qm, scene.hr, scene.sm, scene.fingerprint()]
        for array in (lr, hr, qm, sm):
            array[:] = 0
        after = [scene.lr, scene.qm, scene.hr, scene.sm, scene.fingerprint()]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float64])
    def test_a_memory_map_stays_on_disk_and_is_not_written_to(self, tmp_path, dtype):
        shape, files = (20, 256, 256), [tmp_path / name for name in ("lr", "qm")]
        types = (dtype, np.uint8)
        for file, kind in zip(files, types, strict=True):
            np.memmap(file, kind, "w+", shape=shape)[:] = 1
        maps = [np.memmap(f, t, "r+", shape=shape) for f, t in zip(files, types, strict=True)]
        tracemalloc.start()
        scene = Scene(*maps)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # Less than a fifth of the smaller array.
        assert peak < 20 * 256 * 256 / 5
        window = (slice(3, 5), slice(7, 9))
        assert scene.frames.read_pixels([1], window).max() == np.float32(
            1 / 65535 if dtype == np.uint16 else 1
        )
        assert scene.qm.all()
        scene.lr[:] = 0
        scene.qm[:] = False
        assert all((array == 1).all() for array in maps)


def test_big_endian_values_are_read_as_what_they_are(make_scene):
    """FITS files and some GeoTIFFs are big-endian."""
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 8)).astype(">u2")
    np.testing.assert_array_equal(make_scene(lr=values).lr, (values / 65535).astype(np.float32))
    floats = (values / 65535).astype(">f4")
    np.testing.assert_array_equal(make_scene(lr=floats).lr, floats.astype(np.float32))
