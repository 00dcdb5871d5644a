"""Checkers that others wrote have nothing to say about a generated plugin."""

import sys
from pathlib import Path

import pytest

from tests.generated import ROOT, Plugin, run

BIN = Path(sys.executable).parent


def workflows(repository: Path) -> list[Path]:
    found = sorted((repository / ".github" / "workflows").glob("*.yml"))
    assert found
    return found


@pytest.fixture(scope="module")
def default(plugins: dict[str, Plugin]) -> Path:
    return plugins["default"].path


def test_the_metadata_is_valid(plugin: Plugin) -> None:
    files = (plugin.path / "pyproject.toml", plugin.path / "example" / "pyproject.toml")
    run(BIN / "validate-pyproject", *files, cwd=plugin.path)


def test_the_package_is_complete(default: Path) -> None:
    run(BIN / "pyroma", "--min", "10", ".", cwd=default)


def test_the_repository_is_as_it_should_be(default: Path) -> None:
    """Each check that is waived has its reason in pyproject.toml."""
    run(BIN / "sp-repo-review", ".", cwd=default)


@pytest.mark.parametrize("of", ["plugin", "template"])
def test_the_workflows_are_safe(of: str, default: Path) -> None:
    repository = default if of == "plugin" else ROOT
    folder = repository / ".github"
    run(BIN / "zizmor", "--offline", "--no-progress", "--persona=auditor", folder, cwd=default)


@pytest.mark.parametrize("of", ["plugin", "template"])
def test_the_workflows_are_well_formed(of: str, default: Path) -> None:
    repository = default if of == "plugin" else ROOT
    check = (BIN / "check-jsonschema", "--builtin-schema")
    run(*check, "vendor.github-workflows", *workflows(repository), cwd=default)
    run(*check, "vendor.dependabot", repository / ".github" / "dependabot.yml", cwd=default)
