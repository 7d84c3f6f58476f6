"""The published study as one run, from a data set to the table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from _helpers import slow_score
from click.testing import CliRunner

from probav_estimators import (
    BicubicBaseline,
    load_model,
    load_scenes,
    make_scenes,
    run_benchmark,
    save_scenes,
)
from probav_estimators.benchmark import estimate_benchmark
from probav_estimators.cli import probav

PNG = b"\x89PNG"
TWO_ROWS = ["SRCNN stack lr", "SRCNNEx stack lr"]


def call(*args, code=0):
    result = CliRunner().invoke(probav, ["benchmark", *map(str, args)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def save_data_set(root, n_train, n_test, **options):
    """Scenes in the challenge's layout, with a test split that has no HR images."""
    scenes = make_scenes(
        n_train + n_test, **{"size": 16, "n_frames": 5, "random_state": 0} | options
    )
    save_scenes(scenes[:n_train], root)
    if n_test:
        save_scenes(scenes[n_train:], root, split="test")
        for name in ("HR.png", "SM.png"):
            for path in root.glob(f"test/*/*/{name}"):
                path.unlink()
    return root


@pytest.fixture(scope="module")
def archive(small, tmp_path_factory):
    """Zip of the same scenes, packed as by ESA."""
    path = tmp_path_factory.mktemp("archive") / "probav_data.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for file in sorted(small.rglob("*.*")):
            bundle.write(file, file.relative_to(small))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Data set of 12 training scenes and 2 test scenes."""
    return save_data_set(tmp_path_factory.mktemp("small") / "data", 12, 2)


def wait_for(path, process):
    give_up = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < give_up, f"{path} did not appear"
        time.sleep(0.005)


def history_of(folder):
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.any_version
def test_a_killed_study_of_zipped_scenes_goes_on_to_its_table(archive, tmp_path):
    content = archive.read_bytes()
    out = tmp_path / "results"
    options = [archive, "-o", out, "--configurations", ",".join(TWO_ROWS), "--epochs", "2"]
    command = [sys.executable, "-m", "probav_estimators", "benchmark", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    first, second = out / "srcnn-stack-lr", out / "srcnnex-stack-lr"
    try:
        wait_for(second / "checkpoint" / "checkpoint.safetensors", process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        stderr = process.communicate()[1]
    assert "2 rows to train, about " in stderr.splitlines()[0]
    assert not (second / "result.json").exists()
    finished = {path: path.read_bytes() for path in first.iterdir()}
    assert json.loads((out / "table.json").read_text())["rows"][0]["row"] == TWO_ROWS[0]
    begun = history_of(second)[0]

    result = json.loads(call(*options, "--json", "--quiet").stdout)
    assert [row["row"] for row in result["rows"]] == TWO_ROWS
    assert {path: path.read_bytes() for path in first.iterdir()} == finished
    # The same history, durations included: the epoch was not repeated.
    assert history_of(second)[0] == begun
    assert len(history_of(second)) == 2
    assert archive.read_bytes() == content

    _assert_row_is_whole(second, result["rows"][1], out / "data")
    rows = (out / "table.md").read_text().splitlines()[4:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in TWO_ROWS]
    assert "Quick run" not in (out / "table.md").read_text()
    with (out / "table.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [float(row["study_score"]) for row in listed] == [0.98961, 0.99000]
    names = {path.name for path in out.iterdir()}
    assert names == {"data", first.name, second.name, "table.md", "table.csv", "table.json"}


def _assert_row_is_whole(folder, row, root):
    files = {path.name for path in folder.iterdir()}
    assert files == {
        "history.csv",
        "model.safetensors",
        "picture.png",
        "result.json",
        "settings.json",
        "submission.zip",
    }
    assert (folder / "picture.png").read_bytes().startswith(PNG)
    test = load_scenes(root / "test")
    names = zipfile.ZipFile(folder / "submission.zip").namelist()
    assert names == [f"{scene.name}.png" for scene in test]
    scores = [float(epoch["valid_score"]) for epoch in history_of(folder)]
    assert row["validation_score"] == pytest.approx(min(scores))
    assert row["best_epoch"] == 1 + np.argmin(scores)
    model = load_model(folder / "model.safetensors")
    assert model.predict(test[:1]).shape == (1, 48, 48)
    assert sum(p.numel() for p in model[-1].module_.parameters()) == row["parameters"]


def test_all_rows_are_scored_on_the_same_scenes(small, tmp_path):
    """FusionNet's score is that of the initial weights of its fine-tuning."""
    names = ["fusionnet-fine-tuned", "FusionNet", "baseline", "fsrcnn-stack-lr", "baseline opencv"]
    result = run_benchmark(small, tmp_path, configurations=names, max_epochs=1, verbose=0)
    rows = {row["row"]: row for row in result.rows}
    baselines, nets = ["baseline", "baseline OpenCV"], ["FusionNet", "FusionNet fine-tuned"]
    assert list(rows) == [*baselines, "FSRCNN stack lr", *nets]
    assert rows["baseline"]["validation_score"] == pytest.approx(1, abs=1e-6)
    assert 0.95 < rows["baseline OpenCV"]["validation_score"] < 1.05
    shipped = rows["FusionNet"]
    assert (shipped["epochs"], shipped["fit_seconds"]) == (None, None)
    assert shipped["validation_score"] < 1
    # Fine-tuning also scores its initial weights on its validation scenes; they may be the best.
    tuned = load_model(tmp_path / "fusionnet-fine-tuned" / "model.safetensors")
    assert tuned.history[-1, "valid_score"] == pytest.approx(shipped["validation_score"], abs=5e-3)
    assert rows["FusionNet fine-tuned"]["validation_score"] <= shipped["validation_score"] + 1e-4


