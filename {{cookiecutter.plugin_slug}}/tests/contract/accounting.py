"""The account of the contracts: each is met, to do or waived.

Hooks for pytest, put to work by ../conftest.py. Imports nothing of the plugin: under
xdist the process that reports is not one of those that test.
"""

import contextlib
import gc
import hashlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

SUITE = Path(__file__).parent
PAGE = SUITE.with_name("contract.toml")
CONTRACT_TEST = re.compile(r"test_([a-z]{2}\d)_")
MESSAGE_TYPE = re.compile(r'"([a-z_]+(?:\.[a-z_]+)+)"')
WIRES = ("reference", "compatible", "own")
LIVE = "live: "
"""How the reason begins for which a live test was skipped."""


class Page:
    """contract.toml, and where in it things are."""

    def __init__(self) -> None:
        self._text = PAGE.read_text(encoding="utf-8")
        content = tomllib.loads(self._text)
        self.wire = str(content["provider"].get("wire"))
        self.waivers: dict[str, object] = content.get("waivers", {})

    def line(self, key: str) -> str:
        """Where a key stands, for somebody to go there."""
        start = re.compile(rf'\s*"?{re.escape(key)}"?\s*=')
        for number, line in enumerate(self._text.splitlines(), start=1):
            if start.match(line):
                return f"{PAGE.name}, line {number}"
        return PAGE.name


class Seal:
    """What the suite was when it was made."""

    def __init__(self, folder: Path = SUITE) -> None:
        self._folder = folder
        self.wire_words: list[str] = []
        self.files: dict[str, dict[str, object]] = {}
        manifest = folder / "manifest.toml"
        if manifest.exists():
            sealed = tomllib.loads(manifest.read_text(encoding="utf-8"))
            self.wire_words = sealed["wire"]["words"]
            self.files = sealed["files"]

    @cached_property
    def tests(self) -> dict[str, set[str]]:
        """The tests of each contract, by its id."""
        found: dict[str, set[str]] = defaultdict(set)
        for name in self.files:
            for test in self._names(name):
                found[contract_of(test)].add(test)
        return found

    def broken(self) -> Iterator[str]:
        """What is not as it was."""
        if not self.files:
            yield "contract/manifest.toml is gone: restore it"
            return
        for name, sealed in self.files.items():
            path = self._folder / name
            if not path.exists():
                yield f"contract/{name} is gone: restore it (a template update brings it back)"
                continue
            text = path.read_text(encoding="utf-8")
            gone = [test for test in self._names(name) if f"def {test}(" not in text]
            yield from (f"contract/{name}: {test} is gone: restore it" for test in gone)
            if not gone and digest(text) not in _strings(sealed["digests"]):
                yield f"contract/{name} was edited: restore it, and waive what you cannot keep"
        for path in self._folder.glob("test_*.py"):
            if path.name not in self.files:
                yield f"contract/{path.name} is no part of the suite: move it out of contract/"

    def _names(self, file: str) -> list[str]:
        return _strings(self.files[file].get("tests"))


@dataclass
class Outcome:
    """How one test ended, over setup, call and teardown."""

    passed: bool = False
    failed: bool = False
    skipped: str = ""

    def add(self, report: pytest.TestReport) -> None:
        """Take one more phase."""
        if report.failed or "wasxfail" in report.__dict__:
            self.failed = True
        elif report.skipped:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.skipped = why.removeprefix("Skipped: ") or "no reason given"
        elif report.when == "call":
            self.passed = True

    @property
    def met(self) -> bool:
        """It passed, in all its phases."""
        return self.passed and not self.failed and not self.skipped

    @property
    def excused(self) -> bool:
        """It was skipped for what the provider lacks, or because it needs the provider."""
        excuses = ("contract.toml: ", "wire.py: ", "client.py: ", "pyproject.toml: ", LIVE)
        return not self.failed and self.skipped.startswith(excuses)


