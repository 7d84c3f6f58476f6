"""Link public names in backticks, and their methods, to the API reference."""

import re
from functools import cache

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import probav_estimators
from probav_estimators import metrics

__all__ = ["LinkedNames", "setup", "target_of"]


@cache
def targets():
    """Full names of all public objects, by the short names used on pages."""
    package = probav_estimators.__name__
    names = {name: f"{package}.{name}" for name in probav_estimators.__all__ if name[0] != "_"}
    return names | {f"metrics.{name}": f"{package}.metrics.{name}" for name in metrics.__all__}


def target_of(code):
    """Full name of a public object in code such as `name` or `name(...)`; None for other code."""
    named = re.fullmatch(r"(?:probav_estimators\.)?((?:metrics\.)?\w+)(\.\w+)?(?:\(.*\))?", code)
    if named is None or named[1] not in targets():
        return None
    return targets()[named[1]] + (named[2] or "")


class LinkedNames(SphinxTransform):
    """Replace literals that are public names by references."""

    default_priority = 100

    def apply(self, **kwargs):
        if self.env.doc2path(self.env.docname).suffix != ".md":
            return  # rst has roles for references
        for literal in list(self.document.findall(nodes.literal)):
            target = target_of(literal.astext())
            if target is None or _is_linked(literal):
                continue
            reference = addnodes.pending_xref(
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refdoc=self.env.docname,
            )
            literal.replace_self(reference)
            reference += literal


def _is_linked(node):
    """Whether a node is inside a link or a title, which must not contain another link."""
    while node := node.parent:
        if isinstance(node, nodes.reference | addnodes.pending_xref | nodes.title):
            return True
    return False


def setup(app):
    app.add_transform(LinkedNames)
    return {"parallel_read_safe": True}
