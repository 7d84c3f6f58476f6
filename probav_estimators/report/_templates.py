"""HTML templates of jinja2; all that they are given is escaped unless it is Markup."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..names import printable

_FOLDER = "templates"


def render(template: str, **values: Any) -> str:
    """Fill a template."""
    return _environment().get_template(template).render(values)


def stream(template: str, **values: Any) -> Iterator[str]:
    """Fill a template piece by piece, so that iterators among the values are read one by one."""
    return _environment().get_template(template).generate(values)


@cache
def asset(name: str) -> Markup:
    """Text of a file beside the templates."""
    return Markup(files(__package__).joinpath(_FOLDER, name).read_text(encoding="utf-8"))


def _printable(value):
    """Make text of names printable; Markup is made of such text."""
    return (
        printable(value)
        if isinstance(value, (str, bytes)) and not isinstance(value, Markup)
        else value
    )


@cache
def _environment():
    return Environment(
        loader=PackageLoader(__package__, _FOLDER),
        autoescape=True,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
