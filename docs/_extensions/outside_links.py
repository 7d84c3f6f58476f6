"""Rewrite Markdown links to files outside docs/ as links to their pages of the site.

Pages link to files, as file hosts need it: `../CONTRIBUTING.md`, `../examples/plot_fusion.py`. The
site has a page for each of these files, under another address.
"""

import os
import re
from pathlib import Path

__all__ = ["page_of", "setup", "with_site_links"]

LINK = re.compile(r"\]\((?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?\)")

PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}


def page_of(path):
    """Page of a file, or None if the site has no page for it.

    The file's path is relative to the repository, that of the page to docs/.
    """
    path = Path(path)
    if path.parts[0] == "docs":
        return Path(*path.parts[1:]).as_posix() if path.suffix == ".md" else None
    if path.parent.as_posix() == "probav_estimators/weights" and path.suffix == ".md":
        return f"weights/{path.name}"
    if path.parent.name == "examples" and path.name.startswith("plot_"):
        return f"auto_examples/{path.stem}.rst"
    return PAGES.get(path.as_posix())


def with_site_links(text, folder, root):
    """Replace links in the Markdown of a file in `folder` by links to pages of the site."""

    def link(found):
        path, anchor = found.groups()
        page = page_of(os.path.relpath(Path(folder, path).resolve(), root))
        return found[0] if page is None else f"](/{page}{anchor or ''})"

    return LINK.sub(link, text)


def read_page(app, docname, source):
    """Rewrite the links of a page that Sphinx has read."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = with_site_links(source[0], path.parent, app.srcdir.parent)


def read_included(app, path, docname, source):
    """Rewrite the links of a file that a page includes."""
    path = Path(app.srcdir, path).resolve()
    if path.suffix == ".md":
        source[0] = with_site_links(source[0], path.parent, app.srcdir.parent)


def setup(app):
    app.connect("source-read", read_page)
    app.connect("include-read", read_included)
    return {"parallel_read_safe": True}
