"""A scene's fingerprint depends on all that training reads of it, and on nothing else."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from _helpers import ArrayFrames
from PIL import Image

from probav_estimators import (
    BicubicUpscaler,
    ClearanceSelector,
    FrameRegistrar,
    InputComposer,
    Scene,
    load_scenes,
    save_scenes,
)


def rewrite(path, change):
    values = np.array(Image.open(path))
    values[5, 7] = change(values[5, 7])
    Image.fromarray(values).save(path)


class TestSameFingerprint:
    def test_a_scene_that_is_made_twice(self, make_scene):
        assert make_scene().fingerprint() == make_scene().fingerprint()

    def test_a_data_set_that_was_moved(self, root, tmp_path):
        before = [scene.fingerprint() for scene in load_scenes(root)]
        shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copy)
        shutil.rmtree(root)
        assert [scene.fingerprint() for scene in load_scenes(tmp_path / "copy")] == before

    def test_a_pickled_scene(self, make_scene, folder):
        for scene in (make_scene(), Scene.from_dir(folder)):
            (scene,) = InputComposer().transform(ClearanceSelector(k=2).transform([scene]))
            assert pickle.loads(pickle.dumps(scene)).fingerprint() == scene.fingerprint()

    def test_a_scene_that_was_read_and_whose_norm_was_computed(self, root):
        (root / "norm.csv").unlink()
        for scene in FrameRegistrar().transform(ClearanceSelector().transform(load_scenes(root))):
            before = scene.fingerprint()
            assert scene.norm and scene.lr.size and scene.shifts.size
            assert scene.fingerprint() == before

    def test_another_process(self, root):
        code = (
            "import sys, probav_estimators as pe; X = pe.load_scenes(sys.argv[1]);"
            "X = pe.InputComposer('concat').transform(pe.ClearanceSelector(k=3).transform(X));"
            "print([scene.fingerprint() for scene in pe.BicubicUpscaler().transform(X)])"
        )
        # Strings have other hashes than here.
        answer = subprocess.run(
            [sys.executable, "-c", code, str(root)],
            env=os.environ | {"PYTHONHASHSEED": str(1 + hash("a") % 2**31)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        scenes = InputComposer("concat").transform(
            ClearanceSelector(k=3).transform(load_scenes(root))
        )
        here = [scene.fingerprint() for scene in BicubicUpscaler().transform(scenes)]
        assert answer == f"{here}\n"


class TestOtherFingerprint:
    def test_any_part_of_a_scene_in_memory(self, make_scene):
        scene = make_scene()
        changed = []
        for part, where in [("lr", (1, 2, 3)), ("qm", (1, 2, 3)), ("hr", (2, 3)), ("sm", (2, 3))]:
            values = getattr(scene, part)
            values[where] = 1 - values[where]
            changed.append({part: values})
        exact = {part: getattr(scene, part) for part in ("lr", "qm", "hr", "sm")}
        variants = [exact, *(exact | change for change in changed)]
        variants += [exact | {"norm": norm} for norm in (46.5, 46.6)]
        variants += [exact | {"hr": None}, exact | {"hr": None, "sm": None}]
        found = [make_scene(**parts).fingerprint() for parts in variants]
        assert len(set(found)) == len(found)

    @pytest.mark.parametrize("name", ["LR001.png", "QM001.png", "HR.png", "SM.png"])
    def test_one_pixel_of_any_file(self, folder, name):
        scene = Scene.from_dir(folder)
        before = scene.fingerprint()
        rewrite(folder / name, lambda value: value ^ 1 if value > 1 else 255)
        assert scene.fingerprint() != before

    def test_every_step_of_a_pipeline(self, make_scene, folder):
        for scene in (make_scene(), Scene.from_dir(folder)):
            steps = [ClearanceSelector(k=k) for k in (1, 2, "max", None)]
            steps += [ClearanceSelector(k=2, ties="last")]
            steps += [FrameRegistrar(), FrameRegistrar(apply=False), FrameRegistrar(max_shift=4)]
            steps += [InputComposer(mode) for mode in ("lr", "combine", "concat")]
            steps += [InputComposer(frames=frames) for frames in ("mean", "single")]
            steps += [InputComposer(frames="single", average="clearest")]
            variants = [scene, *(step.transform([scene])[0] for step in steps)]
            variants += [BicubicUpscaler(scale).transform([variants[-1]])[0] for scale in (2, 3)]
            variants += FrameRegistrar().transform(ClearanceSelector(k=2).transform([scene]))
            variants += ClearanceSelector(k=2).transform(FrameRegistrar().transform([scene]))
            found = [variant.fingerprint() for variant in variants]
            assert len(set(found)) == len(found)


class TestOwnFrames:
    def test_a_source_that_says_nothing_goes_by_its_pixels(self, make_scene):
        scene = make_scene()
        lr, qm = scene.lr, scene.qm
        found = [scene.with_frames(ArrayFrames(lr, qm)).fingerprint()]
        assert scene.with_frames(ArrayFrames(lr.copy(), qm.copy())).fingerprint() == found[0]
        other_lr, other_qm = lr.copy(), qm.copy()
        other_lr[3, 2, 1] += np.float32(1e-4)
        other_qm[3, 2, 1] ^= True
        found.append(scene.with_frames(ArrayFrames(other_lr, qm)).fingerprint())
        found.append(scene.with_frames(ArrayFrames(lr, other_qm)).fingerprint())
        found.append(scene.with_frames(ArrayFrames(lr[::-1], qm[::-1])).fingerprint())
        assert len(set(found)) == 4


def test_no_pixel_is_decoded(root, monkeypatch):
    def refuse(path, *arguments, **options):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(Image, "open", refuse)
    assert all(scene.fingerprint() for scene in FrameRegistrar().transform(load_scenes(root)))


def test_a_file_that_vanished_is_named(folder):
    scene = Scene.from_dir(folder)
    (folder / "SM.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"imgset0000.SM\.png does not exist"):
        scene.fingerprint()


def test_a_damaged_file_has_a_fingerprint_of_its_own(folder):
    """Reading the pixels raises later; the fingerprint must neither hang nor fail."""
    found = [Scene.from_dir(folder).fingerprint()]
    for content in (b"", b"\x89PNG", b"A" * 5000, (folder / "LR000.png").read_bytes()[:200]):
        (folder / "LR000.png").write_bytes(content)
        found.append(Scene.from_dir(folder).fingerprint())
    assert len(set(found)) == 5


def test_fingerprints_of_saved_scenes_follow_norm_csv(make_scene, tmp_path):
    save_scenes([make_scene(norm=46.5)], tmp_path)
    before = load_scenes(tmp_path)[0].fingerprint()
    (tmp_path / "norm.csv").write_text("imgset0042 46.6\n")
    assert load_scenes(tmp_path)[0].fingerprint() != before


class TestScenesOfOwnFrames:
    def test_a_scene_of_own_frames_is_the_scene_of_their_arrays(self, make_scene):
        scene = make_scene(size=(8, 10))
        own = Scene.from_frames(
            ArrayFrames(scene.lr, scene.qm), scene.hr, scene.sm, name=scene.name, band="NIR"
        )
        assert (own.name, own.band, len(own), own.shape, own.scale) == (
            "imgset0042",
            "NIR",
            4,
            (8, 10),
            3,
        )
        for part in ("lr", "qm", "hr", "sm"):
            np.testing.assert_array_equal(getattr(own, part), getattr(scene, part))
        assert own.norm == scene.norm
        (selected,) = ClearanceSelector(k=2).transform([own])
        np.testing.assert_array_equal(selected.lr, ClearanceSelector(k=2).transform([scene])[0].lr)

    def test_their_truth_is_checked(self, make_scene):
        scene = make_scene()
        frames = ArrayFrames(scene.lr, scene.qm)
        with pytest.raises(ValueError, match=r"scene a: hr has shape \(17, 24\)"):
            Scene.from_frames(frames, np.zeros((17, 24)), name="a")
        with pytest.raises(ValueError, match="scene a: frames is a ndarray: derive its class"):
            Scene.from_frames(scene.lr, name="a")
