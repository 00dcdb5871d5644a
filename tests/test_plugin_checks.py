"""A generated plugin is clean and green from the start, whatever the answers."""

from pathlib import Path

from filelock import FileLock

from tests.generated import Generator, Plugin, run


def test_keeps_the_houses_conventions(plugin: Plugin, python: Path, shared_folder: Path) -> None:
    # One cache for all plugins: what they import is analysed once.
    cache = shared_folder / "mypy_cache"
    with FileLock(shared_folder / "mypy.lock"):
        command = (python, "tests/test_conventions.py", "-n0", "-p", "no:cacheprovider")
        printed = run(*command, cwd=plugin.path, MYPY_CACHE_DIR=str(cache))
    assert " passed" in printed


def test_passes_its_own_suite(plugin: Plugin, python: Path) -> None:
    # Over WebRTC the tests wait for speech more than they compute.
    at_a_time = "4" if plugin.answers["transport"] == "webrtc" else "0"
    printed = run(
        *(python, "-m", "pytest", "-p", "no:cacheprovider", "-n", at_a_time), cwd=plugin.path
    )
    assert " passed" in printed


def test_passes_its_own_suite_as_its_readme_says(generate: Generator, tmp_path: Path) -> None:
    path = generate(tmp_path).path
    assert "\nuv run pytest\n" in (path / "README.md").read_text(encoding="utf-8")
    assert " passed" in run("uv", "run", "pytest", cwd=path)
