"""Layout of the data set on disk: saved scenes load unchanged."""

import numpy as np
import pytest
from _comparing import assert_same_pixels, assert_same_scene, upscale_clearest
from PIL import Image

from probav_estimators import (
    cpsnr,
    load_scenes,
    save_scenes,
)


def names_of(scenes):
    return [scene.name for scene in scenes]


def read_norm_csv(root):
    """Read names and N by splitting lines at the space, as the challenge's own reader does."""
    lines = (root / "norm.csv").read_text().splitlines()
    return {name: float(norm) for name, norm in (line.split(" ") for line in lines)}


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def both_splits(scenes, tmp_path):
    """Three train and two test scenes in each of both bands."""
    save_scenes(scenes[2:], tmp_path, split="train")
    save_scenes(scenes[:2], tmp_path, split="test")
    return tmp_path


class TestLoading:
    def test_the_root_gives_all_splits_train_first_then_by_name(self, both_splits):
        assert names_of(load_scenes(both_splits)) == [
            f"imgset000{number}" for number in (2, 3, 4, 0, 1)
        ]

    def test_a_split_gives_both_bands_by_name(self, both_splits):
        scenes = load_scenes(both_splits / "train")
        assert names_of(scenes) == ["imgset0002", "imgset0003", "imgset0004"]
        assert [scene.band for scene in scenes] == ["RED", "NIR", "RED"]

    @pytest.mark.parametrize(
        ("bands", "numbers"),
        [("NIR", [3, 1]), (["RED"], [2, 4, 0]), (["RED", "NIR"], [2, 3, 4, 0, 1])],
    )
    def test_bands_can_be_chosen(self, both_splits, bands, numbers):
        assert names_of(load_scenes(both_splits, bands=bands)) == [
            f"imgset000{number}" for number in numbers
        ]

    @pytest.mark.parametrize("place", ["", "train/RED"])
    def test_norm_csv_is_found_from_every_folder(self, both_splits, place):
        norms = {f"imgset000{number}": 40.0 + number for number in range(5)}
        (both_splits / "norm.csv").write_text("".join(f"{n} {v}\n" for n, v in norms.items()))
        for scene in load_scenes(both_splits / place):
            assert scene.norm == norms[scene.name]

    def test_a_scene_that_norm_csv_leaves_out_computes_its_norm(self, root):
        (root / "norm.csv").write_text("imgset0000 46.5\n\n")
        first, second = load_scenes(root)
        assert first.norm == 46.5
        expected = cpsnr(upscale_clearest(second), second.hr, second.sm)
        assert second.norm == pytest.approx(expected, abs=1e-5)

    def test_other_files_and_hidden_folders_do_not_disturb(self, root, folder):
        (root / "README.md").write_text("notes")
        (root / "train" / "RED" / "overview.png").write_bytes(b"")
        (folder / "notes.txt").write_text("a good one")
        (folder.parent / ".imgset0009.part").mkdir()
        (folder.parent / ".imgset0009.part" / "LR000.png").write_bytes(b"")
        (folder.parent / "empty").mkdir()
        assert names_of(load_scenes(root)) == ["imgset0000", "imgset0001"]

    def test_the_samples_load_with_their_norms(self, samples):
        scenes = load_scenes(samples / "real_texture")
        assert len(scenes) == 8
        assert {scene.name: scene.norm for scene in scenes} == read_norm_csv(
            samples / "real_texture"
        )
        assert {scene.scale for scene in scenes} == {3}


class TestSaving:
    def test_what_was_saved_is_loaded_to_the_last_bit(self, scenes, mixed_scenes, tmp_path):
        for number, given in enumerate((scenes, [rename(mixed_scenes, i) for i in range(3)])):
            save_scenes(given, tmp_path / str(number))
            loaded = load_scenes(tmp_path / str(number))
            assert names_of(loaded) == names_of(given)
            for one, other in zip(loaded, given, strict=True):
                assert_same_scene(one, other)

    def test_files_have_the_layout_and_the_types_of_the_challenge(self, scenes, saved_root):
        for scene in scenes:
            folder = saved_root / "train" / scene.band / scene.name
            numbers = [f"{number:03d}.png" for number in range(len(scene))]
            assert {path.name for path in folder.iterdir()} == {
                "HR.png",
                "SM.png",
                *(f"{kind}{number}" for kind in ("LR", "QM") for number in numbers),
            }
            for name, dtype in [("LR000", "u2"), ("QM000", "u1"), ("HR", "u2"), ("SM", "u1")]:
                assert np.asarray(Image.open(folder / f"{name}.png")).dtype == dtype
            quality_map = np.asarray(Image.open(folder / "QM000.png"))
            assert set(np.unique(quality_map)) <= {0, 255}

    def test_norms_are_kept_to_their_last_digit(self, make_scene, tmp_path):
        norms = [41.390660380927926, 1 / 3, np.nextafter(46.5, 47)]
        save_scenes([make_scene(norm=n, name=f"imgset{i}") for i, n in enumerate(norms)], tmp_path)
        assert [scene.norm for scene in load_scenes(tmp_path)] == norms
        assert list(read_norm_csv(tmp_path).values()) == norms

    def test_scenes_without_hr_are_saved_without_it(self, make_scene, tmp_path):
        scenes = [
            make_scene(hr=None, sm=None, name="imgset0000"),
            make_scene(hr=None, name="imgset0001"),
            make_scene(hr=None, sm=None, norm=46.5, name="imgset0002"),
        ]
        save_scenes(scenes, tmp_path, split="test")
        for one, other in zip(load_scenes(tmp_path), scenes, strict=True):
            assert_same_scene(one, other)
        assert read_norm_csv(tmp_path) == {"imgset0002": 46.5}

    def test_unnamed_scenes_get_the_next_free_names(self, make_scene, tmp_path):
        unnamed = [make_scene(name=None, seed=seed) for seed in range(3)]
        save_scenes([unnamed[0], make_scene(name="imgset0001"), unnamed[1]], tmp_path)
        save_scenes([unnamed[2]], tmp_path, split="test")
        loaded = {scene.name: scene for scene in load_scenes(tmp_path)}
        assert set(loaded) == {f"imgset000{number}" for number in range(4)}
        for name, scene in zip(("imgset0000", "imgset0002", "imgset0003"), unnamed, strict=True):
            np.testing.assert_array_equal(loaded[name].lr, scene.lr)
        assert [scene.name for scene in unnamed] == [None] * 3

    def test_scenes_with_and_without_a_band_are_all_found_again(self, make_scene, tmp_path):
        given = [
            make_scene(name="imgset0000", band="RED"),
            make_scene(name="imgset0001"),
            make_scene(name="imgset0002", band="NIR"),
        ]
        save_scenes(given, tmp_path)
        for place in (tmp_path, tmp_path / "train"):
            loaded = load_scenes(place)
            assert len(loaded) == 3
            for one, other in zip(loaded, given, strict=True):
                assert_same_pixels(one, other)


