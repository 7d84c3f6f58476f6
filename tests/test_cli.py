"""The command line: results as from Python, one-line errors, and no overwritten files."""

import json
import os
import signal
import subprocess
import sys
import warnings
import zipfile
from functools import wraps

import numpy as np
import pytest
from _helpers import no_space, slow_score
from click.testing import CliRunner
from PIL import Image
from skimage.io import imread
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    SRCNN,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    __version__,
    load_model,
    load_scenes,
    make_scenes,
    probav_scorer,
    save_model,
    save_scenes,
    write_submission,
)
from probav_estimators.cli import COMMANDS, probav

SMALL = ("--n-scenes", 2, "--size", 16, "--n-frames", 4, 5)


def call(*args, code=0):
    """Run a command in this process and check its exit code."""
    result = CliRunner().invoke(probav, [str(arg) for arg in args])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def result_of(*args, code=0):
    """JSON object that a command prints on stdout."""
    return json.loads(call(*args, "--json", "--quiet", code=code).stdout)


def error_of(*args, code=2):
    """One-line error of a command, without other output."""
    result = call(*args, code=code)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def run(program, *args, **options):
    """Run Python in a separate process."""
    command = [sys.executable, *program, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def contents(root):
    """Contents of all files below a folder, including hidden ones."""
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def damage(folder):
    """Truncate a scene's last frame."""
    path = max(folder.glob("LR*.png"))
    path.write_bytes(path.read_bytes()[:100])


def hide_truth(root):
    for name in ("HR.png", "SM.png"):
        for path in root.rglob(name):
            path.unlink()


def interrupt_in_second_epoch(kind, monkeypatch):
    """Let nets of a class be interrupted at the end of their second epoch."""
    end_epoch = kind.on_epoch_end

    def interrupt(net, *args, **kwargs):
        end_epoch(net, *args, **kwargs)
        if len(net.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(kind, "on_epoch_end", interrupt)


@pytest.fixture(scope="module")
def net():
    return FusionNet.from_pretrained("simulated-x3", verbose=0)


class TestSimulate:
    def test_scenes_are_those_of_make_scenes(self, tmp_path, monkeypatch):
        # One process is quicker for two small scenes.
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
        options = ("--scale", 2, "--sensor", "any", "--bands", "NIR,SWIR", "--seed", 3)
        result = result_of("simulate", tmp_path / "data", *SMALL, *options)
        expected = make_scenes(
            2,
            size=16,
            n_frames=(4, 5),
            scale=2,
            sensor="any",
            bands=["NIR", "SWIR"],
            random_state=3,
        )
        found = load_scenes(tmp_path / "data")
        for listed, scene, other in zip(result["scenes"], found, expected, strict=True):
            assert listed == {"scene": scene.name, "band": scene.band, "n_frames": len(scene)}
            assert (scene.name, scene.band) == (other.name, other.band)
            np.testing.assert_array_equal(scene.lr, other.lr)
            np.testing.assert_array_equal(scene.hr, other.hr)

    def test_overwrite_replaces_scenes_of_the_same_names_only(self, tmp_path):
        call("simulate", tmp_path, *SMALL)
        call("simulate", tmp_path, *SMALL, "--n-scenes", 1, "--seed", 1, "--overwrite")
        old, new = (make_scenes(2, size=16, n_frames=(4, 5), random_state=seed) for seed in (0, 1))
        for scene, expected in zip(load_scenes(tmp_path), [new[0], old[1]], strict=True):
            np.testing.assert_array_equal(scene.lr, expected.lr)
            assert scene.norm == pytest.approx(expected.norm)
        assert {path.name for path in tmp_path.iterdir()} == {"train", "norm.csv"}

    def test_the_same_call_resumes_a_stopped_one_and_no_other_does(self, tmp_path, monkeypatch):
        def stop_after_one(scenes, *args, **options):
            save_scenes(scenes[:1], *args, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("probav_estimators.cli._simulate.save_scenes", stop_after_one)
            call("simulate", tmp_path, *SMALL, code=130)
        other = error_of("simulate", tmp_path, *SMALL, "--seed", 1)
        assert "imgset0000 is there already" in other
        assert result_of("simulate", tmp_path, *SMALL)["n_scenes"] == 2
        assert {path.name for path in tmp_path.iterdir()} == {"train", "norm.csv"}
        assert "imgset0000 is there already" in error_of("simulate", tmp_path, *SMALL)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--n-scenes", 0), "n_scenes must be an integer of at least 1"),
            (("--sensor", "spot"), "spot"),
            (("--n-frames", 3), "--n-frames"),
            (("--split", "../other"), "cannot name a folder"),
        ],
    )
    def test_bad_arguments_write_nothing(self, tmp_path, options, told):
        assert told in error_of("simulate", tmp_path / "data", *SMALL, *options)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "data").write_text("mine")
        assert "is a file" in error_of("simulate", tmp_path / "data", *SMALL)


