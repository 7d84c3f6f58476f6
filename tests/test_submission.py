"""Submissions hold the predictions under the right names, or no file is written."""

import io
import weakref
import zipfile

import numpy as np
import pytest
from _helpers import slow_score, small_scenes
from PIL import Image
from skimage.io import imread

from probav_estimators import (
    BicubicBaseline,
    Scene,
    cpsnr,
    make_scenes,
    probav_score,
    published_configurations,
    write_submission,
)


class Interrupted:
    """Estimator interrupted by the user after some scenes."""

    def __init__(self):
        self.calls = 0

    def predict(self, scenes):
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return BicubicBaseline().predict(scenes)


class Watchful:
    """Estimator that counts which of its earlier predictions are still in memory."""

    def __init__(self):
        self.predicted = []
        self.alive = []

    def predict(self, scenes):
        self.alive.append(sum(reference() is not None for reference in self.predicted))
        images = BicubicBaseline().predict(scenes)
        self.predicted.append(weakref.ref(images))
        return images


class Forgetful:
    """Estimator that returns one image too few."""

    def predict(self, scenes):
        return BicubicBaseline().predict(scenes)[1:]


@pytest.fixture(scope="module")
def scenes():
    """Three scenes with a level of 2000 or more."""
    return make_scenes(3, size=16, n_frames=4, random_state=0)


@pytest.fixture
def images(scenes):
    rng = np.random.default_rng(0)
    return rng.uniform(3000 / 65535, 4000 / 65535, (len(scenes), 48, 48))


@pytest.fixture(scope="module")
def level_images(scenes):
    """Baseline images as uint16, shifted to the level of their scenes."""
    images = values_of(BicubicBaseline().predict(scenes))
    offsets = [level_error(image, s) for image, s in zip(images, scenes, strict=True)]
    return np.stack([x - round(o) for x, o in zip(images, offsets, strict=True)]).astype(np.uint16)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "submission.zip"


def read_with_pillow(path):
    """Read the images of a zip file by name, in file order."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {
            name: np.asarray(Image.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
        }


def read_with_scikit_image(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        return {name: imread(folder / name) for name in archive.namelist()}


def values_of(pixels):
    return np.rint(np.asarray(pixels, np.float64) * 65535)


def level_error(values, scene):
    """Mean difference of 16-bit values from the clearest frames over their clear pixels."""
    lr, qm = scene.lr.astype(np.float64) * 65535, scene.qm
    clearest = qm.sum(axis=(1, 2)) == qm.sum(axis=(1, 2)).max()
    height, width = scene.shape
    small = np.asarray(values, np.float64).reshape(height, -1, width, values.shape[0] // height)
    errors = small.mean(axis=(1, 3)) - lr[clearest]
    return errors[qm[clearest]].mean()


def assert_moved(read, values, scene):
    """Assert that a file is the image plus one integer offset, at the scene's level."""
    assert read.dtype == np.uint16
    offsets = np.unique(read.astype(int) - np.asarray(values).astype(int))
    assert len(offsets) == 1
    assert abs(level_error(read, scene)) <= 0.501
    return offsets.item()


def assert_all_moved(path, images, scenes):
    read = read_with_pillow(path)
    assert list(read) == [f"{scene.name}.png" for scene in scenes]
    triples = zip(read.values(), images, scenes, strict=True)
    return [assert_moved(*triple) for triple in triples]


class TestWhatIsWritten:
    def test_outside_readers_get_the_same_numbers(self, scenes, level_images, target, tmp_path):
        write_submission(level_images, scenes, target)
        pillow = read_with_pillow(target)
        scikit_image = read_with_scikit_image(target, tmp_path / "unpacked")
        for number, expected in enumerate(level_images):
            for read in (pillow, scikit_image):
                assert read[f"imgset000{number}.png"].dtype == np.uint16
                np.testing.assert_array_equal(read[f"imgset000{number}.png"], expected)

    @pytest.mark.parametrize("dtype", [np.uint16, ">u2"])
    def test_uint16_images_are_values(self, scenes, level_images, target, dtype):
        write_submission(level_images.astype(dtype), scenes, target)
        assert assert_all_moved(target, level_images, scenes) == [0, 0, 0]


