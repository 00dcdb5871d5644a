"""The wheel holds what belongs in it, and lives beside core and other plugins."""

import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.generated import Plugin, run

OTHERS = ("inworld", "openai", "qwen")  # realtime plugins of the house that need little


@pytest.fixture(scope="module")
def built(plugin: Plugin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run("uv", "build", "--quiet", "--out-dir", folder, cwd=plugin.path)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(plugin: Plugin, built: Path) -> None:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
        assert len(licences) == plugin.standalone
        for licence in licences:
            assert archive.read(licence) == (plugin.path / "LICENSE").read_bytes()
    package = f"vision_agents/plugins/{plugin.slug}/"
    sources = {package + path.name for path in plugin.package.iterdir() if path.is_file()}
    assert names == sources
    assert (package + "py.typed" in names) == plugin.standalone


def test_the_source_distribution_holds_what_the_wheel_is_built_from(
    plugin: Plugin, built: Path
) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    rest = {name for name in names if not name.startswith("vision_agents/")}
    papers = {"PKG-INFO", "README.md", "pyproject.toml"}
    assert rest == (papers | {".gitignore", "LICENSE"} if plugin.standalone else papers)


def test_the_distributions_are_what_a_registry_takes(built: Path) -> None:
    bin = Path(sys.executable).parent
    run(bin / "check-wheel-contents", *built.glob("*.whl"), cwd=built)
    run(bin / "twine", "check", "--strict", *built.glob("vision_agents*"), cwd=built)


def test_imports_installed_beside_other_plugins(plugins: dict[str, Plugin], tmp_path: Path) -> None:
    plugin = plugins["default"]
    run("uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, cwd=plugin.path)
    [wheel] = tmp_path.glob("*.whl")
    code = f"""
from vision_agents import core
from vision_agents.plugins import {plugin.slug}, {", ".join(OTHERS)}
assert issubclass({plugin.slug}.Realtime, core.llm.realtime.Realtime)
assert "site-packages" in {plugin.slug}.__file__, {plugin.slug}.__file__
for other in ({", ".join(OTHERS)}):
    assert issubclass(other.Realtime, core.llm.realtime.Realtime), other
print({plugin.slug}.Realtime.__module__)
"""
    run("uv", "venv", "--quiet", "installed", cwd=tmp_path)
    others = [f"vision-agents-plugins-{other}<0.7" for other in OTHERS]
    run("uv", "pip", "install", "--quiet", "--python", "installed", wheel, *others, cwd=tmp_path)
    printed = run(
        "uv", "run", "--no-project", "--python", "installed", "python", "-c", code, cwd=tmp_path
    )
    assert f"vision_agents.plugins.{plugin.slug}" in printed