def test_the_baseline_is_scored_as_by_hand_on_scenes_that_the_nets_do_not_train_on(small, tmp_path):
    result = run_benchmark(
        small, tmp_path, configurations=["fsrcnn-stack-lr"], max_epochs=1, verbose=0
    )
    model = load_model(tmp_path / "fsrcnn-stack-lr" / "model.safetensors")
    about = json.loads((tmp_path / "table.json").read_text())
    assert about["n_train"] + about["n_validation"] == 12
    scenes = load_scenes(small / "train")
    scores = [slow_score(model.predict([scene]), [scene]) for scene in scenes]
    (row,) = result.rows
    # Mean score of two validation scenes, whichever they are.
    pairs = [np.mean([scores[i], scores[j]]) for i in range(len(scores)) for j in range(i)]
    assert about["n_validation"] == 2
    assert min(abs(np.array(pairs) - row["validation_score"])) < 1e-5


def test_a_data_set_of_one_band_and_another_scale_without_test_scenes(tmp_path):
    root = save_data_set(tmp_path / "data", 6, 0, scale=2, bands=("NIR",))
    result = run_benchmark(
        root / "train" / "NIR",
        tmp_path / "out",
        configurations=["fsrcnn-stack-lr", "fusionnet"],
        quick=True,
        verbose=0,
    )
    assert [row["row"] for row in result.rows] == ["FSRCNN stack lr", "FusionNet"]
    assert result.table.startswith("**Quick run**")
    assert not (tmp_path / "out" / "fusionnet" / "submission.zip").exists()
    image = load_model(tmp_path / "out" / "fusionnet" / "model.safetensors").predict(
        load_scenes(root)[:1]
    )
    assert image.shape == (1, 32, 32)


def test_rows_of_other_settings_are_refused_and_replaced_if_asked_for(small, tmp_path):
    options = {"configurations": "fsrcnn-stack-lr", "verbose": 0}
    run_benchmark(small, tmp_path, max_epochs=1, **options)
    folder = tmp_path / "fsrcnn-stack-lr"
    model = (folder / "model.safetensors").read_bytes()
    # Left by a process that was killed while writing.
    (tmp_path / "baseline").mkdir()
    (tmp_path / "baseline" / ".settings.json.00.partial").write_text("{")
    run_benchmark(small, tmp_path, configurations="baseline", verbose=0)
    assert not list((tmp_path / "baseline").glob(".*"))
    with pytest.raises(FileExistsError, match=r"fsrcnn-stack-lr .*epochs: 1 there, 2 here"):
        run_benchmark(small, tmp_path, max_epochs=2, **options)
    with pytest.raises(FileExistsError, match=r"batch_size: .* there, 3 here"):
        run_benchmark(small, tmp_path, max_epochs=1, batch_size=3, **options)
    assert (folder / "model.safetensors").read_bytes() == model
    # Parameters that change only the rounding may differ.
    run_benchmark(small, tmp_path, max_epochs=1, micro_batch_size=2, device="cpu", **options)
    assert (folder / "model.safetensors").read_bytes() == model
    run_benchmark(small, tmp_path, max_epochs=2, overwrite=True, **options)
    assert len(history_of(folder)) == 2


def test_rows_of_other_scenes_are_refused(small, tmp_path):
    options = {"configurations": ["baseline"], "verbose": 0}
    run_benchmark(small, tmp_path, **options)
    other = save_data_set(tmp_path / "other", 5, 0, random_state=1)
    with pytest.raises(FileExistsError, match=r"scenes: 12 scenes.* there, 5 scenes"):
        run_benchmark(other, tmp_path, **options)
    (tmp_path / "fusionnet").mkdir()
    (tmp_path / "fusionnet" / "mine").write_text("mine")
    # Files of other origin are kept, with and without `overwrite`.
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="no row of a benchmark"):
            run_benchmark(
                small, tmp_path, configurations=["fusionnet"], overwrite=overwrite, verbose=0
            )
    assert (tmp_path / "fusionnet" / "mine").read_text() == "mine"


def test_rows_of_earlier_runs_stay_in_the_table(small, tmp_path):
    for name in ("baseline opencv", "baseline"):
        result = run_benchmark(small, tmp_path, configurations=[name], verbose=0)
    assert [row["row"] for row in result.rows] == ["baseline", "baseline OpenCV"]


