"""Graphs in onnxruntime give the same output as the networks, for any size of a dynamic axis."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from _helpers import QUICK, REGRESSORS, small_scene, small_scenes
from sklearn.pipeline import make_pipeline

from probav_estimators import (
    FSRCNN,
    RAMS,
    SRCNN,
    SRVGG16,
    TRMISR,
    BicubicBaseline,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    HighResNet,
    InputComposer,
    PerBand,
    PIUNet,
    SRResNet,
    make_scenes,
)
from probav_estimators.persistence import export_onnx, load_model, onnx_inputs, save_model
from probav_estimators.training import turn_back

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_without_torch.py"


def run(session, inputs):
    """Run a graph and return its outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def pipeline(net, *, mode="concat", frames="stack", average="all"):
    composer = InputComposer(mode=mode, frames=frames, average=average)
    steps = [ClearanceSelector(k=3), composer]
    if not net.upscales:
        steps.append(BicubicUpscaler(scale=3))
    return make_pipeline(*steps, net)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


@pytest.fixture(scope="module")
def fusion(tmp_path_factory):
    """FusionNet with a calibration, from a file, and its graph: an export takes 20 seconds."""
    folder = tmp_path_factory.mktemp("fusion")
    net = FusionNet.from_pretrained(scale=2, device="cpu", compute_dtype="float32")
    net.calibrate(make_scenes(2, size=24, scale=2, n_frames=4, random_state=0))
    save_model(net, folder / "net.safetensors")
    export_onnx(load_model(folder / "net.safetensors"), folder / "net.onnx")
    return net, folder / "net.onnx"


NETS = {
    **{kind.__name__: pipeline(kind(**QUICK)) for kind in REGRESSORS},
    "SRCNN": pipeline(SRCNN(**QUICK, residual=True)),
    "SRVGG16": pipeline(SRVGG16(**QUICK), mode="lr"),
    "FSRCNN": pipeline(FSRCNN(**QUICK, activation="prelu", predict_clearance=False)),
    "SRResNet": pipeline(SRResNet(**QUICK, n_blocks=2, n_features=8, residual=True)),
    "HighResNet": make_pipeline(HighResNet(**QUICK, n_frames=5, n_features=6, n_blocks=1)),
    "TRMISR": make_pipeline(TRMISR(**QUICK, n_frames=5, n_features=8, n_blocks=1, depth=2)),
    "RAMS": make_pipeline(RAMS(**QUICK, n_frames=5, n_features=4, n_blocks=1)),
    "PIUNet": make_pipeline(PIUNet(**QUICK, n_frames=5, n_features=4, n_blocks=1, n_heads=2)),
}


@pytest.mark.parametrize("name", NETS)
def test_a_graph_computes_what_its_net_does(name, path):
    pipe = NETS[name].fit(small_scenes(2))
    export_onnx(pipe, path)
    session = onnxruntime.InferenceSession(path)
    # Sizes other than at export.
    for number, shape in enumerate([(11, 23), (40, 17)]):
        scene = small_scene(50 + number, shape=shape)
        inputs = onnx_inputs(pipe, scene)
        found = run(session, inputs)
        tensors = {key: torch.from_numpy(x) for key, x in inputs.items()}
        with torch.no_grad():
            expected = pipe[-1].module_.eval()(**tensors).numpy()
        for channel, image in enumerate(found.values()):
            np.testing.assert_allclose(image, expected[:, channel], rtol=0, atol=1e-4)
        (predicted,) = pipe.predict([scene])
        np.testing.assert_allclose(found["image"][0].clip(0, 1), predicted, rtol=0, atol=1e-4)


def test_the_graph_of_fusion_net(fusion):
    """Images and calibrated deviations for any size and number of frames, and what it tells."""
    net, path = fusion
    session = onnxruntime.InferenceSession(path)
    for size, n_frames in (((24, 45), 1), ((61, 40), 14)):
        (scene,) = make_scenes(1, size=size, scale=2, n_frames=n_frames, random_state=n_frames)
        (image,), (deviation,) = net.predict([scene], return_std=True)
        found = run(session, onnx_inputs(net, scene))
        np.testing.assert_allclose(found["image"][0].clip(0, 1), image, rtol=0, atol=1e-4)
        np.testing.assert_allclose(found["deviation"][0], deviation, rtol=0, atol=1e-4)
    inputs = onnx_inputs(net, scene)
    inputs["orientation"][:] = 0
    (image,) = run(session, inputs)["image"]
    for orientation in product(range(4), range(2)):
        inputs["orientation"][:] = orientation
        (turned,) = run(session, inputs)["image"]
        np.testing.assert_array_equal(turned, turn_back(image, *orientation))
    told = json.loads(session.get_modelmeta().custom_metadata_map["probav_estimators"])
    for key, ports in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        assert [(port.name, port.shape) for port in ports] == [
            (tensor["name"], tensor["shape"]) for tensor in told[key]
        ]
        assert all(port.type == "tensor(float)" for port in ports)
        assert all(tensor["description"] for tensor in told[key])
    assert (told["estimator"], told["scale"], told["steps"]) == ("FusionNet", 2, [])


def test_the_example_needs_neither_torch_nor_this_package(fusion, tmp_path):
    net, path = fusion
    (scene,) = make_scenes(1, size=24, scale=2, n_frames=4, random_state=0)
    np.savez(tmp_path / "in.npz", **onnx_inputs(net, scene))
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("torch", "probav_estimators"):
        (blocked / f"{name}.py").write_text("raise ImportError('is not there')\n")
    command = [sys.executable, EXAMPLE, path, "in.npz", "out.npy"]
    finished = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(blocked), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert "frames ['batch', 'frames', 'height', 'width']: frames in" in finished.stdout
    expected = net.predict([scene])[0]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=0, atol=1e-4)
    code = [line for line in EXAMPLE.read_text().splitlines() if line and line[0] not in '"#']
    assert len(code) <= 15


class TestRefusals:
    def test_what_has_no_net(self, path):
        scenes = make_scenes(2, size=24, n_frames=3, random_state=0)
        with pytest.raises(ValueError, match="BicubicBaseline is no net: give a net or a pipe"):
            export_onnx(BicubicBaseline().fit(scenes), path)
        with pytest.raises(ValueError, match="PerBand is no net: export each of its estimators_"):
            export_onnx(PerBand(BicubicBaseline()).fit(scenes), path)
        assert not path.exists()

    def test_a_reference_that_is_chosen_scene_by_scene(self, path):
        net = FusionNet.from_pretrained("simulated-x3", reference="clearest")
        with pytest.raises(ValueError, match=r'set_params\(reference="middle"\)'):
            export_onnx(net, path)

    def test_a_graph_that_computes_something_else_is_not_written(self, path, monkeypatch):
        pipe = pipeline(FSRCNN(**QUICK)).fit(small_scenes(1))
        path.write_text("before")

        class Wrong(onnxruntime.InferenceSession):
            def run(self, *args):
                return [image + 1e-3 for image in super().run(*args)]

        monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
        with pytest.raises(ValueError, match=r"something else than the net, by up to 0\.00"):
            export_onnx(pipe, path)
        assert path.read_text() == "before"
        assert list(path.parent.iterdir()) == [path]

    def test_a_missing_onnxruntime_names_what_to_install(self, path, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ImportError, match=r"pip install probav_estimators\[onnx\]"):
            export_onnx(FusionNet.from_pretrained("simulated-x3"), path)
