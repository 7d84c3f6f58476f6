"""Modules can be imported in any order, and without optional libraries."""

import subprocess
import sys
from pkgutil import walk_packages

import pytest

import probav_estimators

# Forget the package before each import, and keep its dependencies.
_IMPORT_EACH_FIRST = """
import sys
from importlib import import_module
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "probav_estimators"]:
        del sys.modules[name]
    import_module(module)
assert not {"matplotlib", "rasterio", "xarray"} & sys.modules.keys()
"""


@pytest.mark.any_version
def test_every_module_can_be_imported_first():
    """A module of a package comes after the package, so one of each tells of all."""
    first = {}
    for module in walk_packages(probav_estimators.__path__, "probav_estimators."):
        package = module.name if module.ispkg else module.name.rpartition(".")[0]
        is_alone = package == "probav_estimators"
        first.setdefault(module.name if is_alone else package, module.name)
    assert len(first) > 20
    subprocess.run([sys.executable, "-c", _IMPORT_EACH_FIRST, *first.values()], check=True)