@pytest.fixture
def model(scenes, tmp_path):
    """File of a fitted pipeline, and the pipeline."""
    net = SRCNN(max_epochs=1, residual=True, device="cpu", random_state=0, verbose=0)
    pipe = make_pipeline(ClearanceSelector(4), InputComposer(), BicubicUpscaler(3), net)
    path = tmp_path / "pipeline.safetensors"
    save_model(pipe.fit(scenes), path)
    return path, pipe


class TestScore:
    def test_model_scores_as_its_estimator(self, root, scenes, model):
        path, pipe = model
        result = result_of("score", root, "--estimator", path)
        images = pipe.predict(scenes[:2])
        assert result["estimator"] == "pipeline.safetensors"
        assert result["score"] == pytest.approx(slow_score(images, scenes[:2]), rel=1e-5)
        assert result["score"] != pytest.approx(1, abs=1e-6)

    def test_several_are_scored_at_once(self, root, model, net, tmp_path):
        weights = tmp_path / "mine.safetensors"
        net.save_pretrained(weights)
        names = ["baseline", model[0], "simulated-x3", weights]
        options = [part for name in names for part in ("--estimator", name)]
        result = result_of("score", root, *options)
        assert "score" not in result and result["n_scenes"] == 2
        told = [one["estimator"] for one in result["estimators"]]
        assert told == ["baseline", "pipeline.safetensors", "simulated-x3", "mine.safetensors"]
        for name, one in zip(names, result["estimators"], strict=True):
            alone = result_of("score", root, "--estimator", name)
            assert (alone["score"], alone["scenes"]) == (one["score"], one["scenes"])
        lines = call("score", root, "--quiet", *options).stdout.splitlines()
        assert [line.split()[:2] for line in lines[1:4]] == [
            ["baseline", "imgset0000"], ["baseline", "imgset0001"], ["baseline", "mean"],
        ]  # fmt: skip
        assert len(lines) == 1 + 4 * 3

    def test_baseline_scores_one(self, root, scenes):
        result = result_of("score", root, "--estimator", "baseline")
        images = BicubicBaseline().predict(scenes[:2])
        assert result["score"] == pytest.approx(slow_score(images, scenes[:2]), abs=1e-6) == 1
        for row, scene in zip(result["scenes"], scenes[:2], strict=True):
            assert (row["scene"], row["band"]) == (scene.name, scene.band)
            assert row["cpsnr"] == pytest.approx(row["norm"]) == pytest.approx(scene.norm)

    def test_default_estimator_has_the_weights_of_the_scale(self, root, scenes, net):
        result = result_of("score", root)
        images = net.predict(scenes[:2])
        assert result["score"] == pytest.approx(slow_score(images, scenes[:2]), rel=1e-5)
        assert result["cpsnr"] == pytest.approx(np.mean([r["cpsnr"] for r in result["scenes"]]))

    def test_table_has_a_row_for_each_scene_and_the_mean(self, root):
        lines = call("score", root, "--estimator", "baseline", "--bands", "RED").stdout.splitlines()
        assert [line.split()[0] for line in lines] == ["scene", "imgset0000", "mean"]
        assert lines[-1].split()[-1] == "1.00000"

    def test_images_score_as_the_estimator_that_made_them(self, root, tmp_path):
        call("predict", root, "-o", tmp_path / "images")
        call("predict", root, "-o", tmp_path / "images.zip", "--submission")
        folder, archive = (
            result_of("score", root, "--images", tmp_path / name)
            for name in ("images", "images.zip")
        )
        # A submission is at the level of the frames, where float32 rounds differently.
        scores, of_submission = (
            [scene["cpsnr"] for scene in images["scenes"]] for images in (folder, archive)
        )
        assert scores == pytest.approx(of_submission, rel=1e-7)
        assert folder["score"] == pytest.approx(result_of("score", root)["score"], abs=1e-4)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--estimator", "baseline", "--images", "."), "exclude each other"),
            (("--estimator", "x9"), "neither the name of shipped weights"),
            (("--images", "none"), "does not exist"),
        ],
    )
    def test_mistakes_are_told(self, root, options, told):
        assert told in error_of("score", root, *options)

    def test_scenes_without_truth_are_left_out_with_a_warning(self, root, folder):
        hide_truth(folder)
        result = call("score", root, "--estimator", "baseline", "--json")
        assert [row["scene"] for row in json.loads(result.stdout)["scenes"]] == ["imgset0001"]
        (line,) = result.stderr.splitlines()
        assert line.startswith("Warning: 1 of 2 scenes of ")
        hide_truth(root)
        assert "has an HR image" in error_of("score", root)


