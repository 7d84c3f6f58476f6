"""Bad input raises ValueError with the scene, the file and a remedy; never a silent NaN."""

import re

import numpy as np
import pandas as pd
import pytest
from _helpers import QUICK, composed, quick_srcnn, small_scene, small_scenes
from PIL import Image
from sklearn.metrics import make_scorer
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    FSRCNN,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    InputComposer,
    Scene,
    cpsnr,
    cpsnr_scorer,
    load_scenes,
    probav_score,
    probav_scorer,
    quality_report,
    save_scenes,
)

REMEDY = "use|restore|remove|give|divide|fill|pass|must|wrap|make|leave|rename|choose|save"


def expect_error(call, *words, error=ValueError):
    """Assert that `call` raises an error whose message has all `words` and a remedy."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for word in words:
        assert word in message
    assert re.search(REMEDY, message), message
    return caught


def write(path, values, **options):
    Image.fromarray(np.asarray(values)).save(path, format="PNG", **options)


def read_all(scene):
    return scene.lr, scene.qm, scene.hr, scene.sm


class TestFiles:
    FILES = ["LR001.png", "QM001.png", "HR.png", "SM.png"]

    @pytest.mark.parametrize(
        ("name", "content"),
        list(zip(FILES, [b"", b"\x89PNG", b"not a picture" * 50, b"GIF89a\x01\x00"], strict=True)),
    )
    def test_a_file_that_is_no_png_is_named(self, folder, name, content):
        (folder / name).write_bytes(content)
        expect_error(
            lambda: read_all(Scene.from_dir(folder)), "imgset0000", name, "is no PNG file or is"
        )

    @pytest.mark.parametrize("number", [0, 3])
    def test_an_eight_bit_file_among_sixteen_bit_frames_is_named(self, folder, number):
        name = f"LR{number:03d}.png"
        write(folder / name, np.full((24, 24), 60, np.uint8))
        scene = Scene.from_dir(folder)
        expect_error(lambda: scene.lr, "imgset0000", name, "16", "8", "save them alike")
        # Reading a single frame finds it, too.
        expect_error(lambda: scene.frames.read_pixels([number or 1]), name, "bits for each value")

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_that_vanished_after_listing_is_named(self, folder, name):
        scene = Scene.from_dir(folder)
        (folder / name).unlink()
        expect_error(lambda: read_all(scene), "imgset0000", name, error=FileNotFoundError)

    def test_a_damaged_frame_is_named_by_whoever_needs_it(self, root, folder):
        for path in folder.glob("LR*.png"):
            path.write_bytes(b"damaged")
        (root / "norm.csv").unlink()
        scenes = load_scenes(root)
        composed = InputComposer().transform(scenes)
        for call in (
            lambda: BicubicBaseline().fit(scenes).predict(scenes),
            lambda: cpsnr_scorer(BicubicBaseline(), scenes),
            lambda: composed[0].inputs.read(),
            lambda: scenes[0].norm,
            lambda: scenes[0].scale,
        ):
            expect_error(call, "imgset0000", "LR000.png")


class TestFolders:
    def test_a_missing_quality_map_is_named_when_others_are_there(self, root, folder):
        (folder / "QM002.png").unlink()
        for call in (lambda: Scene.from_dir(folder), lambda: load_scenes(root)):
            expect_error(call, "imgset0000", "has no QM002", "remove LR002")

    def test_no_quality_maps_at_all_is_a_warning_and_all_clear(self, root, folder):
        for path in folder.glob("QM*"):
            path.unlink()
        with pytest.warns(UserWarning, match="imgset0000 has no quality maps"):
            scene = Scene.from_dir(folder)
        assert scene.qm.shape == scene.lr.shape and scene.qm.all()
        with pytest.warns(UserWarning, match="1 scenes of .*imgset0000 is one"):
            scenes = load_scenes(root)
        assert scenes[0].qm.all() and not scenes[1].qm.all()

    @pytest.mark.parametrize("other", ["LR000.tif", "QM001.PNG", "hr.npy"])
    def test_an_image_in_another_format_is_not_passed_over(self, root, folder, other):
        (folder / f"{other.split('.')[0].upper()}.png").rename(folder / other)
        for call in (lambda: Scene.from_dir(folder), lambda: load_scenes(root)):
            expect_error(call, "imgset0000", other, "is not read", "PNG", "Scene(lr, qm, hr, sm)")

    def test_originals_and_notes_beside_the_images_do_not_disturb(self, root, folder):
        for name in ("LR000.tif", "LR001.png.aux.xml", "HR.tfw", "HR.json", "overview.tif"):
            (folder / name).write_bytes(b"")
        assert len(load_scenes(root)) == 2

    def test_a_missing_folder_is_a_missing_file(self, tmp_path):
        missing = tmp_path / "imgset0000"
        for call in (Scene.from_dir, load_scenes):
            expect_error(
                lambda call=call: call(missing),
                str(missing),
                "is no folder",
                error=FileNotFoundError,
            )

    @pytest.mark.parametrize("place", ["", "imgset0000"])
    def test_a_root_without_scenes_says_what_it_looked_for(self, folder, tmp_path, place):
        empty = folder if place else tmp_path / "empty"
        empty.mkdir(exist_ok=True)
        expect_error(lambda: load_scenes(empty), str(empty), "holds no scenes", "train/RED/")

    def test_an_unknown_band_is_told_from_those_that_are_there(self, root):
        expect_error(lambda: load_scenes(root, bands="SWIR"), "SWIR", "among NIR, RED", str(root))
        expect_error(lambda: load_scenes(root, bands=["RED", "BLUE"]), "BLUE", "among NIR, RED")


class TestSizesOnDisk:
    @pytest.mark.parametrize("name", ["LR001.png", "QM001.png"])
    def test_a_frame_or_map_of_another_size_is_named(self, folder, name):
        dtype = np.uint16 if name.startswith("LR") else np.uint8
        write(folder / name, np.ones((24, 23), dtype))
        expect_error(
            lambda: read_all(Scene.from_dir(folder)), "imgset0000", name, "(24, 23)", "(24, 24)"
        )

    @pytest.mark.parametrize("shape", [(71, 72), (24, 24), (96, 72)])
    def test_an_hr_that_is_no_integer_multiple_is_named(self, folder, shape):
        write(folder / "HR.png", np.ones(shape, np.uint16))
        write(folder / "SM.png", np.full(shape, 255, np.uint8))
        scene = Scene.from_dir(folder)
        for call in (lambda: scene.hr, lambda: scene.scale, lambda: scene.read_truth()):
            expect_error(call, "imgset0000", "HR.png", str(shape), "(24, 24)", "same integer")

    def test_a_status_map_of_another_size_is_named(self, folder):
        write(folder / "SM.png", np.full((48, 48), 255, np.uint8))
        scene = Scene.from_dir(folder)
        for call in (lambda: scene.sm, lambda: scene.read_truth()):
            expect_error(call, "imgset0000", "SM.png", "(48, 48)", "(72, 72)")

    def test_an_all_clouded_status_map_is_named(self, root, folder):
        write(folder / "SM.png", np.zeros((72, 72), np.uint8))
        (root / "norm.csv").unlink()
        scene = Scene.from_dir(folder)
        for call in (
            lambda: scene.sm,
            lambda: scene.norm,
            lambda: scene.read_truth((slice(0, 2), slice(0, 2))),
            lambda: BicubicBaseline().score([scene]),
        ):
            expect_error(call, "imgset0000", "SM.png", "clouded", "remove it")


class TestArrays:
    @pytest.mark.parametrize("part", ["qm", "sm"])
    def test_nan_in_a_mask_is_refused(self, make_scene, part):
        values = np.ones({"qm": (4, 6, 8), "sm": (18, 24)}[part])
        values.flat[7] = np.nan
        expect_error(lambda: make_scene(**{part: values}), f"scene imgset0042: {part}", "NaN")

    @pytest.mark.parametrize(
        ("parts", "words"),
        [
            ({"lr": np.ones((4, 6, 8), np.int16)}, [": lr", "int16"]),
            ({"lr": np.ones((4, 6, 8), bool)}, [": lr", "bool"]),
            ({"lr": np.ones((4, 6, 8), complex)}, [": lr", "complex"]),
            ({"lr": np.full((4, 6, 8), 16383.0)}, [": lr", "divide 16-bit values by 65535"]),
            ({"hr": np.full((18, 24), -np.inf)}, [": hr", "NaN or infinite"]),
            ({"lr": np.zeros((6, 8)), "qm": None}, [": lr", "(6, 8)", "(t, h"]),
            ({"lr": np.zeros((0, 6, 8)), "qm": None}, [": lr", "(0, 6, 8)", "(t, h"]),
            ({"qm": np.ones((3, 6, 8), bool)}, ["(3, 6, 8)", "(4, 6, 8)"]),
            ({"qm": np.ones((4, 6, 7), bool)}, ["(4, 6, 7)", "(4, 6, 8)"]),
            ({"sm": np.ones((18, 16), bool)}, ["sm has shape (18, 16)", "(18, 24)"]),
            ({"sm": np.ones((18, 16), bool), "hr": None}, ["sm has shape (18, 16)"]),
            ({"hr": np.zeros((1, 18, 24))}, [": hr", "(H, W)"]),
            ({"hr": np.zeros((18, 0))}, [": hr", "(H, W)"]),
            ({"norm": 0}, ["positive number of dB"]),
            ({"norm": np.nan}, ["positive number of dB"]),
        ],
    )
    def test_types_shapes_and_norms_that_do_not_fit_are_refused(self, make_scene, parts, words):
        expect_error(lambda: make_scene(**parts), "imgset0042", *words)


CALLERS = {
    "ClearanceSelector": ClearanceSelector().fit,
    "InputComposer": InputComposer().transform,
    "BicubicUpscaler": BicubicUpscaler().fit_transform,
    "BicubicBaseline": BicubicBaseline().fit,
    "BicubicBaseline.predict": BicubicBaseline(scale=3).predict,
    "BicubicBaseline.score": BicubicBaseline().score,
    "SRCNN": quick_srcnn().fit,
    "cpsnr_scorer": lambda scenes: cpsnr_scorer(BicubicBaseline(), scenes),
    "probav_scorer": lambda scenes: probav_scorer(BicubicBaseline(), scenes),
}


@pytest.mark.parametrize("caller", CALLERS)
class TestLists:
    def test_what_is_no_list_of_scenes_is_refused(self, caller, make_scene):
        call = CALLERS[caller]
        expect_error(lambda: call([]), "empty list", "at least one scene")
        expect_error(lambda: call(make_scene()), "list of scenes", "[scene]")
        expect_error(lambda: call([make_scene(), "imgset0000"]), "str", "at position 1")
        expect_error(lambda: call(np.zeros((9, 16, 16))), "list of scenes")


@pytest.mark.parametrize("caller", ["BicubicUpscaler", "SRCNN", "probav_scorer"])
class TestNoLists:
    def test_iterators_and_tables_are_named(self, caller, make_scene):
        given = iter([make_scene(), make_scene()])
        expect_error(lambda: CALLERS[caller](given), type(given).__name__, "only once: pass a list")
        table = pd.DataFrame({"scene": [make_scene(), make_scene()]})
        expect_error(lambda: CALLERS[caller](table), "got a DataFrame", "pass the column")


class TestTraining:
    @pytest.fixture
    def scenes(self):
        return small_scenes(2)

    def test_weights_of_scenes_are_refused(self, scenes):
        weights = np.ones(2)
        train = quick_srcnn().fit
        expect_error(
            lambda: train(composed(scenes), sample_weight=weights), "SRCNN", "sample_weight"
        )

    @pytest.mark.parametrize("k", ["max", None])
    def test_different_numbers_of_frames_in_a_stack_are_named(self, k):
        scenes = [small_scene(n, n_frames=n, clouds=False) for n in (4, 5)]
        pipe = make_pipeline(ClearanceSelector(k=k), InputComposer(), FSRCNN(**QUICK))
        expect_error(
            lambda: pipe.fit(scenes), 'frames="stack"', "an int, such as k=9", '"max" and None'
        )


class TestMetricsAsScores:
    def test_a_metric_that_make_scorer_calls_names_the_scorers(self, make_scene):
        scenes = [make_scene(), make_scene()]
        for truth in (None, scenes, np.array(scenes, dtype=object)):
            expect_error(
                lambda truth=truth: make_scorer(cpsnr)(BicubicBaseline(scale=3), scenes, truth),
                "scoring=cpsnr_scorer",
                "make_scorer",
            )
            expect_error(lambda truth=truth: cpsnr(np.zeros((9, 9)), truth), "cpsnr_scorer")

    def test_a_scene_that_has_no_score_is_named(self, make_scene):
        scenes = [make_scene(), make_scene(size=(2, 2), name="imgset0007")]
        for call in (
            lambda: BicubicBaseline().score(scenes),
            lambda: quality_report(BicubicBaseline(), scenes),
            lambda: scenes[1].norm,
        ):
            expect_error(call, "imgset0007", "border=3", "give a larger image")

    @pytest.mark.parametrize("norm", ["46.2", [46.2], np.nan])
    def test_norms_that_are_no_numbers_are_refused(self, make_scene, norm):
        image = np.zeros((9, 9))
        expect_error(lambda: probav_score(image, image, norm=norm), "norm must be a positive")
        expect_error(lambda: make_scene(norm=norm), "imgset0042", "norm must be a positive")

    def test_a_border_is_an_integer(self):
        image = np.zeros((9, 9))
        expect_error(lambda: cpsnr(image, image, border=1.5), "border=1.5 must be an integer")


class TestSaving:
    def test_an_empty_list_one_scene_and_strangers_are_refused(self, make_scene, tmp_path):
        for given in ([], make_scene(), [make_scene(), None]):
            expect_error(lambda given=given: save_scenes(given, tmp_path / "data"), "save_scenes")
        assert not (tmp_path / "data").exists()


class TestTruth:
    def test_scenes_without_hr_cannot_be_scored(self, make_scene):
        scenes = [make_scene(), make_scene(hr=None, name="imgset0007")]
        for call in (
            lambda: cpsnr_scorer(BicubicBaseline(), scenes),
            lambda: probav_scorer(BicubicBaseline(), scenes),
            lambda: BicubicBaseline().score(scenes),
        ):
            expect_error(call, "imgset0007", "no HR image", "leave it out")


class TestNormCsv:
    @pytest.mark.parametrize(
        "line",
        [
            "imgset0001",
            "imgset0001 forty",
            "imgset0001 nan",
            "imgset0001 -46.5",
            "imgset0001 4_6.5",
            "imgset0001 \N{FULLWIDTH DIGIT FOUR}6",
            "imgset/0001 46",
        ],
    )
    def test_a_line_that_is_no_name_and_number_is_named(self, root, folder, line):
        (root / "norm.csv").write_text(f"imgset0000 46.5\n{line}\n")
        for call in (lambda: load_scenes(root), lambda: Scene.from_dir(folder)):
            expect_error(call, "norm.csv, line 2", line)

    def test_a_name_that_comes_twice_is_named(self, root):
        (root / "norm.csv").write_text("imgset0000 46.5\nimgset0001 46\nimgset0000 40\n")
        expect_error(lambda: load_scenes(root), "norm.csv, line 3", "imgset0000 is there twice")

    def test_a_file_that_is_no_text_is_named(self, root):
        (root / "norm.csv").write_bytes(b"imgset0000 \xff\xfe\n")
        expect_error(lambda: load_scenes(root), "norm.csv")

    def test_the_mark_that_some_editors_put_in_front_is_no_part_of_a_name(self, root):
        (root / "norm.csv").write_bytes(b"\xef\xbb\xbfimgset0000,46.5\r\nimgset0001,4.1e1\r\n")
        assert [scene.norm for scene in load_scenes(root)] == [46.5, 41]

    def test_a_file_that_is_far_too_large_is_not_read(self, root):
        with (root / "norm.csv").open("r+b") as stream:
            stream.truncate(2**34)
        expect_error(lambda: load_scenes(root), "norm.csv", "17,179,869,184 bytes")

    def test_a_malformed_norm_csv_is_not_overwritten(self, root, make_scene):
        (root / "norm.csv").write_text("imgset0000 forty\n")
        expect_error(lambda: save_scenes([make_scene()], root), "norm.csv, line 1")
        assert (root / "norm.csv").read_text() == "imgset0000 forty\n"