def test_unknown_configurations_are_named_with_those_that_are_known(small, tmp_path):
    with pytest.raises(ValueError, match=r"'SRCNN stack'.*srcnn-stack-concat.*fusionnet"):
        run_benchmark(small, tmp_path / "out", configurations=["SRCNN stack"])
    with pytest.raises(ValueError, match="is empty"):
        run_benchmark(small, tmp_path / "out", configurations=[])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("root", "told"),
    [("none", FileNotFoundError), ("train/RED/imgset0000/LR000.png", ValueError)],
)
def test_what_is_no_data_set_is_refused(small, tmp_path, root, told):
    with pytest.raises(told):
        run_benchmark(small / root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_estimate_counts_the_epochs_that_are_left(small, tmp_path):
    names = ["baseline", "fsrcnn-stack-lr", "srcnn-single-lr"]
    options = {"configurations": names, "max_epochs": 1000, "verbose": 0}
    stack, single = estimate_benchmark(small, tmp_path, **options)[::-1]
    assert (stack.name, single.name) == ("FSRCNN stack lr", "SRCNN single lr")
    for row in (stack, single):
        assert row.epochs == 1000
        assert row.seconds >= row.epochs * row.n_samples * row.seconds_per_sample
        assert row.batch_size == 32 and row.micro_batch_size is None
    # SRCNN has 64 channels of HR size, in float32 or, with half the memory, in bfloat16.
    assert single.sample_bytes > 64 * 48 * 48 * 2
    assert stack.n_samples + 2 == 12
    assert single.n_samples > stack.n_samples
    run_benchmark(small, tmp_path, configurations=names[:1], verbose=0)
    run_benchmark(small, tmp_path, configurations=names[1:2], max_epochs=1, verbose=0)
    assert estimate_benchmark(small, tmp_path, configurations=names[1:2], max_epochs=1) == []


def set_free_memory(n_bytes, monkeypatch):
    """Let the machine have this much memory."""
    read_text = Path.read_text

    def read(path, *args, **kwargs):
        if str(path) == "/proc/meminfo":
            return f"MemAvailable: {n_bytes // 1024} kB\n"
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="reads /proc/meminfo")
def test_parts_of_a_batch_fit_into_half_of_the_memory(small, tmp_path, monkeypatch):
    options = {"configurations": ["srcnn-stack-lr"], "max_epochs": 1, "verbose": 0}
    (whole,) = run_benchmark(small, tmp_path / "whole", **options).rows
    # 28 samples of a batch of 32 would fit: two parts of one size.
    (estimate,) = estimate_benchmark(small, tmp_path / "parts", **options)
    for n_samples, expected in ((33, None), (28, 16), (0, 1)):
        set_free_memory(2 * n_samples * estimate.sample_bytes + 1024, monkeypatch)
        (estimate,) = estimate_benchmark(small, tmp_path / "parts", **options)
        assert estimate.micro_batch_size == expected
    (parts,) = run_benchmark(small, tmp_path / "parts", **options).rows
    assert parts["validation_score"] == pytest.approx(whole["validation_score"], rel=1e-3)


def test_the_command_estimates_runs_and_tells_mistakes_in_a_line(small, tmp_path):
    out = tmp_path / "out"
    options = [small, "-o", out, "--configurations", "fsrcnn-stack-lr", "--epochs", 2]
    told = json.loads(call(*options, "--dry-run", "--json").stdout)
    assert told["rows"][0]["epochs"] == 2 and told["seconds"] > 0
    assert not out.exists()
    assert call(*options, "--dry-run").stdout.startswith("1 rows to train, about ")
    result = call(*options)
    assert result.stdout == (out / "table.md").read_text()
    assert "FSRCNN stack lr, row 1 of 1" in result.stderr
    mistake = call(*options, "--k", 5, code=2)
    assert mistake.stdout == "" and len(mistake.stderr.splitlines()) == 1
    assert "select" in mistake.stderr and "--overwrite" in mistake.stderr


def test_ctrl_c_says_that_the_same_call_goes_on(small, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(BicubicBaseline, "predict", interrupt)
    result = call(small, "-o", tmp_path, "--configurations", "baseline", "--quiet", code=130)
    assert "the same call resumes" in result.stderr
    assert not (tmp_path / "baseline" / "result.json").exists()
    monkeypatch.undo()
    call(small, "-o", tmp_path, "--configurations", "baseline", "--quiet")
    assert (tmp_path / "baseline" / "result.json").exists()


def test_an_empty_record_is_named_with_the_remedy(small, tmp_path):
    """As a power cut leaves on some disks."""
    options = {"configurations": "baseline", "verbose": 0}
    run_benchmark(small, tmp_path, **options)
    for name in ("settings.json", "result.json"):
        path = tmp_path / "baseline" / name
        text = path.read_bytes()
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=rf"{name} is damaged .*remove the folder .*baseline"):
            run_benchmark(small, tmp_path, **options)
        path.write_bytes(text)
    run_benchmark(small, tmp_path, **options)