class TestPredict:
    def test_images_are_those_of_the_net_in_16_bits(self, root, scenes, net, tmp_path):
        out, std = tmp_path / "out", tmp_path / "std"
        assert call("predict", root, "-o", out, "--std", std).stdout == f"2 images in {out}\n"
        images, deviations = net.predict(scenes[:2], return_std=True)
        for folder, expected in ((out, images), (std, deviations)):
            assert {path.name for path in folder.iterdir()} == {"imgset0000.png", "imgset0001.png"}
            for scene, pixels in zip(scenes, expected, strict=False):
                values = imread(folder / f"{scene.name}.png")
                assert values.dtype == np.uint16
                np.testing.assert_array_equal(values, np.rint(pixels.astype(float) * 65535))

    def test_test_split_is_the_default_where_there_is_one(self, root, tmp_path):
        (root / "test").mkdir()
        (root / "train" / "NIR").rename(root / "test" / "NIR")
        hide_truth(root / "test")
        call("predict", root, "-o", tmp_path / "test")
        call("predict", root, "-o", tmp_path / "train", "--split", "train")
        assert [path.name for path in (tmp_path / "test").iterdir()] == ["imgset0001.png"]
        assert [path.name for path in (tmp_path / "train").iterdir()] == ["imgset0000.png"]
        assert "no split val" in error_of("predict", root, "-o", tmp_path, "--split", "val")

    def test_images_that_are_there_are_refused_and_untouched(self, root, tmp_path):
        path = tmp_path / "imgset0001.png"
        path.write_text("mine")
        assert f"{path} is there already" in error_of("predict", root, "-o", tmp_path)
        assert contents(tmp_path).keys() - contents(root).keys() == {path}
        assert path.read_text() == "mine"
        call("predict", root, "-o", tmp_path, "--overwrite")
        assert imread(path).shape == (72, 72)

    def test_a_damaged_scene_costs_its_own_image_only(self, root, folder, tmp_path):
        damage(folder)
        out = tmp_path / "out"
        result = call("predict", root, "-o", out, "--json", code=1)
        (failed,) = json.loads(result.stdout)["failed"]
        assert failed["scene"] == "imgset0000"
        first, last = result.stderr.splitlines()
        assert first == f"Error: {failed['error']}"
        assert last == "Error: 1 of 2 scenes failed, see above"
        assert [path.name for path in out.iterdir()] == ["imgset0001.png"]

    def test_a_full_disk_leaves_no_part_of_an_image(self, root, tmp_path, monkeypatch):
        monkeypatch.setattr(Image.Image, "save", no_space)
        assert "No space left" in error_of("predict", root, "-o", tmp_path / "out", code=1)
        assert list((tmp_path / "out").iterdir()) == []

    def test_the_same_call_resumes_a_stopped_one_and_no_other_does(
        self, root, tmp_path, monkeypatch
    ):
        options = (root, "-o", tmp_path / "out", "--std", tmp_path / "std")
        call("predict", root, "-o", tmp_path / "expected")
        predict, seen = FusionNet.predict, []

        @wraps(predict)
        def stop_at_the_second(net, scenes, **given):
            seen.append(scenes[0].name)
            if len(seen) == 2:
                raise KeyboardInterrupt
            return predict(net, scenes, **given)

        monkeypatch.setattr(FusionNet, "predict", stop_at_the_second)
        call("predict", *options, code=130)
        for other in (options[:3], (*options, "--weights", "simulated-x4")):
            assert "imgset0000.png is there already" in error_of("predict", *other)
        call("predict", *options)
        assert seen == ["imgset0000", "imgset0001", "imgset0001"]
        assert {p.name for p in (tmp_path / "out").iterdir()} == {f"{name}.png" for name in seen}
        for path in (tmp_path / "expected").iterdir():
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        # Complete images are never replaced by the way.
        assert "is there already" in error_of("predict", *options)

    def test_submission_is_that_of_write_submission(self, root, net, tmp_path):
        call("predict", root, "-o", tmp_path / "a.zip", "--submission")
        write_submission(net, load_scenes(root), tmp_path / "b.zip")
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
        assert len(zipfile.ZipFile(tmp_path / "a.zip").namelist()) == 2

    @pytest.mark.parametrize(
        ("output", "options", "told"),
        [
            ("out.zip", (), "or --submission to write a zip"),
            ("data/norm.csv", (), "is no folder for images"),
            ("out.zip", ("--submission", "--std", "std"), "leave --std out"),
            ("std", ("--std", "std"), "give two folders"),
            ("out", ("--weights", "simulated-x2"), "2 times as large"),
            ("out", ("--device", "abacus"), "abacus"),
        ],
    )
    def test_mistakes_are_told(self, root, tmp_path, monkeypatch, output, options, told):
        monkeypatch.chdir(tmp_path)
        assert told in error_of("predict", "data", "-o", output, *options)


