"""The gallery of examples: which are shown, in what order, and on what budget they run."""

import ast
import shutil
from pathlib import Path

__all__ = ["by_difficulty", "copy_examples", "quick"]

ORDER = [
    "plot_first_pipeline.py",
    "plot_fusion.py",
    "plot_sentinel2.py",
    "plot_networks.py",
    "plot_grid_search.py",
    "plot_published_table.py",
    "plot_search_with_dask.py",
]

HEADER = """
Examples
========

Programs to start from. Each takes ``--help``, and ``--data FOLDER`` where scenes of your own can
take the place of simulated ones. What is shown here was run while this site was built, with
``--quick``: few small scenes and trainings of moments, so that **scores on these pages say nothing
about quality**. :doc:`/benchmarks` has those of full runs.
"""


def copy_examples(source, docs):
    """Where the gallery finds the examples.

    Examples write to ``results/`` beside themselves, so they run in a copy of their folder. What is
    left of examples that are gone is removed.
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
    """Arguments of every example, which also gets back its docstring: the gallery took it away."""
    tree = ast.parse(Path(script_vars["src_file"]).read_text())
    script_vars["example_globals"]["__doc__"] = ast.get_docstring(tree, clean=False)
    return ["--quick"]


def by_difficulty(name):
    """Place of an example in the gallery; one that is not named in `ORDER` comes last."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)
