"""The account of the contracts: each is met, excused, waived or to do.

It is kept in the process that reports, which under xdist is not one of those that test:
so it imports neither the contract nor a plugin.
"""

import ast
import functools
import json
import re
import textwrap
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import pytest

from .facts import EXCUSE, FACT, Page

CATALOGUE = Path(__file__).with_name("catalogue.toml")
GROUPS = Path(__file__).with_name("contract")
CONTRACT_TEST = re.compile(r"test_([a-z]{2}\d+)_")
LIVE_GROUP = "Live"
WAIVED = "waived: "
"""Start of the reason of an expected failure that contract.toml waives."""

TEST, CONTRACT, KIND = "contract_test", "contract", "contract_kind"
WAIVER, BROKE = "contract_waiver", "broke"
"""Names of the properties by which a test's report tells what it is."""

WIDTH = 80
SHOWN = 10
"""Reasons shown of one contract; a report has them all."""

Kind = Literal["test", "frame", "foreign"]
Status = Literal["met", "excused", "waived", "to do"]
STATUSES: tuple[Status, ...] = ("met", "excused", "waived", "to do")

REFERENCE = (
    "These are the results of the reference provider: wire.py still speaks its messages, and "
    "nothing here was tried with your own"
)


class Entry(NamedTuple):
    """A contract: what a user loses where it does not hold, and where to look."""

    loses: str
    look: str


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Return the contracts by id."""
    entries = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    return {
        contract: Entry(entry["loses"], _with_rule(entry["look"], entry.get("rule")))
        for contract, entry in entries.items()
    }


@functools.cache
def groups() -> dict[str, list[str]]:
    """Return the names of the tests of each class of the contract."""
    found: dict[str, list[str]] = {}
    for path in sorted(GROUPS.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = [
                    each.name
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                ]
                tests = [name for name in names if name.startswith("test_")]
                if tests:
                    found[node.name] = tests
    return found


def contract_of(test: str) -> str:
    """Return the id in a test's name, if there is one."""
    match = CONTRACT_TEST.match(test)
    return match[1].upper() if match else ""


def waiver_of(test: str, waivers: Mapping[str, object]) -> str:
    """Return the waiver that covers a test: by its name and parameters, or its name alone."""
    return next((key for key in (test, _function(test)) if key in waivers), "")


class ContractData(TypedDict):
    """One contract in a report."""

    status: Status
    passed: int
    frames: int
    excused: dict[str, int]
    waived: dict[str, str]
    to_do: list[str]
    loses: str


class AccountData(TypedDict):
    """The account of one plugin in a report."""

    folder: str
    wire: str
    complete: bool
    counts: dict[str, int]
    contracts: dict[str, ContractData]
    problems: list[str]


@dataclass
class Outcome:
    """How one test ended, over setup, call and teardown."""

    passed: bool = False
    failed: bool = False
    waived: bool = False
    skipped: str = ""

    def add(self, report: pytest.TestReport) -> None:
        """Add a phase."""
        expected = str(vars(report).get("wasxfail", ""))
        if expected.startswith(WAIVED):
            self.waived = True
        elif report.failed or "wasxfail" in vars(report):
            self.failed = True
        elif report.skipped:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.skipped = why.removeprefix("Skipped: ") or "no reason given"
        elif report.when == "call":
            self.passed = True

    @property
    def met(self) -> bool:
        """It passed, in all its phases."""
        return self.passed and not (self.failed or self.waived or self.skipped)

    @property
    def excuse(self) -> str:
        """Why it need not pass; empty where it was skipped for no such reason."""
        if self.failed or self.waived or not self.skipped.startswith(EXCUSE):
            return ""
        return self.skipped.removeprefix(EXCUSE).removeprefix(FACT)


