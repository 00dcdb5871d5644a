"""PK: the plugin fits Vision Agents and its package index."""

import importlib
import importlib.metadata
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from vision_agents.core.llm import realtime

from realtime_testkit.facts import excuse
from realtime_testkit.subject import Subject

from .base import Contract

MARK = "--imported--"

IMPORT = f"""
import importlib, logging, os, sys, threading, warnings

package, *others = sys.argv[1:]
for name in others:
    importlib.import_module(name)
root = logging.getLogger()
root.handlers = []  # else basicConfig() would do nothing

def surroundings():
    filters = list(warnings.filters)
    return [threading.active_count(), dict(os.environ), list(root.handlers), root.level, filters]

for stream in (sys.stdout, sys.stderr):
    print({MARK!r}, file=stream, flush=True)
before = surroundings()
importlib.import_module(package)
for was, now in zip(before, surroundings()):
    assert now == was, f"{{was}} became {{now}}"
assert not logging.getLogger(package).handlers, "its logger has a handler"
"""
"""A program that imports the package it is given after the modules that it is given."""


def _public_methods(kind: type) -> dict[str, Callable[..., object]]:
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


class Packaging(Contract):
    """Tests of PK1 and PK2."""

    @pytest.mark.parametrize("method", sorted(_public_methods(realtime.Realtime)))
    def test_pk1_methods_fit_the_base_class(self, method: str, subject: Subject) -> None:
        """Each public method takes what the method of Vision Agents' class takes."""
        base = _public_methods(realtime.Realtime)[method]
        ours = _public_methods(_class_of(subject))[method]
        if ours is base:
            return
        theirs = list(inspect.signature(base).parameters.values())
        names = inspect.signature(ours).parameters
        for at, parameter in enumerate(theirs):
            assert list(names)[at] == parameter.name, f"{method}({parameter.name}) is missing"
            ours_is_required = names[parameter.name].default is inspect.Parameter.empty
            theirs_is_required = parameter.default is inspect.Parameter.empty
            assert theirs_is_required or not ours_is_required, f"{parameter.name} has no default"
        extra = list(names.values())[len(theirs) :]
        required = [
            each.name
            for each in extra
            if each.default is inspect.Parameter.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        assert not required, f"{method} asks for {required} the agent does not give"
        if inspect.iscoroutinefunction(base):
            assert inspect.iscoroutinefunction(ours), f"{method} has to be awaited"

    def test_pk1_realtime_is_a_subclass(self, subject: Subject) -> None:
        """The class is a concrete subclass of Vision Agents' Realtime, named after the plugin."""
        kind = _class_of(subject)
        assert not inspect.isabstract(kind)
        slug = subject.plugin.__name__.rpartition(".")[2]
        assert (kind.provider_name or "").startswith(slug), "metrics would carry another name"
        assert inspect.isasyncgenfunction(kind.simple_response)

    def test_pk1_public_names_can_be_imported(self, subject: Subject) -> None:
        """Realtime is in `__all__`, and every name in it can be imported."""
        names = vars(subject.plugin)["__all__"]
        assert "Realtime" in names
        for name in names:
            if name not in dir(subject.plugin):
                importlib.import_module(f"{subject.plugin.__name__}.{name}")

    def test_pk1_import_has_no_side_effects(self, subject: Subject) -> None:
        """Importing the package changes nothing in a new process, and prints nothing.

        What it imports of others is imported before. A library leaves the handling of its
        log to the program.
        """
        package = subject.plugin.__name__
        path = os.pathsep.join(filter(None, sys.path))
        result = subprocess.run(
            [sys.executable, "-c", IMPORT, package, *_imported_by(package)],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        printed = [each.partition(MARK)[2].strip() for each in (result.stdout, result.stderr)]
        assert (result.returncode, *printed) == (0, "", ""), result.stderr

    def test_pk2_dependencies_are_bounded(self, subject: Subject) -> None:
        """Each dependency has a lower and an upper bound, and the installed version is within."""
        project = tomllib.loads(_pyproject(subject).read_text(encoding="utf-8"))["project"]
        for line in project["dependencies"]:
            requirement = Requirement(line)
            if requirement.name.startswith("vision-agents") and not requirement.specifier:
                continue  # from the same workspace
            lowest = _lowest(requirement.specifier)
            assert lowest is not None, f"{line}: what is the lowest version that works?"
            if lowest.major == 0:
                breaking = f"0.{lowest.minor + 10}"
                assert breaking not in requirement.specifier, f"{line}: cap it, 0.x may break"
            else:
                breaking = f"{lowest.major + 2}"
                assert breaking not in requirement.specifier, f"{line}: cap it"
            installed = Version(importlib.metadata.version(requirement.name))
            assert installed in requirement.specifier, f"{line}: tested with {installed}"

    def test_pk2_both_ends_are_tested(self, subject: Subject) -> None:
        """A workflow tests the lowest and the newest versions that the bounds admit."""
        pyproject = _pyproject(subject)
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        match project["tool"]:
            case {"uv": {"sources": {"vision-agents": {"workspace": True}}}}:
                excuse("a member of a workspace, which locks its versions")
        workflows = pyproject.parent / ".github" / "workflows"
        text = "".join(each.read_text(encoding="utf-8") for each in workflows.glob("*.y*ml"))
        assert "lowest-direct" in text, "no workflow tests the lowest versions"
        assert "highest" in text, "no workflow tests the newest versions"


def _class_of(subject: Subject) -> type[realtime.Realtime]:
    """The class under test; a function that builds it excuses the test."""
    kind = subject.realtime
    if not isinstance(kind, type):
        excuse("the subject's realtime is not a class")
    assert issubclass(kind, realtime.Realtime)
    return kind


def _pyproject(subject: Subject) -> Path:
    """The pyproject.toml of the plugin; without one the test is excused."""
    paths = [folder / "pyproject.toml" for folder in subject.folder.parents]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        excuse("the plugin has no pyproject.toml")
    return found


def _imported_by(package: str) -> list[str]:
    """The modules of others that the modules of a package have names of."""
    own = [module for name, module in sys.modules.items() if name.startswith(package)]
    found = (inspect.getmodule(value) for module in own for value in vars(module).values())
    names = {module.__name__ for module in found if module is not None}
    return sorted(name for name in names if not name.startswith(package))


def _lowest(specifiers: SpecifierSet) -> Version | None:
    bounds = [Version(each.version) for each in specifiers if each.operator in (">=", "==", "~=")]
    return max(bounds, default=None)
