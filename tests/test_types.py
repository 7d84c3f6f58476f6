"""Annotations of the public API, and results of a type checker."""

import ast
import inspect
import re
import subprocess
import sys
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import probav_estimators

ROOT = Path(probav_estimators.__file__).parent
NAME = probav_estimators.__name__

# Special methods that need annotations.
SPECIAL = {"__init__", "__len__", "__getitem__", "__iter__", "__getstate__"}


def public_functions():
    """Yield public functions and methods with their dotted names."""
    for module in [NAME, *(module.name for module in walk_packages([str(ROOT)], f"{NAME}."))]:
        for name in getattr(import_module(module), "__all__", ()):
            value = getattr(import_module(module), name)
            of_package = getattr(value, "__module__", "").startswith(f"{NAME}.")
            if not of_package or not hasattr(value, "__qualname__"):
                continue
            full_name = f"{value.__module__}.{value.__qualname__}"
            if inspect.isclass(value):
                for member, function in methods_of(value):
                    if inspect.unwrap(function).__module__.startswith(f"{NAME}."):
                        yield f"{full_name}.{member}", function
            elif callable(value):
                yield full_name, value


def methods_of(kind):
    for name, member in vars(kind).items():
        # scikit-learn generates set_..._request.
        if (name.startswith("_") and name not in SPECIAL) or name.endswith("_request"):
            continue
        if isinstance(member, property):
            yield name, member.fget
            if member.fset is not None:
                yield f"{name}.setter", member.fset
        elif isinstance(member, cached_property):
            yield name, member.func
        elif isinstance(member, (classmethod, staticmethod)):
            yield name, member.__func__
        elif inspect.isfunction(member):
            yield name, member


FUNCTIONS = {name: inspect.unwrap(function) for name, function in public_functions()}


def unannotated(function):
    """Names of parameters (or "return") without annotation, including merged signatures."""
    code = function.__code__
    flags = (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)
    count = code.co_argcount + code.co_kwonlyargcount + sum(bool(code.co_flags & f) for f in flags)
    names = [*code.co_varnames[:count], "return"]
    return [name for name in names if name not in {"self", "cls", *function.__annotations__}]


def test_everything_public_is_annotated():
    missing = {name: unannotated(function) for name, function in FUNCTIONS.items()}
    assert {name: parts for name, parts in missing.items() if parts} == {}


def test_what_is_public_is_found():
    expected = {
        "scenes._scene.Scene.lr",
        "scenes._scene.Scene.from_dir",
        "imaging._metrics.cpsnr",
        "training._scene_net.SceneNet.__init__",
        "training._scene_net.SceneNet.device.setter",
        "architectures._fusion_net.FusionNet.predict_into",
        "datasets._simulated.make_scenes",
        "meta.PerBand.fit",
    }
    assert {f"{NAME}.{name}" for name in expected} <= FUNCTIONS.keys()


def test_missing_annotations_are_found():
    def half(self, X: list, *rest, k=3, **options: int):
        pass

    assert unannotated(half) == ["k", "rest", "return"]


def test_stub_hands_out_each_public_name_of_the_module_that_defines_it():
    tree = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    found = {}
    for statement in tree.body[1:]:
        for alias in statement.names:
            # Type checkers treat a name imported without `as` as private.
            assert alias.asname == alias.name
            found[alias.name] = f"{NAME}.{statement.module}"
    assert found.keys() == set(probav_estimators.__all__)
    for name, module in found.items():
        assert getattr(probav_estimators, name) is getattr(import_module(module), name)
        assert name in import_module(module).__all__


