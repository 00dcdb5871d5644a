"""A generated plugin is clean and green from the start, whatever the answers."""

from pathlib import Path

from filelock import FileLock

from tests.generated import Generator, Plugin, run


def test_is_formatted_and_has_no_lint(plugin: Plugin, python: Path) -> None:
    run(python, "-m", "ruff", "format", "--check", "--no-cache", cwd=plugin.path)
    run(python, "-m", "ruff", "check", "--no-cache", cwd=plugin.path)


def test_types_hold(plugin: Plugin, python: Path, shared_folder: Path) -> None:
    # One cache for all plugins: what they import is analysed once.
    mypy = (python, "-m", "mypy", "--cache-dir", shared_folder / "mypy_cache")
    with FileLock(shared_folder / "mypy.lock"):
        if plugin.standalone:
            run(*mypy, cwd=plugin.path)
        else:
            run(*mypy, "--exclude", "tests/", "plugins", cwd=plugin.path.parents[1])


def test_passes_its_own_suite(plugin: Plugin, python: Path) -> None:
    printed = run(python, "-m", "pytest", "-p", "no:cacheprovider", cwd=plugin.path)
    assert " passed" in printed


def test_passes_its_own_suite_as_its_readme_says(generate: Generator, tmp_path: Path) -> None:
    path = generate(tmp_path).path
    assert "\nuv run pytest\n" in (path / "README.md").read_text(encoding="utf-8")
    assert " passed" in run("uv", "run", "pytest", cwd=path)