class TestTrain:
    def test_weights_are_written_and_score_as_told(self, root, scenes, net, tmp_path):
        path = tmp_path / "mine.safetensors"
        options = ("--epochs", 2, "--valid", root, "--lr", 3e-4)
        result = result_of("train", root, "-o", path, *options)
        assert (result["n_scenes"], result["n_epochs"]) == (2, 2)
        assert result["before"]["score"] == pytest.approx(-probav_scorer(net, scenes[:2]), rel=1e-5)
        trained = FusionNet.from_pretrained(path, verbose=0)
        after = -probav_scorer(trained, scenes[:2])
        assert result["after"]["score"] == pytest.approx(after, rel=1e-4)
        assert after <= result["before"]["score"] + 1e-3

    def test_the_studys_best_system_is_trained_without_python(self, root, scenes, tmp_path):
        path = tmp_path / "mine.safetensors"
        options = ("--estimator", "srcnn", "--mode", "concat", "--k", 5, "--residual")
        options += ("--epochs", 2, "--valid", root, "--micro-batch-size", 1, "--patch-size", 0)
        result = result_of("train", root, "-o", path, *options)
        assert (result["estimator"], result["n_epochs"], result["before"]) == ("srcnn", 2, None)
        pipe = load_model(path)
        assert pipe["select"].k == 5
        assert (pipe["compose"].mode, pipe["compose"].frames) == ("concat", "stack")
        assert pipe["upscale"].scale == 3
        assert (type(pipe["sr"]), pipe["sr"].residual) == (SRCNN, True)
        assert pipe["sr"].patch_size is None
        assert result["after"]["score"] == pytest.approx(-probav_scorer(pipe, scenes[:2]), rel=1e-5)
        scored = result_of("score", root, "--estimator", path)
        assert scored["score"] == pytest.approx(result["after"]["score"], rel=1e-5)
        call("predict", root, "-o", tmp_path / "out", "--weights", path)
        assert len(list((tmp_path / "out").iterdir())) == 2

    @pytest.mark.parametrize(
        ("name", "options", "steps"),
        [
            ("fsrcnn", ("--frames", "single"), ["select", "compose", "upscale", "sr"]),
            ("HighResNet", (), None),
        ],
    )
    def test_every_estimator_of_the_package_can_be_trained(
        self, root, tmp_path, name, options, steps
    ):
        path = tmp_path / "mine.safetensors"
        result_of("train", root, "-o", path, "--estimator", name, "--epochs", 1, *options)
        model = load_model(path)
        assert (list(model.named_steps) if steps else None) == steps
        net = model["sr"] if steps else model
        assert type(net).__name__.lower() == name.lower()
        if steps:
            assert (model["select"].k, model["upscale"]) == ("max", "passthrough")

    def test_interrupted_pipeline_is_kept_as_a_model(self, root, tmp_path, monkeypatch):
        interrupt_in_second_epoch(SRCNN, monkeypatch)
        path = tmp_path / "mine.safetensors"
        options = ("--estimator", "srcnn", "--epochs", 9)
        result = call("train", root, "-o", path, *options, code=130)
        assert f"The best weights so far are in {path}" in result.stderr
        assert load_model(path).predict(load_scenes(root)).shape == (2, 72, 72)

    def test_frames_alone_teach_a_net_that_begins_with_nothing(self, root, tmp_path):
        hide_truth(root)
        path = tmp_path / "mine.safetensors"
        start = ("--weights", "none", "--epochs", 1)
        assert "HR image" in error_of("train", root, "-o", path, *start)
        result = result_of("train", root, "-o", path, *start, "--no-truth")
        assert result["before"] is result["after"] is None
        assert FusionNet.from_pretrained(path).scale_ == 3

    def test_what_cannot_be_written_is_told_before_the_training(self, root, tmp_path, monkeypatch):
        def fit(*args):
            raise AssertionError("trained")

        monkeypatch.setattr(FusionNet, "fit", fit)
        path = tmp_path / "mine.safetensors"
        path.write_text("mine")
        assert "is there already" in error_of("train", root, "-o", path)
        assert path.read_text() == "mine"
        assert "is no folder" in error_of("train", root, "-o", tmp_path / "none" / "w")
        assert "is a folder" in error_of("train", root, "-o", tmp_path)
        monkeypatch.setattr("tempfile.TemporaryFile", no_space)
        assert "cannot write to" in error_of("train", root, "-o", tmp_path / "new", code=1)

    def test_a_disk_that_is_full_in_the_end_loses_no_training(self, root, tmp_path, monkeypatch):
        path = tmp_path / "mine.safetensors"
        refuge = tmp_path / "refuge"
        refuge.mkdir()
        save = FusionNet.save_pretrained
        monkeypatch.setattr(
            FusionNet,
            "save_pretrained",
            lambda net, where: no_space() if where == path else save(net, where),
        )
        monkeypatch.setattr("tempfile.mkdtemp", lambda **kwargs: str(refuge))
        line = error_of("train", root, "-o", path, "--epochs", 1, code=1)
        assert f"the weights are in {refuge / path.name}" in line
        assert FusionNet.from_pretrained(refuge / path.name).scale_ == 3


