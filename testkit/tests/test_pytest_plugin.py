"""The suite as a plugin's author sees it, over a plugin that keeps hardly any contract."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pytest
from realtime_testkit import contract
from realtime_testkit.account import AccountData, groups
from realtime_testkit.facts import Facts

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent

CONFTEST = """
from pathlib import Path

import pytest
import toy_plugin
from realtime_testkit import Subject
from realtime_testkit.providers import openai

SUBJECT = Subject(
    plugin=toy_plugin,
    realtime=toy_plugin.Realtime,
    client=toy_plugin.Client,
    provider=openai.Provider,
    session_error=toy_plugin.ToyError,
    response_error=toy_plugin.ToyError,
    native_method="create_response",
    api_key_variable="TOY_API_KEY",
    folder=Path(__file__).parent,
)

@pytest.fixture(scope="session")
def subject():
    return SUBJECT
"""

PAGE = '[provider]\nwire = "own"\ninput_rate = 24000\noutput_rate = 24000\n'

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
timeout = 60
"""


class Project:
    """A project with the toy plugin and its tests."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        pytester.makeini(INI)
        pytester.makeconftest(CONFTEST)
        shutil.copy(HERE / "toy_plugin.py", pytester.path)
        self.write("contract.toml", PAGE)
        self.subclasses(*contract.__all__)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self._pytester.path / name).write_text(text, encoding="utf-8")

    def subclasses(self, *names: str, more: str = "") -> None:
        """Write test_contract.py."""
        classes = "".join(f"class Test{name}(contract.{name}): ...\n" for name in names)
        self.write("test_contract.py", f"from realtime_testkit import contract\n{classes}{more}")

    def run(self, *args: str) -> pytest.RunResult:
        """Run the tests in this process."""
        return self._pytester.runpytest_inprocess(
            "-n0", "--tb=line", "-q", "--contract-report=report.json", *args
        )

    def account(self) -> AccountData:
        """The account that the last run wrote."""
        text = (self._pytester.path / "report.json").read_text(encoding="utf-8")
        return cast("AccountData", json.loads(text)[0])


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("TOY", "TOY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(pytester.path)
    return Project(pytester)


def test_what_it_keeps_is_met_and_the_rest_to_do(project: Project) -> None:
    result = project.run("-k", "test_ct2 or test_lc4")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    contracts = project.account()["contracts"]
    assert contracts["CT2"]["status"] == "to do"  # connect() fails
    assert contracts["LC4"]["status"] == "to do"
    assert contracts["LC4"]["passed"] == 0
    result.stdout.fnmatch_lines(["*contract: 0 met, 0 excused, 0 waived, 2 to do (a part of *"])


def test_a_run_of_everything_is_complete(project: Project) -> None:
    project.subclasses("Packaging", "Frames")
    project.run()
    account = project.account()
    assert account["complete"]
    assert account["contracts"]["PK1"]["status"] == "met"
    assert account["contracts"]["PK2"]["status"] == "excused"
    assert account["contracts"]["TN1"]["to_do"][0].startswith("contract.Turns is not")
    assert not any("Live" in reason for reason in account["contracts"]["SE5"]["to_do"])


def test_strict_fails_on_anything_to_do(project: Project) -> None:
    assert project.run("-k", "test_pk1").ret == pytest.ExitCode.OK
    assert project.run("-k", "test_pk1", "--contract=strict").ret == pytest.ExitCode.TESTS_FAILED
    contracts = project.account()["contracts"]
    assert contracts["PK1"]["status"] == "met"
    assert contracts["TN1"]["status"] == "to do"


def test_an_own_test_of_the_author_is_no_proof(project: Project) -> None:
    more = "\nclass TestMine(contract.Packaging):\n"
    more += "    def test_pk1_realtime_is_a_subclass(self): ...\n"
    project.subclasses(more=more)
    result = project.run("-k", "test_pk1_realtime")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["wrong*test_contract.py::TestMine::test_pk1_realtime*"])
    assert not project.account()["contracts"]


def test_an_authors_marks_do_not_make_a_contract_met(project: Project) -> None:
    more = "\nimport pytest\npytestmark = pytest.mark.xfail(strict=False)\n"
    project.subclasses("Construct", "Packaging", more=more)
    project.run("-k", "test_ct2_key or test_pk1_realtime")
    statuses = {key: each["status"] for key, each in project.account()["contracts"].items()}
    assert statuses == {"CT2": "to do", "PK1": "to do"}


@pytest.mark.parametrize("does", ["hangs", "freezes", "leaks"])
def test_a_waived_test_breaks_nothing_else(
    project: Project, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    """A waived test that hangs, freezes the loop or breaks a watch is waived, and no more."""
    monkeypatch.setenv("TOY", does)
    name = "test_lc1_connect_returns_after_acceptance"
    project.write("contract.toml", f'{PAGE}[waivers]\n{name} = "it cannot"\n')
    result = project.run("-k", f"{name} or test_pk1_realtime")
    result.assert_outcomes(passed=1, xfailed=1, deselected=deselected(result))
    statuses = {key: each["status"] for key, each in project.account()["contracts"].items()}
    assert statuses == {"LC1": "waived", "PK1": "met"}
    assert result.ret == pytest.ExitCode.OK


def test_a_frozen_loop_fails_with_the_place_where_it_stood(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", "freezes")
    result = project.run("-k", "test_lc1_connect_returns or test_pk1_realtime", "--tb=short")
    result.stdout.fnmatch_lines(["*the event loop stood still*", "*toy_plugin.py*in connect*"])
    contracts = project.account()["contracts"]
    assert contracts["PK1"]["status"] == "met"
    assert "broken during test_lc1_connect_returns" in contracts["RB4"]["to_do"][0]


def test_a_leak_breaks_the_contract_of_leaks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", "leaks")
    project.run("-k", "test_lc2_failed_connect_raises_within_its_bound")
    contracts = project.account()["contracts"]
    assert "broken during test_lc2_failed_connect" in contracts["LC6"]["to_do"][0]


def test_a_waiver_that_passes_fails_the_run(project: Project) -> None:
    waiver = 'test_pk1_realtime_is_a_subclass = "it cannot"'
    project.write("contract.toml", f"{PAGE}[waivers]\n{waiver}\n")
    result = project.run("-k", "test_pk1_realtime")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "is waived and passes" in project.account()["problems"][0]


def test_a_bad_page_is_one_line(project: Project) -> None:
    project.write("contract.toml", f"{PAGE}vidoe = true\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: contract.toml, line 5: there is no fact vidoe"])


def test_live_needs_a_key(project: Project) -> None:
    result = project.run("--live")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*--live needs the provider's key: set TOY_API_KEY*"])


def test_without_live_no_live_test_is_collected(project: Project) -> None:
    project.subclasses("Live")
    result = project.run()
    result.assert_outcomes(deselected=len(groups()["Live"]))


def test_a_report_as_markdown(project: Project, pytester: pytest.Pytester) -> None:
    project.run("-k", "test_pk1_realtime", "--contract-report=out/report.md")
    text = (pytester.path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| PK1 | met | 1 |" in text


def test_nothing_happens_without_a_contract(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_lc1_something(): ...")
    result = pytester.runpytest_inprocess("-n0", "--contract=strict")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*contract:*")


def test_a_subject_is_asked_for(project: Project, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("")
    result = project.run("-k", "test_pk1_realtime")
    result.stdout.fnmatch_lines(["*define the fixture `subject`*"])


OFF = {bool: "false", str: '""', int: "0", list: "[]", dict: "{}"}
DEFAULTS = {
    name: value
    for name, value in asdict(Facts(wire="own", input_rate=24000, output_rate=24000)).items()
    if name not in ("wire", "input_rate", "output_rate")
}


@pytest.mark.parametrize("fact", DEFAULTS)
def test_no_contract_is_met_by_a_fact(project: Project, fact: str) -> None:
    """With each fact turned off, a contract without a passed test is not met."""
    project.write("contract.toml", f"{PAGE}{fact} = {OFF[type(DEFAULTS[fact])]}\n")
    project.subclasses("Packaging", "Frames", "Messages")
    project.run("-k", "test_pk1_realtime or test_fact or test_ms1_normalize")
    for each in project.account()["contracts"].values():
        assert (each["status"] == "met") <= (each["passed"] > 0)


def deselected(result: pytest.RunResult) -> int:
    """How many tests a run left out."""
    return result.parseoutcomes().get("deselected", 0)