class TestLevel:
    """Loss and score ignore a constant offset, so images of any brightness keep their score."""

    @pytest.mark.parametrize("offset", [-300, 45000])
    def test_images_of_any_brightness_make_one_file(self, scenes, level_images, tmp_path, offset):
        assert level_images.min() > 300
        bright = (level_images.astype(int) + offset).astype(np.uint16)
        expected = write_submission(level_images, scenes, tmp_path / "level.zip").read_bytes()
        assert write_submission(bright, scenes, tmp_path / "a.zip").read_bytes() == expected
        pixels = bright / 65535
        assert write_submission(pixels, scenes, tmp_path / "b.zip").read_bytes() == expected

    def test_a_file_that_is_written_again_stays_as_it_is(self, scenes, images, tmp_path):
        first = write_submission(images, scenes, tmp_path / "first.zip")
        read = list(read_with_pillow(first).values())
        again = write_submission(read, scenes, tmp_path / "again.zip")
        assert again.read_bytes() == first.read_bytes()

    @pytest.mark.parametrize(("level", "ends"), [(64000, (45535, 65535)), (500, (0, 20000))])
    def test_values_are_moved_by_less_where_they_would_not_fit(
        self, make_scene, target, recwarn, level, ends
    ):
        lr = np.full((2, 6, 6), level, np.uint16)
        scene = make_scene(lr=lr, qm=lr > 0, hr=None, sm=None)
        image = np.linspace(15000, 35000, 144).round().astype(np.uint16).reshape(12, 12)
        write_submission([image], [scene], target)
        (read,) = read_with_pillow(target).values()
        assert (read.min(), read.max()) == ends
        np.testing.assert_array_equal(np.diff(read.astype(int)), np.diff(image.astype(int)))
        assert not recwarn.list

    def test_what_lies_below_clouds_does_not_count(self, make_scene, target):
        lr = np.full((2, 6, 6), 5000, np.uint16)
        qm = np.ones(lr.shape, bool)
        lr[0, :3], qm[0, :3] = 60000, False
        lr[1, :4], qm[1, :4] = 60000, False
        scene = make_scene(lr=lr, qm=qm, hr=None, sm=None)
        image = np.full((12, 12), 9000, np.uint16)
        image[:6] = 20000
        write_submission([image], [scene], target)
        (read,) = read_with_pillow(target).values()
        np.testing.assert_array_equal(read[:6], 16000)
        np.testing.assert_array_equal(read[6:], 5000)

    def test_the_published_baseline_image_scores_the_same_40000_brighter(self, samples, target):
        folder = samples / "probav_imgset0594"
        hr, baseline = (imread(file) for file in sorted(folder.glob("*.png")))
        frames = hr.reshape(128, 3, 128, 3).mean(axis=(1, 3))[None].round().astype(np.uint16)
        scene = Scene(frames, frames > 0, hr, norm=50.0739, name="imgset0594")
        bright = baseline + np.uint16(40000)
        assert bright.min() > 16383
        write_submission([bright], [scene], target)
        (read,) = read_with_pillow(target).values()
        assert read.max() <= 16383
        assert cpsnr(read, hr) == pytest.approx(50.046, abs=5e-4)
        assert probav_score(read, hr, norm=50.0739) == pytest.approx(1.00056, abs=5e-6)

    @pytest.mark.parametrize(("number", "residual"), [(0, False), (6, True), (11, True)])
    def test_the_file_of_a_configuration_scores_what_it_predicts(self, target, number, residual):
        scenes = small_scenes(2)
        settings = {"max_epochs": 1, "patch_size": 8, "random_state": 0, "verbose": 0}
        settings |= {"train_split": None, "compute_dtype": "float32", "device": "cpu"}
        pipelines, *_ = published_configurations(residual=residual, **settings)
        pipe = pipelines[number][1].fit(scenes)
        write_submission(pipe, scenes, target)
        pixels = [image / 65535 for image in read_with_pillow(target).values()]
        # Rounding adds a squared error of 1/12, which is 1e-5 dB at these scores.
        predicted = slow_score(pipe.predict(scenes), scenes)
        assert slow_score(pixels, scenes) == pytest.approx(predicted, rel=1e-5)


class TestEstimators:
    def test_predictions_do_not_pile_up(self, target):
        estimator = Watchful()
        write_submission(estimator, small_scenes(48, shape=(8, 8)), target)
        assert len(estimator.alive) > 2
        assert max(estimator.alive) <= 1

    def test_a_progress_bar_counts_the_scenes(self, scenes, target, capsys):
        write_submission(BicubicBaseline(), scenes, target)
        assert "3/3" in capsys.readouterr().err

    def test_an_estimator_that_loses_images_is_named(self, scenes, target):
        with pytest.raises(ValueError, match=r"Forgetful predicted 2 images for the 3 scenes"):
            write_submission(Forgetful(), scenes, target)


