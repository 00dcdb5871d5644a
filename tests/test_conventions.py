"""Each convention of Vision Agents is enforced by a machine in a generated plugin.

The checks themselves, with a violation and a look-alike for each, are tested in
testkit/tests/conventions. Here, generated plugins keep the conventions; planted violations are
found in one; what only the contract enforces is found by the contract; and docs/conventions.md says
what enforces each rule.
"""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
import realtime_testkit
from realtime_testkit import conventions
from realtime_testkit.conventions import RULES, as_text, check

from tests.generated import ROOT, Plugin, run

PLANTED = tomllib.loads(
    (ROOT / "testkit" / "tests" / "conventions" / "planted.toml").read_text(encoding="utf-8")
)
IDS = (
    *(f"P{number}" for number in range(1, 14)),
    *(f"C{number}" for number in range(1, 27)),
    *(f"R{number}" for number in range(1, 11)),
    *(f"T{number}" for number in range(1, 8)),
)
PACKAGE = "vision_agents/plugins/acme"

Copy = Callable[[], Path]


@pytest.fixture
def copy(plugins: dict[str, Plugin], tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copies the default plugin, for something to be planted into."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "uv.lock")
    return lambda: Path(
        shutil.copytree(
            plugins["default"].path, tmp_path_factory.mktemp("planted") / "acme", ignore=ignored
        )
    )


class TestGeneratedPlugins:
    def test_nothing_is_found(self, plugin: Plugin) -> None:
        found = check(plugin.path, use=["ruff"])
        assert not found, as_text(found)

    def test_nothing_is_found_by_mypy(
        self, plugins: dict[str, Plugin], python: Path, shared_folder: Path
    ) -> None:
        for name in ("default", "webrtc", "workspace"):
            printed = run(
                *(python, "-m", "realtime_testkit", "conventions", plugins[name].path),
                cwd=shared_folder,
                MYPY_CACHE_DIR=str(shared_folder / "mypy_cache"),
            )
            assert "No findings" in printed

    @pytest.mark.parametrize("rule", PLANTED)
    def test_planted_violations_are_found(self, rule: str, copy: Copy) -> None:
        """Each violation is found where it is; mypy, which takes a minute, is left out."""
        plugin = copy()
        wanted = {}
        for number, text in enumerate(PLANTED[rule]["violations"]):
            name = f"violations_{rule.lower()}_{number}.py"
            path = f"tests/test_{name}" if rule[0] == "T" else f"{PACKAGE}/{name}"
            planted = f'"""Planted."""\n\n{text.replace("§", "")}'
            (plugin / path).write_text(planted, encoding="utf-8")
            if not re.search(r"return a\n|= None\) ->", text) or rule != "C13":
                wanted[path] = text[: text.index("§")].count("\n") + 3
        found = {(e.path, e.line) for e in check(plugin, use=["ruff"]) if e.rule == rule}
        assert wanted.items() <= found


@dataclass(frozen=True)
class Broken:
    """A change that breaks a rule which only the contract enforces.

    Attributes:
        body: of a subclass of the plugin's Realtime; or what replaces `find` in the file `path`.
    """

    rule: str
    body: str
    path: str = ""
    find: str = ""

    def plant(self, plugin: Path) -> None:
        """Make the change."""
        path = plugin / PACKAGE / (self.path or "__init__.py")
        text = path.read_text(encoding="utf-8")
        assert self.find in text
        after = text.replace(self.find, self.body) if self.find else f"{text}\n{HEAD}{self.body}"
        path.write_text(after, encoding="utf-8")


HEAD = """
from vision_agents.core.llm.llm import LLMResponseDelta

Original = Realtime


class Realtime(Original):
"""
BROKEN = [
    Broken("C16", '''
    def __init__(self, model: str = "m", client: object = None, **kwargs: object) -> None:
        kwargs["fps"] = max(1, int(kwargs.get("fps", 1)))
        super().__init__(model or "m", client, **kwargs)
'''),
    Broken("C20", '''
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.client = object()
'''),
    Broken("R6", '''
    def set_instructions(self, instructions: object) -> None:
        super().set_instructions("")
'''),
    Broken("R7", '''
    async def create_response(self, *args: object, **kwargs: object):
        async for item in super().create_response(*args, **kwargs):
            if isinstance(item, LLMResponseDelta):
                item.sequence_number = 0
            yield item
'''),
    Broken(
        "R8",
        "RealtimeAudioOutput(type(pcm).from_bytes(pcm.to_bytes(), 48000), response_id)",
        "_engine/output.py",
        "RealtimeAudioOutput(pcm, response_id)",
    ),
    Broken(
        "R9",
        "RealtimeAgentTranscript(mode, '')",
        "_engine/output.py",
        "RealtimeAgentTranscript(mode, text)",
    ),
    Broken("R10", '''
    def _normalize_message(self, message: object) -> list[object]:
        return []
'''),
]  # fmt: skip


class TestContract:
    """What only the contract enforces, or the contract too, is found by the contract."""

    @pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.rule)
    def test_a_contract_of_the_rule_fails(self, broken: Broken, copy: Copy, python: Path) -> None:
        plugin = copy()
        broken.plant(plugin)
        contracts = contracts_of(broken.rule)
        printed = self.run_contracts(plugin, python, contracts)
        failed = re.findall(r"^FAILED .*::test_([a-z]{2}\d+)_", printed, re.MULTILINE)
        assert {name.upper() for name in failed} & contracts, printed

    def test_each_rule_of_the_contract_alone_has_a_case(self) -> None:
        assert {rule.id for rule in RULES if rule.contract_only} <= {e.rule for e in BROKEN}

    @staticmethod
    def run_contracts(plugin: Path, python: Path, contracts: set[str]) -> str:
        wanted = " or ".join(f"test_{contract.lower()}_" for contract in sorted(contracts))
        done = subprocess.run(
            [python, "-m", "pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider", "-k", wanted],
            cwd=plugin,
            env=os.environ | {"PYTHONPATH": str(plugin)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.stdout


class TestDocumentation:
    """docs/conventions.md says of each rule what enforces it and how to mend it."""

    def test_every_rule_of_vision_agents_is_there(self) -> None:
        others = {"ruff", "format", "imports"}
        assert [rule.id for rule in RULES if rule.id not in others] == list(IDS)

    def test_its_table_is_what_the_testkit_says(self) -> None:
        text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
        assert re.findall(r"^\| .*", text, re.MULTILINE)[1:] == list(table())

    def test_no_rule_is_enforced_by_prose_alone(self) -> None:
        assert not [line for line in table() if line.split(" | ")[2] == ""]


def table() -> list[str]:
    """The rows of docs/conventions.md: rule, text, what enforces it, fix."""
    banned = (files(conventions) / "ruff_settings.toml").read_text(encoding="utf-8")
    rows = []
    for rule in RULES:
        codes = [*rule.ruff, *(["TID251"] if f'"{rule.id}: ' in banned else [])]
        by = ["ruff " + ", ".join(f"`{code}`" for code in codes)] if codes else []
        by += ["a check"] if type(rule).check is not conventions.Rule.check else []
        by += ["mypy"] if rule.mypy else []
        by += ["`ruff format`"] if rule.id == "format" else []
        if contracts := sorted(contracts_of(rule.id)):
            by.append(f"contract {', '.join(contracts)}")
        cells = (rule.id, rule.text, "; ".join(by), rule.fix)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def contracts_of(rule: str) -> set[str]:
    """The contracts that enforce a rule, by the testkit's catalogue."""
    text = (files(realtime_testkit) / "catalogue.toml").read_text(encoding="utf-8")
    return {name for name, entry in tomllib.loads(text).items() if entry.get("rule") == rule}
