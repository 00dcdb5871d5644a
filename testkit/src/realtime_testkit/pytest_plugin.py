"""Fixtures, options and the account of the contracts, as a plugin of pytest.

It is loaded in every run of pytest where the testkit is installed: so it imports little, and
does nothing where no class of the contract is collected.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

from . import protocol
from .account import (
    CONTRACT,
    KIND,
    TEST,
    WAIVED,
    WAIVER,
    Account,
    Kind,
    catalogue,
    contract_of,
    groups,
    waiver_of,
    write_report,
)
from .facts import NO_MESSAGE, Page, PageError, excuse

if TYPE_CHECKING:
    from .subject import Subject

pytest.register_assert_rewrite(
    "realtime_testkit.contract",
    "realtime_testkit.scenarios",
    "realtime_testkit.recorders",
    "realtime_testkit.agent_flow",
)

PACKAGE = "realtime_testkit.contract"
PAGE = "contract.toml"
WAIVED_BEFORE = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def subject() -> "Subject":
    """The plugin that the contract judges: to be defined beside its test_contract.py."""
    pytest.fail("define the fixture `subject`, with the scope of a session", pytrace=False)


@pytest.fixture(scope="session")
def no_blocking_calls(subject: "Subject") -> Iterator[None]:
    """A blocking call of the plugin in the loop raises an exception."""
    with blockbuster_ctx(subject.plugin):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("contract", "contract of a realtime plugin")
    group.addoption(
        "--contract",
        choices=["report", "strict"],
        default="report",
        help="strict: fail where a contract is to do, and not only report it",
    )
    group.addoption(
        "--contract-report",
        metavar="PATH",
        type=Path,
        help="write the account to a file: as Markdown if its name ends in .md, else as JSON",
    )
    group.addoption(
        "--live",
        action="store_true",
        help="run the tests marked integration alone: they talk to the provider itself",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Open the accounts, in the process where the reports come together."""
    config.addinivalue_line("markers", "allows(*findings): what a contract test provokes")
    config.addinivalue_line("markers", "contract(id): the contract of a test without its id")
    config.addinivalue_line("markers", "integration: talks to the provider itself")
    config.addinivalue_line("markers", "skip_blockbuster: as Vision Agents' conftest.py reads it")
    if "workerinput" in vars(config):  # one of xdist's workers
        return
    for folder in {folder for arg in config.args for folder in _folders(config, arg)}:
        _page(folder)
    config.pluginmanager.register(Accountant(config), "realtime_testkit_accountant")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Open one session at a time with the provider itself."""
    if config.getoption("live"):
        config.option.numprocesses = 0
    return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep live tests and all others apart, and say of each test which contract it proves."""
    of_contract = [item for item in items if _has_page(item)]
    live = {item for item in of_contract if item.get_closest_marker("integration")}
    if config.getoption("live"):
        left_out = [item for item in of_contract if item not in live]
        # Of all, the contract's say in one line that there is no key.
        items.sort(key=lambda item: _kind(item) != "test")
    elif "integration" in config.option.markexpr:
        left_out = []
    else:
        left_out = list(live)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in of_contract:
        kind = _kind(item)
        if kind is None:
            continue
        contract = _contract(item)
        # The suite looks for blocking calls of the plugin itself, and its own files are read.
        item.add_marker("skip_blockbuster")
        item.user_properties += [(KIND, kind), (TEST, item.name)]
        if contract:
            item.user_properties.append((CONTRACT, contract))
        waiver = _waiver(item)
        if waiver:
            item.user_properties.append((WAIVER, waiver))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Excuse a test in which the provider would say what its wire has no message for."""
    try:
        yield
    except protocol.UnsupportedEvent as unsupported:
        if _kind(item) is None:
            raise
        excuse(f"{NO_MESSAGE}{unsupported}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a waived test fail, and say of any other what is at stake."""
    report = yield
    if not report.failed or _kind(item) not in ("test", "frame"):
        return report
    waiver = _waiver(item)
    if waiver and item.stash.get(WAIVED_BEFORE, False):
        report.outcome = "passed"  # the call was waived: its teardown says nothing more
    elif waiver:
        item.stash[WAIVED_BEFORE] = True
        report.outcome = "skipped"
        report.wasxfail = f"{WAIVED}{_page(item.path.parent).waivers[waiver]}"
    elif _contract(item):
        entry = catalogue()[_contract(item)]
        report.sections.append(
            (f"contract {_contract(item)}", f"{entry.loses}\nLook at {entry.look}.")
        )
    return report


