"""The account of the contracts, from reports of tests that did not run."""

import itertools
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

import pytest
from realtime_testkit import contract
from realtime_testkit.account import (
    BROKE,
    CONTRACT,
    KIND,
    TEST,
    WAIVED,
    WAIVER,
    Account,
    Entry,
    as_markdown,
    catalogue,
    contract_of,
    groups,
    waiver_of,
)
from realtime_testkit.facts import EXCUSE, FACT, Facts, Page

CONTRACTS = {
    "AA1": Entry("The first is lost.", "first.py"),
    "BB1": Entry("The second is lost.", "second.py"),
}
GROUPS = {"First": ["test_aa1_one", "test_aa1_two"], "Second": ["test_bb1_one", "test_frame"]}
Result = Literal["passed", "failed", "skipped", "waived", "xfailed"]


class Suite:
    """Reports to an account what tests would."""

    def __init__(self, folder: Path, waivers: str = "", *, complete: bool = True) -> None:
        path = folder / "contract.toml"
        facts = '[provider]\nwire = "own"\ninput_rate = 24000\noutput_rate = 24000\n'
        path.write_text(f"{facts}[waivers]\n{waivers}\n", encoding="utf-8")
        self.account = Account(Page(path), CONTRACTS, GROUPS, complete=complete)

    def ran(
        self,
        test: str,
        result: Result = "passed",
        why: str = "",
        *,
        broke: Sequence[str] = (),
        frame: str = "",
        foreign: bool = False,
    ) -> None:
        """Report a test: its call, and its teardown where that is where it failed."""
        kind = "foreign" if foreign else "frame" if frame else "test"
        said: list[tuple[str, object]] = [(KIND, kind), (TEST, test)]
        said += [(CONTRACT, frame or contract_of(test))]
        if waiver := waiver_of(test, self.account.page.waivers):
            said.append((WAIVER, waiver))
        said += [(BROKE, contract) for contract in broke]
        outcome: Literal["passed", "failed", "skipped"] = "skipped"
        if result in ("passed", "failed"):
            outcome = "passed" if result == "passed" else "failed"
        report = pytest.TestReport(
            nodeid=f"tests/test_contract.py::TestFirst::{test}",
            location=("tests/test_contract.py", 1, test),
            keywords={},
            outcome=outcome,
            longrepr=("facts.py", 1, f"Skipped: {why}") if result == "skipped" else None,
            when="call",
            user_properties=said,
        )
        if result in ("waived", "xfailed"):
            report.wasxfail = f"{WAIVED}a reason" if result == "waived" else "a reason"
        self.account.add(report)

    def status(self, contract: str) -> str:
        """The word for a contract."""
        return self.account.verdicts()[contract].status


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


def test_every_contract_has_a_test() -> None:
    tested = {contract_of(test) for tests in groups().values() for test in tests} - {""}
    assert tested == set(catalogue())


def test_every_group_is_exported_and_its_tests_are_unique() -> None:
    assert groups().keys() <= set(contract.__all__)
    names = [test for tests in groups().values() for test in tests]
    assert len(names) == len(set(names))


def test_met_needs_a_passed_test(suite: Suite) -> None:
    suite.ran("test_aa1_one", "passed")
    suite.ran("test_aa1_two", "skipped", f"{EXCUSE}{FACT}tools = false")
    suite.ran("test_bb1_one", "skipped", f"{EXCUSE}{FACT}tools = false")
    suite.ran("test_frame[a]", frame="BB1")
    assert suite.status("AA1") == "met"
    assert suite.status("BB1") == "excused"
    verdict = suite.account.verdicts()["BB1"]
    assert (verdict.passed, verdict.frames, verdict.excused) == (0, 1, {"tools = false": 1})


@pytest.mark.parametrize("fact", [each.name for each in fields(Facts)])
@pytest.mark.parametrize("passed", [0, 1, 2])
def test_no_fact_makes_a_contract_met(suite: Suite, fact: str, passed: int) -> None:
    """Each fact turned off excuses tests, and a contract is met by those that passed alone."""
    for number, test in enumerate(GROUPS["First"]):
        if number < passed:
            suite.ran(test)
        else:
            suite.ran(test, "skipped", f"{EXCUSE}{FACT}{fact} = false")
    assert suite.status("AA1") == ("met" if passed else "excused")
    assert suite.account.data()["contracts"]["AA1"]["passed"] == passed


@pytest.mark.parametrize(
    ("result", "why"),
    [("failed", ""), ("skipped", "not today"), ("xfailed", "an author's own mark")],
)
def test_failed_and_skipped_tests_are_to_do(suite: Suite, result: Result, why: str) -> None:
    suite.ran("test_aa1_one")
    suite.ran("test_aa1_two", result, why)
    assert suite.status("AA1") == "to do"
    assert "test_aa1_two" in suite.account.verdicts()["AA1"].to_do[0]


def test_a_test_that_fails_in_its_teardown_is_to_do(suite: Suite) -> None:
    suite.ran("test_aa1_one")
    suite.ran("test_aa1_one", "failed")
    assert suite.status("AA1") == "to do"


def test_a_frame_that_is_read_wrongly_is_to_do(suite: Suite) -> None:
    suite.ran("test_bb1_one")
    suite.ran("test_frame[a]", "failed", frame="BB1")
    assert suite.status("BB1") == "to do"


