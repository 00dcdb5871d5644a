"""The account a generated plugin's contract suite keeps: met, to do, waived, and no cheating.

Run on a suite of three contracts: accounting.py imports nothing of the plugin.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.seal_contract import accounting as load_accounting
from tools.seal_contract import manifest

SUITE = Path(__file__).parents[1] / "{{cookiecutter.plugin_slug}}" / "tests"

accounting = load_accounting()
XDIST = ["-p", "xdist", "-n", "2"]

CATALOGUE = """
[LC1]
loses = "A call is lost."
look = "client.py"
[CN1]
loses = "A connection is lost."
look = "wire.py"
[VD1]
loses = "A picture is lost."
look = "the eyes"
"""
TESTS = """
import pytest

class TestAll:
    def test_lc1_one(self) -> None:
        assert True

    @pytest.mark.parametrize("number", [1, 2])
    def test_lc1_two(self, number: int) -> None:
        assert number

    def test_cn1_one(self) -> None:
        assert True

    def test_vd1_one(self) -> None:
        pytest.skip("no eyes")
"""
PAGE = """\
[provider]
wire = "reference"

[waivers]
VD1 = "it has no eyes"
"""
WIRE = 'TYPES = "session.update", "session.updated"\n'


@dataclass
class Run:
    """What pytest said."""

    code: int
    text: str
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = [line.strip() for line in self.text.splitlines()]


class Plugin:
    """A plugin of which only the account matters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = folder / "tests" / "contract"
        self.suite.mkdir(parents=True)
        self.page = folder / "tests" / "contract.toml"
        self.wire = folder / "vision_agents" / "plugins" / "acme" / "wire.py"
        self.wire.parent.mkdir(parents=True)
        shutil.copy(SUITE / "contract" / "accounting.py", self.suite)
        shutil.copy(SUITE / "conftest.py", folder / "tests")
        options = "--import-mode=importlib --strict-markers -p no:cacheprovider"
        (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {options}\n")
        (self.suite / "catalogue.toml").write_text(CATALOGUE)
        (self.suite / "test_all.py").write_text(TESTS)
        self.wire.write_text(WIRE)
        self.page.write_text(PAGE)
        self._seal()

    def test(self, *arguments: str) -> Run:
        """Run the suite."""
        environment = {key: each for key, each in os.environ.items() if "PYTEST" not in key}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *arguments, "tests"],
            cwd=self.folder,
            env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def change(self, path: Path, old: str, new: str) -> None:
        """Edit a file."""
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def _seal(self) -> None:
        words = [accounting.words_of(WIRE)]
        lines = ["[wire]", f"words = {words}"]
        for name in ("accounting.py", "catalogue.toml", "test_all.py"):
            digests = [accounting.digest((self.suite / name).read_text())]
            lines += [f'[files."{name}"]', f"digests = {digests}"]
        lines.append(f"tests = {re.findall('def (test_[a-z0-9_]+)', TESTS)}")
        (self.suite / "manifest.toml").write_text("\n".join(lines))


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


