"""The lower bounds of setup.cfg are tested by `make lowest`, and no advisory is about them."""

import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def requirements_of_package():
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    requirements = [Requirement(line) for lines in lists for line in lines.split("\n") if line]
    return [given for given in requirements if given.name != setup["metadata"]["name"]]


def requirements_of(constraints):
    lines = (ROOT / constraints).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def versions(requirements, operator):
    """Pairs of a name and the version after `operator`."""
    return {
        (canonicalize_name(requirement.name), Version(condition.version))
        for requirement in requirements
        for condition in requirement.specifier
        if condition.operator == operator
    }


def test_every_requirement_has_a_lower_bound():
    for requirement in requirements_of_package():
        assert len(versions([requirement], ">=")) == 1, requirement


def test_lower_bounds_are_the_versions_of_make_lowest():
    bounds = versions(requirements_of_package(), ">=")
    assert bounds <= versions(requirements_of("constraints-lowest.txt"), "==")


def test_versions_that_ci_proves_are_within_the_bounds():
    proven = dict(versions(requirements_of("constraints.txt"), "=="))
    for requirement in requirements_of_package():
        version = proven[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, requirement


ADVISORIES = tomllib.loads((ROOT / "advisories.toml").read_text(encoding="utf-8"))["advisory"]


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory["ids"][0])
def test_lower_bounds_have_no_fault_of_an_advisory_that_the_package_reaches(advisory):
    lowest = dict(versions(requirements_of_package(), ">="))
    bound = lowest[canonicalize_name(advisory["package"])]
    # Who raises a bound removes the excuse.
    assert (bound < Version(advisory["fixed"])) == bool(advisory.get("not_reached"))
