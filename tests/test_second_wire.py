"""Neither the suite nor the house's side knows the reference wire: both hold on a second one."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.generated import ROOT, Generator, Plugin, run

SECOND_WIRE = ROOT / "tests" / "second_wire"
PACKAGE = Path("vision_agents", "plugins", "second_wire")
PLACES = {
    "wire.py": PACKAGE / "wire.py",
    "contract.toml": Path("tests", "contract.toml"),
    "frames": Path("tests", "frames"),
}
"""What an author changes for a provider of other words, and nothing else."""


@pytest.fixture(scope="module")
def second(generate: Generator, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """A plugin for the second provider, made as its author would make it."""
    plugin = generate(
        tmp_path_factory.mktemp("second"), plugin_name="Second Wire", input_sample_rate="16000"
    )
    for name, place in PLACES.items():
        theirs, ours = SECOND_WIRE / name, plugin.path / place
        if theirs.is_dir():
            for folder in theirs.iterdir():
                shutil.rmtree(ours / folder.name)
            shutil.copytree(theirs, ours, dirs_exist_ok=True)
        else:
            shutil.copyfile(theirs, ours)
    return plugin


def test_nothing_else_is_replaced() -> None:
    there = {path.name for path in SECOND_WIRE.iterdir() if path.name != "__pycache__"}
    assert there == set(PLACES)


def test_is_clean(second: Plugin, python: Path, shared_folder: Path) -> None:
    run(python, "-m", "ruff", "format", "--check", "--no-cache", cwd=second.path)
    run(python, "-m", "ruff", "check", "--no-cache", cwd=second.path)
    with FileLock(shared_folder / "mypy.lock"):
        run(python, "-m", "mypy", "--cache-dir", shared_folder / "mypy_cache", cwd=second.path)


def test_keeps_every_contract_it_does_not_waive(second: Plugin, python: Path) -> None:
    printed = run(
        *(python, "-m", "pytest", "-p", "no:cacheprovider", "--contract=strict"),
        cwd=second.path,
        PYTHONPATH=str(second.path),
    )
    assert ", 0 to do, " in printed
