"""The class Conventions of the contract, in a plugin's own tests."""

import os
import subprocess
import sys
from pathlib import Path

from .conftest import MakePlugin

CONFTEST = '''
"""Fixtures."""

from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def subject() -> SimpleNamespace:
    """The least that the class needs."""
    return SimpleNamespace(folder=Path(__file__).parent)
'''
PAGE = '[provider]\nwire = "own"\ninput_rate = 24000\noutput_rate = 24000\n'
TEST = '''
"""The contract."""

from realtime_testkit.contract.conventions import Conventions


class TestConventions(Conventions):
    """The plugin's folder."""
'''


class TestContractClass:
    def run(self, plugin: Path) -> str:
        files = {"conftest.py": CONFTEST, "test_contract.py": TEST, "contract.toml": PAGE}
        for name, text in files.items():
            (plugin / "tests" / name).write_text(text.removeprefix("\n"), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-q", "tests/test_contract.py"],
            cwd=plugin,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.stdout

    def test_a_test_for_each_rule_passes(self, make_plugin: MakePlugin) -> None:
        printed = self.run(make_plugin("standalone"))
        assert "54 passed" in printed, printed

    def test_the_test_of_a_broken_rule_fails_and_says_how_to_mend_it(
        self, make_plugin: MakePlugin
    ) -> None:
        plugin = make_plugin("standalone")
        (plugin / "py.typed").unlink()
        printed = self.run(plugin)
        assert "P1 py.typed. Fix: add it: every plugin has it" in printed
        assert "test_convention_is_kept[P1]" in printed
        assert "1 failed, 53 passed" in printed, printed