class Account:
    """Counts while the tests run, and reports at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._page = Page()
        self._seal = Seal()
        self._catalogue = catalogue()
        self._outcomes: dict[str, dict[str, Outcome]] = defaultdict(lambda: defaultdict(Outcome))
        self._broken: dict[str, set[str]] = defaultdict(set)
        self._strangers: set[str] = set()
        # Without the option where this conftest.py is found late: pytest from a monorepo's root.
        self._strict = config.getoption("--contract", default="report") == "strict"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the outcome of a test."""
        path, _, name = report.nodeid.partition("::")
        test = name.rpartition("::")[2].partition("[")[0]
        contract = contract_of(test)
        if contract not in self._catalogue:
            return
        if (self._config.rootpath / path).parent != SUITE:
            self._strangers.add(f"{path}::{test}")
            return
        self._outcomes[contract][f"{Path(path).name}::{name.rpartition('::')[2]}"].add(report)
        for key, broken in report.user_properties:
            if key == "broke":
                self._broken[str(broken)].add(f"{Path(path).name}::{test}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run whose account is wrong."""
        wrong = self._problems() or (self._strict and self._to_do())
        if wrong and session.exitstatus == pytest.ExitCode.OK and self._ran:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what is met, what is to do, and what was waived."""
        if not self._ran:
            return
        problems, to_do, waived = self._problems(), self._to_do(), self._waived()
        met = self._met()
        counted = f"{len(met)} met, {len(to_do)} to do, {len(waived)} waived"
        if not self._whole and not self._strict:
            counted += f"; only a part of the suite ran, {len(self._catalogue)} contracts are all"
        bad = bool(problems or to_do)
        terminalreporter.section(f"contract: {counted}", red=bad, green=not bad)
        for contract, reasons in to_do.items():
            loses, look = self._catalogue[contract]
            terminalreporter.line(f"to do   {contract}  {loses}")
            for reason in reasons:
                terminalreporter.line(f"             {reason}")
            terminalreporter.line(f"             Look at {look}.")
        for contract, why in waived.items():
            terminalreporter.line(f"waived  {contract}  {why}")
        for problem in problems:
            terminalreporter.line(f"wrong   {problem}", red=True)
        if self._page.wire == "reference":
            terminalreporter.line(
                "These are the results of the reference provider: wire.py still speaks its words, "
                f"and nothing here was tried with your own ({self._page.line('wire')})."
            )

    @property
    def _ran(self) -> bool:
        return bool(self._outcomes or self._strangers) and not self._config.option.collectonly

    @property
    def _whole(self) -> bool:
        return all(
            tests
            <= {name.partition("::")[2].partition("[")[0] for name in self._outcomes[contract]}
            for contract, tests in self._seal.tests.items()
        )

    def _met(self) -> list[str]:
        to_do, waived = self._to_do(), self._waived()
        ran = [contract for contract in self._catalogue if self._outcomes.get(contract)]
        return [contract for contract in ran if contract not in to_do and contract not in waived]

    def _waived(self) -> dict[str, str]:
        return {
            contract: str(why)
            for contract, why in self._page.waivers.items()
            if contract in self._catalogue
        }

    def _to_do(self) -> dict[str, list[str]]:
        """Contracts that are not met, each with the tests that say so."""
        whole = self._whole or self._strict
        reasons: dict[str, list[str]] = {}
        for contract in self._catalogue:
            if contract in self._page.waivers:
                continue
            outcomes = self._outcomes.get(contract, {})
            why = [f"failed: {name}" for name, each in outcomes.items() if each.failed]
            proved = any(each.met for each in outcomes.values())
            why += [
                f"skipped: {name}: {each.skipped}"
                for name, each in outcomes.items()
                if each.skipped and not each.failed and not (proved and each.excused)
            ]
            why += [f"broken during {name}" for name in sorted(self._broken.get(contract, ()))]
            if whole:
                ran = {name.partition("::")[2].partition("[")[0] for name in outcomes}
                missing = sorted(self._seal.tests.get(contract, set()) - ran)
                why += [f"not run: {test}" for test in missing]
                if not outcomes and not missing:
                    why.append("there is no test of it")
            if why:
                reasons[contract] = list(dict.fromkeys(why))
        return reasons

    def _problems(self) -> list[str]:
        """What is wrong with the account itself, and which line to change."""
        page = self._page
        problems = list(self._seal.broken())
        for contract, why in page.waivers.items():
            where = page.line(contract)
            if contract not in self._catalogue:
                problems.append(f"{where}: there is no contract {contract}")
            elif not isinstance(why, str) or not why.strip():
                problems.append(f"{where}: {contract} is waived without a reason")
            elif self._passes(contract):
                problems.append(f"{where}: {contract} is waived and passes: remove the line")
        for test in sorted(self._strangers):
            problems.append(f"{test} has a contract's id and is none of its tests: rename it")
        problems += self._wire_problems()
        return problems

    def _passes(self, contract: str) -> bool:
        outcomes = self._outcomes.get(contract, {})
        ran = {name.partition("::")[2].partition("[")[0] for name in outcomes}
        if ran < self._seal.tests.get(contract, set()) or contract in self._broken:
            return False
        ends = outcomes.values()
        return any(each.met for each in ends) and all(each.met or each.excused for each in ends)

    def _wire_problems(self) -> list[str]:
        page, where = self._page, self._page.line("wire")
        if page.wire not in WIRES:
            return [f"{where}: wire = {page.wire!r} is none of {', '.join(WIRES)}"]
        sources = sorted(SUITE.parents[1].glob("vision_agents/plugins/*/wire.py"))
        if not sources:
            return []  # a vendor's client speaks for itself
        same = words_of(sources[0].read_text(encoding="utf-8")) in self._seal.wire_words
        if same and page.wire == "own":
            return [f'{where}: wire.py speaks the reference provider\'s words: say "compatible"']
        if not same and page.wire == "reference":
            return [f'{where}: wire.py has words of its own: say wire = "own"']
        return []


def catalogue() -> dict[str, tuple[str, str]]:
    """What a user loses by each contract, and where to look."""
    entries = tomllib.loads((SUITE / "catalogue.toml").read_text(encoding="utf-8"))
    return {
        contract: (entry["loses"], f"{entry['look']} (rule {entry['rule']})")
        if "rule" in entry
        else (entry["loses"], entry["look"])
        for contract, entry in entries.items()
    }


def contract_of(test: str) -> str:
    """The id a test's name carries, if any."""
    match = CONTRACT_TEST.match(test)
    return match[1].upper() if match else ""


def digest(text: str) -> str:
    """A file's fingerprint, whatever the answers were and however it is formatted."""
    text = re.sub(r"vision_agents\.plugins\.\w+|plugins import \w+", "PLUGIN", text)
    text = re.sub(r"llm\.\w+(?=\(\*args)", "NATIVE_METHOD", text)
    text = re.sub(r"\w+(?=_API_KEY|_BASE_URL)", "PREFIX", text)
    return hashlib.sha256(re.sub(r"[\s(),]", "", text).encode()).hexdigest()[:16]


def words_of(wire: str) -> str:
    """A fingerprint of the messages a wire.py knows, whatever else it says."""
    words = sorted(set(MESSAGE_TYPE.findall(wire)))
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def _strings(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --contract and --live."""
    # Another plugin of the same repository may bring the same options.
    with contextlib.suppress(ValueError):
        parser.addoption(
            "--contract",
            choices=["report", "strict"],
            default="report",
            help="strict: fail where a contract is to do, and not only count it",
        )
        parser.addoption(
            "--live",
            action="store_true",
            help="run the tests marked integration alone: they talk to the provider itself",
        )


def pytest_configure(config: pytest.Config) -> None:
    """Open the account, where the reports come together."""
    config.addinivalue_line("markers", "allows(*findings): what a contract test breaks on purpose")
    if "workerinput" not in vars(config):  # one of xdist's workers has it
        config.pluginmanager.register(Account(config), f"contract account of {SUITE}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Open one session at a time where they are the provider's own."""
    return 0 if config.getoption("--live") else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all the tests need without a look for garbage in it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep live tests and all others apart."""
    ours = [item for item in items if SUITE.parent in item.path.parents]
    live = [item for item in ours if item.get_closest_marker("integration")]
    if config.getoption("--live"):
        others = [item for item in ours if item not in live]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    elif "integration" not in config.option.markexpr:
        for item in live:
            item.add_marker(pytest.mark.skip(reason=f"{LIVE}--live is not given"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a waived contract fail, and say of any other what is at stake."""
    report = yield
    contract = contract_of(item.name)
    if not report.failed or item.path.parent != SUITE or contract not in catalogue():
        return report
    why = Page().waivers.get(contract)
    if why:
        report.outcome = "skipped"
        report.wasxfail = f"waived: {why}"
    else:
        loses, look = catalogue()[contract]
        report.sections.append((f"contract {contract}", f"{loses}\nLook at {look}."))
    return report
