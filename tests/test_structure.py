"""Allowed imports between modules, checked in the package's source."""

import ast
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import probav_estimators

# The PSF of a sensor is estimated from images of a net: imported when that is asked for.
LATE = {("scenes._psf", "architectures")}

ROOT = Path(probav_estimators.__file__).parent
NAME = probav_estimators.__name__

# Modules import only from groups above their own.
ORDER = [
    {"compiling"},
    {
        *(
            "cpu_inference",
            "doc_links",
            "files",
            "imaging",
            "names",
            "ports",
            "prediction",
            "processes",
        ),
        *("random_numbers", "raster_files", "simulation", "version"),
    },
    {"scenes", "metrics", "state_file"},
    {"losses", "preprocessing", "scoring", "datasets"},
    {"training", "baseline", "meta"},
    {"architectures", "displays"},
    {"persistence", "report"},
    {"published", "geo"},
    {"benchmark"},
    {"cli"},
    {"__main__"},
]


def rank(unit):
    return next(number for number, group in enumerate(ORDER) if unit in group)


def modules():
    """Map from dotted module names, without the package prefix, to files."""
    files = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


MODULES = modules()


def statements_of(tree):
    """Yield all statements except those under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from statements_of(node)


def imports_of(module):
    """Pairs (module, name) imported from this package, anywhere in a module.

    `from ..imaging import cpsnr` is ("imaging", "cpsnr"); an import of a whole module has no name.
    """
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in statements_of(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [NAME, *package][: len(package) + 2 - node.level] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            targets = [(source, alias.name) for alias in node.names]
        else:
            continue
        for source, name in targets:
            if source.split(".")[0] == NAME:
                source = source.removeprefix(NAME).removeprefix(".")
                whole = f"{source}.{name}".removeprefix(".")
                yield (whole, None) if whole in MODULES else (source, name)


def test_imports_are_found():
    found = set(imports_of("scoring"))
    assert {("imaging", "finite_cpsnr"), ("prediction", "predict_in_turn")} <= found
    assert ("imaging._metrics", "cpsnr") in set(imports_of("imaging"))


def test_every_unit_has_its_place_in_the_order():
    units = {module.split(".")[0] for module in MODULES} - {""}
    assert units == set().union(*ORDER)


def imports_of_other_units():
    """Tuples (module, source, name) of imports from another unit of the package."""
    for module in MODULES:
        for source, name in imports_of(module):
            if source.split(".")[0] != module.split(".")[0]:
                yield module, source, name


def test_modules_import_from_what_stands_before_them():
    for module, source, name in imports_of_other_units():
        other = source.split(".")[0]
        if module and (module, other) not in LATE:
            assert other, f"{module} imports {name} from the package itself"
            assert rank(other) < rank(module.split(".")[0]), f"{module} imports {other}"


def test_modules_take_from_another_package_what_that_hands_out():
    for module, source, name in imports_of_other_units():
        told = f"{module} imports {source}.{name}"
        assert not any(part.startswith("_") for part in source.split(".")), told
        assert name in (None, "__version__") or not name.startswith("_"), told
        handed_out = getattr(import_module(f"{NAME}.{source}"), "__all__", None)
        if handed_out is not None and name is not None:
            assert name in handed_out, told


def test_no_module_imports_itself_by_way_of_others():
    """Includes imports within a subpackage, whose modules must not import from its `__init__`."""
    graph = {module: set() for module in MODULES}
    for module in MODULES:
        for source, _ in imports_of(module):
            if (module, source) not in LATE:
                graph[module].add(source)
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "package", [name for name, path in MODULES.items() if path.name == "__init__.py"]
)
def test_package_says_what_is_public(package):
    found = import_module(f"{NAME}.{package}".removesuffix("."))
    assert found.__all__
    assert len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__:
        assert getattr(found, name, None) is not None, name
