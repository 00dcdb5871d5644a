"""How many of the bugs that were really made does the contract suite catch?

uv run -m bench.mutants [--only "H??,P1?"] [--jobs 2]    # each bug alone
uv run -m bench.mutants --flake 20 [--answers video]     # no bug, under load
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from bench.mutants import catalogue, suite
from bench.mutants.catalogue import Mutant

WANTED = 0.95
"""The share of mutants that has to be caught."""

LIMIT_S = 240.0
"""How long one run of the suite may take."""


@dataclass
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    report: suite.Report

    @property
    def named(self) -> set[str]:
        """The contracts that failed of those the mutant names."""
        return self.report.broken.keys() & set(self.mutant.breaks)

    @property
    def related(self) -> set[str]:
        """Those, and others of their groups."""
        groups = {_group(contract) for contract in self.mutant.breaks}
        return {contract for contract in self.report.broken if _group(contract) in groups}

    def __str__(self) -> str:
        if self.report.uncollected:
            caught = "BROKEN"
        else:
            caught = "caught" if self.named else "by group" if self.related else "MISSED"
        by = [*sorted(self.named), *sorted(self.report.broken.keys() - self.named)]
        failed = f"{len(self.report.failures)}/{len(self.report.tests)}"
        wanted = ",".join(self.mutant.breaks)
        return (
            f"{self.mutant.id:26} {caught:9} {wanted:12} {failed:>8} {self.report.seconds:6.1f} s  "
            f"{','.join(by) or '-'}"
        )


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="*", help="ids, such as H02,P1?,AO*")
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants at a time")
    parser.add_argument("--full", action="store_true", help="the whole suite for every mutant")
    parser.add_argument("--tell", action="store_true", help="what each failed test says")
    parser.add_argument("--fits", action="store_true", help="only see whether the patches fit")
    parser.add_argument("--answers", default="default", help="of tests/answers, without .json")
    parser.add_argument("--flake", type=int, default=0, help="run the plain suite that often")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.flake:
            return _flake(suite.generate(folder, arguments.answers), arguments.flake)

        def chosen(number: str) -> bool:
            return any(fnmatch(number, each) for each in arguments.only.split(","))

        mutants = [mutant for mutant in catalogue.load() if chosen(mutant.id)]
        if not mutants:
            print(f"no mutant is called {arguments.only}")
            return 2
        kinds = sorted({mutant.on for mutant in mutants})
        plugins = {kind: suite.generate(folder / kind, kind) for kind in kinds}
        misfits = _misfits(mutants, plugins)
        if misfits or arguments.fits:
            print("\n".join(misfits) or f"all {len(mutants)} fit")
            return 2 if misfits else 0
        plain = {kind: suite.run(plugin, limit_s=LIMIT_S) for kind, plugin in plugins.items()}
        for kind, report in plain.items():
            print(f"unmutated, {kind}: {report}", flush=True)
            _tell(report)
            if report.uncollected or not report.tests:
                return 2
        started = time.perf_counter()

        def examine(mutant: Mutant) -> Verdict:
            copy = suite.copy(plugins[mutant.on], folder / mutant.id)
            for path, text in mutant.patched(copy).items():
                path.write_text(text, encoding="utf-8")
            known = set(plain[mutant.on].failures)
            return _examine(mutant, copy, known, whole=arguments.full)

        print(
            "id    verdict   should      failed                                    of tests    took"
        )
        verdicts: list[Verdict] = []
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for verdict in pool.map(examine, mutants):
                print(verdict, flush=True)
                if arguments.tell:
                    _tell(verdict.report)
                verdicts.append(verdict)
    print(f"{time.perf_counter() - started:.0f} s")
    enough = True
    for kind, belongs in (("really made", True), ("of our own", False)):
        counted = [each for each in verdicts if each.mutant.really_made is belongs]
        caught = sum(bool(verdict.related) for verdict in counted)
        named = sum(bool(verdict.named) for verdict in counted)
        print(f"{kind}: {caught} of {len(counted)} caught, {named} by a contract they name")
        enough = enough and caught >= WANTED * len(counted)
    return 0 if enough and not any(report.failures for report in plain.values()) else 1


def _misfits(mutants: list[Mutant], plugins: dict[str, Path]) -> list[str]:
    misfits: list[str] = []
    for mutant in mutants:
        try:
            mutant.patched(plugins[mutant.on])
        except catalogue.DoesNotFit as error:
            misfits.append(str(error))
    return misfits


def _examine(mutant: Mutant, plugin: Path, known: set[str], *, whole: bool) -> Verdict:
    """Run the contracts the mutant names; only if none fails their groups, then all."""
    verdict = Verdict(mutant, suite.Report())
    groups = sorted({_group(contract) for contract in mutant.breaks})
    named = " or ".join(f"test_{contract.lower()}_" for contract in mutant.breaks)
    related = " or ".join(f"test_{group.lower()}{n}" for group in groups for n in range(1, 10))
    stages = [named, f"({related}) and not ({named})", f"not ({related})"]
    for select in [""] if whole else stages:
        report = suite.run(plugin, "-k", select, limit_s=LIMIT_S)
        verdict.report.merge(report.without(known))
        if verdict.report.uncollected or verdict.related:
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


def _group(contract: str) -> str:
    return contract.rstrip("0123456789")


if __name__ == "__main__":
    sys.exit(main())
