"""Code in README and documentation runs, and the names in them exist."""

import ast
import re
import shlex
from importlib import import_module
from inspect import Parameter, Signature, getmembers, isclass, isfunction, signature
from pathlib import Path

import nrt.data
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skorch.callbacks import EarlyStopping

import probav_estimators
from benchmarks.__main__ import BENCHMARKS
from probav_estimators import (
    FusionNet,
    SceneLoss,
    SceneNet,
    make_scenes,
    save_scenes,
)
from probav_estimators.cli import probav

pytestmark = pytest.mark.any_version

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Folders that `make docs` generates or needs.
NO_PAGES = {"_build", "_extensions", "_templates", "auto_examples", "generated"}


def pages(suffix):
    """Handwritten pages of the documentation."""
    found = sorted(DOCS.rglob(f"*{suffix}"))
    return [path for path in found if path.relative_to(DOCS).parts[0] not in NO_PAGES]


def name_of(path):
    return path.relative_to(ROOT).with_suffix("").as_posix()


CARDS = sorted(Path(probav_estimators.__file__).parent.glob("weights/*.md"))
PROSE = [ROOT / "README.md", *pages(".md"), ROOT / "CONTRIBUTING.md", *CARDS]
SIMULATED = [ROOT / "README.md", DOCS / "user_guide.md"]
RUN = [path for path in PROSE if "```python" in path.read_text()]

# Blocks that cannot run here, by one of their lines, and why. Only their imports are run.
NOT_RUN = {
    'with Client("tcp://scheduler:8786")': "needs the scheduler and workers of a cluster",
    "cube = open_products(": "needs products of Sentinel-2",
}

# Commands that run, by page and beginning, on files from earlier blocks. The others need the
# reader's files: only their options are parsed.
COMMANDS_RUN = [
    ("docs/howto/landsat", "probav super-resolve 'landsat/"),
    ("docs/own_imagery", "probav super-resolve 'dates/*_B4.tif'"),
    ("docs/start", "probav info"),
]

# Sections whose only block runs without earlier ones, as readers copy it.
ALONE = ["Adding an architecture", "Adding a transformer", "Adding a loss"]

# The budget: scenes in place of more than 16, LR pixels, epochs, turned images.
N_SCENES, SIZE, PATCH_SIZE, N_EPOCHS, N_AUGMENT = 6, 12, 8, 1, 2


def blocks_of(text):
    """(line, heading, language, code) of every block of a document."""
    heading = None
    pattern = r"^```([^\n]*)\n(.*?)^```|^#+ ([^\n]+)$"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        language, code, title = found.groups()
        if title is not None:
            heading = title
        else:
            yield text.count("\n", 0, found.start()) + 1, heading, language, code


def code_blocks(text):
    """(line, heading, code) of every Python block of a document."""
    for line, heading, language, code in blocks_of(text):
        if language == "python":
            yield line, heading, code


def commands_of(code):
    """Calls of `probav` in a shell block, one per line."""
    lines = code.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.startswith("probav ")]


def arguments_of(command):
    """Arguments of a call of `probav`; shell variables are replaced by 1."""
    words = shlex.split(re.sub(r"\$\w+", "1", command), comments=True)
    return words[1:]


def run_commands(code, path):
    """Run the calls of a block that can run."""
    for command in commands_of(code):
        if command in runnable(path):
            done = CliRunner().invoke(probav, arguments_of(command))
            assert done.exit_code == 0, f"{command}: {done.output}"


def runnable(path):
    """The calls of a page that can run."""
    starts = [start for page, start in COMMANDS_RUN if page == name_of(path)]
    blocks = [code for *_, language, code in blocks_of(path.read_text()) if language == "sh"]
    commands = [command for code in blocks for command in commands_of(code)]
    return [command for command in commands if command.startswith(tuple(starts))]


def imports_of(tree):
    return ast.Module([x for x in tree.body if isinstance(x, ast.Import | ast.ImportFrom)], [])