@dataclass
class Verdict:
    """What the tests say of one contract.

    Attributes:
        passed: tests that passed, without frames.
        frames: frames that were read or written correctly.
        excused: how many tests, by the reason.
        waived: reasons by the name of the test.
        to_do: why it is not met.
    """

    passed: int = 0
    frames: int = 0
    excused: Counter[str] = field(default_factory=Counter)
    waived: dict[str, str] = field(default_factory=dict)
    to_do: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """The one word for it."""
        if self.to_do:
            return "to do"
        if self.waived:
            return "waived"
        return "met" if self.passed else "excused"


class Account:
    """The account of one plugin.

    Args:
        page: its contract.toml.
        contracts: the catalogue.
        tests: names of the tests of each class of the contract.
        complete: all of them were to run: what did not is to do.
        live: the tests that talk to the provider itself run, and no others.
    """

    def __init__(
        self,
        page: Page,
        contracts: Mapping[str, Entry],
        tests: Mapping[str, Sequence[str]],
        *,
        complete: bool,
        live: bool = False,
    ) -> None:
        self.page = page
        self.complete = complete
        self.stopped = False  # before all tests had run, as by `-x`
        self._contracts = contracts
        self._known = {test for names in tests.values() for test in names}
        self._groups = {
            test: group
            for group, names in tests.items()
            for test in names
            if (group == LIVE_GROUP) == live
        }
        self._outcomes: dict[str, dict[str, Outcome]] = defaultdict(lambda: defaultdict(Outcome))
        self._others: dict[str, Outcome] = defaultdict(Outcome)
        self._frames: set[str] = set()
        self._foreign: set[str] = set()
        self._broken: dict[str, set[str]] = defaultdict(set)
        self._covered: dict[str, set[str]] = defaultdict(set)

    def add(self, report: pytest.TestReport) -> None:
        """Add the outcome of a test."""
        said = {key: str(value) for key, value in report.user_properties if key != BROKE}
        test = said[TEST]
        if said.get(KIND) == "foreign":
            self._foreign.add(report.nodeid)
            return
        contract = said.get(CONTRACT, "")
        outcome = self._outcomes[contract][test] if contract else self._others[test]
        outcome.add(report)
        if said.get(KIND) == "frame":
            self._frames.add(test)
        if said.get(WAIVER):
            self._covered[said[WAIVER]].add(test)
            return  # what a waived test breaks is waived with it
        for key, value in report.user_properties:
            if key == BROKE:
                self._broken[str(value)].add(test)

    @property
    def ran(self) -> bool:
        """Whether any test of a contract ran."""
        return bool(self._outcomes or self._others or self._foreign)

    def verdicts(self) -> dict[str, Verdict]:
        """Return what the tests say, by contract; without those of which nothing ran."""
        missing = self._missing() if self.complete else {}
        verdicts: dict[str, Verdict] = {}
        for contract in self._contracts:
            outcomes = self._outcomes.get(contract, {})
            verdict = Verdict()
            for test, outcome in outcomes.items():
                self._count(verdict, test, outcome)
            verdict.to_do += [f"broken during {test}" for test in self._broken.get(contract, ())]
            verdict.to_do += missing.get(contract, [])
            if set(outcomes) - self._frames or verdict.to_do:
                verdicts[contract] = verdict
        return verdicts

    def problems(self) -> list[str]:
        """Return what is wrong with the account itself, and which line to change."""
        problems: list[str] = []
        for key, why in self.page.waivers.items():
            where = self.page.line(key)
            if not isinstance(why, str) or not why.strip():
                problems.append(f"{where}: {key} is waived without a reason")
            problems += [f"{where}: {what}" for what in self._unneeded(key)]
        for nodeid in sorted(self._foreign):
            problems.append(
                f"{nodeid} has the id of a contract and is none of its tests: rename it"
            )
        return problems

    def data(self) -> AccountData:
        """Return all of it, for a report."""
        verdicts = self.verdicts()
        statuses = Counter(verdict.status for verdict in verdicts.values())
        return {
            "folder": self.page.path.parent.name,
            "wire": self.page.wire,
            "complete": self.complete,
            "counts": {status: statuses[status] for status in STATUSES},
            "contracts": {
                contract: {
                    "status": verdict.status,
                    "passed": verdict.passed,
                    "frames": verdict.frames,
                    "excused": dict(verdict.excused),
                    "waived": verdict.waived,
                    "to_do": verdict.to_do,
                    "loses": self._contracts[contract].loses,
                }
                for contract, verdict in verdicts.items()
            },
            "problems": self.problems(),
        }

    def headline(self) -> str:
        """Return the account in one line."""
        counts = self.data()["counts"]
        text = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
        return text if self.complete else f"{text} (a part of {len(self._contracts)})"

    def lines(self) -> Iterator[str]:
        """Yield the account as text."""
        verdicts = self.verdicts()
        by_status: dict[Status, dict[str, Verdict]] = {status: {} for status in STATUSES}
        for contract, verdict in verdicts.items():
            by_status[verdict.status][contract] = verdict
        if by_status["met"]:
            counts = [f"{contract} {_tests(each)}" for contract, each in by_status["met"].items()]
            yield from _row(
                "met", ", ".join(counts) + "  (tests that passed; in 5/10 the others are excused)"
            )
        for status in ("excused", "waived"):
            for contract, verdict in by_status[status].items():
                passed = f"{_tests(verdict)} passed" if verdict.passed else ""
                why = [f"{reason} ({count})" for reason, count in verdict.excused.items()]
                why += [f"{test}: {reason}" for test, reason in verdict.waived.items()]
                yield from _row(status, f"{contract}  {'; '.join(filter(None, [passed, *why]))}")
        for reason, contracts in self._excused(by_status["met"]):
            yield from _row("excused", f"{reason}: tests of {', '.join(contracts)}")
        frames = [
            self._outcomes[each].get(test) for each in self._outcomes for test in self._frames
        ]
        read = sum(outcome.met for outcome in frames if outcome is not None)
        if self._frames:
            yield from _row(
                "frames", f"{read} of {len(self._frames)} are read and written correctly"
            )
        for contract, verdict in by_status["to do"].items():
            loses, look = self._contracts[contract]
            yield from _row("to do", f"{contract}  {loses}")
            for reason in _shortened(verdict.to_do):
                yield from _row("", f"- {reason}", indent=13, hang=2)
            yield from _row("", f"Look at {look}.", indent=13)
        for problem in self.problems():
            yield from _row("wrong", problem)
        if self.page.wire == "reference":
            yield from textwrap.wrap(f"{REFERENCE} ({self.page.line('wire')}).", WIDTH)

    def _count(self, verdict: Verdict, test: str, outcome: Outcome) -> None:
        """Add a test to the verdict on its contract."""
        if outcome.failed:
            verdict.to_do.append(f"failed: {test}")
        elif outcome.waived:
            waiver = waiver_of(test, self.page.waivers)
            verdict.waived[test] = str(self.page.waivers.get(waiver, ""))
        elif outcome.met:
            if test in self._frames:
                verdict.frames += 1
            else:
                verdict.passed += 1
        elif outcome.excuse:
            verdict.excused[outcome.excuse] += 1
        else:
            verdict.to_do.append(f"skipped: {test}: {outcome.skipped or 'it did not finish'}")

    def _missing(self) -> dict[str, list[str]]:
        """Say which tests of which contracts did not run."""
        names = {test for outcomes in self._outcomes.values() for test in outcomes}
        ran = {_function(test) for test in names}
        present = {self._groups[test] for test in ran if test in self._groups}
        missing: dict[str, list[str]] = defaultdict(list)
        absent: dict[str, Counter[str]] = defaultdict(Counter)
        for test, group in self._groups.items():
            contract = contract_of(test)
            if not contract or test in ran:
                continue
            if self.stopped:
                missing[contract] = ["not run: the run was stopped"]
            elif group in present:
                missing[contract].append(f"not run: {test}")
            else:
                absent[contract][group] += 1
        for contract, counts in absent.items():
            for group, count in counts.items():
                tests = "1 test" if count == 1 else f"{count} tests"
                missing[contract].append(f"contract.{group} is not subclassed: {tests}")
        if LIVE_GROUP not in self._groups.values():
            proved = {contract_of(test) for test in self._groups}
            for contract in self._contracts.keys() - proved:
                missing[contract].append("there is no test of it")
        return missing

    def _unneeded(self, key: str) -> Iterator[str]:
        """Say what a waiver covers that needs none."""
        if _function(key) not in self._known:
            yield f"there is no test {key}"
            return
        covered = self._covered.get(key, set())
        if not covered and self.complete and _function(key) in self._groups:
            yield f"{key} covers no test that ran"
        everything = {**self._others}
        for outcomes in self._outcomes.values():
            everything.update(outcomes)
        for test in sorted(covered):
            if everything[test].met:
                others = "name the parameters that fail" if len(covered) > 1 else "remove the line"
                yield f"{test} is waived and passes: {others}"
            elif everything[test].excuse:
                yield f"{test} is waived and excused ({everything[test].excuse}): remove the line"

    def _excused(self, verdicts: Mapping[str, Verdict]) -> Iterator[tuple[str, list[str]]]:
        """Each reason that excused some tests of contracts, and which contracts."""
        reasons: dict[str, list[str]] = defaultdict(list)
        for contract, verdict in verdicts.items():
            for reason in verdict.excused:
                reasons[reason].append(contract)
        yield from sorted(reasons.items())


