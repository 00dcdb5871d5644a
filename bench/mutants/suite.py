"""Generates plugins and runs their contract suite."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from bench.mutants.recorder import Recorder

ROOT = Path(__file__).parents[2]
SLUG = "acme"
PACKAGE = Path("vision_agents", "plugins", SLUG)
TESTKIT = ROOT / "testkit" / "src"
TESTS = "tests/test_contract.py"

PLUGINS: dict[str, dict[str, str]] = {
    "default": {},
    "video": {"video": "yes"},
    "plain": {"wire": "plain"},
    "webrtc": {"transport": "webrtc"},
}
"""The answers that each kind of plugin is generated with, beside the defaults."""

# Importing Vision Agents takes seconds and is not what is examined: it is done once, and forked.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["numpy", "pytest", "vision_agents.core.agents"])

_CONTRACT = re.compile(r"::test_([a-z]{2}\d+)_")


@dataclass
class Report:
    """The result of a run of the suite.

    Attributes:
        tests: all that began, in that order (as keys).
        failures: the message of each test that failed, by test.
        broken: tests that failed, by the contract they failed.
        uncollected: files that could not be imported.
    """

    tests: dict[str, None] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    broken: dict[str, set[str]] = field(default_factory=dict)
    uncollected: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{len(self.failures)} of {len(self.tests)} tests failed, {self.seconds:.0f} s"

    def merge(self, other: "Report") -> None:
        """Add another run of the same plugin."""
        self.tests |= other.tests
        self.failures |= other.failures
        for contract, tests in other.broken.items():
            self.broken.setdefault(contract, set()).update(tests)
        self.uncollected += other.uncollected
        self.seconds += other.seconds

    def without(self, tests: set[str]) -> "Report":
        """Return the same, some tests left out of account."""
        broken = {contract: failed - tests for contract, failed in self.broken.items()}
        return Report(
            {test: None for test in self.tests if test not in tests},
            {test: said for test, said in self.failures.items() if test not in tests},
            {contract: failed for contract, failed in broken.items() if failed},
            self.uncollected,
            self.seconds,
        )


def generate(folder: Path, kind: str = "default") -> Path:
    """Generate a plugin of that slug; returns its folder.

    Args:
        folder: where to.
        kind: which of PLUGINS.
    """
    plugin = cookiecutter(
        str(ROOT),
        no_input=True,
        extra_context=PLUGINS[kind] | {"plugin_name": SLUG.title()},
        output_dir=str(folder),
        default_config={"replay_dir": str(folder / "replays")},
    )
    return Path(plugin)


def copy(plugin: Path, folder: Path) -> Path:
    """Copy a plugin, to be changed; compiled tests come along, for those stay as they are."""
    shutil.copytree(plugin, folder)
    for cache in (folder / PACKAGE).rglob("__pycache__"):
        shutil.rmtree(cache)
    return folder


def remove(plugin: Path) -> None:
    """Remove a copy."""
    shutil.rmtree(plugin)


def run(plugin: Path, *arguments: str, limit_s: float, tests: Sequence[str] = ()) -> Report:
    """Run the suite.

    Args:
        plugin: its folder.
        *arguments: for pytest, such as -k and which tests.
        limit_s: kill the run after that; the test it was in has failed.
        tests: only those, in that order; all without.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.jsonl")
        results.touch()
        process = _processes.Process(target=_run, args=(plugin, arguments, tests, results))
        process.start()
        process.join(limit_s)
        if process.is_alive() and process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        report = _read(results)
    report.seconds = time.perf_counter() - started
    return report


def environment(plugin: Path) -> dict[str, str]:
    """Return the variables that let a Python of ours import a plugin and the testkit."""
    path = [str(plugin), str(TESTKIT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}


def plugin_options() -> list[str]:
    """Return what loads the testkit's plugin of pytest where it is not installed."""
    try:
        distribution("vision-agents-realtime-testkit")
    except PackageNotFoundError:
        return ["-p", "realtime_testkit.pytest_plugin"]
    return []


def _run(plugin: Path, arguments: Sequence[str], tests: Sequence[str], results: Path) -> None:
    os.setsid()
    os.chdir(plugin)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    os.environ.update(environment(plugin))  # for tests that start a Python
    sys.path[:0] = [str(plugin), str(TESTKIT)]
    files = sorted({test.split("::")[0] for test in tests}) or [TESTS]
    command = ["-n0", "-q", "--tb=short", *plugin_options(), *arguments, *files]
    pytest.main(command, plugins=[Recorder(results, tests)])


def _read(results: Path) -> Report:
    report = Report()
    running = ""
    for line in results.read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        test, what = fact["test"], fact["what"]
        match what:
            case "not collected":
                report.uncollected.append(f"{test}\n{fact['message']}")
            case "started":
                report.tests[test] = None
                running = test
            case "ended":
                running = ""
            case _:
                report.failures[test] = f"{report.failures.get(test, '')}{fact['message']}\n"
                for contract in {*fact["broke"], *_contract_of(test)}:
                    report.broken.setdefault(contract, set()).add(test)
    if running:
        report.failures[running] = "the run was over before this test was: it froze"
        for contract in _contract_of(running):
            report.broken.setdefault(contract, set()).add(running)
    return report


def _contract_of(test: str) -> list[str]:
    found = _CONTRACT.search(test)
    return [found[1].upper()] if found is not None else []
