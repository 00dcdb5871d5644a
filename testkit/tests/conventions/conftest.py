"""A small plugin that keeps every convention, for something to be planted into."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

BASE = tomllib.loads((Path(__file__).parent / "nest.toml").read_text(encoding="utf-8"))

MakePlugin = Callable[[str], Path]


def write_plugin(folder: Path, layout: str) -> Path:
    """Write the plugin into folder/plugins/nest, "standalone" or in a "workspace"."""
    root = folder / "plugins" / "nest"
    files = BASE["standalone"] | (BASE["workspace"] if layout == "workspace" else {})
    if layout == "workspace":
        del files["vision_agents/plugins/nest/py.typed"]
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.removeprefix("\n"), encoding="utf-8")
    return root


@pytest.fixture
def make_plugin(tmp_path_factory: pytest.TempPathFactory) -> MakePlugin:
    """Writes the plugin for a layout and returns its folder."""
    return lambda layout: write_plugin(tmp_path_factory.mktemp("nest"), layout)


@pytest.fixture(scope="class")
def make_plugin_once(tmp_path_factory: pytest.TempPathFactory) -> MakePlugin:
    """The same for fixtures of a class."""
    return lambda layout: write_plugin(tmp_path_factory.mktemp("nest"), layout)