def write_report(path: Path, accounts: Iterable[AccountData]) -> None:
    """Write accounts as JSON or, where the name ends in .md, as Markdown."""
    listed = list(accounts)
    if path.suffix == ".md":
        text = "\n".join(as_markdown(each) for each in listed)
    else:
        text = json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def as_markdown(account: AccountData) -> str:
    """Return an account as it can be shown in a pull request."""
    counts = ", ".join(f"{account['counts'][status]} {status}" for status in STATUSES)
    lines = [f"## Contract: {counts}", ""]
    if not account["complete"]:
        lines += ["Only a part of the suite ran.", ""]
    if account["wire"] == "reference":
        lines += [f"{REFERENCE}.", ""]
    lines += [f"- wrong: {problem}" for problem in account["problems"]]
    lines += [""] if account["problems"] else []
    lines += [
        "| contract | | passed | frames | excused by | waived | to do |",
        "|---|---|---|---|---|---|---|",
    ]
    for contract, each in account["contracts"].items():
        excused = "; ".join(f"{why} ({count})" for why, count in each["excused"].items())
        waived = "; ".join(f"`{test}`: {why}" for test, why in each["waived"].items())
        to_do = "; ".join(each["to_do"])
        cells = [contract, each["status"], str(each["passed"] or ""), str(each["frames"] or "")]
        cells += [excused, waived, to_do]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _function(test: str) -> str:
    return test.partition("[")[0]


def _with_rule(look: str, rule: str | None) -> str:
    return f"{look} (rule {rule})" if rule else look


def _tests(verdict: Verdict) -> str:
    """How many of a contract's tests passed, and of how many."""
    every = verdict.passed + sum(verdict.excused.values()) + len(verdict.waived)
    return str(verdict.passed) if every == verdict.passed else f"{verdict.passed}/{every}"


def _shortened(reasons: Sequence[str]) -> list[str]:
    """The first reasons, and how many more there are."""
    if len(reasons) <= SHOWN:
        return list(reasons)
    return [*reasons[:SHOWN], f"and {len(reasons) - SHOWN} more"]


def _row(label: str, text: str, indent: int = 9, hang: int = 0) -> list[str]:
    """Wrap a text beside its label."""
    first = f"{label:9}".ljust(indent)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )
