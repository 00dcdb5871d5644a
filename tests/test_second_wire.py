"""Neither the suite nor the house's side knows the reference wire: both hold on a second one."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests import second_wire
from tests.generated import Generator, Plugin, run


@pytest.fixture(scope="module")
def second(generate: Generator, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """A plugin for the second provider, made as its author would make it."""
    plugin = generate(tmp_path_factory.mktemp("second"), **second_wire.ANSWERS)
    second_wire.put_into(plugin.path)
    return plugin


def test_nothing_else_is_replaced() -> None:
    there = {path.name for path in second_wire.HERE.iterdir()} - {"__init__.py", "__pycache__"}
    assert there == {"wire.py", "contract.toml", "frames"}


def test_is_clean(second: Plugin, python: Path, shared_folder: Path) -> None:
    run(python, "-m", "ruff", "format", "--check", "--no-cache", cwd=second.path)
    run(python, "-m", "ruff", "check", "--no-cache", cwd=second.path)
    with FileLock(shared_folder / "mypy.lock"):
        run(python, "-m", "mypy", "--cache-dir", shared_folder / "mypy_cache", cwd=second.path)


def test_keeps_every_contract_it_does_not_waive(second: Plugin, python: Path) -> None:
    printed = run(
        *(python, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--contract=strict"),
        cwd=second.path,
        PYTHONPATH=str(second.path),
    )
    assert ", 0 to do, " in printed
