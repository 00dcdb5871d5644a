"""Public checkers find nothing in a generated plugin, in the testkit and in the workflows."""

import sys
from pathlib import Path

import pytest

from tests.generated import ROOT, Plugin, run

BIN = Path(sys.executable).parent
TESTKIT = ROOT / "testkit"

NOT_ASKED_FOR = {
    "PY004": "README.md is the documentation",
    "PY007": "uv run is the task runner",
    "PP304": "pytest shows what was logged at the level a test sets",
    "PP309": "warnings come from dependencies: the suite does not turn them into errors",
    "PC100": "ruff and the tests look at the files",
    "PC110": "a local hook runs ruff format as uv run has it, so that they never disagree",
    "PC140": "a local hook runs mypy as uv run has it",
    "PC160": "names of providers are no spelling mistakes",
    "PC170": "there is no reStructuredText",
    "PC180": "README.md is formatted by hand",
    "PC190": "a local hook runs ruff check as uv run has it",
    "PC901": "local hooks cannot run on pre-commit.ci",
    "PC902": "local hooks cannot run on pre-commit.ci",
    "PC903": "local hooks cannot run on pre-commit.ci",
    "SEC001": "the workflows of generated plugins are checked by zizmor here",
}
"""Checks of sp-repo-review that plugins do not follow, and why."""


def workflows(repository: Path) -> list[Path]:
    found = sorted((repository / ".github" / "workflows").glob("*.yml"))
    assert found
    return found


@pytest.fixture(scope="module")
def default(plugins: dict[str, Plugin]) -> Path:
    return plugins["default"].path


def test_metadata_of_plugins_is_valid(plugin: Plugin) -> None:
    files = (plugin.path / "pyproject.toml", plugin.path / "example" / "pyproject.toml")
    run(BIN / "validate-pyproject", *files, cwd=plugin.path)


def test_metadata_of_the_testkit_is_valid() -> None:
    run(BIN / "validate-pyproject", TESTKIT / "pyproject.toml", ROOT / "pyproject.toml", cwd=ROOT)


def test_package_is_complete(default: Path) -> None:
    run(BIN / "pyroma", "--min", "10", ".", cwd=default)


def test_testkit_is_complete_but_for_an_address() -> None:
    """Its authors' e-mail and its URL are known once it is published."""
    run(BIN / "pyroma", "--min", "8", ".", cwd=TESTKIT)


def test_repository_is_as_the_scientific_python_guide_says(default: Path) -> None:
    ignored = ",".join(NOT_ASKED_FOR)
    run(BIN / "sp-repo-review", "--ignore", ignored, ".", cwd=default)


@pytest.mark.parametrize("of", ["plugin", "template"])
def test_workflows_are_safe(of: str, default: Path) -> None:
    repository = default if of == "plugin" else ROOT
    folder = repository / ".github"
    run(BIN / "zizmor", "--offline", "--no-progress", "--persona=auditor", folder, cwd=default)


@pytest.mark.parametrize("of", ["plugin", "template"])
def test_workflows_are_well_formed(of: str, default: Path) -> None:
    repository = default if of == "plugin" else ROOT
    check = (BIN / "check-jsonschema", "--builtin-schema")
    run(*check, "vendor.github-workflows", *workflows(repository), cwd=default)
    run(*check, "vendor.dependabot", repository / ".github" / "dependabot.yml", cwd=default)
