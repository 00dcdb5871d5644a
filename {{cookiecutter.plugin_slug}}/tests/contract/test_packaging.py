"""PK: the plugin fits the house it is installed in."""

import importlib
import importlib.metadata
import inspect
import logging
import os
import sys
import threading
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from vision_agents.core.llm import realtime
from vision_agents.core.llm.llm import OmniLLM
from vision_agents.plugins import {{ cookiecutter.plugin_slug }} as plugin
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def _public_methods(kind: type) -> dict[str, Callable[..., object]]:
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


class TestPackaging:
    @pytest.fixture
    def imported_anew(self) -> Iterator[Callable[[], ModuleType]]:
        """Imports the package again, beside the one the other tests use."""
        name = plugin.__name__
        kept = {key: value for key, value in sys.modules.items() if key.startswith(name)}

        def import_anew() -> ModuleType:
            for key in kept:
                del sys.modules[key]
            return importlib.import_module(name)

        yield import_anew
        sys.modules.update(kept)

    @pytest.mark.parametrize("method", sorted(_public_methods(realtime.Realtime)))
    def test_pk1_methods_fit_the_base_class(self, method: str) -> None:
        """The agent calls a method, and the call does not fit."""
        base = _public_methods(realtime.Realtime)[method]
        ours = _public_methods(Realtime)[method]
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

    def test_pk1_is_a_realtime_of_the_house(self) -> None:
        """The agent takes the plugin for something else, and starts speech to text beside it."""
        assert issubclass(Realtime, realtime.Realtime)
        assert issubclass(Realtime, OmniLLM)
        assert not inspect.isabstract(Realtime)
        slug = plugin.__name__.rpartition(".")[2]
        assert (Realtime.provider_name or "").startswith(slug), "metrics would carry another name"
        assert inspect.isasyncgenfunction(Realtime.simple_response)

    def test_pk1_the_public_names_are_there(self) -> None:
        """What the README promises cannot be imported."""
        assert {"Realtime", "Client"} <= set(plugin.__all__)
        for name in plugin.__all__:
            if name not in dir(plugin):
                importlib.import_module(f"{plugin.__name__}.{name}")

    def test_pk1_importing_changes_nothing(
        self, imported_anew: Callable[[], ModuleType], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Importing the plugin starts threads, opens connections or takes over the log."""
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, []  # else basicConfig() would do nothing
        try:
            before = _surroundings()
            again = imported_anew()
            after = _surroundings()
        finally:
            root.handlers = handlers
        assert again is not plugin
        assert after == before
        assert capfd.readouterr() == ("", "")
        own = logging.getLogger(plugin.__name__).handlers
        assert not own, "a library leaves the handling of its log to the program"

    def test_pk2_dependencies_are_bounded(self) -> None:
        """A fresh installation breaks on a day nothing was changed here."""
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        for line in project["dependencies"]:
            requirement = Requirement(line)
            if requirement.name.startswith("vision-agents") and not requirement.specifier:
                continue  # the house's own, from its workspace
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

    def test_pk2_both_ends_are_tested(self) -> None:
        """The bounds are a guess: nobody ever ran the lowest versions, or the newest."""
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
        match project["tool"]:
            case {"uv": {"sources": {"vision-agents": {"workspace": True}}}}:
                pytest.skip("pyproject.toml: a member of a workspace, which locks its versions")
        workflows = PYPROJECT.parent / ".github" / "workflows"
        text = "".join(each.read_text(encoding="utf-8") for each in workflows.glob("*.y*ml"))
        assert "lowest-direct" in text, "no workflow tests the lowest versions"
        assert "highest" in text, "no workflow tests the newest versions"


def _surroundings() -> list[object]:
    """What an import has no business with."""
    root = logging.getLogger()
    filters = list(warnings.filters)
    return [threading.active_count(), dict(os.environ), list(root.handlers), root.level, filters]


def _lowest(specifiers: SpecifierSet) -> Version | None:
    bounds = [Version(each.version) for each in specifiers if each.operator in (">=", "==", "~=")]
    return max(bounds, default=None)
