"""A generated plugin is clean and green from the start, whatever the answers.

Its own suite runs ruff and mypy, too.
"""

from pathlib import Path

from tests.generated import Generator, Plugin, run


def test_passes_its_own_suite(plugin: Plugin, python: Path) -> None:
    printed = run(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=plugin.path)
    assert " passed" in printed


def test_passes_its_own_suite_as_its_readme_says(generate: Generator, tmp_path: Path) -> None:
    path = generate(tmp_path).path
    assert "\nuv run pytest\n" in (path / "README.md").read_text(encoding="utf-8")
    assert " passed" in run("uv", "run", "pytest", cwd=path)