class TestAccount:
    @pytest.mark.parametrize("arguments", [[], XDIST, ["--contract=strict"]])
    def test_everything_met(self, plugin: Plugin, arguments: list[str]) -> None:
        run = plugin.test(*arguments)
        assert run.code == 0, run.text
        assert "contract: 2 met, 0 to do, 1 waived" in run.text
        assert "waived  VD1  it has no eyes" in run.lines
        assert "wire.py still speaks its words" in run.text
        assert "contract.toml, line 2" in run.text

    @pytest.mark.parametrize("arguments", [[], XDIST])
    def test_a_failure_is_to_do(self, plugin: Plugin, arguments: list[str]) -> None:
        (plugin.folder / "tests" / "conftest.py").write_text(
            (SUITE / "conftest.py").read_text()
            + "import pytest\n@pytest.fixture(autouse=True)\n"
            + "def broken(request):\n    yield\n    assert 'lc1_two' not in request.node.name\n"
        )
        run = plugin.test(*arguments)
        assert run.code == 1
        assert "contract: 1 met, 1 to do, 1 waived" in run.text
        assert "to do   LC1  A call is lost." in run.lines
        assert "failed: test_all.py::test_lc1_two[1]" in run.lines
        assert "Look at client.py." in run.lines

    def test_what_was_skipped_is_to_do(self, plugin: Plugin) -> None:
        plugin.change(plugin.page, 'VD1 = "it has no eyes"', "")
        run = plugin.test()
        assert run.code == 0, "only strict fails on what is to do"
        assert "contract: 2 met, 1 to do, 0 waived" in run.text
        assert "skipped: test_all.py::test_vd1_one: no eyes" in run.lines
        assert plugin.test("--contract=strict").code == 1

    def test_what_a_fact_excuses_is_not_to_do(self, plugin: Plugin) -> None:
        (plugin.folder / "tests" / "conftest.py").write_text(
            (SUITE / "conftest.py").read_text()
            + "import pytest\n@pytest.fixture(autouse=True)\n"
            + "def excused(request):\n"
            + "    if request.node.name in ('test_lc1_one', 'test_cn1_one'):\n"
            + "        pytest.skip('contract.toml: voice = false')\n"
        )
        run = plugin.test()
        assert "contract: 1 met, 1 to do, 1 waived" in run.text
        assert "to do   CN1  A connection is lost." in run.lines, "nothing of it was proved"

    def test_a_part_of_the_suite(self, plugin: Plugin) -> None:
        run = plugin.test("-k", "lc1_one or cn1")
        assert run.code == 0
        assert "contract: 2 met, 0 to do, 1 waived; only a part" in run.text
        run = plugin.test("-k", "cn1", "--contract=strict")
        assert run.code == 1
        assert "not run: test_lc1_one" in run.lines

    def test_a_waived_failure_is_no_failure(self, plugin: Plugin) -> None:
        (plugin.folder / "tests" / "conftest.py").write_text(
            (SUITE / "conftest.py").read_text()
            + "import pytest\n@pytest.fixture(autouse=True)\n"
            + "def broken(request):\n    assert 'cn1' not in request.node.name\n"
        )
        plugin.change(plugin.page, "[waivers]", '[waivers]\nCN1 = "it has no line"')
        run = plugin.test()
        assert run.code == 0, run.text
        assert "contract: 1 met, 0 to do, 2 waived" in run.text

    @pytest.mark.parametrize(
        ("waiver", "wrong"),
        [
            ('LC1 = "not now"', "contract.toml, line 5: LC1 is waived and passes: remove the line"),
            ('XX9 = "what"', "contract.toml, line 5: there is no contract XX9"),
            ('CN1 = " "', "contract.toml, line 5: CN1 is waived without a reason"),
            ("CN1 = true", "contract.toml, line 5: CN1 is waived without a reason"),
        ],
    )
    def test_a_wrong_waiver(self, plugin: Plugin, waiver: str, wrong: str) -> None:
        plugin.change(plugin.page, "[waivers]", f"[waivers]\n{waiver}")
        run = plugin.test()
        assert run.code == 1
        assert f"wrong   {wrong}" in run.lines

    @pytest.mark.parametrize("arguments", [[], XDIST, ["-k", "cn1"]])
    def test_a_deleted_test(self, plugin: Plugin, arguments: list[str]) -> None:
        plugin.change(plugin.suite / "test_all.py", "def test_lc1_two(", "def check_lc1_two(")
        run = plugin.test(*arguments)
        assert run.code == 1
        assert "wrong   contract/test_all.py: test_lc1_two is gone: restore it" in run.lines

    def test_an_edited_test(self, plugin: Plugin) -> None:
        plugin.change(plugin.suite / "test_all.py", "assert number", "assert number or True")
        run = plugin.test()
        assert run.code == 1
        assert "wrong   contract/test_all.py was edited" in run.text

    def test_a_formatted_test_is_the_same(self, plugin: Plugin) -> None:
        plugin.change(
            plugin.suite / "test_all.py",
            '@pytest.mark.parametrize("number", [1, 2])',
            '@pytest.mark.parametrize(\n        "number",\n        [1, 2],\n    )',
        )
        assert plugin.test().code == 0

    @pytest.mark.parametrize("gone", ["test_all.py", "manifest.toml", "catalogue.toml"])
    def test_a_deleted_file(self, plugin: Plugin, gone: str) -> None:
        (plugin.suite / gone).unlink()
        plugin.suite.joinpath("test_more.py").write_text("def test_cn1_more(): pass\n")
        run = plugin.test()
        assert run.code != 0
        assert gone in run.text

    def test_an_overridden_test(self, plugin: Plugin) -> None:
        (plugin.folder / "tests" / "test_own.py").write_text("def test_lc1_mine(): pass\n")
        run = plugin.test()
        assert run.code == 1
        assert "tests/test_own.py::test_lc1_mine has a contract's id" in run.text
        assert "contract: 2 met" in run.text

    @pytest.mark.parametrize(
        ("claim", "wire", "wrong"),
        [
            ("own", WIRE, "wire.py speaks the reference provider's words"),
            ("reference", "'session.update'", "wire.py has words of its own"),
            ("theirs", WIRE, "wire = 'theirs' is none of reference, compatible, own"),
            ("own", "'setup'", ""),
            ("compatible", WIRE, ""),
        ],
    )
    def test_whose_wire_it_is(self, plugin: Plugin, claim: str, wire: str, wrong: str) -> None:
        plugin.change(plugin.page, "reference", claim)
        plugin.wire.write_text(wire)
        run = plugin.test()
        assert run.code == bool(wrong), run.text
        assert wrong in run.text
        if not wrong:
            assert "reference provider" not in run.text

    def test_without_a_contract_test_it_is_silent(self, plugin: Plugin) -> None:
        (plugin.folder / "tests" / "test_own.py").write_text("def test_mine(): pass\n")
        run = plugin.test("-k", "mine")
        assert run.code == 0
        assert "contract" not in run.text


def test_the_suite_is_sealed() -> None:
    sealed = (SUITE / "contract" / "manifest.toml").read_text()
    assert sealed == manifest(), "tests/contract changed: run tools/seal_contract.py"
