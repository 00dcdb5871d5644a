"""Each violation of planted.toml is found where it is, and no look-alike is."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from realtime_testkit.conventions import Finding, as_text, check

from .conftest import MakePlugin

TEXTS = tomllib.loads((Path(__file__).parent / "planted.toml").read_text(encoding="utf-8"))
PACKAGE = "vision_agents/plugins/nest"
# Banned in the package alone, allowed in tests, or found by mypy.
FOUND_ELSEWHERE = re.compile(r"import_module|_buffer|_levelToName|return a\b|= None\b")


@dataclass(frozen=True)
class Planted:
    """A text that becomes a file of a plugin."""

    rule: str
    kind: Literal["violations", "look_alikes"]
    number: int
    text: str

    @property
    def path(self) -> str:
        """Where it goes."""
        name = f"{self.kind}_{self.rule.lower()}_{self.number}.py"
        return f"tests/test_{name}" if self.rule[0] == "T" else f"{PACKAGE}/{name}"

    @property
    def line(self) -> int:
        """Where its violation is: the docstring comes first."""
        return self.text[: self.text.index("§")].count("\n") + 2

    def plant(self, plugin: Path, path: str | None = None) -> None:
        """Write the file."""
        text = f'"""Planted."""\n{self.text.replace("§", "")}'
        (plugin / (path or self.path)).write_text(text, encoding="utf-8")


PLANTED = [
    Planted(rule, kind, number, f"\n{text}")
    for rule, kinds in TEXTS.items()
    for kind in ("violations", "look_alikes")
    for number, text in enumerate(kinds[kind])
]


def at(findings: list[Finding], path: str) -> set[tuple[str, int]]:
    """What is found in a file, but its format: planted texts have lines of their own."""
    return {(e.rule, e.line) for e in findings if e.path == path and e.rule != "format"}


class TestPlantedCode:
    @pytest.fixture(scope="class")
    def found(self, make_plugin_once: MakePlugin) -> list[Finding]:
        """What is found in a plugin with all of planted.toml in it."""
        plugin = make_plugin_once("standalone")
        for each in PLANTED:
            each.plant(plugin)
        return check(plugin, use=["ruff", "mypy"])

    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("rule", TEXTS)
    def test_each_violation_is_found(self, rule: str, found: list[Finding]) -> None:
        missed = [
            each.text
            for each in PLANTED
            if each.rule == rule and each.kind == "violations"
            if (rule, each.line) not in at(found, each.path)
        ]
        assert not missed, "\n".join(missed)

    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("rule", TEXTS)
    def test_nothing_is_found_in_a_look_alike(self, rule: str, found: list[Finding]) -> None:
        flagged = [
            f"{in_it}{each.text}"
            for each in PLANTED
            if each.rule == rule and each.kind == "look_alikes"
            if (in_it := at(found, each.path) - self.mypys(found, each.path))
        ]
        assert not flagged, "\n".join(flagged)

    @staticmethod
    def mypys(found: list[Finding], path: str) -> set[tuple[str, int]]:
        """What only mypy found: planted texts name things that are not there."""
        return {
            (each.rule, each.line)
            for each in found
            if each.path == path and each.rule == "C13" and not re.match(r"[A-Z]+\d+:", each.detail)
        }


class TestPlaces:
    """Violations are found in every part of a plugin."""

    @pytest.mark.parametrize("folder", [f"{PACKAGE}/_engine", "tests", "example"])
    @pytest.mark.parametrize("rule", ["C1", "C2", "C3", "C5", "C7", "C8", "C11", "C12", "C13"])
    def test_each_violation_is_found_in(
        self, folder: str, rule: str, make_plugin: MakePlugin
    ) -> None:
        plugin = make_plugin("standalone")
        planted = [e for e in PLANTED if e.rule == rule and e.kind == "violations"]
        for each in planted:
            each.plant(plugin, f"{folder}/planted_{each.number}.py")
        found = check(plugin, use=["ruff"])
        missed = [
            each.text
            for each in planted
            if not FOUND_ELSEWHERE.search(each.text)
            if (rule, each.line) not in at(found, f"{folder}/planted_{each.number}.py")
        ]
        assert not missed, "\n".join(missed)

    @pytest.mark.parametrize("rule", ["C4", "C15", "C18", "C19", "C22", "C23", "C24", "P13"])
    def test_each_violation_of_a_package_rule_is_found_in_the_engine(
        self, rule: str, make_plugin: MakePlugin
    ) -> None:
        plugin = make_plugin("standalone")
        planted = [e for e in PLANTED if e.rule == rule and e.kind == "violations"]
        for each in planted:
            each.plant(plugin, f"{PACKAGE}/_engine/planted_{each.number}.py")
        found = check(plugin, use=["ruff"])
        missed = [
            each.text
            for each in planted
            if (rule, each.line) not in at(found, f"{PACKAGE}/_engine/planted_{each.number}.py")
        ]
        assert not missed, "\n".join(missed)

    @pytest.mark.parametrize(
        "name", ["requests", "typing.Any", "numpy", "subprocess", "time.sleep"]
    )
    def test_tests_and_examples_may_use_what_the_package_may_not(
        self, name: str, make_plugin: MakePlugin
    ) -> None:
        plugin = make_plugin("standalone")
        module, _, member = name.partition(".")
        statement = f"from {module} import {member}" if member else f"import {module}"
        for folder in ("tests", "example"):
            text = f'"""Planted."""\n\n{statement}\n\nNAME = {member or module}\n'
            (plugin / folder / "planted.py").write_text(text, encoding="utf-8")
        assert not check(plugin, use=["ruff"]), as_text(check(plugin, use=["ruff"]))

    def test_the_engine_imports_nothing_of_the_author(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        path = f"{PACKAGE}/_engine/planted.py"
        text = '"""Planted."""\n\nfrom ..other import NAME\n\nOTHER = NAME\n'
        (plugin / path).write_text(text, encoding="utf-8")
        other = '"""Planted."""\n\nNAME = 1\n'
        (plugin / PACKAGE / "other.py").write_text(other, encoding="utf-8")
        assert at(check(plugin, use=["ruff"]), path) >= {("imports", 3)}

    def test_a_plugins_tests_may_use_its_engine(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        text = (
            '"""Planted."""\n\nfrom vision_agents.plugins.nest._engine import session\n'
            "from vision_agents.plugins.nest._engine.session import Audio\n\n"
            "NAMES = (session, Audio)\n"
        )
        (plugin / "tests" / "double.py").write_text(text, encoding="utf-8")
        assert not check(plugin, use=["ruff"])
