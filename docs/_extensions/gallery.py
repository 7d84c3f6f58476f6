"""Gallery of examples: selection, order and arguments."""

import ast
import shutil
from pathlib import Path

__all__ = ["by_difficulty", "copy_examples", "quick"]

ORDER = [
    "plot_first_pipeline.py",
    "plot_fusion.py",
    "plot_sentinel2.py",
    "plot_networks.py",
    "plot_search.py",
    "plot_published_table.py",
]

HEADER = """
Examples
========

Programs to start from. All have ``--help``, and some ``--data FOLDER``, to use scenes of your own
instead of simulated ones. The output shown here is of runs with ``--quick``: few small scenes and
very short trainings, so that **scores on these pages do not show the quality**. :doc:`/benchmarks`
has those of full runs.
"""


def copy_examples(source, docs):
    """Copy the examples to a folder for the gallery, and return it.

    Examples write to ``results/`` in their folder, so they run in a copy. Files of examples that no
    longer exist are removed.
    """
    target = docs / "_build" / "examples"
    target.mkdir(parents=True, exist_ok=True)
    (target / "GALLERY_HEADER.rst").write_text(HEADER)
    wanted = {path.stem: path for path in source.glob("plot_*.py")}
    for path in [*target.glob("plot_*"), *docs.glob("auto_examples/plot_*")]:
        if path.name.partition(".")[0].removesuffix("_codeobj") not in wanted:
            path.unlink()
    for path in wanted.values():
        shutil.copy2(path, target)
    return str(target)


def quick(gallery_conf, script_vars):
    """Arguments of every example; also restores its docstring, which the gallery removes."""
    tree = ast.parse(Path(script_vars["src_file"]).read_text())
    script_vars["example_globals"]["__doc__"] = ast.get_docstring(tree, clean=False)
    return ["--quick"]


def by_difficulty(name):
    """Sort key of an example; those that are not in `ORDER` come last."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
