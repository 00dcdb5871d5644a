"""Checks a plugin's folder and writes down what is found."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from . import code, layout, packaging, realtime, tests, tools
from .folder import PluginFolder
from .rules import Rule
from .source import Place

Tool = Literal["ruff", "mypy"]

SAME_LINE_TWICE = {"ruff", "C13", "C17", "C21", "C25", "R3"}
"""Rules of which several findings may be at one line."""

RULES: tuple[Rule, ...] = (
    *packaging.RULES,
    *code.RULES,
    *realtime.RULES,
    *tests.RULES,
    *layout.RULES,
)


@dataclass(frozen=True)
class Finding:
    """A rule that is broken at a place.

    Attributes:
        rule: its id.
        path: relative to the plugin's folder.
        line: from 1 on; 0 for the whole file.
        detail: which of several things it is, or the tool's message.
        fix: how to mend it.
    """

    rule: str
    path: str
    line: int
    detail: str
    fix: str

    @property
    def where(self) -> str:
        """The place in one line, with the detail."""
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.detail}" if self.detail else place

    def __str__(self) -> str:
        return f"{self.rule} {self.where}. Fix: {self.fix}"


def check(folder: Path, *, use: Collection[Tool] = ("ruff", "mypy")) -> list[Finding]:
    """Check a plugin's folder against all rules.

    Args:
        folder: the one with the plugin's pyproject.toml.
        use: which tools to run besides the testkit's own checks. Mypy takes a minute at first.

    Raises:
        NotAPlugin: the folder holds no plugin.
        RuntimeError: a tool failed.
    """
    plugin = PluginFolder(folder)
    found = {rule.id: list(rule.check(plugin)) for rule in RULES}
    if "ruff" in use:
        for ruff_code, place in tools.run_ruff(plugin):
            found[rule_of(ruff_code)].append(place)
        if not plugin.broken:
            found["format"] += tools.run_format(plugin)
    if "mypy" in use and not plugin.broken:
        found["C13"] += tools.run_mypy(plugin)
    return _findings(found)


def rule_of(ruff_code: str) -> str:
    """The id of the rule that a code of ruff's enforces; `ruff` if it is none."""
    if any(rule.id == ruff_code for rule in RULES):
        return ruff_code
    linter = ruff_code.rstrip("0123456789")
    fitting = [
        (len(prefix), rule.id)
        for rule in RULES
        for prefix in rule.ruff
        if ruff_code.startswith(prefix) and prefix.rstrip("0123456789") == linter
    ]
    return max(fitting)[1] if fitting else "ruff"


def as_json(findings: Collection[Finding]) -> str:
    """Write findings as a JSON list of objects."""
    return json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False)


def as_text(findings: Collection[Finding]) -> str:
    """Write each broken rule, how to mend it and where, and a line with the number of findings."""
    lines = []
    for rule in RULES:
        broken = [finding for finding in findings if finding.rule == rule.id]
        if broken:
            lines += [f"{rule.id}  {rule.text}", f"    Fix: {rule.fix}."]
            lines += [f"    {finding.where}" for finding in broken]
            lines.append("")
    rules = len({finding.rule for finding in findings})
    lines.append(f"Findings: {len(findings)}, rules: {rules}" if findings else "No findings")
    return "\n".join(lines)


def _findings(found: dict[str, list[Place]]) -> list[Finding]:
    """Sort by rule and place; what two machines find at one line is found once."""
    findings: dict[tuple[str, str, int, str], Finding] = {}
    for rule in RULES:
        for place in sorted(found[rule.id], key=lambda each: (each.path, each.line)):
            detail = place.detail if not place.line or rule.id in SAME_LINE_TWICE else ""
            key = (rule.id, place.path, place.line, detail)
            findings.setdefault(
                key, Finding(rule.id, place.path, place.line, place.detail, rule.fix)
            )
    return list(findings.values())
