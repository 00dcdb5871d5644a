"""The engine of a generated plugin, imported into the process of the tests."""

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.generated import Plugin

SUBMODULES = (
    "scheduler",
    "replies",
    "session_types",
    "session_events",
    "errors",
    "user_turns",
    "output",
    "history",
    "session",
)


@pytest.fixture(scope="session")
def default_engine(plugins: dict[str, Plugin]) -> Iterator[ModuleType]:
    """The package `_engine` of the plugin with the default answers, and its modules."""
    plugin = plugins["default"]
    engine = f"vision_agents.plugins.{plugin.slug}._engine"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin.path))
        for name in SUBMODULES:
            importlib.import_module(f"{engine}.{name}")
        yield importlib.import_module(engine)
