"""A pytest plugin: writes what becomes of each test at once, for a run may be killed."""

import json
import os
from pathlib import Path

import pytest

_RESULTS = Path(os.environ["MUTANTS_RESULTS"])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell of a file that cannot be imported."""
    if report.failed:
        _write(report.nodeid, "not collected", report.longreprtext)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell that a test begins."""
    _write(nodeid, "started")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell of a failure, and of every test's end."""
    broke = [value for name, value in report.user_properties if name == "broke"]
    if report.failed:
        _write(report.nodeid, f"failed in {report.when}", report.longreprtext, broke)
    if report.when == "teardown":
        _write(report.nodeid, "ended")


def _write(test: str, what: str, message: str = "", broke: list[object] | None = None) -> None:
    line = {"test": test, "what": what, "message": message[-4000:], "broke": broke or []}
    with _RESULTS.open("a", encoding="utf-8") as results:
        results.write(json.dumps(line) + "\n")