class TestRefusals:
    def test_a_scene_that_is_there_is_not_overwritten(self, root, scenes, make_scene):
        before = files_below(root)
        newcomer = make_scene(name="imgset0009", band="RED")
        with pytest.raises(FileExistsError, match=r"RED.imgset0000 is there already: remove it"):
            save_scenes([newcomer, scenes[0]], root)
        assert files_below(root) == before

    def test_a_name_of_another_split_or_band_is_refused(self, root, make_scene):
        before = files_below(root)
        for band, split in [("RED", "test"), ("NIR", "train"), (None, "train")]:
            with pytest.raises(FileExistsError, match=r"RED.imgset0000 is there already"):
                save_scenes([make_scene(name="imgset0000", band=band)], root, split=split)
        assert files_below(root) == before

    def test_two_scenes_of_one_name_are_refused_before_anything_is_written(
        self, make_scene, tmp_path
    ):
        scenes = [make_scene(band="RED"), make_scene(band="NIR")]
        with pytest.raises(ValueError, match="2 scenes are named imgset0042"):
            save_scenes(scenes, tmp_path / "data")
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("name", ["../imgset0000", "", ".hidden", "a b", "a,b", 7])
    def test_a_name_that_cannot_name_a_folder_is_refused(self, make_scene, tmp_path, name):
        for parts in ({"name": name}, {"band": name} if name else {"name": name}):
            with pytest.raises(ValueError, match="cannot name a folder"):
                save_scenes([make_scene(**parts)], tmp_path / "data")
        assert not (tmp_path / "data").exists()

    def test_two_scenes_of_one_name_on_disk_are_refused(self, root, folder):
        folder.rename(root / "train" / "NIR" / "imgset0000")
        (root / "train" / "NIR" / "imgset0001").rename(folder)
        (root / "train" / "RED" / "imgset0000").rename(root / "train" / "RED" / "imgset0002")
        assert len(load_scenes(root)) == 2
        (root / "train" / "RED" / "imgset0002").rename(root / "train" / "RED" / "imgset0000")
        with pytest.raises(ValueError, match="2 scenes are named imgset0000"):
            load_scenes(root)


class TestFailures:
    @pytest.mark.parametrize("written_before", [3, 12])
    def test_no_scene_is_half_written(self, scenes, tmp_path, monkeypatch, written_before):
        """The disk is full after `written_before` files."""
        save, calls = Image.Image.save, []

        def save_until_full(image, path, **options):
            if len(calls) == written_before:
                raise OSError(28, "No space left on device")
            calls.append(path)
            save(image, path, **options)

        monkeypatch.setattr(Image.Image, "save", save_until_full)
        with pytest.raises(OSError, match="No space left"):
            save_scenes(scenes, tmp_path)
        assert_only_whole_scenes(tmp_path, scenes, written_before // (2 * len(scenes[0]) + 2))

    def test_a_damaged_source_leaves_nothing_of_its_scene(self, root, folder, tmp_path):
        (folder / "HR.png").write_bytes((folder / "HR.png").read_bytes()[:200])
        scenes = load_scenes(root)[::-1]
        with pytest.raises(ValueError, match=r"imgset0000.HR\.png is damaged"):
            save_scenes(scenes, tmp_path / "copy")
        assert_only_whole_scenes(tmp_path / "copy", scenes, 1)

    def test_a_failing_write_leaves_the_old_norm_csv(self, root, make_scene, monkeypatch):
        before = (root / "norm.csv").read_text()

        def refuse(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.write_text", refuse)
        with pytest.raises(OSError, match="No space left"):
            save_scenes([make_scene(norm=41.25)], root)
        assert (root / "norm.csv").read_text() == before


def assert_only_whole_scenes(root, scenes, n_whole):
    """Assert that `root` holds the first `n_whole` of `scenes` and no trace of the others."""
    kept = {scene.name for scene in scenes[:n_whole]}
    parents = [path for path in (root / "train").rglob("*") if path.is_dir()]
    assert {path.name for path in parents} - {"RED", "NIR"} == kept
    assert not list(root.rglob(".*"))
    if kept:
        loaded = {scene.name: scene for scene in load_scenes(root)}
        for scene in scenes[:n_whole]:
            assert_same_pixels(loaded[scene.name], scene)


def rename(scenes, number):
    scene = scenes[number].with_frames(scenes[number].frames)
    scene.name = f"imgset{number:04d}"
    return scene