def run_block(code, line, path, namespace):
    """Run a block; tracebacks show lines of the document."""
    tree = ast.parse("\n" * line + code, str(path))
    if any(mark in code for mark in NOT_RUN):
        tree = imports_of(tree)
    exec(compile(tree, str(path), "exec"), namespace)


@pytest.fixture
def small_budget(monkeypatch, tmp_path):
    """Few small scenes, short trainings, no download, no export, and a folder with three images."""
    monkeypatch.chdir(tmp_path)
    write_fine_images(tmp_path / "fine")
    monkeypatch.setattr(probav_estimators, "make_scenes", few_small_scenes)
    monkeypatch.setattr(probav_estimators, "fetch_probav", lambda data_home=None: small_data_set())
    monkeypatch.setattr(nrt.data, "romania_10m", part_of(nrt.data.romania_10m))
    # An export of FusionNet takes 20 seconds; test_onnx.py has one.
    monkeypatch.setattr(
        probav_estimators, "export_onnx", lambda estimator, path: Path(path).touch()
    )
    for name in ("fit", "partial_fit"):
        monkeypatch.setattr(SceneNet, name, shortened(getattr(SceneNet, name)))
    monkeypatch.setattr(FusionNet, "from_pretrained", of_few_turns(FusionNet.from_pretrained))


def few_small_scenes(*args, **kwargs):
    options = signature(make_scenes).bind(*args, **kwargs).arguments
    n_scenes = options.pop("n_scenes", N_SCENES)
    n_scenes = n_scenes if n_scenes <= 16 else N_SCENES
    return make_scenes(n_scenes, **options | {"size": SIZE, "n_frames": 4, "n_jobs": None})


def part_of(romania):
    return lambda **options: romania(**options).isel(y=slice(60), x=slice(60))


def write_fine_images(folder):
    folder.mkdir()
    for number in range(3):
        values = np.random.default_rng(number).integers(300, 3000, (90, 100), np.uint16)
        Image.fromarray(values).save(folder / f"window_{number}.png")


def small_data_set():
    root = Path("data").resolve()
    for number, split in enumerate(("train", "test")):
        scenes = make_scenes(2, size=SIZE, n_frames=4, random_state=number)
        for place, scene in enumerate(scenes):
            scene.name = f"imgset{2 * number + place:04d}"
        save_scenes(scenes, root, split=split)
    return root


def shortened(fit):
    def fit_shortly(net, X, y=None, **kwargs):
        net.max_epochs = min(net.max_epochs, N_EPOCHS)
        net.patch_size = net.patch_size and min(net.patch_size, PATCH_SIZE)
        return fit(net, X, y, **kwargs)

    return fit_shortly


def of_few_turns(from_pretrained):
    def load(*args, n_augment=1, **params):
        return from_pretrained(*args, n_augment=min(n_augment, N_AUGMENT), **params)

    return load


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_code_runs_from_top_to_bottom(path, small_budget):
    namespace = {"__name__": path.stem}
    for line, heading, language, code in blocks_of(path.read_text()):
        if language == "python" and heading not in ALONE:
            run_block(code, line, path, namespace)
        if language == "sh":
            run_commands(code, path)


def test_blocks_are_found():
    for path in (*SIMULATED, DOCS / "own_imagery.md"):
        assert len(list(code_blocks(path.read_text()))) > 2


def test_commands_have_the_options_that_they_are_shown_with():
    blocks = [block for path in PROSE for block in blocks_of(path.read_text())]
    for *_, language, code in blocks:
        for command in commands_of(code) if language == "sh" else []:
            name, *rest = arguments_of(command)
            found = probav.get_command(None, name)
            assert found is not None, command
            found.make_context(name, rest)


