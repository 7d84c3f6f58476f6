"""Modules can be imported in any order."""

import subprocess
import sys
from pkgutil import walk_packages

import probav_estimators

# Forget the package before each import, and keep its dependencies.
_IMPORT_EACH_FIRST = """
import sys
from importlib import import_module
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "probav_estimators"]:
        del sys.modules[name]
    import_module(module)
"""


def test_every_module_can_be_imported_first():
    modules = [
        module.name for module in walk_packages(probav_estimators.__path__, "probav_estimators.")
    ]
    subprocess.run([sys.executable, "-c", _IMPORT_EACH_FIRST, *modules], check=True)
