"""A pytest plugin: writes the outcome of each test at once, for a run may be killed.

It also keeps to the tests it is given, and to their order.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest


class Recorder:
    """The plugin.

    Attributes:
        results: the file to write to, a line of JSON for each fact.
        order: a number for each test to run; empty for all, as they come.
    """

    def __init__(self, results: Path, tests: Sequence[str]) -> None:
        self.results = results
        self.order = {test: number for number, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out what is not asked for, and sort the rest."""
        if self.order:
            others = [item for item in items if item.nodeid not in self.order]
            config.hook.pytest_deselected(items=others)
            chosen = [item for item in items if item.nodeid in self.order]
            items[:] = sorted(chosen, key=lambda item: self.order[item.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a file that cannot be imported."""
        if report.failed:
            self._write(report.nodeid, "not collected", report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Record that a test begins."""
        self._write(nodeid, "started")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a failure, with the contracts it breaks, and every test's end."""
        if report.failed:
            broke = [
                value for name, value in report.user_properties if name in ("broke", "contract")
            ]
            self._write(report.nodeid, f"failed in {report.when}", report.longreprtext, broke)
        if report.when == "teardown":
            self._write(report.nodeid, "ended")

    def _write(self, test: str, what: str, message: str = "", broke: Sequence[object] = ()) -> None:
        line = {"test": test, "what": what, "message": message[-4000:], "broke": list(broke)}
        with self.results.open("a", encoding="utf-8") as results:
            results.write(json.dumps(line) + "\n")
