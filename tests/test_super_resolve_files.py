"""Command line on files: image, georeference, resuming, and invalid input."""

import json
import os
import shutil
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from _helpers import no_space
from _rasters import LEFT, TOP, write
from click.testing import CliRunner
from PIL import Image
from sklearn.pipeline import make_pipeline

from probav_estimators import ClearanceSelector, FusionNet, __version__, make_scenes, open_scene
from probav_estimators.cli import main, probav
from probav_estimators.geo import (
    Outputs,
    _block_store,
    super_resolve_files,
)

rasterio = pytest.importorskip("rasterio")

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE, SCALE = (48, 64), 2
DATES = ("20220304", "20220309", "20220314", "20220319", "20220324")
STEP, OFFSET = 1e-4, -0.1

# Rows and columns clouded on all dates.
HIDDEN = (slice(20, 34), slice(8, 22))

B04 = ("dates/*_B04.tif", "--mask", "dates/*_SCL.tif")
TILES = ("--tile-size", 32)


def read(path, band=1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            return file.read(band)


def cut_short(path):
    """Truncate a file to two thirds, keeping the header."""
    os.truncate(path, os.path.getsize(path) * 2 // 3)


def stored(pixels):
    """Convert simulated pixels to uint16 digital numbers above 0."""
    return np.rint(65535 * pixels).clip(1, 65535).astype(np.uint16)


def classes(quality_maps, hidden=None):
    scl = np.where(quality_maps, 4, 9).astype(np.uint8)
    if hidden is not None:
        scl[:, hidden[0], hidden[1]] = 9
    return scl


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, size=SHAPE, scale=SCALE, n_frames=5, random_state=0)[0]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small, fast network."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    net = FusionNet(scale=SCALE, width=8, depth=1, random_state=0, verbose=0)
    net.initialize().save_pretrained(path)
    return path


def write_dates(root, scene, *, hidden=HIDDEN):
    folder = root / "dates"
    folder.mkdir()
    tags = {"nodata": 0, "scales": (STEP,), "offsets": (OFFSET,)}
    frames, scl = stored(scene.lr), classes(scene.qm, hidden)
    for date, frame, mask in zip(DATES, frames, scl, strict=False):
        write(folder / f"T34_{date}_B04.tif", frame, **tags)
        write(folder / f"T34_{date}_SCL.tif", mask)
    return folder


@pytest.fixture
def dates(scene, tmp_path, monkeypatch):
    """Folder with five dates, next to the working directory of the command."""
    monkeypatch.chdir(tmp_path)
    return write_dates(tmp_path, scene)


def call(*args, code=0):
    result = CliRunner().invoke(probav, ["super-resolve", *map(str, args)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def error_of(*args, code=2):
    """Return the error message; assert that there is no other output."""
    result = call(*args, code=code)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def states(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("block-*.npz")}


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(scene, tmp_path_factory):
    """All output files of one call with the packaged weights."""
    root = tmp_path_factory.mktemp("whole")
    write_dates(root, scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        others = ("--std", "std.tif", "--n-clear", "n.tif", "--preview", "p.png")
        result = call(*B04, "-o", "out.tif", *others, *TILES, "--weights", "simulated-x2")
    assert result.stdout.splitlines() == ["out.tif", "std.tif", "n.tif", "p.png"]
    assert result.stderr == ""
    assert names(root) == {"dates", "out.tif", "std.tif", "n.tif", "p.png"}
    return root


@pytest.fixture(scope="module")
def predicted(whole):
    """Image and standard deviation by `predict_into`, in digital numbers."""
    scene = open_scene(f"{whole}/{B04[0]}", mask=f"{whole}/{B04[2]}", mask_type="scl")
    image = FusionNet.from_pretrained("simulated-x2", verbose=0).predict_into(scene)
    # Pixels from 0 to 1 correspond to the range of uint16.
    return image.astype(float) * 65535


class TestImage:
    def test_is_what_the_net_predicts_in_digital_numbers(self, whole, predicted):
        image, std, n_clear = (read(whole / name) for name in ("out.tif", "std.tif", "n.tif"))
        assert image.dtype == np.uint16 and n_clear.max() == len(DATES)
        known = n_clear > 0
        expected = np.rint(predicted[0])
        assert np.abs(image - expected)[known].max() <= 1
        assert (image == expected)[known].mean() > 0.999
        # Inner part of the hidden area, as frames are shifted by one or two pixels.
        assert not known[SCALE * 23 : SCALE * 31, SCALE * 11 : SCALE * 19].any()
        np.testing.assert_array_equal(image == 0, ~known)
        np.testing.assert_array_equal(np.isnan(std), ~known)

    def test_standard_deviations_are_in_the_same_units(self, whole, predicted):
        with rasterio.open(whole / "std.tif") as file:
            std = file.read(1)
            assert file.dtypes == ("float32",) and np.isnan(file.nodata)
            # The offset does not apply to a standard deviation.
            assert file.scales == (STEP,) and file.offsets == (0,)
        known = np.isfinite(std)
        np.testing.assert_allclose(std[known], predicted[1][known], rtol=1e-3)

    def test_parts_are_in_the_same_units_in_one_file(self, dates, weights):
        call(*B04, "-o", "out.tif", "--parts", "parts.tif", *TILES, "--weights", weights)
        assert names(Path()) == {"dates", "out.tif", "parts.tif"}
        net = FusionNet.from_pretrained(weights, verbose=0)
        scene = open_scene(B04[0], mask=B04[2], mask_type="scl")
        predicted = net.predict_into(scene, parts=True)[2:]
        missing = read("out.tif") == 0
        with rasterio.open("parts.tif") as file:
            ends = ("measured_share", "measured_detail", "supposed_detail")
            assert file.descriptions == tuple(f"B04_{end}" for end in ends)
            assert file.dtypes == ("float32",) * 3 and np.isnan(file.nodata)
            assert file.scales == (1, STEP, STEP) and file.offsets == (0, 0, 0)
            units = (1, 65535, 65535)
            for found, unit, expected in zip(file.read(), units, predicted, strict=True):
                np.testing.assert_array_equal(np.isnan(found), missing)
                error = np.abs(found - unit * expected)[~missing]
                assert error.max() < 1e-2 * unit * expected.std()

    def test_lies_on_the_grid_of_the_frames_with_finer_pixels(self, whole):
        with rasterio.open(next((whole / "dates").glob("*_B04.tif"))) as frame:
            bounds, crs = frame.bounds, frame.crs
        for name in ("out.tif", "std.tif", "n.tif"):
            with rasterio.open(whole / name) as file:
                assert file.bounds == bounds
                assert file.crs == crs
                assert file.shape == (SCALE * SHAPE[0], SCALE * SHAPE[1])
                assert file.transform == rasterio.Affine(5, 0, LEFT, 0, -5, TOP)
                assert file.descriptions == ("B04",)

    def test_keeps_what_its_values_mean_and_tells_how_it_was_made(self, whole):
        with rasterio.open(whole / "out.tif") as file:
            assert (file.scales, file.offsets, file.nodata) == ((STEP,), (OFFSET,), 0)
            tags = file.tags()
        assert tags["time_coverage_start"] == "2022-03-04T00:00:00Z"
        assert tags["time_coverage_end"] == "2022-03-24T00:00:00Z"
        assert (tags["n_frames"], tags["model"]) == ("5", "simulated-x2")
        assert tags["model_version"] == __version__ and __version__ in tags["TIFFTAG_SOFTWARE"]
        assert ": probav super-resolve by" in tags["history"]

    def test_picture_shows_the_image(self, whole):
        picture, image = np.asarray(Image.open(whole / "p.png")), read(whole / "out.tif")
        assert picture.shape == image.shape
        assert (picture[image == 0] == 0).all()
        low, high = np.percentile(image[image > 0], [2, 98])
        expected = 255 * ((image - low) / (high - low)).clip(0, 1)
        assert np.abs(picture - expected)[image > 0].max() <= 1

    def test_of_floats_in_the_type_asked_for_is_not_rounded(self, dates, weights):
        options = (*B04, "--weights", weights)
        call(*options, "-o", "float.tif", "--dtype", "float32", "--preview", "p.png")
        call(*options, "-o", "out.tif", "--nodata", 65535)
        with rasterio.open("float.tif") as file:
            values = file.read(1)
            assert values.dtype == np.float32 and np.isnan(file.nodata)
            # Still digital numbers.
            assert (file.scales, file.offsets) == ((STEP,), (OFFSET,))
        with rasterio.open("out.tif") as file:
            assert file.nodata == 65535
            rounded = file.read(1)
        known = rounded != 65535
        np.testing.assert_array_equal(np.isfinite(values), known)
        assert (np.asarray(Image.open("p.png"))[~known] == 0).all()
        assert not known.all()
        assert np.abs(values[known] - rounded[known]).max() <= 0.51
        assert (values[known] != rounded[known]).mean() > 0.9

    def test_of_a_part_is_asked_for_by_a_window_or_a_box(self, dates, weights):
        options = (*B04, "--weights", weights)
        call(*options, "-o", "window.tif", "--window", 4, 16, 40, 40)
        # The box is extended to whole pixels.
        box = (LEFT + 161, TOP - 439, LEFT + 558, TOP - 41)
        call(*options, "-o", "box.tif", "--bbox", *box)
        with rasterio.open("window.tif") as one, rasterio.open("box.tif") as other:
            for file in (one, other):
                assert file.bounds == (LEFT + 160, TOP - 440, LEFT + 560, TOP - 40)
            np.testing.assert_array_equal(one.read(), other.read())
        scene = open_scene(B04[0], mask=B04[2], window=np.s_[4:44, 16:56])
        (image,) = FusionNet.from_pretrained(weights, verbose=0).predict([scene])
        found, shown = read("window.tif"), read("window.tif") != 0
        assert np.abs(found - 65535 * image.astype(float))[shown].max() <= 1

    def test_of_several_bands_of_one_file_keeps_their_names_and_order(self, scene, dates, weights):
        clear = ("--mask", B04[2], "--weights", weights)
        frames = stored(scene.lr)
        for date, frame in zip(DATES, frames, strict=True):
            three = np.stack([frame, frame // 2, frame // 3 + 7])
            write(f"three_{date}.tif", three, nodata=0, descriptions=("B02", "B03", "B04"))
        call("three_*.tif", *clear, "-o", "two.tif", "--band", "B04", "--band", 1)
        for name, number in (("B04", 3), ("B02", 1)):
            call("three_*.tif", *clear, "-o", f"{name}.tif", "--band", number)
        with rasterio.open("two.tif") as file:
            assert file.descriptions == ("B04", "B02")
            known = (file.read() > 0).all(axis=0)
        third, first = read("two.tif", 1)[known], read("two.tif", 2)[known]
        # The input bands have this relation, and the network works on normalised values.
        np.testing.assert_allclose(third, first / 3 + 7, atol=5)
        call("three_*.tif", *clear, "-o", "all.tif", "--preview", "p.png")
        with rasterio.open("all.tif") as file:
            assert file.descriptions == ("B02", "B03", "B04")
        assert Image.open("p.png").mode == "RGB"

    def test_bands_of_several_patterns_lie_on_one_grid(self, scene, dates, weights):
        for date, frame in zip(DATES, stored(scene.lr), strict=True):
            # The same land in both bands, with one date partly nodata in B08.
            brighter = np.where(np.arange(SHAPE[1]) < 20, 0, 2 * frame)
            values = brighter if date == DATES[0] else 2 * frame
            write(dates / f"T34_{date}_B08.tif", values.astype(np.uint16), nodata=0)
        patterns = (B04[0], "dates/*_B08.tif", *B04[1:], "--weights", weights)
        call(*patterns, "-o", "out.tif")
        with rasterio.open("out.tif") as file:
            assert file.descriptions == ("B04", "B08")
            red, infrared = file.read().astype(float)
        seen = (red > 0) & (infrared > 0)
        difference = (infrared - 2 * red)[seen]
        # Reference: the difference after a displacement by one HR pixel.
        displaced = (infrared[:, 1:] - 2 * red[:, :-1])[seen[:, 1:] & seen[:, :-1]]
        assert difference.std() < 0.2 * displaced.std()

    def test_bands_are_named_by_what_tells_their_files_apart(self, scene, dates, weights):
        frames, scl = stored(scene.lr), classes(scene.qm)
        for band in ("red", "nir"):
            os.mkdir(band)
            for date, frame, mask in zip(DATES, frames, scl, strict=True):
                write(f"{band}/L8_{date}_30m.tif", frame, nodata=0)
                write(f"mask_{date}.tif", mask)
        mask = ("--mask", "mask_*.tif", "--mask-type", "scl", "--weights", weights)
        call("red/*.tif", "nir/*.tif", *mask, "-o", "out.tif")
        with rasterio.open("out.tif") as file:
            assert file.descriptions == ("red", "nir")
        assert "is of two patterns" in error_of("red/*.tif", "red/*.tif", *mask, "-o", "o.tif")

    def test_files_that_the_shell_lists_are_dates_of_one_band(self, dates, weights):
        files = sorted(dates.glob("*_B04.tif"))
        call(B04[0], *B04[1:], "--weights", weights, "-o", "a.tif")
        call(*files, *B04[1:], "--weights", weights, "-o", "b.tif")
        np.testing.assert_array_equal(read("a.tif"), read("b.tif"))
        # Names that contain glob characters.
        os.rename("dates", "tile[1]")
        files = [str(path).replace("/dates/", "/tile[1]/") for path in files]
        masks = [path.replace("B04", "SCL") for path in files]
        call(*files, "--mask", masks[0], "--weights", weights, "-o", "c.tif")
        assert read("c.tif").shape == (96, 128)

    def test_cloud_optimised_file_has_tiles_overviews_and_all_tags(self, scene, dates, weights):
        # Overviews are written above 512 pixels.
        frames = np.tile(stored(scene.lr[:2]), (1, 1, 5))[:, :24, :264]
        for date, frame in zip(DATES, frames, strict=False):
            write(f"wide_{date}.tif", frame, nodata=0, scales=(STEP,), offsets=(OFFSET,))
        options = ("wide_*.tif", "--weights", weights, "--n-clear")
        call(*options, "plain_n.tif", "-o", "plain.tif")
        call(*options, "cog_n.tif", "-o", "cog.tif", "--cog")
        for name in ("{}.tif", "{}_n.tif"):
            with (
                rasterio.open(name.format("plain")) as plain,
                rasterio.open(name.format("cog")) as cog,
            ):
                assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert cog.profile["tiled"] and cog.overviews(1) == [2]
                assert "LAYOUT" not in plain.tags(ns="IMAGE_STRUCTURE")
                same = ("scales", "offsets", "descriptions", "nodata", "bounds", "crs", "dtypes")
                for what in same:
                    assert getattr(cog, what) == getattr(plain, what)
                assert cog.tags()["model"] == plain.tags()["model"]
                np.testing.assert_array_equal(cog.read(), plain.read())
        assert {path.name for path in Path().iterdir() if "cog" in path.name} == {
            "cog.tif",
            "cog_n.tif",
        }


class TestBlocks:
    def test_size_of_blocks_does_not_matter(self, dates, weights):
        options = (*B04, "--weights", weights, "--dtype", "float32", "--std")
        for size in (24, 384):
            call(*options, f"std{size}.tif", "-o", f"{size}.tif", "--tile-size", size)
        scale = np.nanstd(read("384.tif"))
        for name in ("{}.tif", "std{}.tif"):
            found, expected = read(name.format(24)), read(name.format(384))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)

    def test_parts_of_several_machines_make_the_image_of_one(self, dates, weights):
        options = (*B04, *TILES, "--weights", weights, "--std", "std.tif", "-o")
        call(*options[:-1], "-o", "one.tif")
        one, std = read("one.tif"), read("std.tif")
        os.remove("std.tif")
        told = [call(*options, "out.tif", "--tiles", f"{i}/3").stdout for i in (3, 1, 2)]
        assert told == [f"{n} of 4 blocks are in out.tif.parts\n" for n in (1, 3, 4)]
        assert not Path("out.tif").exists()
        made = states(Path("out.tif.parts"))
        result = json.loads(call(*options, "out.tif", "--json").stdout)
        assert (result["n_made"], result["n_missing"], len(made)) == (0, 0, 4)
        np.testing.assert_array_equal(read("out.tif"), one)
        np.testing.assert_array_equal(read("std.tif"), std)
        assert not Path("out.tif.parts").exists()

    def test_several_processes_and_several_blocks_a_batch_make_the_same(self, dates, weights):
        options = (*B04, *TILES, "--weights", weights)
        call(*options, "-o", "one.tif")
        call(*options, "-o", "batch.tif", "--batch-size", 3)
        call(*options, "-o", "two.tif", "--workers", 2)
        one = read("one.tif").astype(int)
        for name in ("batch.tif", "two.tif"):
            assert np.abs(read(name) - one).max() <= 1

    @pytest.mark.parametrize("share", ["0/3", "4/3", "a/b"])
    def test_a_share_that_is_none_is_told(self, dates, share):
        assert "give 3/16" in error_of(*B04, "-o", "out.tif", "--tiles", share)


def killed_at(moment, run):
    """Run in a process that kills itself before one of its renames and removals; was it killed?"""
    child = os.fork()
    if child == 0:
        events, folder = iter(range(1000)), os.getcwd()

        def hook(event, args):
            # Files of earlier tests may be removed too, by the garbage collector.
            if event in ("os.rename", "os.remove"):
                ours = os.path.abspath(os.fspath(args[0])).startswith(folder)
                if ours and next(events) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        run()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def run_until(moment, *args):
    """Run the command in a process that a signal ends before its third block is saved."""
    child = os.fork()
    if child == 0:
        saved = []

        def hook(event, args):
            if event == "os.rename" and str(args[1]).endswith(".npz"):
                saved.append(args[1])
                if len(saved) == 3:
                    os.kill(os.getpid(), moment)

        sys.argv = ["probav", "super-resolve", *map(str, args)]
        sys.addaudithook(hook)
        code = 70
        try:
            with open("stdout", "w") as sys.stdout, open("stderr", "w") as sys.stderr:
                main()
        except SystemExit as ended:
            code = ended.code
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told = [Path(name) for name in ("stdout", "stderr")]
    texts = [path.read_text() for path in told]
    for path in told:
        path.unlink()
    return code, *texts


@pytest.mark.any_version
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
class TestInterrupted:
    def test_after_kill_9_gives_the_same_file_and_repeats_no_block(self, dates, weights):
        options = (*B04, *TILES, "--weights", weights)
        call(*options, "-o", "expected.tif")
        code, *_ = run_until(signal.SIGKILL, *options, "-o", "out.tif")
        assert code == -signal.SIGKILL
        folder = Path("out.tif.parts")
        before = states(folder)
        assert len(before) == 2
        assert not Path("out.tif").exists()
        # As left by a second kill while the image is written.
        Path(".out.tif.0123.partial").write_text("half")
        call(*options, "-o", "out.tif", "--tiles", "1/1")
        after = states(folder)
        assert len(after) == 4 and before.items() <= after.items()
        call(*options, "-o", "out.tif")
        assert np.abs(read("out.tif").astype(int) - read("expected.tif")).max() <= 1
        assert names(Path()) == {"dates", "out.tif", "expected.tif"}

    @pytest.mark.parametrize("moment", [signal.SIGINT, signal.SIGTERM], ids=str)
    def test_after_a_signal_keeps_the_blocks(self, dates, weights, moment):
        options = (*B04, *TILES, "--weights", weights, "-o", "out.tif")
        code, stdout, stderr = run_until(moment, *options)
        assert code == 128 + moment
        assert stdout == ""
        assert stderr.split("\n")[0] == "blocks are kept in out.tif.parts: the same call resumes"
        assert "Traceback" not in stderr
        assert len(states(Path("out.tif.parts"))) == 2
        assert names(Path()) == {"dates", "out.tif.parts"}
        result = json.loads(call(*options, "--json").stdout)
        assert (result["n_blocks"], result["n_made"]) == (4, 2)

    def test_after_kill_9_at_any_moment_of_writing_the_outputs_ends_well(self, dates, weights):
        given = {"mask": B04[2], "tile_size": 32}
        files = [Path(name) for name in ("out.tif", "std.tif", "n.tif", "p.png")]
        run = partial(super_resolve_files, [B04[0]], Outputs(*files), weights, **given)
        run(share=(1, 1))
        shutil.copytree("out.tif.parts", "kept")
        expected, moment = None, 0
        while killed_at(moment, run):
            assert run().written == files
            found = [read(path).tobytes() for path in files[:3]]
            expected = expected or found
            assert found == expected
            assert names(Path()) == {"dates", "kept", *map(str, files)}
            for path in files:
                path.unlink()
            shutil.copytree("kept", "out.tif.parts")
            moment += 1
        # Renames of outputs, and removals of blocks and of partial files.
        assert moment > 8


@pytest.mark.any_version
class TestGoingOn:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--tile-size", 16), "tile_size (32 then, 16 now)"),
            (("--reference", "clearest"), "reference (middle then, clearest now)"),
            (("--std", "std.tif"), "outputs (image then, image, std now)"),
            (("--scale-factor", 1e-3), "values"),
            (("--window", 0, 0, 48, 48), "part"),
            (("--weights", "simulated-x2"), "weights"),
        ],
    )
    def test_with_other_settings_makes_its_own_blocks_and_tells_what_differs(
        self, dates, weights, options, told
    ):
        first = (*B04, *TILES, "--weights", weights, "-o", "out.tif", "--tiles", "1/4", "--json")
        call(*first)
        before = states(Path("out.tif.parts"))
        result = call(*first, *options)
        (line,) = result.stderr.splitlines()
        assert line.startswith("Warning: ") and "out.tif.parts holds blocks" in line
        assert told in line
        assert json.loads(result.stdout)["n_made"] >= 1
        # The blocks of the first call wait for it.
        assert before.items() < states(Path("out.tif.parts")).items()
        assert json.loads(call(*first).stdout)["n_made"] == 0

    def test_with_frames_or_masks_that_changed_makes_all_again(self, dates, weights):
        options = (*B04, *TILES, "--weights", weights, "-o", "out.tif", "--tiles", "1/4", "--json")
        call(*options)
        for kind, what in (("SCL", "masks"), ("B04", "files")):
            path = dates / f"T34_{DATES[2]}_{kind}.tif"
            moment = path.stat().st_mtime_ns
            os.utime(path, ns=(moment + 10**9, moment + 10**9))
            result = call(*options)
            assert f"{what} ({path.absolute()} has changed)" in result.stderr
            assert json.loads(result.stdout)["n_made"] == 1
            os.utime(path, ns=(moment, moment))
            call(*options)

    @pytest.mark.parametrize("other", [{"n_augment": 4}, {"random_state": 1}])
    def test_with_another_net_of_the_class_makes_all_again(self, dates, other):
        options = {"mask": B04[2], "tile_size": 32}
        nets = []
        for given in ({}, {}, other):
            settings = {"scale": SCALE, "width": 8, "depth": 1, "random_state": 0} | given
            nets.append(FusionNet(**settings, verbose=0).initialize())

        def run(net, name, **more):
            return super_resolve_files([B04[0]], Outputs(Path(name)), net, **options, **more)

        run(nets[0], "out.tif", share=(1, 4))
        assert run(nets[1], "out.tif", share=(1, 4)).n_made == 0
        with pytest.warns(UserWarning, match=r"out.tif.parts holds blocks .* weights \(FusionNet"):
            assert run(nets[2], "out.tif").n_made == 4
        run(nets[2], "expected.tif")
        np.testing.assert_array_equal(read("out.tif"), read("expected.tif"))

    def test_an_older_call_beside_no_resume_does_not_mix_its_blocks(self, dates, weights):
        options = {"mask": B04[2], "tile_size": 32}
        paths, outputs = [B04[0]], Outputs(Path("out.tif"))
        expected = Outputs(Path("expected.tif"))
        super_resolve_files(paths, expected, weights, reference="clearest", **options)

        def run_the_older_call(n_blocks):
            super_resolve_files(paths, outputs, weights, share=(1, 1), resume=True, **options)
            return lambda: None

        new = {"reference": "clearest", "resume": False, "started": run_the_older_call}
        assert super_resolve_files(paths, outputs, weights, **new, **options).n_made == 4
        np.testing.assert_array_equal(read("out.tif"), read("expected.tif"))

    def test_no_resume_begins_anew(self, dates, weights):
        options = (*B04, "--weights", weights, "-o", "out.tif")
        call(*options, "--tile-size", 16, "--tiles", "1/2")
        result = json.loads(call(*options, *TILES, "--no-resume", "--json").stdout)
        assert result["n_made"] == result["n_blocks"] == 4
        assert names(Path()) == {"dates", "out.tif"}

    def test_never_removes_what_it_did_not_make(self, dates, weights):
        folder = Path("out.tif.parts")
        folder.mkdir()
        (folder / "mine").write_text("mine")
        options = (*B04, "--weights", weights, "-o", "out.tif")
        for more in ((), ("--no-resume",)):
            assert "it holds mine: move it away" in error_of(*options, *more)
            assert (folder / "mine").read_text() == "mine"

    def test_overwrite_replaces_and_nothing_else_does(self, dates, weights):
        options = (*B04, "--weights", weights)
        for names_of_outputs in (("-o", "out.tif"), ("-o", "new.tif", "--std", "out.tif")):
            Path("out.tif").write_text("mine")
            line = error_of(*options, *names_of_outputs)
            assert line == "Error: out.tif is there already: give another name, or --overwrite"
            assert Path("out.tif").read_text() == "mine"
            call(*options, *names_of_outputs, "--overwrite")
            assert read("out.tif").shape == (96, 128)


@pytest.fixture
def strip(tmp_path, monkeypatch, weights):
    """Arguments for three dates of a strip; only the last blocks read its lower third."""
    monkeypatch.chdir(tmp_path)
    (scene,) = make_scenes(1, size=(192, 32), scale=SCALE, n_frames=3, random_state=1)
    for date, frame in zip(DATES, stored(scene.lr), strict=False):
        write(f"{date}.tif", frame, nodata=0)
    return ("*.tif", *TILES, "--weights", weights, "-o", "sharp.tiff", "--std", "std.tiff")


class TestDamagedFile:
    def cut_after_planning(self, monkeypatch, path):
        whole = path.read_bytes()
        begin, cut = _block_store.BlockStore.begin, []

        def begin_and_cut(store, plan):
            begin(store, plan)
            if not cut:
                cut.append(cut_short(path))

        monkeypatch.setattr(_block_store.BlockStore, "begin", begin_and_cut)
        return whole

    def test_costs_its_own_blocks_and_the_same_call_goes_on_when_it_is_mended(
        self, strip, monkeypatch
    ):
        path = Path(f"{DATES[1]}.tif")
        expected = [*strip[:-4], "-o", "expected.tiff"]
        call(*expected)
        whole = self.cut_after_planning(monkeypatch, path)
        result = call(*strip, "--json", code=1)
        found = json.loads(result.stdout)
        failed = [one["number"] for one in found["failed"]]
        # The first block and its halo of 64 pixels are above the lost rows.
        assert 1 <= len(failed) <= 5 and failed == list(range(failed[0], 6))
        assert found["n_missing"] == len(failed) and found["written"] == []
        *lines, last = result.stderr.splitlines()
        assert len(lines) == len(failed)
        for number, line in zip(failed, lines, strict=True):
            assert line.startswith(f"block {number}: {path.absolute()} cannot be read")
        assert last.startswith(f"Error: {len(failed)} of 6 blocks failed")
        assert not Path("sharp.tiff").exists() and not Path("std.tiff").exists()
        kept = states(Path("sharp.tiff.parts"))
        assert len(kept) == 6 - len(failed)
        # Restored, with another modification time.
        path.write_bytes(whole)
        found = json.loads(call(*strip, "--json").stdout)
        assert found["n_made"] == len(failed)
        np.testing.assert_array_equal(read("sharp.tiff"), read("expected.tiff"))
        assert not Path("sharp.tiff.parts").exists()


class TestFullDisk:
    def test_is_told_before_the_work(self, dates, weights, monkeypatch):
        usage = shutil.disk_usage(".")._replace(free=20_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        line = error_of(*B04, "--weights", weights, "-o", "out.tif", code=1)
        assert "out.tif and its blocks take up to 0.0" in line and "make room" in line
        assert names(Path()) == {"dates"}

    def test_while_blocks_are_made_ends_the_call_and_keeps_them(self, dates, weights, monkeypatch):
        options = (*B04, *TILES, "--weights", weights, "-o", "out.tif")
        call(*options, "--tiles", "1/2")
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(np, "savez", lambda *args, **kwargs: no_space(calls.append(args)))
            line = error_of(*options, code=1)
        assert "out.tif.parts cannot be written to (No space left on device)" in line
        assert "make room" in line
        # No further block is computed once writing has failed.
        assert len(calls) == 1
        assert names(Path()) == {"dates", "out.tif.parts"}
        assert len(states(Path("out.tif.parts"))) == 2
        assert json.loads(call(*options, "--json").stdout)["n_made"] == 2

    @pytest.mark.parametrize("cog", [(), ("--cog",)], ids=["plain", "cog"])
    def test_while_the_image_is_written_leaves_no_part_of_it(self, dates, weights, cog):
        resource = pytest.importorskip("resource")
        options = (*B04, *TILES, "--weights", weights, "-o", "out.tif", "--preview", "p.png", *cog)
        call(*options, "--tiles", "1/1")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Writing more than 8 kB fails as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
        try:
            line = error_of(*options, code=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "out.tif cannot be written" in line and "make room" in line
        assert names(Path()) == {"dates", "out.tif.parts"}
        call(*options)
        assert names(Path()) == {"dates", "out.tif", "p.png"}


class TestBadInput:
    @pytest.fixture
    def options(self, dates, weights):
        return ("--weights", weights, "-o", "out.tif")

    @pytest.fixture
    def frame(self, scene):
        return stored(scene.lr[1])

    def refused(self, *args, told, code=2):
        line = error_of(*args, code=code)
        for text in told:
            assert text in line
        assert not [name for name in names(Path()) if name.startswith(("out", ".out"))]

    def test_nothing_clear_is_told(self, options, dates):
        for date in DATES:
            write(dates / f"T34_{date}_SCL.tif", np.full(SHAPE, 9, np.uint8))
        self.refused(*B04, *options, told=("T34", "clouded", "check its masks"))

    def test_no_match_is_told(self, options):
        self.refused("nowhere/*.tif", *options, told=("'nowhere/*.tif'", "in quotes"))
        self.refused("nowhere.tif", "elsewhere.tif", *options, told=("nowhere.tif does not exist",))
        self.refused(B04[0], "--mask", "no/*.tif", *options, told=("mask is 'no/*.tif'",))

    def test_bands_that_are_not_there_are_told(self, options, scene):
        for date, frame in zip(DATES, stored(scene.lr), strict=True):
            write(f"two_{date}.tif", np.stack([frame, frame]), nodata=0)
        self.refused("two_*.tif", *options, "--band", 3, told=("band is 3", "1 (1), 2 (2)"))
        self.refused("two_*.tif", *options, "--band", "B04", told=("'B04'", "1 (1), 2 (2)"))
        patterns = (B04[0], "two_*.tif", *B04[1:], *options)
        self.refused(*patterns, "--band", 1, told=("leave bands out",))

    def test_bands_of_different_dates_are_refused(self, options, dates, frame):
        for date in DATES:
            write(dates / f"T34_{date[:5]}4{date[6:]}_B08.tif", frame, nodata=0)
        told = ("give the same dates of each band",)
        self.refused(B04[0], "dates/*_B08.tif", *B04[1:], *options, told=told)

    @pytest.mark.parametrize("dtype", ["complex64", "nonsense"])
    def test_a_type_that_no_geotiff_has_is_told_before_the_work(self, options, dtype):
        self.refused(*B04, *options, "--dtype", dtype, told=(f"dtype is {dtype!r}", "float32"))

    def test_outputs_that_cannot_be_are_told_before_the_work(self, options, dates):
        self.refused(*B04, *options, "--std", "none/std.tif", told=("none is no folder",))
        self.refused(*B04, *options, "--std", "dates", told=("dates is the name of the",))
        Path("folder.tif").mkdir()
        self.refused(*B04, *options, "--std", "folder.tif", told=("folder.tif is a folder",))
        Path("folder.tif").rmdir()
        self.refused(*B04, *options, "--std", "out.tif", told=("give each file its own",))
        self.refused(*B04, *options, "--weights", "none", told=("neither the name of shipped",))

    def test_what_is_read_is_never_written_to(self, dates, weights):
        before = {path: path.read_bytes() for path in dates.iterdir()}
        paths = [f"dates/T34_{DATES[0]}_{kind}.tif" for kind in ("B04", "SCL")]
        Path("link.tif").symlink_to(paths[0])
        for path in [*paths, "link.tif"]:
            line = error_of(*B04, "--weights", weights, "-o", path, "--overwrite")
            assert f"{path} is one of the files to read" in line
        assert {path: path.read_bytes() for path in dates.iterdir()} == before


class TestTold:
    def test_json_stands_alone_on_stdout(self, dates, weights):
        result = call(*B04, *TILES, "--weights", weights, "-o", "out.tif", "--json")
        assert result.stderr == ""
        assert json.loads(result.stdout) == {
            "written": ["out.tif"],
            "n_blocks": 4,
            "n_made": 4,
            "n_missing": 0,
            "failed": [],
            "n_frames": 5,
            "n_frames_used": 5,
            "frame_placement": "registered registered registered registered registered",
            "frames_resampled": None,
            "model": weights.name,
        }

    def test_quiet_tells_nothing_but_what_was_written(self, dates, weights):
        result = call(*B04, "--weights", weights, "-o", "out.tif", "--quiet")
        assert (result.stdout, result.stderr) == ("out.tif\n", "")


def test_a_pipeline_goes_on_with_the_frames_that_it_selects(dates, weights):
    pipe = make_pipeline(ClearanceSelector(k=2), FusionNet.from_pretrained(weights, verbose=0))
    options = {"mask": "dates/*_SCL.tif", "tile_size": 32}
    for name, shares in (("whole.tif", [None]), ("shared.tif", [(1, 2), None])):
        for share in shares:
            super_resolve_files([B04[0]], Outputs(Path(name)), pipe, share=share, **options)
    np.testing.assert_array_equal(read("whole.tif"), read("shared.tif"))
    with rasterio.open("whole.tif") as file:
        assert ": super_resolve_files by FusionNet" in file.tags()["history"]
    selected = pipe[:-1].transform([open_scene(B04[0], mask=B04[2])])[0]
    image = pipe[-1].predict([selected])[0] * 65535
    seen = read("whole.tif") != 0
    np.testing.assert_allclose(read("whole.tif")[seen], image[seen], atol=1)


def test_progress_counts_each_block_once(dates, weights):
    counts = []

    def start(n_blocks):
        counts.append(n_blocks)
        return lambda: counts.append(1)

    outputs, options = Outputs(Path("out.tif")), {"mask": B04[2], "tile_size": 32}
    super_resolve_files([B04[0]], outputs, weights, batch_size=3, started=start, **options)
    assert counts == [4, 1, 1, 1, 1]