class Accountant:
    """Keeps the account of each plugin that was tested, and reports at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._strict = config.getoption("contract") == "strict"
        self._accounts: dict[Path, Account] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the outcome of a test."""
        if not any(key == KIND for key, _ in report.user_properties):
            return
        folder = (self._config.rootpath / report.nodeid.partition("::")[0]).parent
        if folder not in self._accounts:
            self._accounts[folder] = Account(
                _page(folder),
                catalogue(),
                groups(),
                complete=self._strict or self._is_complete,
                live=bool(self._config.getoption("live")),
            )
        self._accounts[folder].add(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run whose account is wrong, and write the report."""
        for account in self._accounts.values():
            account.stopped = bool(session.shouldfail or session.shouldstop)
        accounts = [account.data() for account in self._accounts.values()]
        to_do = any(each["counts"]["to do"] for each in accounts)
        problems = any(each["problems"] for each in accounts)
        if (problems or (self._strict and to_do)) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        path: Path | None = self._config.getoption("contract_report")
        if path is not None and accounts:
            write_report(self._config.invocation_params.dir / path, accounts)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the accounts."""
        for account in self._accounts.values():
            data = account.data()
            bad = bool(data["problems"] or data["counts"]["to do"])
            terminalreporter.section(f"contract: {account.headline()}", red=bad, green=not bad)
            for line in account.lines():
                terminalreporter.line(line)

    @property
    def _is_complete(self) -> bool:
        """Whether every test was asked for."""
        option = self._config.option
        chosen = option.keyword or option.markexpr or vars(option).get("deselect")
        chosen = chosen or vars(option).get("lf") or any("::" in arg for arg in self._config.args)
        return not chosen


def _kind(item: pytest.Item) -> Kind | None:
    """Say what a test is to the contract: one of it, one that only has such a name, or none."""
    if not isinstance(item, pytest.Function):
        return None
    if item.function.__module__.startswith(f"{PACKAGE}."):
        return "frame" if item.get_closest_marker("contract") else "test"
    return "foreign" if contract_of(item.name) in catalogue() else None


def _contract(item: pytest.Item) -> str:
    """Return the id of the contract that a test belongs to, if there is one."""
    mark = item.get_closest_marker("contract")
    contract = str(mark.args[0]) if mark is not None else contract_of(item.name)
    return contract if contract in catalogue() else ""


def _waiver(item: pytest.Item) -> str:
    return waiver_of(item.name, _page(item.path.parent).waivers)


_pages: dict[Path, Page] = {}


def _page(folder: Path) -> Page:
    """Read the contract.toml in a folder, once.

    Raises:
        pytest.UsageError: it says something it cannot say.
    """
    if folder not in _pages:
        try:
            page = _pages[folder] = Page(folder / PAGE)
            page.facts  # noqa: B018 - reading them is what checks them
        except PageError as error:
            raise pytest.UsageError(str(error)) from None
    return _pages[folder]


def _has_page(item: pytest.Item) -> bool:
    return (item.path.parent / PAGE).exists()


def _folders(config: pytest.Config, arg: str) -> Iterator[Path]:
    """Folders that an argument of pytest names, where there is a contract.toml."""
    path = config.invocation_params.dir / arg.partition("::")[0]
    for folder in (path, path.parent):
        if (folder / PAGE).exists():
            yield folder
