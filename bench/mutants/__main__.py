"""How many bugs does the contract suite catch?

uv run python -m bench.mutants [--only "H??,P1?"] [--jobs 2]   # each bug alone
uv run python -m bench.mutants --flake 20 [--on video]         # no bug, under load

The tests of the contracts that a bug names run first, and the whole suite if they pass. A bug is
"caught" if a contract that it names fails, "by another" if only others do.
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from bench.mutants import catalogue, suite
from bench.mutants.catalogue import Mutant

LIMIT_S = 420.0
"""How long one run of the suite may take."""


@dataclass
class Verdict:
    """The outcome of one mutant."""

    mutant: Mutant
    report: suite.Report
    problem: str = ""

    @property
    def named(self) -> set[str]:
        """The contracts that failed of those the mutant names."""
        return self.report.broken.keys() & set(self.mutant.breaks)

    @property
    def outcome(self) -> str:
        """One word or two for it."""
        if self.problem:
            return "no anchor"
        if self.report.uncollected:
            return "broken"
        if self.named:
            return "caught"
        return "by another" if self.report.failures else "SURVIVED"

    def __str__(self) -> str:
        by = [*sorted(self.named), *sorted(self.report.broken.keys() - self.named)]
        failed = f"{len(self.report.failures)}/{len(self.report.tests)}"
        wanted = ",".join(self.mutant.breaks)
        return (
            f"{self.mutant.id:30} {self.outcome:10} {wanted:12} {failed:>8} "
            f"{self.report.seconds:6.1f} s  {self.problem or ','.join(by) or '-'}"
        )


class Unmutated:
    """The plugin as it is: a test that fails there, too, says nothing about a bug.

    Attributes:
        failing: the tests that are known to.
    """

    def __init__(self, plugin: Path) -> None:
        self._plugin = plugin
        self._passing: set[str] = set()
        self.failing: set[str] = set()

    def fails(self, tests: Iterable[str]) -> set[str]:
        """Return those of the tests that fail; runs what was not run before."""
        wanted = set(tests)
        if unknown := sorted(wanted - self._passing - self.failing):
            report = suite.run(self._plugin, limit_s=LIMIT_S, tests=unknown)
            self.failing |= report.failures.keys()
            self._passing |= set(unknown) - self.failing
        return wanted & self.failing


def main() -> int:
    """Run; returns the exit code: 1 where a bug survived, 2 where the run is worth nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="*", help="ids, such as H02,P1?,AO*")
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants at a time")
    parser.add_argument("--named", action="store_true", help="never run the whole suite")
    parser.add_argument("--full", action="store_true", help="the whole suite for every mutant")
    parser.add_argument("--tell", action="store_true", help="print the message of each failed test")
    parser.add_argument("--fits", action="store_true", help="only look for the anchors")
    parser.add_argument(
        "--plugins", type=Path, help="a folder with generated plugins, KIND/acme, to use instead"
    )
    parser.add_argument("--on", default="default", choices=catalogue.KINDS, help="for --flake")
    parser.add_argument("--flake", type=int, default=0, help="run the plain suite that often")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generated: Path | None = arguments.plugins

        @functools.cache
        def plugin_of(kind: str) -> Path:
            if kind == catalogue.UNLIKE:
                plugin = suite.copy(plugin_of("default"), folder / kind / suite.SLUG)
                catalogue.make_unlike(plugin)
                return plugin
            if generated is not None:
                return generated.resolve() / kind / suite.SLUG
            return suite.generate(folder / kind, kind)

        if arguments.flake:
            return _flake(plugin_of(arguments.on), arguments.flake)

        def chosen(number: str) -> bool:
            return any(fnmatch(number, each) for each in arguments.only.split(","))

        mutants = [mutant for mutant in catalogue.load() if chosen(mutant.id)]
        if not mutants:
            print(f"no mutant is called {arguments.only}")
            return 2
        plugins = {kind: plugin_of(kind) for kind in sorted({mutant.on for mutant in mutants})}
        misfits = _misfits(mutants, plugins)
        if arguments.fits:
            print("\n".join(misfits.values()) or f"all {len(mutants)} anchors are there")
            return 2 if misfits else 0
        plain = {kind: Unmutated(plugin) for kind, plugin in plugins.items()}

        def examine(mutant: Mutant) -> Verdict:
            if mutant.id in misfits:
                return Verdict(mutant, suite.Report(), misfits[mutant.id])
            copy = suite.copy(plugins[mutant.on], folder / mutant.id)
            for path, text in mutant.patched(copy).items():
                path.write_text(text, encoding="utf-8")
            try:
                return _examine(
                    mutant,
                    copy,
                    plain[mutant.on],
                    full=arguments.full,
                    others=not arguments.named,
                )
            finally:
                suite.remove(copy)

        verdicts: list[Verdict] = []
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for verdict in pool.map(examine, mutants):
                print(verdict, flush=True)
                if arguments.tell:
                    _tell(verdict.report)
                verdicts.append(verdict)
        for kind, unmutated in plain.items():
            for test in sorted(unmutated.failing):
                print(f"fails without a bug, too: {kind}: {test}")
    return _sum_up(verdicts)


def _sum_up(verdicts: list[Verdict]) -> int:
    for kind, belongs in (("really made", True), ("of the project's own", False)):
        counts = Counter(each.outcome for each in verdicts if each.mutant.really_made is belongs)
        if counts:
            figures = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
            print(f"{kind}: {counts.total()}: {figures}")
    return 0 if all(verdict.outcome == "caught" for verdict in verdicts) else 1


def _misfits(mutants: list[Mutant], plugins: dict[str, Path]) -> dict[str, str]:
    misfits: dict[str, str] = {}
    for mutant in mutants:
        try:
            mutant.patched(plugins[mutant.on])
        except (catalogue.AnchorNotFound, SyntaxError) as error:
            misfits[mutant.id] = str(error)
    return misfits


def _examine(
    mutant: Mutant, plugin: Path, unmutated: Unmutated, *, full: bool, others: bool
) -> Verdict:
    """Run the contracts that the mutant names until a test fails, then all others."""
    verdict = Verdict(mutant, suite.Report())
    named = " or ".join(f"test_{contract.lower()}_" for contract in mutant.breaks)
    stages = [""] if full else [named, f"not ({named})"] if others else [named]
    for select in stages:
        while True:
            left_out = [f"--deselect={test}" for test in unmutated.failing]
            until = [] if full else ["--exitfirst"]
            report = suite.run(plugin, "-k", select, *until, *left_out, limit_s=LIMIT_S)
            excused = unmutated.fails(report.failures)
            verdict.report.merge(report.without(excused))
            if full or not excused:
                break
        if verdict.report.uncollected or verdict.report.failures:
            break
    return verdict


def _flake(plugin: Path, count: int) -> int:
    """Run the unmutated suite again and again; returns the exit code."""
    failed = 0
    with _busy():
        for number in range(1, count + 1):
            report = suite.run(plugin, limit_s=4 * LIMIT_S)
            failed += bool(report.failures or report.uncollected or not report.tests)
            print(f"run {number}: {report}", flush=True)
            _tell(report)
    print(f"{failed} of {count} runs failed")
    return 1 if failed else 0


@contextmanager
def _busy() -> Iterator[None]:
    """Keep every core busy."""
    command = [sys.executable, "-c", "while True: pass"]
    loads = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


def _tell(report: suite.Report) -> None:
    for test, said in report.failures.items():
        print(f"  {test}\n    " + said.strip().replace("\n", "\n    "))
    for said in report.uncollected:
        print(f"  {said}")


if __name__ == "__main__":
    sys.exit(main())
