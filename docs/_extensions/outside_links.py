"""Links of Markdown that leave docs/ lead to the page that shows the file.

Pages link as a file host needs it: `../CONTRIBUTING.md`, `../examples/plot_fusion.py`. The site has
a page for each of these files, under another address.
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
    """Page that shows a file, both by their paths from the root of the repository and of docs/.

    Files that the site does not show stay what they are: None.
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
    """Markdown of a file in `folder`, whose links lead to pages of the site where it has them."""

    def link(found):
        path, anchor = found.groups()
        page = page_of(os.path.relpath(Path(folder, path).resolve(), root))
        return found[0] if page is None else f"](/{page}{anchor or ''})"

    return LINK.sub(link, text)


def read_page(app, docname, source):
    """Rewrite the links of a page, when Sphinx has read it."""
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
