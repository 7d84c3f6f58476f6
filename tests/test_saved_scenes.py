"""Scenes are loaded as they were saved, also by several processes and beside killed ones."""

import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from _helpers import ArrayFrames
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from probav_estimators import (
    ClearanceSelector,
    FrameRegistrar,
    Scene,
    load_scenes,
    make_scenes,
    save_scenes,
)
from probav_estimators.cli import probav
from probav_estimators.files import hold_lock, replace_folders

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")


def assert_same(one, other, tolerance=0.0):
    for name in ("lr", "qm", "hr", "sm"):
        found, expected = getattr(one, name), getattr(other, name)
        assert (found is None) == (expected is None)
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    for name in ("name", "band", "value_range", "norm", "scale"):
        assert getattr(one, name) == getattr(other, name)


@st.composite
def any_scenes(draw):
    """Scenes of all types, ranges, parts, with fill values under the masks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = np.dtype(draw(st.sampled_from(["u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"])))
    bounded = kind.str[1:] in ("u1", "u2", "f2", "f4", "f8") and draw(st.booleans())
    shape = (draw(st.integers(1, 4)), draw(st.integers(4, 9)), draw(st.integers(4, 9)))
    shapes = shape, (2 * shape[1], 2 * shape[2])
    if kind.kind == "f":
        low, high = (0, 1) if bounded else sorted(rng.normal(0, 10.0 ** rng.integers(-3, 4), 2))
        lr, hr = ((low + (high - low) * rng.random(s)).astype(kind) for s in shapes)
    else:
        limits = np.iinfo(kind)
        low, high = sorted(rng.integers(limits.min, limits.max, 2, kind, endpoint=True).tolist())
        lr, hr = (rng.integers(low, high, s, kind, endpoint=True) for s in shapes)
    qm, sm = (rng.random(s) < 0.8 for s in shapes)
    sm[0, 0] = True
    if not bounded:
        fill = draw(
            st.sampled_from([0, limits.max] if kind.kind != "f" else [np.nan, 6e4, -np.inf])
        )
        lr[~qm], hr[~sm] = fill, fill
        # Clouds and water beyond the range.
        low, high = float(low), float(low) + max(0.4 * (float(high) - float(low)), 1e-3)
    return Scene(
        lr,
        qm,
        hr if draw(st.booleans()) else None,
        sm if draw(st.booleans()) or (not bounded and kind.kind == "f") else None,
        name="imgset0007",
        band=draw(st.sampled_from([None, "RED"])),
        norm=draw(st.sampled_from([None, 46.25])),
        value_range=None if bounded else (low, high),
    )


@settings(deadline=None, max_examples=30)
@given(any_scenes())
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, scene):
    root = tmp_path_factory.mktemp("any")
    save_scenes([scene], root)
    (loaded,) = load_scenes(root)
    # Floats in [0, 1] are rounded to 16 bits.
    rounded = scene.value_range is None and not scene_of_counts(scene)
    assert_same(loaded, scene, tolerance=0.5001 / 65535 if rounded else 0)
    part = slice(1, 3), slice(0, 2)
    np.testing.assert_array_equal(loaded.crop(part).lr, loaded.lr[:, *part])


def scene_of_counts(scene):
    counts = scene.lr * 65535.0
    return np.array_equal(counts.astype("f4"), np.rint(counts).astype("f4"))


class TestPixelsOutsideTheRange:
    def test_frames_that_were_resampled_are_saved_as_they_are(self, tmp_path):
        """Bicubic interpolation overshoots beside bright clouds and dark water."""
        (scene,) = make_scenes(1, size=24, n_frames=4, random_state=0)
        stripes = np.float32(np.indices(scene.lr.shape[1:])[0] // 3 % 2)
        stark = Scene(np.where(scene.lr > scene.lr.mean(), stripes, scene.lr), scene.qm, name="a")
        (moved,) = FrameRegistrar().transform([stark.with_frames(scene.frames)])
        frames = ClearanceSelector(k=3).transform([moved])[0]
        shown = ArrayFrames(frames.lr * 3 - 1, frames.qm)
        wild = Scene.from_frames(shown, name="imgset0001")
        assert wild.lr.min() < 0
        save_scenes([wild], tmp_path)
        (loaded,) = load_scenes(tmp_path)
        assert_same(loaded, wild)

    def test_pixels_that_are_no_numbers_are_refused_and_leave_nothing(self, tmp_path):
        pixels = np.full((2, 6, 6), 0.5, np.float32)
        pixels[1, 2, 3] = np.nan
        scene = Scene.from_frames(ArrayFrames(pixels, np.ones_like(pixels, bool)), name="lake")
        with pytest.raises(ValueError, match=r"ArrayFrames has NaN .* frame 1, row 2, column 3"):
            save_scenes([scene], tmp_path / "data")
        assert not list((tmp_path / "data").rglob("*.npy"))

    @pytest.mark.parametrize(
        "content",
        ["", "[]", '{"value_range": [0, NaN]}'],
    )
    def test_a_damaged_range_is_refused_by_file(self, tmp_path, content):
        folder = saved_wide(tmp_path)
        (folder / "values.json").write_text(content)
        with pytest.raises(ValueError, match=r"imgset0000.values\.json.*restore it"):
            load_scenes(tmp_path)

    def test_damaged_pixels_are_refused_by_file(self, tmp_path):
        folder = saved_wide(tmp_path)
        whole = (folder / "LR001.npy").read_bytes()
        # A header that says more pixels than there are asks for no memory.
        large = whole.replace(b"(6, 6)", b"(60000, 60000)").replace(b" " * 8, b"", 1)
        for content in (
            b"",
            whole[:90],
            whole[:-1],
            b"x" * 200,
            large,
            whole[:-4] + b"\0\0\xc0\x7f",
        ):
            (folder / "LR001.npy").write_bytes(content)
            with pytest.raises(ValueError, match=r"LR001\.npy"):
                _ = load_scenes(tmp_path)[0].lr
        np.save(folder / "LR001.npy", np.array([{}]), allow_pickle=True)
        with pytest.raises(ValueError, match=r"LR001\.npy is damaged"):
            _ = load_scenes(tmp_path)[0].lr
        (folder / "LR001.npy").unlink()
        with pytest.raises(ValueError, match=r"has no LR001\.npy"):
            load_scenes(tmp_path)


def saved_wide(root):
    lr = np.random.default_rng(0).normal(0, 2, (2, 6, 6))
    value_range = np.float32(0), np.int64(1)
    save_scenes([Scene(lr, lr < 3, name="imgset0000", value_range=value_range)], root)
    return root / "train" / "imgset0000"


class TestSeveralWriters:
    def test_no_norm_is_lost(self, tmp_path):
        """The lock is a file: it holds for threads as for processes of any machine."""

        def write(first):
            for number in range(first, first + 12):
                lr = np.full((1, 4, 4), 100, np.uint16)
                name, norm = f"imgset{number:04d}", 40 + number / 8
                save_scenes([Scene(lr, lr > 0, norm=norm, name=name)], tmp_path)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, (0, 100, 200, 300)))
        lines = dict(line.split() for line in (tmp_path / "norm.csv").read_text().splitlines())
        assert len(lines) == len(load_scenes(tmp_path)) == 48
        assert all(float(norm) == 40 + int(name[6:]) / 8 for name, norm in lines.items())
        assert not list(tmp_path.rglob(".*"))

    def test_of_two_scenes_of_one_name_one_is_refused(self, tmp_path):
        def write(band):
            lr = np.full((8, 64, 64), 100, np.uint16)
            try:
                save_scenes([Scene(lr, lr > 0, name="imgset0000", band=band)], tmp_path)
            except FileExistsError as error:
                return "imgset0000 is there already" in str(error)

        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(write, ("RED", "NIR"))) == {None, True}
        assert len(load_scenes(tmp_path)) == 1

    def test_the_lock_of_a_killed_process_is_removed(self, tmp_path):
        (tmp_path / ".norm.csv.lock").touch()
        start = time.monotonic()
        with hold_lock(tmp_path / "norm.csv", patience=0.1):
            assert (tmp_path / ".norm.csv.lock").exists()
        assert 0.1 < time.monotonic() - start < 20
        assert not list(tmp_path.iterdir())


@posix
class TestModesAndLinks:
    @pytest.fixture(autouse=True)
    def private(self):
        before = os.umask(0o077)
        yield
        os.umask(before)

    def test_folders_and_files_of_scenes_follow_the_umask(self, tmp_path):
        save_scenes(make_scenes(1, size=16, n_frames=3, random_state=0), tmp_path / "data")
        for path in (tmp_path / "data").rglob("*"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path

    def test_replaced_scenes_keep_their_modes_and_links(self, tmp_path):
        args = ["simulate", str(tmp_path / "data"), "--n-scenes", "2", "--size", "16", "--quiet"]
        assert CliRunner().invoke(probav, args).exit_code == 0
        band = tmp_path / "data" / "train" / "RED"
        (band / "imgset0000").rename(tmp_path / "elsewhere")
        (band / "imgset0000").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").chmod(0o750)
        before = load_scenes(tmp_path / "data")[0].lr
        assert CliRunner().invoke(probav, [*args, "--seed", "1", "--overwrite"]).exit_code == 0
        assert (band / "imgset0000").is_symlink()
        assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o750
        assert not np.array_equal(load_scenes(tmp_path / "data")[0].lr, before)
        assert not list(tmp_path.rglob(".*"))


def test_the_range_is_in_the_layout(tmp_path):
    folder = saved_wide(tmp_path)
    assert json.loads((folder / "values.json").read_text()) == {"value_range": [0.0, 1.0]}
    assert {path.suffix for path in folder.glob("LR*")} == {".npy"}


def test_folders_that_were_written_before_a_failure_stay(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("old")

    def write_one_and_fail():
        with replace_folders([tmp_path / "a", tmp_path / "b"]):
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "file").write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_one_and_fail()
    assert [(tmp_path / name / "file").read_text() for name in "ab"] == ["new", "old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