def test_a_class_that_is_not_subclassed_is_to_do(suite: Suite) -> None:
    suite.ran("test_aa1_one")
    suite.ran("test_aa1_two")
    assert suite.status("AA1") == "met"
    assert suite.account.verdicts()["BB1"].to_do == ["contract.Second is not subclassed: 1 test"]


def test_a_stopped_run_blames_no_class(suite: Suite) -> None:
    """After a run that was stopped, as by `-x`, what did not run is to do for that reason."""
    suite.ran("test_aa1_one")
    suite.account.stopped = True
    assert suite.account.verdicts()["BB1"].to_do == ["not run: the run was stopped"]


def test_a_part_of_the_suite_says_nothing_of_the_rest(tmp_path: Path) -> None:
    suite = Suite(tmp_path, complete=False)
    suite.ran("test_aa1_one")
    assert list(suite.account.verdicts()) == ["AA1"]
    assert suite.status("AA1") == "met"
    assert "a part of 2" in suite.account.headline()


def test_a_broken_watch_breaks_the_contract_it_names(suite: Suite) -> None:
    for test in ("test_aa1_one", "test_aa1_two"):
        suite.ran(test)
    suite.ran("test_bb1_one", broke=["AA1"])
    assert suite.account.verdicts()["AA1"].to_do == ["broken during test_bb1_one"]


def test_a_waived_test_breaks_nothing_else(tmp_path: Path) -> None:
    suite = Suite(tmp_path, 'test_bb1_one = "the provider cannot"')
    for test in ("test_aa1_one", "test_aa1_two"):
        suite.ran(test)
    suite.ran("test_bb1_one", "waived", broke=["AA1"])
    assert (suite.status("AA1"), suite.status("BB1")) == ("met", "waived")
    assert suite.account.verdicts()["BB1"].waived == {"test_bb1_one": "the provider cannot"}
    assert suite.account.problems() == []


def test_a_waiver_does_not_hide_other_tests(tmp_path: Path) -> None:
    suite = Suite(tmp_path, 'test_aa1_one = "the provider cannot"')
    suite.ran("test_aa1_one", "waived")
    suite.ran("test_aa1_two", "failed")
    assert suite.status("AA1") == "to do"


@pytest.mark.parametrize(
    ("waiver", "problem"),
    [
        ('test_aa1_one = "why"', "test_aa1_one is waived and passes: remove the line"),
        ('"test_aa1_two[a]" = "why"', "test_aa1_two[a] is waived and passes: remove the line"),
        ('test_aa1_two = "why"', "test_aa1_two[a] is waived and passes: name the parameters"),
        ('test_aa1_two = ""', "test_aa1_two is waived without a reason"),
        ("test_aa1_two = 7", "test_aa1_two is waived without a reason"),
        ('"test_aa1_two[c]" = "why"', "test_aa1_two[c] covers no test that ran"),
        ('test_aa1_three = "why"', "there is no test test_aa1_three"),
        ('AA1 = "why"', "there is no test AA1"),
        ('test_bb1_one = "why"', "waived and excused (tools = false): remove the line"),
    ],
)
def test_a_waiver_that_is_not_needed_is_a_problem(
    tmp_path: Path, waiver: str, problem: str
) -> None:
    suite = Suite(tmp_path, waiver)
    suite.ran("test_aa1_one")
    suite.ran("test_aa1_two[a]")
    suite.ran("test_aa1_two[b]", "waived" if waiver.startswith("test_aa1_two") else "failed")
    suite.ran("test_bb1_one", "skipped", f"{EXCUSE}{FACT}tools = false")
    said = suite.account.problems()
    assert any(problem in each for each in said), said
    assert all(each.startswith("contract.toml, line 6: ") for each in said)


def test_a_test_of_somebody_else_is_a_problem(suite: Suite) -> None:
    suite.ran("test_aa1_one", foreign=True)
    [problem] = suite.account.problems()
    assert "is none of its tests" in problem
    assert suite.status("AA1") == "to do"


def test_the_account_fits_a_terminal(tmp_path: Path) -> None:
    suite = Suite(tmp_path, 'test_bb1_one = "' + "a long reason " * 20 + '"')
    for letter in range(40):
        suite.ran(f"test_aa1_two[a rather long name of a parameter, number {letter}]", "failed")
    suite.ran("test_bb1_one", "waived")
    lines = list(suite.account.lines())
    assert max(map(len, lines)) <= 80
    assert any("and 31 more" in line for line in lines)


def test_a_report_for_a_pull_request(suite: Suite) -> None:
    suite.ran("test_aa1_one")
    suite.ran("test_aa1_two", "skipped", f"{EXCUSE}{FACT}ids = false")
    suite.ran("test_bb1_one", "failed")
    text = as_markdown(suite.account.data())
    assert text.startswith("## Contract: 1 met, 0 excused, 0 waived, 1 to do\n")
    assert "| AA1 | met | 1 |  | ids = false (1) |  |  |" in text
    assert "| BB1 | to do |  |  |  |  | failed: test_bb1_one |" in text


def test_the_states_exclude_each_other(tmp_path: Path) -> None:
    results: list[Result] = ["passed", "failed", "skipped"]
    for one, two in itertools.product(results, repeat=2):
        suite = Suite(tmp_path)
        for test, result in zip(GROUPS["First"], (one, two), strict=True):
            suite.ran(test, result, f"{EXCUSE}{FACT}ids = false")
        wanted = (
            "to do" if "failed" in (one, two) else "met" if "passed" in (one, two) else "excused"
        )
        assert suite.status("AA1") == wanted, (one, two)
