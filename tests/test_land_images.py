"""Scenes of a user's own fine images: frames and truth, choice of windows, bad input."""

import json

import numpy as np
import pytest
import rasterio
import xarray
from _rasters import write
from click.testing import CliRunner
from PIL import Image
from scipy.ndimage import gaussian_filter

from probav_estimators import Sensor, load_scenes, make_scenes
from probav_estimators.cli import probav
from probav_estimators.simulation import PRESETS, simulate_scene

# A sensor that adds little to the land: a drift of at most 2 % remains.
PERFECT = Sensor.preset(
    "plain",
    psf_sigma=0.05,
    hr_psf_sigma=0.05,
    noise=0,
    gain=0,
    offset=0,
    psf_variation=0,
    geolocation_error=0,
)
DRIFT = 0.025


def land(seed=0, shape=(90, 110), low=400, high=4000):
    """Rough land, uint16."""
    rough = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    rough -= rough.min()
    return np.uint16(low + (high - low) * rough / rough.max())


def blocks(image, n):
    """Means of blocks of n x n pixels."""
    height, width = (size // n for size in image.shape)
    return image.reshape(height, n, width, n).mean((1, 3))


def counts(pixels):
    return 65535 * pixels


def scene_of(image, *, size=16, sensor=PERFECT, scale=3, seed=0, **options):
    options = {"n_frames": 2, "value_range": (0, 10000), **options}
    (scene,) = make_scenes(
        1, images=[image], size=size, scale=scale, sensor=sensor, random_state=seed, **options
    )
    return scene


def same(scenes, others):
    return all(
        np.array_equal(getattr(one, part), getattr(other, part))
        for one, other in zip(scenes, others, strict=True)
        for part in ("lr", "qm", "hr", "sm", "true_shifts")
    )


class TestWhatIsSeen:
    @pytest.mark.parametrize("scale", [2, 3])
    def test_the_truth_is_the_image_and_frames_are_its_means(self, scale):
        image = land(shape=(16 * scale, 20 * scale))
        scene = scene_of(image, size=(16, 20), scale=scale, seed=1)
        assert scene.sm.all()
        np.testing.assert_allclose(counts(scene.hr), image, rtol=DRIFT, atol=2)
        for frame, clear in zip(scene.lr, scene.qm, strict=True):
            # Beside clouds that are not masked, a frame is the mean of its pixels' land.
            error = counts(frame)[clear] / blocks(image, scale)[clear] - 1
            assert np.median(abs(error)) < DRIFT

    @pytest.mark.parametrize("sensor", ["static", *PRESETS])
    def test_every_sensor_sees_the_image_at_its_true_shifts(self, sensor):
        image = land(3)
        scene = scene_of(image, sensor=sensor, size=(24, 30), n_frames=4, seed=2)
        assert scene.lr.shape == (4, 24, 30) and scene.hr.shape == (72, 90)
        down, right = np.rint(3 * scene.true_shifts).astype(int).T
        for number in range(4):
            moved = np.roll(scene.hr, (down[number], right[number]), (0, 1))
            clear = scene.qm[number, 3:-3, 3:-3]
            pair = blocks(moved, 3)[3:-3, 3:-3][clear], scene.lr[number, 3:-3, 3:-3][clear]
            assert np.corrcoef(*pair)[0, 1] > 0.7

    def test_clouds_days_and_shifts_are_those_of_drawn_land(self):
        options = {"size": 16, "sensor": "any", "random_state": 4}
        drawn = make_scenes(3, **options)
        imaged = make_scenes(3, images=land(), **options)
        for one, other in zip(drawn, imaged, strict=True):
            np.testing.assert_array_equal(one.qm, other.qm)
            np.testing.assert_array_equal(one.true_shifts, other.true_shifts)
            assert not np.array_equal(one.hr, other.hr)

    def test_dates_follow_each_other_within_the_days_of_a_scene(self):
        first, last = land(1, (48, 48)), land(2, (48, 48))
        scene = scene_of(np.stack([first, last]), n_frames=12, seed=5)
        likeness = np.array(
            [
                [np.corrcoef(blocks(date, 3)[clear], frame[clear])[0, 1] for date in (first, last)]
                for frame, clear in zip(scene.lr, scene.qm, strict=True)
                if clear.all()
            ]
        )
        leads = likeness[:, 0] - likeness[:, 1]
        assert leads[0] > 0.5 and leads[-1] < -0.5
        assert (np.diff(leads) < 0.1).all()

    def test_finer_images_are_reduced_by_area(self):
        fine = np.random.default_rng(0).integers(500, 3000, (120, 120))
        # Areas of HR pixels, in fifths of an image pixel.
        expected = blocks(np.kron(fine, np.ones((2, 2))), 5)
        scene = scene_of(fine, reduction=2.5)
        np.testing.assert_allclose(counts(scene.hr)[scene.sm], expected[scene.sm], rtol=DRIFT)

    def test_a_reflectance_of_one_has_ten_thousand_counts(self):
        reflectance = land(shape=(60, 60)) / 10000
        scenes = [
            scene_of(reflectance, value_range=(0, 1)),
            scene_of(10000 * reflectance + 1000, value_range=(1000, 11000)),
            scene_of(np.uint16(10000 * reflectance)),
        ]
        expected = 10000 * np.median(reflectance)
        assert np.median(counts(scenes[0].hr)) == pytest.approx(expected, rel=0.1)
        for other in scenes[1:]:
            np.testing.assert_allclose(counts(other.hr), counts(scenes[0].hr), atol=2.5)

    def test_of_an_unknown_unit_the_median_is_that_of_usual_land(self):
        scene = scene_of(0.02 * land(shape=(48, 48)), value_range=None)
        assert np.median(counts(scene.hr)) == pytest.approx(2500, rel=DRIFT)


class TestWindows:
    def test_they_differ_between_scenes_and_lie_in_the_image(self):
        # Values increase with the row and the column.
        rows, columns = np.mgrid[:120, :150]
        image = 1000 + 20 * rows + columns
        seen = {
            round(float(np.median(counts(scene.hr))))
            for scene in make_scenes(
                8,
                images=image,
                size=16,
                sensor=PERFECT,
                n_frames=1,
                value_range=(0, 10000),
                random_state=0,
            )
        }
        assert len(seen) > 1
        assert min(seen) > 1000 and max(seen) < 1000 + 21 * 150

    @pytest.mark.parametrize("kind", ["masked", "nodata", "xarray"])
    def test_those_with_nodata_are_left_out(self, kind):
        values = land(shape=(140, 200)).astype(np.float32)
        hidden = np.zeros(values.shape, bool)
        hidden[:, :90] = hidden[100:] = True
        values[hidden] = 65000
        image, options = values, {}
        if kind == "masked":
            image = np.ma.masked_array(values, hidden)
        if kind == "nodata":
            options = {"nodata": 65000}
        if kind == "xarray":
            image = xarray.DataArray(values[None], dims=("band", "y", "x"))
            image.attrs["_FillValue"] = 65000
        scenes = make_scenes(
            6, images=[image], size=16, sensor=PERFECT, n_frames=1, value_range=(0, 10000),
            random_state=3, **options,
        )  # fmt: skip
        assert len({scene.hr.tobytes() for scene in scenes}) > 1
        for scene in scenes:
            assert counts(scene.hr)[scene.sm].max() < 4200

    def test_scenes_take_images_in_turn(self):
        images = [land(shape=(48, 48)), land(shape=(48, 48)) + np.uint16(8000)]
        scenes = make_scenes(
            5, images=images, size=16, sensor=PERFECT, n_frames=1, value_range=(0, 10000)
        )
        assert [np.median(counts(s.hr)) > 6000 for s in scenes] == [False, True, False, True, False]

    def test_first_scenes_of_a_longer_list_and_those_of_processes_are_the_same(self):
        images = [land(1), np.stack([land(2), land(3)])]
        options = {"images": images, "size": 16, "random_state": 6, "sensor": "any"}
        scenes = make_scenes(4, **options)
        assert same(scenes[:3], make_scenes(3, **options))
        assert same(scenes, make_scenes(4, **options, n_jobs=2))


class TestFiles:
    OPTIONS = {"size": 16, "n_frames": 2, "value_range": (0, 10000), "random_state": 0}

    def test_arrays_and_files_of_every_kind_give_the_same_scenes(self, tmp_path):
        image = land()
        np.save(tmp_path / "a.npy", image)
        Image.fromarray(image).save(tmp_path / "a.png")
        write(tmp_path / "a.tif", image)
        expected = make_scenes(2, images=[image], **self.OPTIONS)
        for suffix in ("npy", "png", "tif"):
            path = tmp_path / f"a.{suffix}"
            assert same(expected, make_scenes(2, images=path, **self.OPTIONS)), suffix
            assert same(expected, make_scenes(2, images=[f"{tmp_path}/*.{suffix}"], **self.OPTIONS))
        thrice = make_scenes(2, images=[image] * 3, **self.OPTIONS)
        assert same(thrice, make_scenes(2, images=tmp_path, **self.OPTIONS))

    def test_nodata_scale_and_offset_are_those_of_the_file(self, tmp_path):
        image = land()
        image[:, :50] = 7
        path = write(tmp_path / "a.tif", image, nodata=7)
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = [0.5], [-100]
        values = 0.5 * image.astype(np.float32) - 100
        values[:, :50] = np.nan
        expected = make_scenes(3, images=[values], **self.OPTIONS)
        assert same(expected, make_scenes(3, images=path, **self.OPTIONS))

    def test_bands_are_chosen_by_name_or_number(self, tmp_path):
        cube = np.stack([land(1), land(2), land(3)])
        path = write(tmp_path / "a.tif", cube)
        with rasterio.open(path, "r+") as file:
            file.descriptions = ("green", "Red", "nir")
        by_name = make_scenes(4, images=path, **self.OPTIONS)
        by_number = make_scenes(4, images=path, bands=[2, 3], **self.OPTIONS)
        assert [scene.band for scene in by_name] == ["RED", "NIR", "RED", "NIR"]
        assert [scene.band for scene in by_number] == ["2", "3", "2", "3"]
        expected = make_scenes(4, images=[cube[1], cube[2]], **self.OPTIONS)
        assert same(by_name, by_number) and same(by_name, expected)
        (green,) = make_scenes(1, images=path, bands="green", **self.OPTIONS)
        assert same([green], make_scenes(1, images=cube[0], **self.OPTIONS))

    def test_on_the_command_line(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
        for number in range(2):
            write(tmp_path / f"{number}.tif", land(number, (110, 120)), nodata=400)
        args = ["simulate", str(tmp_path / "scenes"), "--images", str(tmp_path / "*.tif")]
        args += ["--sensor", "sentinel-2", "--scale", 2, "--size", 16, "--n-scenes", 3]
        args += ["--reduction", 1.5, "--value-range", 0, 10000, "--bands", "RED"]
        args += ["--n-frames", 2, 3, "--json"]
        result = CliRunner().invoke(probav, list(map(str, args)))
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["n_scenes"] == 3
        expected = make_scenes(
            3,
            images=[tmp_path / "0.tif", tmp_path / "1.tif"],
            sensor="sentinel-2",
            scale=2,
            size=16,
            reduction=1.5,
            value_range=(0, 10000),
            bands="RED",
            n_frames=(2, 3),
            random_state=0,
        )
        for scene, other in zip(load_scenes(tmp_path / "scenes"), expected, strict=True):
            np.testing.assert_array_equal(scene.hr, other.hr)
            np.testing.assert_array_equal(scene.lr, other.lr)


def palette_png(folder):
    Image.fromarray(land().astype(np.uint8)).convert("P").save(folder / "a.png")
    return folder / "a.png"


def written(name, content):
    def write(folder):
        (folder / name).write_bytes(content)
        return folder / name

    return write


BAD = {
    "too small": (lambda _: land(shape=(47, 90)), r"images\[0\] has 47 x 90 .* at least 48 x 48"),
    "one value": (lambda _: np.full((90, 90), 7), r"images\[0\] has one value, 7, .*give"),
    "nodata everywhere": (
        lambda _: np.where(np.indices((90, 90)).sum(0) % 40 == 0, np.nan, land(0, (90, 90))),
        r"images\[0\] has no window of 48 x 48 pixels .*97.5%.*give a smaller size",
    ),
    "a picture in colours": (
        lambda _: np.stack([land()] * 3, -1),
        r"looks like a picture in colours: choose one band, such as image\[..., 0\]",
    ),
    "bands of xarray": (
        lambda _: xarray.DataArray(np.stack([land()] * 2), dims=("band", "y", "x")),
        r"images\[0\] has 2 bands: choose one, such as image.isel\(band=0\)",
    ),
    "mean 0": (lambda _: land() - 9000.0, "has a median of -.* pass value_range"),
    "a tif of several bands": (
        lambda folder: write(folder / "a.tif", np.stack([land()] * 3)),
        r"a.tif has the bands 1 \(.*\), 2 .*, and bands names 'RED': choose .* bands=\[1\]",
    ),
    "a png of colours of a palette": (palette_png, r"a.png holds numbers of colours in a palette"),
    "no npy": (written("a.npy", b"\x93NUMPY nothing"), "a.npy is no .npy file of one array"),
}
MISSING = {
    "a folder without images": lambda folder: folder,
    "a pattern": lambda folder: f"{folder}/*.tif",
}


class TestBadInput:
    @pytest.mark.parametrize("kind", BAD)
    def test_images_that_cannot_be_used(self, kind, tmp_path):
        make, told = BAD[kind]
        with pytest.raises(ValueError, match=told) as error:
            make_scenes(1, images=[make(tmp_path)], size=16)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("kind", MISSING)
    def test_no_images(self, kind, tmp_path):
        (tmp_path / "readme.txt").write_text("none")
        with pytest.raises(FileNotFoundError, match=r"images is .* there is no raster file: check"):
            make_scenes(1, images=MISSING[kind](tmp_path))
        with pytest.raises(ValueError, match="images is empty: give arrays"):
            make_scenes(1, images=[])

    @pytest.mark.parametrize("suffix", ["npy", "tif"])
    def test_a_missing_file(self, suffix, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"gone.{suffix} does not exist"):
            make_scenes(1, images=tmp_path / f"gone.{suffix}")

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"reduction": (3, 2)}, "reduction must be .*smaller number first"),
            ({"reduction": 2}, "at least 96 x 96"),
            ({"value_range": (1, 0)}, r"value_range is \(1, 0\): give .* the lower first"),
            ({"value_range": (0, 1)}, r"median of .*, which is a reflectance of .*\(0, 10000\)"),
        ],
    )
    def test_options_out_of_range(self, options, told):
        with pytest.raises(ValueError, match=told):
            make_scenes(1, **{"images": land(), "size": 16, **options})

    @pytest.mark.parametrize("options", [{"nodata": 0}, {"reduction": 2}])
    def test_options_of_images_without_images(self, options):
        with pytest.raises(ValueError, match="is of images, and there are none"):
            make_scenes(1, size=16, **options)

    def test_land_of_a_simulated_scene_is_checked(self):
        with pytest.raises(ValueError, match=r"land has .*: give"):
            simulate_scene(np.random.default_rng(0), size=16, land=np.zeros((20, 60)))
