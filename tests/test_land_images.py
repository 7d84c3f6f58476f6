"""Scenes of a user's own fine images: frames and truth, choice of windows, bad input."""

import json

import numpy as np
import pytest
import rasterio
import xarray
from click.testing import CliRunner
from PIL import Image
from scipy.ndimage import gaussian_filter

from probav_estimators import FusionNet, Sensor, load_scenes, make_scenes
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
    @pytest.mark.parametrize("scale", [2, 3, 4])
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

    def test_at_most_four_successive_dates_are_in_a_scene(self):
        ground = land(1, (48, 48)).astype(float)
        cube = np.stack([ground * 1.25**number for number in range(9)])
        ratios = []
        for seed in range(8):
            scene = scene_of(cube, n_frames=9, seed=seed, value_range=(0, 30000))
            levels = [
                np.median(frame[clear]) for frame, clear in zip(scene.lr, scene.qm, strict=True)
            ]
            ratios.append(max(levels) / min(levels))
        assert max(ratios) < 1.05 * 1.25**3
        assert min(ratios) > 1.25**1.5

    @pytest.mark.parametrize("reduction", [2, 2.5, 5])
    def test_finer_images_are_reduced_by_area(self, reduction):
        n = round(48 * reduction)
        fine = np.random.default_rng(0).integers(500, 3000, (n, n))
        # Areas of HR pixels, in fifths of an image pixel.
        parts = np.kron(fine, np.ones((2, 2))) if reduction == 2.5 else fine
        expected = blocks(parts, round(2 * reduction) if reduction == 2.5 else reduction)
        scene = scene_of(fine, reduction=reduction)
        np.testing.assert_allclose(counts(scene.hr)[scene.sm], expected[scene.sm], rtol=DRIFT)

    def test_a_range_of_reductions_is_drawn_from(self):
        # Stripes of 8 image pixels have a period of 8 to 4 HR pixels.
        stripes = 1000 + 800 * np.sin(np.arange(200) * 2 * np.pi / 8) * np.ones((200, 1))
        scenes = make_scenes(
            6, images=stripes, size=16, sensor=PERFECT, n_frames=1, reduction=(1, 2), random_state=0
        )
        periods = set()
        for scene in scenes:
            spectrum = abs(np.fft.rfft(scene.hr[0] - scene.hr[0].mean()))
            periods.add(48 / spectrum.argmax())
        assert len(periods) > 2 and min(periods) >= 3.9 and max(periods) <= 8.1

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

    @pytest.mark.parametrize("unit", [1e-4, 0.02, 300.0])
    def test_of_an_unknown_unit_the_median_is_that_of_usual_land(self, unit):
        scene = scene_of(unit * land(shape=(48, 48)), value_range=None)
        assert np.median(counts(scene.hr)) == pytest.approx(2500, rel=DRIFT)

    def test_texture_is_added_to_images_too(self):
        smooth = land(shape=(48, 48), low=2000, high=2100)
        bare, textured = (scene_of(smooth, texture=t) for t in (0, 0.5))
        assert textured.hr[textured.sm].std() > 1.5 * bare.hr[bare.sm].std()


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
        assert len(seen) > 5
        assert min(seen) > 1000 and max(seen) < 1000 + 21 * 150

    @pytest.mark.parametrize("kind", ["nan", "masked", "nodata", "xarray"])
    def test_those_with_nodata_are_left_out(self, kind):
        values = land(shape=(140, 200)).astype(np.float32)
        hidden = np.zeros(values.shape, bool)
        hidden[:, :90] = hidden[100:] = True
        fill = np.nan if kind == "nan" else 65000
        values[hidden] = fill
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
        assert len({scene.hr.tobytes() for scene in scenes}) > 3
        for scene in scenes:
            assert counts(scene.hr)[scene.sm].max() < 4200

    def test_dates_with_nodata_in_the_window_are_left_out(self):
        cube = np.stack([land(seed, (48, 48)) for seed in range(3)])
        cube[1, 5, 5] = 0
        scene = scene_of(cube, nodata=0, n_frames=9)
        two = scene_of(cube[[0, 2]], n_frames=9)
        assert same([scene], [two])

    def test_flat_parts_are_left_out(self):
        image = np.full((48, 200), 1500, np.uint16)
        image[:, 150:] = land(shape=(48, 50))
        for seed in range(4):
            assert scene_of(image, seed=seed).hr.std() * 65535 > 20

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

    def test_scenes_of_images_are_trained_on(self):
        scenes = make_scenes(3, images=land(), size=16, n_frames=3, random_state=0)
        net = FusionNet(width=4, depth=1, max_epochs=1, verbose=0, random_state=0).fit(scenes)
        assert net.predict(scenes).shape == (3, 48, 48)


def write_raster(path, image, **options):
    bands = image if image.ndim == 3 else image[None]
    profile = {
        "driver": "GTiff",
        "dtype": bands.dtype,
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "crs": "EPSG:32634",
        "transform": rasterio.transform.from_origin(5e5, 5e6, 3, 3),
    }
    with rasterio.open(path, "w", **(profile | options)) as file:
        file.write(bands)
    return path


