"""Classes are shown with the members that their users need.

A net inherits a hundred methods of torch, skorch and scikit-learn, which document them, and the
hooks of its base, which are on the page of the base. What is left is what a class itself documents,
and what every estimator has.
"""

from functools import reduce

import probav_estimators

__all__ = ["class_of_page", "is_shown", "setup"]

# Methods that users call, wherever they are defined in this package.
EVERYDAY = {"fit", "partial_fit", "predict", "score", "transform", "fit_transform", "plot"}


def class_of_page(docname):
    """What a page of the API reference is about; None: it is no such page."""
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
        Of the class, as `getattr` gives it.
    """
    if name in EVERYDAY:
        return _package_of(member) == probav_estimators.__name__
    if name not in vars(owner) or name.endswith("_request"):  # made by scikit-learn
        return False
    own = _function_of(vars(owner)[name])
    return not callable(own) or bool(own.__doc__)


def _function_of(member):
    """The function that a property, a class method or a static method is made of."""
    for made_of in ("fget", "__func__"):
        member = getattr(member, made_of, member)
    return member


def _package_of(member):
    return (getattr(_function_of(member), "__module__", None) or "").partition(".")[0]


def skip_member(app, what, name, obj, skip, options):
    """Leave out what is not shown; else, as autodoc has it."""
    owner = class_of_page(app.env.current_document.docname)
    return True if what == "class" and not is_shown(owner, name, obj) else None


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True}