class TestTheFile:
    def test_images_of_a_generator_are_written_as_they_come(self, scenes, images, tmp_path):
        given = []

        def one_by_one():
            for image in images:
                # All images but the last have been written and freed.
                assert all(reference() is None for reference in given[:-1])
                image = image.copy()
                given.append(weakref.ref(image))
                yield image
                del image

        paths = [tmp_path / "list.zip", tmp_path / "generator.zip"]
        for source, path in zip((images, one_by_one()), paths, strict=True):
            write_submission(source, scenes, path)
        assert len(given) == 3
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_equal_images_give_equal_bytes_at_any_hour(self, scenes, images, tmp_path):
        first = write_submission(images, scenes, tmp_path / "first.zip")
        second = write_submission(images.copy(), scenes, tmp_path / "second.zip")
        assert first.read_bytes() == second.read_bytes()
        with zipfile.ZipFile(first) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    @pytest.mark.parametrize("older", [None, b"an older submission"])
    def test_an_interrupt_leaves_what_was_there(self, target, older):
        if older is not None:
            target.write_bytes(older)
        with pytest.raises(KeyboardInterrupt):
            write_submission(Interrupted(), small_scenes(20, shape=(8, 8)), target)
        left = {path: path.read_bytes() for path in target.parent.iterdir()}
        assert left == ({} if older is None else {target: older})

    def test_a_disk_that_fills_up_leaves_nothing(self, scenes, images, target, monkeypatch):
        def fill_up(self, *args, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(zipfile.ZipFile, "writestr", fill_up)
        with pytest.raises(OSError, match="No space left"):
            write_submission(images, scenes, target)
        assert list(target.parent.iterdir()) == []


class TestWhatIsRefused:
    @pytest.fixture(autouse=True)
    def leaves_nothing(self, target):
        yield
        assert [path for path in target.parent.iterdir() if path.is_file()] == []

    @pytest.mark.parametrize(
        ("flaw", "message"),
        [
            (np.nan, "scene imgset0001: the image has NaN or infinite"),
            (-0.01, r"scene imgset0001: the image has values from -0.01 .* \[0, 1\]"),
            (1.5, r"scene imgset0001: the image has values .* to 1.5: .* divide .* by 65535"),
        ],
    )
    def test_a_pixel_that_is_no_pixel(self, scenes, images, target, flaw, message):
        images[1, 20, 30] = flaw
        with pytest.raises(ValueError, match=message):
            write_submission(images, scenes, target)

    @pytest.mark.parametrize("dtype", [np.int64, complex])
    def test_values_of_another_type(self, scenes, images, target, dtype):
        with pytest.raises(ValueError, match=r"scene imgset0000: .* type .* give floats"):
            write_submission(images.astype(dtype), scenes, target)

    @pytest.mark.parametrize("shape", [(47, 48), (0, 0)])
    def test_an_image_of_another_size_than_the_scale_makes(self, scenes, images, target, shape):
        images = [images[0], images[1], np.zeros(shape)]
        with pytest.raises(ValueError, match=r"scene imgset0002: .* must be 3 times as large"):
            write_submission(images, scenes, target)

    @pytest.mark.parametrize("shape", [(48, 48, 1), (48,)])
    def test_an_image_that_is_not_one_grey_image(self, scenes, images, target, shape):
        images = [images[0], np.zeros(shape), images[2]]
        with pytest.raises(ValueError, match=r"scene imgset0001: .* give one grey image"):
            write_submission(images, scenes, target)

    @pytest.mark.parametrize("shape", [(16, 16), (40, 40), (32, 48)])
    def test_a_scale_that_is_not_an_integer_of_at_least_2(self, target, shape):
        with pytest.raises(ValueError, match=r"scene imgset0000: .* an integer of 2 or more"):
            write_submission([np.zeros(shape)], small_scenes(1, truth=False), target)

    @pytest.mark.parametrize("name", [None, "imgset12", "imgset0001\n"])
    def test_a_name_that_the_challenge_does_not_know(self, images, make_scene, target, name):
        with pytest.raises(ValueError, match=r'at position 0 .* name it like "imgset0594"'):
            write_submission(images[:1], [make_scene(size=(16, 16), name=name)], target)

    def test_too_few_or_too_many_images(self, scenes, images, target):
        for given, number in (
            (np.zeros((2, 48, 48)), "2"),
            (np.zeros((4, 48, 48)), "4"),
            (iter([]), "0"),
            (iter(images[:-1]), len(images) - 1),
            (iter([*images] * 2), "more"),
        ):
            with pytest.raises(ValueError, match=f"{number} images for {len(scenes)} scenes"):
                write_submission(given, scenes, target)
            assert list(target.parent.iterdir()) == []

    def test_images_scenes_and_paths_in_the_wrong_places(self, scenes, images, target, tmp_path):
        with pytest.raises(ValueError, match="takes a list of scenes, got ndarray"):
            write_submission(scenes, images, target)
        with pytest.raises(ValueError, match="empty list"):
            write_submission([], [], target)
        with pytest.raises(FileNotFoundError, match=r"absent is no folder: make it first"):
            write_submission(images, scenes, tmp_path / "absent" / "mine.zip")
        with pytest.raises(IsADirectoryError, match="is a folder: give the name of a file"):
            write_submission(images, scenes, tmp_path)