@pytest.mark.parametrize(("page", "start"), COMMANDS_RUN)
def test_every_command_that_runs_is_on_its_page(page, start):
    assert any(command.startswith(start) for command in runnable(ROOT / f"{page}.md"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("heading", ALONE)
def test_what_is_to_be_copied_runs_alone(heading, small_budget):
    path = ROOT / "docs" / "user_guide.md"
    ((line, _, code),) = (block for block in code_blocks(path.read_text()) if block[1] == heading)
    namespace = {"__name__": "alone"}
    run_block(code, line, path, namespace)
    assert namespace["images"].shape == (4, 3 * SIZE, 3 * SIZE)


def test_every_block_that_is_not_run_is_in_a_document():
    text = "".join(path.read_text() for path in RUN)
    assert all(mark in text for mark in NOT_RUN)


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", path.read_text()):
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]


def test_benchmarks_that_are_named_exist():
    for path in PROSE:
        for names in re.findall(r"python -m benchmarks((?:\s+[a-z]+)+)`", path.read_text()):
            assert set(names.split()) <= BENCHMARKS.keys(), path


def test_every_benchmark_has_its_figures():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    assert not [name for name in BENCHMARKS if not re.search(rf"\b{name}\b`", text)]


def test_public_names_are_in_the_guide():
    text = (ROOT / "docs" / "user_guide.md").read_text()
    assert [name for name in public_names() if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", PROSE, ids=name_of)
def test_classes_that_are_named_exist(path):
    """CamelCase in backticks must exist in the package, a library that it uses, or a block."""
    text = path.read_text()
    defined = set(re.findall(r"^(?:class|from .+ import) (\w+)", text, re.MULTILINE))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", prose):
        for name in re.findall(r"(?<![\w.])[A-Z]\w*[a-z]\w*", code):
            assert name in defined or is_known(name), f"{name} in `{code}`"


def is_known(name):
    modules = ["probav_estimators", "builtins", "sklearn.model_selection", "sklearn.pipeline"]
    modules += [
        "probav_estimators.scenes",
        "sklearn.frozen",
        "skorch",
        "skorch.callbacks",
        "torch",
        "numpy",
        "distributed",
    ]
    return any(hasattr(import_module(module), name) for module in modules)


def test_arguments_in_the_tables_of_the_guide_exist():
    text = (ROOT / "docs" / "user_guide.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    named = re.findall(r"(?<![\w.])([a-z]\w*?)(?:__\w+)?=(?!=)", "".join(rows))
    assert len(named) > 20
    assert sorted(set(named) - known_arguments()) == []


def public_names():
    return [name for name in probav_estimators.__all__ if not name.startswith("_")]


def known_arguments():
    public = [getattr(probav_estimators, name) for name in public_names()] + [EarlyStopping]
    classes = [value for value in public if isclass(value)]
    public += [method for kind in classes for _, method in getmembers(kind, isfunction)]
    return {name for value in public for name in signature(value).parameters}


@pytest.mark.parametrize(
    ("heading", "base"), [("Adding an architecture", SceneNet), ("Adding a loss", SceneLoss)]
)
def test_hooks_in_the_tables_of_the_guide_exist(heading, base):
    text = (ROOT / "docs" / "user_guide.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    hooks = re.findall(r"^\| .* \| `(\w+)(\(.*\))?`", section, re.MULTILINE)
    assert len(hooks) >= 3
    for name, arguments in hooks:
        hook = getattr(base, name)
        if arguments:
            assert _without_annotations(hook) == arguments


def _without_annotations(method):
    empty = Parameter.empty
    parameters = list(signature(method).parameters.values())[1:]
    bare = [parameter.replace(annotation=empty) for parameter in parameters]
    return str(Signature(bare))


def test_modules_of_the_guide_exist():
    text = (ROOT / "docs" / "user_guide.md").read_text()
    package = Path(probav_estimators.__file__).parent
    table = text.partition("| module | one idea |")[2]
    named = re.findall(r"`([a-z_]+(?:/|\.py))`", table)
    assert len(named) > 10
    assert not [name for name in named if not (package / name).exists()]
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert folders <= set(named)
