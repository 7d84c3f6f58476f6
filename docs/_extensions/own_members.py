"""Document only the members of a class that its users need.

A net inherits a hundred methods of torch, skorch and scikit-learn, which document them, and the
hooks of its base class, which are on the page of that class. The page of a class has the members
that it documents itself, and the common methods of estimators.
"""

from functools import reduce

import probav_estimators

__all__ = ["class_of_page", "is_shown", "setup"]

# Common methods, shown wherever they are defined in this package.
EVERYDAY = {"fit", "partial_fit", "predict", "score", "transform", "fit_transform", "plot"}


def class_of_page(docname):
    """Object of a page of the API reference; None for other pages."""
    parts = docname.rpartition("/")[2].split(".")
    if parts.pop(0) != probav_estimators.__name__:
        return None
    return reduce(getattr, parts, probav_estimators)


def is_shown(owner, name, member):
    """Whether a member is on the page of a class.

    Parameters
    ----------
    owner : type
    name : str
    member : object
        `getattr(owner, name)`.
    """
    if name in EVERYDAY:
        return _package_of(member) == probav_estimators.__name__
    if name not in vars(owner) or name.endswith("_request"):  # made by scikit-learn
        return False
    own = _function_of(vars(owner)[name])
    return not callable(own) or bool(own.__doc__)


def _function_of(member):
    """Underlying function of a property, a class method or a static method."""
    for attribute in ("fget", "__func__"):
        member = getattr(member, attribute, member)
    return member


def _package_of(member):
    return (getattr(_function_of(member), "__module__", None) or "").partition(".")[0]


def skip_member(app, what, name, obj, skip, options):
    """Skip members that are not shown; leave others to autodoc."""
    owner = class_of_page(app.env.current_document.docname)
    return True if what == "class" and not is_shown(owner, name, obj) else None


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True}
