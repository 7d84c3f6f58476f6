"""Configuration of Sphinx. `make docs` builds the documentation into docs/_build/html."""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER / "_extensions")]

import gallery  # noqa: E402

import probav_estimators  # noqa: E402

project = "probav_estimators"
author = "the probav_estimators developers"
copyright = f"2026, {author}"
version = release = probav_estimators.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # Extensions of this project, in docs/_extensions.
    "command_line",
    "linked_names",
    "outside_links",
    "own_members",
]
exclude_patterns = ["_build", "**/.*", "auto_examples/*.ipynb"]
templates_path = ["_templates"]

# The build needs no network. On Read the Docs, names of other libraries become links.
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable/", None),
        "python": ("https://docs.python.org/3/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
        "xarray": ("https://docs.xarray.dev/en/stable/", None),
    }

smartquotes = False  # most quotes are part of code
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autosummary_generate = True
autodoc_typehints = "none"  # docstrings say types
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
# The template of a class lists its members.
numpydoc_show_class_members = False
numpydoc_citation_re = r"\d+"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": gallery.copy_examples(FOLDER.parent / "examples", FOLDER),
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("probav_estimators",),
    "reset_argv": "gallery.quick",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "min_reported_time": 1,
    "within_subsection_order": "gallery.by_difficulty",
    # `GALLERY=0 make docs` runs no example, to look at a page in half a minute.
    "plot_gallery": os.environ.get("GALLERY", "1") == "1",
}

html_theme = "pydata_sphinx_theme"
html_title = f"probav_estimators {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "probav_estimators"},
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_depth": 2,
    "navbar_align": "left",
    "search_as_you_type": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
# Pages that have none below them.
html_sidebars = {name: [] for name in ("changelog", "contributing", "index", "questions", "start")}
