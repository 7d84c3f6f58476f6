"""Docstrings of the public API follow numpydoc's rules."""

import dataclasses
import inspect
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from numpydoc.validate import ERROR_MSGS, validate

import probav_estimators
from probav_estimators.training import SceneNet

# Checks that do not fit the house style, and why.
LEFT_OUT = {
    "ES01": "a summary that says all needs no second paragraph",
    "EX01": "examples are in the classes that users make, and in the guide",
    "GL08": "what a base class documents is not said again; one of both must do so, see below",
    "PR07": "a type with its shape and unit can say all, as `scenes : list of Scene` does",
    "RT03": "as PR07",
    "SA01": "only where there is something to see",
    "SS05": "takes summaries that begin with a noun in the plural ('Pixels of') for verbs",
}
# Sections that one-line docstrings may omit, as the line names input and output. Objects that users
# import from the top level have them nevertheless.
NOT_IN_ONE_LINE = {"PR01", "RT01"}


def public_modules():
    yield probav_estimators
    for module in iter_modules(probav_estimators.__path__, "probav_estimators."):
        found = import_module(module.name)
        if hasattr(found, "__all__"):
            yield found


@cache
def public_objects():
    """Classes, functions, methods and properties, by where they are defined."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            of_package = getattr(value, "__module__", "").startswith("probav_estimators.")
            if of_package and hasattr(value, "__qualname__"):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    methods = {
        f"{owner}.{name}": member
        for owner, value in found.items()
        if inspect.isclass(value)
        for name, member in inspect.getmembers(value)
        if name in vars(value) and _is_written_here(name, member)
    }
    return found | methods


def _is_written_here(name, member):
    # scikit-learn generates set_..._request with its own docstring.
    if name.startswith("_") or name.endswith("_request"):
        return False
    if isinstance(member, property):
        return True
    return inspect.isroutine(member) and member.__module__.startswith("probav_estimators.")


def checks_for(name):
    """numpydoc's checks that apply to this object."""
    value, doc = public_objects()[name], inspect.getdoc(public_objects()[name]) or ""
    checks = ERROR_MSGS.keys() - LEFT_OUT.keys()
    if not is_top_level(value) and "\n" not in doc:
        checks -= NOT_IN_ONE_LINE
    if is_record(value) and "Attributes\n" in doc:
        # Fields are parameters and attributes, and are documented as attributes.
        checks -= {"PR01"}
    if value is SceneNet:
        # Base class; its subclasses define the parameters.
        checks -= {"PR01"}
    if callable(value) and has_keywords(value):
        # The order of keywords is free: a net's start with those common to all nets.
        checks -= {"PR03"}
    return checks


def is_top_level(value):
    return any(value is getattr(probav_estimators, name) for name in probav_estimators.__all__)


def is_record(value):
    return dataclasses.is_dataclass(value) or hasattr(value, "_fields")


def has_keywords(value):
    parameters = inspect.signature(value).parameters.values()
    return any(parameter.kind == parameter.KEYWORD_ONLY for parameter in parameters)


def test_docstrings_follow_numpydoc():
    errors = {}
    for name in sorted(public_objects()):
        found = validate(name)
        place = f"{name}, line {found['file_line']} of {found['file']}"
        errors[place] = [error for error in found["errors"] if error[0] in checks_for(name)]
    assert {place: of_object for place, of_object in errors.items() if of_object} == {}


def test_everything_public_has_a_docstring_or_its_base_class_has():
    assert [name for name, value in public_objects().items() if not inspect.getdoc(value)] == []


def test_what_is_public_is_found():
    expected = {
        "scenes._scene.Scene",
        "scenes._scene.Scene.lr",
        "scenes._scene.Scene.from_dir",
        "imaging._metrics.cpsnr",
        "training._scene_net.SceneNet.fit",
        "architectures._fusion_net.FusionNet.predict_into",
        "published.PublishedConfigurations",
    }
    assert {f"probav_estimators.{name}" for name in expected} <= public_objects().keys()
    assert ERROR_MSGS.keys() >= LEFT_OUT.keys() | NOT_IN_ONE_LINE