class TestFiles:
    OPTIONS = {"size": 16, "n_frames": 2, "value_range": (0, 10000), "random_state": 0}

    def test_arrays_and_files_of_every_kind_give_the_same_scenes(self, tmp_path):
        image = land()
        np.save(tmp_path / "a.npy", image)
        Image.fromarray(image).save(tmp_path / "a.png")
        write_raster(tmp_path / "a.tif", image)
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
        path = write_raster(tmp_path / "a.tif", image, nodata=7)
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = [0.5], [-100]
        values = 0.5 * image.astype(np.float32) - 100
        values[:, :50] = np.nan
        expected = make_scenes(3, images=[values], **self.OPTIONS)
        assert same(expected, make_scenes(3, images=path, **self.OPTIONS))

    def test_bands_are_chosen_by_name_or_number(self, tmp_path):
        cube = np.stack([land(1), land(2), land(3)])
        path = write_raster(tmp_path / "a.tif", cube)
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

    def test_colours_of_a_picture_are_bands(self, tmp_path):
        picture = np.stack([land(seed, high=4000) // 16 for seed in range(3)], -1).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "a.png")
        (scene,) = make_scenes(1, images=tmp_path / "a.png", bands="green", size=16, random_state=0)
        (expected,) = make_scenes(1, images=picture[..., 1], size=16, random_state=0)
        assert same([scene], [expected])

    def test_on_the_command_line(self, tmp_path):
        for number in range(2):
            write_raster(tmp_path / f"{number}.tif", land(number, (110, 120)), nodata=400)
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


def palette_tif(folder):
    path = write_raster(folder / "a.tif", land().astype(np.uint8), photometric="palette")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {4: (0, 255, 0), 8: (255, 255, 255)})
    return path


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
    "one value beside NaN": (
        lambda _: np.where(np.eye(90) > 0, np.nan, 7),
        "has one value, 7, in all pixels with data",
    ),
    "nothing but nodata": (lambda _: np.full((90, 90), np.nan), "has no pixel with data: give"),
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
    "four dimensions": (lambda _: np.zeros((2, 2, 60, 60)), r"\(2, 2, 60, 60\): give one band as"),
    "complex": (lambda _: land() * 1j, "is of type complex128: give integers or floats"),
    "mean 0": (lambda _: land() - 9000.0, "has a median of -.* pass value_range"),
    "a tif of several bands": (
        lambda folder: write_raster(folder / "a.tif", np.stack([land()] * 3)),
        r"a.tif has the bands 1 \(.*\), 2 .*, and bands names 'RED': choose .* bands=\[1\]",
    ),
    "a tif of colours of a palette": (palette_tif, r"a.tif holds numbers of colours in a palette"),
    "a png of colours of a palette": (palette_png, r"a.png holds numbers of colours in a palette"),
    "no npy": (written("a.npy", b"\x93NUMPY nothing"), "a.npy is no .npy file of one array"),
    "no raster": (written("a.tif", b"hello"), "a.tif is no raster, or is cut short"),
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

    @pytest.mark.parametrize("suffix", ["npy", "png", "tif"])
    def test_a_missing_file(self, suffix, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"gone.{suffix} does not exist"):
            make_scenes(1, images=tmp_path / f"gone.{suffix}")

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"reduction": 0.5}, "reduction must lie within 1 and 100 image pixels"),
            ({"reduction": (3, 2)}, "reduction must be .*smaller number first"),
            ({"reduction": 2}, "at least 96 x 96"),
            ({"value_range": (1, 0)}, r"value_range is \(1, 0\): give .* the lower first"),
            ({"value_range": (0, 1)}, r"median of .*, which is a reflectance of .*\(0, 10000\)"),
            ({"scale": 1}, "scale must be an integer of at least 2"),
            ({"size": 4}, "size must be one or two integers"),
        ],
    )
    def test_options_out_of_range(self, options, told):
        with pytest.raises(ValueError, match=told):
            make_scenes(1, **{"images": land(), "size": 16, **options})

    @pytest.mark.parametrize(
        "options", [{"value_range": (0, 1)}, {"nodata": 0}, {"reduction": 2}, {"reduction": (1, 2)}]
    )
    def test_options_of_images_without_images(self, options):
        with pytest.raises(ValueError, match="is of images, and there are none"):
            make_scenes(1, size=16, **options)

    def test_small_images_among_others_are_counted(self):
        images = [land(), land(shape=(20, 90)), land(), land(shape=(90, 20))]
        with pytest.raises(ValueError, match=r"images\[1\] has 20 x 90 pixels, and 1 others are"):
            make_scenes(1, images=images, size=16)

    def test_the_command_writes_nothing(self, tmp_path):
        small = write_raster(tmp_path / "small.tif", land(shape=(30, 30)))
        for images, told in [(small, "30 x 30"), (tmp_path / "gone.tif", "does not exist")]:
            args = ["simulate", str(tmp_path / "scenes"), "--images", str(images)]
            result = CliRunner().invoke(probav, args)
            assert result.exit_code == 2 and told in result.stderr
            assert len(result.stderr.splitlines()) == 1
            assert not (tmp_path / "scenes").exists()

    @pytest.mark.parametrize(
        "array", [np.zeros((20, 60)), np.full((60, 60), np.nan), np.zeros((60,))]
    )
    def test_land_of_a_simulated_scene_is_checked(self, array):
        with pytest.raises(ValueError, match=r"land has .*: give"):
            simulate_scene(np.random.default_rng(0), size=16, land=array)
