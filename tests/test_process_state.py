"""The package changes nothing that all threads of a process share."""

import ast
from pathlib import Path

import pytest

import probav_estimators

PACKAGE = Path(probav_estimators.__file__).parent

# Functions that change the state of a whole process, by the beginnings of their dotted names.
SHARED = (
    *("torch.set_", "torch.cuda.set_", "torch.manual_seed", "torch.seed", "torch.cuda.manual_seed"),
    *("torch.use_deterministic_algorithms", "torch.default_generator", "torch.random."),
    *("torch.nn.modules.module.register_", "torch.multiprocessing.set_", "multiprocessing.set_"),
    *("numpy.random.seed", "numpy.random.set_state", "numpy.seterr", "numpy.set_printoptions"),
    *("random.seed", "random.setstate", "os.environ", "os.putenv", "os.unsetenv", "os.chdir"),
    *("os.umask", "signal.", "sys.set", "sys.excepthook", "threading.excepthook", "locale.set"),
    *("logging.basicConfig", "logging.disable", "gc.disable", "gc.set", "atexit.", "socket.set"),
    *("unittest.mock", "mock.", "sklearn.set_config", "xarray.set_options", "dask.config.set"),
)

# Functions that read it, or that change the state of one thread.
HARMLESS = {"os.environ", "os.environ.get", "torch.set_grad_enabled", "signal.Signals"}

# The random numbers of a net, one thread at a time; forked processes; processes that compute
# nothing but blocks.
PLACES = {
    "random_numbers.py": ("torch.set_rng_state", "torch.cuda.set_rng_state"),
    "training/_parameters.py": ("torch.set_num_threads",),
    "processes.py": ("signal.",),
}


@pytest.fixture(scope="module")
def sources():
    """Syntax trees of all files but those of the command line, by their names."""
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    return {
        name: ast.parse(path.read_text())
        for name, path in paths.items()
        if not name.startswith("cli/")
    }


def names_of(tree):
    """Dotted names of a file's imports, by their names in it."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def dotted(node, names):
    """Dotted name of an expression, or None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, names)
        return owner and f"{owner}.{node.attr}"
    return None


def changes(tree):
    """Uses of SHARED, and imported modules of which something is set."""
    names = names_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            found = dotted(node, names)
            if found and found.startswith(SHARED) and found not in HARMLESS:
                yield found
        target = None
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            target = node.value
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("setattr", "delattr"):
            target = node.args[0]
        if target is not None and dotted(target, names):
            yield f"{dotted(target, names)} is changed"


def filters_outside(tree):
    """Lines that change the filters of warnings, and not in a block of catch_warnings."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    caught = [node for node in blocks if "catch_warnings" in ast.dump(ast.Tuple(node.items))]
    inside = {id(part) for node in caught for part in ast.walk(node)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if getattr(node, "attr", None) in ("simplefilter", "filterwarnings", "resetwarnings")
        and id(node) not in inside
    ]


def test_no_module_changes_what_threads_share(sources):
    found = {
        name: [text for text in changes(tree) if not text.startswith(PLACES.get(name, ("-",)))]
        for name, tree in sources.items()
    }
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_filters_of_warnings_are_restored(sources):
    found = {name: filters_outside(tree) for name, tree in sources.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.manual_seed(0)",
        "import torch as t\nt.set_num_threads(1)",
        "from torch.nn.modules.module import register_module_forward_hook as f\nf(print)",
        "import torch\ntorch.nn.Linear.forward = print",
        "import os\nos.environ['A'] = '1'",
        "from unittest import mock\nmock.patch('a')",
        "import numpy as np\nnp.random.seed(0)",
        "import torch\nsetattr(torch.nn, 'Linear', None)",
        "import skorch\ndel skorch.NeuralNet",
    ],
)
def test_a_change_is_found(text):
    assert list(changes(ast.parse(text)))