class TestTold:
    def test_shipped_weights_are_listed_with_size_and_scale(self, net):
        listed = {found["name"]: found for found in result_of_plain("weights")["weights"]}
        n_parameters = sum(x.numel() for x in net.module_.parameters())
        assert listed["simulated-x3"]["parameters"] == n_parameters
        assert {name: found["scale"] for name, found in listed.items()} == {
            f"simulated-x{scale}": scale for scale in (2, 3, 4)
        }
        assert all(found["card"].startswith("Weights of FusionNet") for found in listed.values())
        assert call("weights").stdout.splitlines()[0].split()[0] == "name"

    def test_info_tells_versions_device_and_threads(self, monkeypatch):
        facts = result_of_plain("info")
        assert facts["versions"]["probav_estimators"] == __version__
        assert facts["versions"]["numpy"] == np.__version__
        assert facts["compute_dtype"] in {"float32", "bfloat16"}
        assert facts["threads"] >= 1


def result_of_plain(command):
    return json.loads(call(command, "--json").stdout)


class TestWhole:
    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (("train",), "probav train --help"),
            (("nonsense",), "No such command 'nonsense'"),
            (("weights", "--nonsense"), "--nonsense"),
            (("train", ".", "-o", "w", "--k", 5), "--k does not apply to --estimator fusionnet"),
            (
                ("train", ".", "-o", "w", "--estimator", "srcnn", "--no-truth"),
                "--no-truth does not apply to --estimator srcnn",
            ),
        ],
    )
    def test_mistakes_in_usage_take_one_line(self, args, told):
        assert told in error_of(*args)

    @pytest.mark.parametrize(
        "args",
        [
            ("simulate", "", *SMALL),
            ("predict", "data", "-o", ""),
            ("score", "data", "--images", ""),
            ("super-resolve", "a.tif", "-o", "b.tif", "--std", ""),
        ],
    )
    def test_empty_names_are_no_folder(self, root, monkeypatch, args):
        monkeypatch.chdir(root.parent)
        before = contents(root.parent)
        assert "the name is empty" in error_of(*args)
        assert contents(root.parent) == before

    def test_list_of_commands_says_what_each_says_itself(self):
        for name, summary in COMMANDS.items():
            text = call(name, "--help").stdout
            assert summary in " ".join(text.split())
            assert "--debug" in text

    def test_debug_shows_the_traceback(self):
        for args in (("--debug", "score", "nowhere"), ("score", "nowhere", "--debug")):
            result = call(*args, code=2)
            assert "Traceback" in result.stderr and "FileNotFoundError" in result.stderr
        assert "Traceback" not in call("score", "nowhere", code=2).stderr

    def test_what_nobody_foresaw_is_a_failure(self, root, monkeypatch):
        def fail(*args, **kwargs):
            raise TypeError("two\nlines")

        monkeypatch.setattr(BicubicBaseline, "predict", fail)
        line = error_of("score", root, "--estimator", "baseline", code=1)
        assert line == "Error: TypeError: two lines (--debug shows where)"

    def test_warnings_take_one_line_without_the_place(self, root, monkeypatch):
        def warn(self, scenes):
            warnings.warn("so\nso", UserWarning, stacklevel=1)
            return [scene.hr for scene in scenes]

        monkeypatch.setattr(BicubicBaseline, "predict", warn)
        lines = call("score", root, "--estimator", "baseline").stderr.splitlines()
        assert set(lines) == {"Warning: so so"}

    def test_interrupt_is_told_from_failure(self, root):
        program = (
            "import os, signal, time\n"
            "from probav_estimators import BicubicBaseline\n"
            "from probav_estimators.cli import main\n"
            "def predict(*args, **kwargs):\n"
            f"    os.kill(os.getpid(), {int(signal.SIGINT)})\n"
            "    time.sleep(60)\n"
            "BicubicBaseline.predict = predict\n"
            "main()\n"
        )
        ended = run(["-c", program], "score", root, "--estimator", "baseline")
        assert ended.returncode == 130
        assert ended.stdout == "" and ended.stderr.strip() == "Interrupted"

    @pytest.mark.parametrize("option", ["--help", "--version"])
    def test_help_and_version_wait_for_no_library(self, option):
        program = (
            "import sys\n"
            "from probav_estimators.cli import main\n"
            "try:\n"
            "    main()\n"
            "finally:\n"
            "    print(*sys.modules, file=sys.stderr)\n"
        )
        ended = run(["-c", program], option)
        assert ended.returncode == 0
        assert __version__ in ended.stdout or "Commands:" in ended.stdout
        assert {"torch", "numpy", "tqdm"}.isdisjoint(ended.stderr.split())

    def test_a_reader_that_goes_away_gets_no_traceback(self, root):
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "probav_estimators", "score", root]
        ended = subprocess.run(
            [*command, "--estimator", "baseline"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
        os.close(write)
        assert ended.returncode == 1
        assert ended.stderr == ""
