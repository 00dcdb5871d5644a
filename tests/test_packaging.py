"""Wheels and source distributions hold what belongs in them, and install beside other plugins."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.generated import ROOT, Plugin, run

OTHERS = ("inworld", "openai", "qwen")
"""Realtime plugins of Vision Agents with few dependencies."""

TESTKIT = ROOT / "testkit"
FOR_TESTS = re.compile(
    r"realtime_testkit|pytest|numpy|websockets\.(asyncio\.)?server|web\.Application"
)
"""What only tests need."""


@pytest.fixture(scope="module")
def built(plugin: Plugin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distributions of each plugin."""
    return build(plugin.path, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def testkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distributions of the testkit."""
    return build(TESTKIT, tmp_path_factory.mktemp("testkit"))


def build(project: Path, folder: Path) -> Path:
    run("uv", "build", "--quiet", "--out-dir", folder, cwd=project)
    return folder


def sources(folder: Path) -> set[str]:
    """The files in a folder, without what tools leave there."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not any("cache" in part for part in path.parts)}


def in_wheel(folder: Path) -> dict[str, bytes]:
    """What a wheel holds, without its metadata."""
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        return {name: archive.read(name) for name in names}


def in_sdist(folder: Path) -> set[str]:
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {name.split("/", 1)[1] for name in archive.getnames()}


def check_distributions(folder: Path) -> None:
    bin = Path(sys.executable).parent
    run(bin / "check-wheel-contents", *folder.glob("*.whl"), cwd=folder)
    run(bin / "twine", "check", "--strict", *folder.glob("vision_agents*"), cwd=folder)


class TestPlugin:
    def test_wheel_holds_the_package_and_nothing_else(self, plugin: Plugin, built: Path) -> None:
        package = f"vision_agents/plugins/{plugin.slug}/"
        names = set(in_wheel(built))
        assert names == {package + name for name in sources(plugin.package)}
        assert (package + "py.typed" in names) == plugin.standalone
        assert package + "_engine/session_types.py" in names

    def test_wheel_has_its_license(self, plugin: Plugin, built: Path) -> None:
        [wheel] = built.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            licenses = [name for name in archive.namelist() if name.endswith("/LICENSE")]
            assert len(licenses) == plugin.standalone
            for name in licenses:
                assert archive.read(name) == (plugin.path / "LICENSE").read_bytes()

    def test_wheel_holds_nothing_that_only_tests_need(self, built: Path) -> None:
        """Neither a double of the provider nor an import for tests is in it."""
        for name, content in in_wheel(built).items():
            found = re.findall(r"^(?:from|import) .*", content.decode(), re.MULTILINE)
            assert not [line for line in found if FOR_TESTS.search(line)], name

    def test_wheel_needs_nothing_that_only_tests_need(self, built: Path) -> None:
        """The testkit is not in the metadata: a plugin may be published before it."""
        [wheel] = built.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
            needed = re.findall(r"^Requires-Dist: (.*)", archive.read(name).decode(), re.MULTILINE)
        names = {re.split(r"[^\w-]", each)[0] for each in needed}
        assert {"vision-agents", "msgspec"} <= names
        assert names <= {"vision-agents", "msgspec", "websockets", "aiohttp"}

    def test_wheel_holds_no_jinja(self, plugin: Plugin, built: Path) -> None:
        given = plugin.answers["description"]  # which may hold anything
        for name, content in in_wheel(built).items():
            assert not re.search(r"\{\{|\{%", content.decode().replace(given, "")), name

    def test_source_distribution_holds_what_the_wheel_is_built_from(
        self, plugin: Plugin, built: Path
    ) -> None:
        rest = {name for name in in_sdist(built) if not name.startswith("vision_agents/")}
        papers = {"PKG-INFO", "README.md", "pyproject.toml"}
        assert rest == (papers | {".gitignore", "LICENSE"} if plugin.standalone else papers)

    def test_distributions_are_what_a_registry_takes(self, built: Path) -> None:
        check_distributions(built)

    def test_imports_installed_beside_other_plugins(
        self, plugins: dict[str, Plugin], tmp_path: Path
    ) -> None:
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
        install = ("uv", "pip", "install", "--quiet", "--python", "installed")
        run(*install, wheel, *others, cwd=tmp_path)
        python = ("uv", "run", "--no-project", "--python", "installed", "python")
        printed = run(*python, "-c", code, cwd=tmp_path)
        assert f"vision_agents.plugins.{plugin.slug}" in printed


class TestTestkit:
    def test_wheel_holds_the_package_and_nothing_else(self, testkit: Path) -> None:
        package = TESTKIT / "src" / "realtime_testkit"
        names = set(in_wheel(testkit))
        assert names == {f"realtime_testkit/{name}" for name in sources(package)}
        assert {f"realtime_testkit/{name}" for name in ("py.typed", "catalogue.toml")} <= names

    def test_source_distribution_holds_its_tests(self, testkit: Path) -> None:
        names = in_sdist(testkit)
        assert {f"tests/{name}" for name in sources(TESTKIT / "tests")} <= names
        tops = {name.split("/")[0] for name in names}
        papers = {"PKG-INFO", "README.md", "LICENSE", "pyproject.toml", ".gitignore"}
        assert {"src", "tests"} <= tops <= {"src", "tests", *papers}

    def test_distributions_are_what_a_registry_takes(self, testkit: Path) -> None:
        check_distributions(testkit)

    def test_command_and_pytest_plugin_work_installed(self, testkit: Path, tmp_path: Path) -> None:
        """The wheel alone brings the command, the files it reads, and the options of pytest."""
        [wheel] = testkit.glob("*.whl")
        run("uv", "venv", "--quiet", "installed", cwd=tmp_path)
        run("uv", "pip", "install", "--quiet", "--python", "installed", wheel, cwd=tmp_path)
        python = ("uv", "run", "--no-project", "--python", "installed")
        printed = run(*python, "realtime-testkit", "--version", cwd=tmp_path)
        assert wheel.name.split("-")[1] in printed
        assert "--contract-report" in run(*python, "pytest", "--help", cwd=tmp_path)
        code = "from realtime_testkit import contract, conventions, demo; print(contract.__file__)"
        printed = run(*python, "python", "-c", code, cwd=tmp_path)
        assert "site-packages" in printed