RIGHT = """
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from torch.optim import AdamW

import probav_estimators as pe
from probav_estimators import Frames, FusionNet, Scene, SceneLoss, SceneRegressor

scenes = pe.make_scenes(4, size=(16, 24), n_frames=9, bands=["RED"], random_state=0)
assert_type(scenes, list[Scene])
assert_type(pe.load_scenes(Path("data"), bands="NIR"), list[Scene])
pe.save_scenes(scenes[:2], "data", split="test")

own = Scene(np.zeros((2, 8, 8), np.uint16), np.ones((2, 8, 8), bool), norm=45.0, name="mine")
assert_type(own.lr, NDArray[np.float32])
assert_type(own.qm, NDArray[np.bool_])
assert_type(own.hr, NDArray[np.float32] | None)
assert_type(own.norm, float | None)
assert_type(own.shape, tuple[int, int])
assert_type(own.frames, Frames)
assert_type(Scene.from_dir("data/train/RED/imgset0000"), Scene)

select = pe.ClearanceSelector(k="max").fit(scenes)
assert_type(select, pe.ClearanceSelector)
assert_type(select.transform(scenes), list[Scene])
net = pe.SRVGG16(residual=True, optimizer=AdamW, optimizer__weight_decay=0.1, device="cpu")
steps = [("select", select), ("compose", pe.InputComposer(mode="concat")), ("sr", net)]
pipe = Pipeline(steps).fit(scenes)
pe.cpsnr_scorer(pipe, scenes)
cross_val_score(pe.BicubicBaseline(), scenes, scoring=pe.probav_scorer)
assert_type(pe.write_submission(pipe, scenes, "mine.zip"), Path)

fusion = FusionNet.from_pretrained("simulated-x3", max_epochs=3, criterion=pe.CPSNRLoss(border=3))
assert_type(fusion, FusionNet)
assert_type(fusion.fit(scenes), FusionNet)
images = fusion.predict(scenes)
assert_type(images, NDArray[np.float32] | list[NDArray[np.float32]])
also_images, deviations = fusion.predict(scenes, return_std=True)
assert_type(deviations, NDArray[np.float32] | list[NDArray[np.float32]])
assert_type(fusion.score(scenes), float)
assert_type(pe.probav_scorer(fusion, scenes), float)
assert_type(pe.cpsnr(images[0], images[1], own.sm, border=3), float)
assert_type(pe.PerBand(fusion, n_jobs=2).fit(scenes), pe.PerBand)
assert_type(pe.published_configurations(k=9).scores, dict[str, float])
assert_type(pe.__version__, str)
"""

# The comment on each line names the expected mypy error.
WRONG = """
import numpy as np

import probav_estimators as pe

frames = np.zeros((2, 8, 8), np.uint16)
pe.Scene(lr="x")  # arg-type
pe.Scene(frames, nonsense=1)  # call-arg
pe.Scene(frames, None, None, None, 45.0)  # call-arg, misc
pe.ClearanceSelector(k="most")  # arg-type
pe.InputComposer(mode="all")  # arg-type
pe.make_scenes(8, 128)  # call-arg, misc
pe.cpsnr_scorer(frames, [])  # arg-type
pe.FusionNet(width="64")  # arg-type
pe.SRCNN(max_epochs="3").predict(frames)  # arg-type
pe.probav_score(frames[0], frames[1])  # call-arg
pe.CPSNRLoss(bordr=3)  # call-arg
pe.load_scene("data")  # attr-defined
"""

# Strict mypy as a user would run it, without the libraries that no program here needs.
SKIPPED = (
    *("dask", "distributed", "jinja2", "matplotlib", "numba", "pyproj", "pystac", "pystac_client"),
    *("requests", "skimage", "torch", "xarray", "zarr"),
)
CONFIGURATION = f"""
[mypy]
strict = true
cache_dir = /dev/null
[mypy-sklearn.*]
ignore_missing_imports = true
[mypy-{".*,".join(SKIPPED)}.*]
follow_imports = skip
follow_imports_for_stubs = true
[mypy-{NAME}.*]
follow_imports = silent
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Line and message of each mypy error, by program."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "right.py").write_text(RIGHT)
    (folder / "wrong.py").write_text(WRONG)
    (folder / "mypy.ini").write_text(CONFIGURATION)
    programs = ["right.py", "wrong.py"]
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *programs]
    environment = {"MYPYPATH": str(ROOT.parent), "PATH": ""}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = {"right": [], "wrong": []}
    for line in run.stdout.splitlines():
        if match := re.match(r"(\w+)\.py:(\d+): error: (.*)", line):
            found[match[1]].append((int(match[2]), match[3]))
    return found


def test_right_program_passes(complaints):
    assert complaints["right"] == []


def test_wrong_calls_are_reported(complaints):
    wanted = {}
    for number, line in enumerate(WRONG.splitlines(), start=1):
        if "#" in line:
            wanted[number] = line.split("# ")[1].split(", ")
    found = dict.fromkeys(wanted, None)
    for number, message in complaints["wrong"]:
        assert re.search(r"\[([a-z-]+)\]$", message)[1] in wanted[number], (number, message)
        found[number] = message
    assert None not in found.values()
