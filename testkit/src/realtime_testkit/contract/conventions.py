"""Vision Agents' conventions, as tests of the plugin's folder.

Mypy, which takes a minute at first, is left to `realtime-testkit conventions`.
"""

import functools
from collections import defaultdict
from pathlib import Path

import pytest

from realtime_testkit.conventions import RULES, Finding, check
from realtime_testkit.subject import Subject

TESTED = [rule.id for rule in RULES if not rule.contract_only]


class Conventions:
    """The plugin's folder keeps Vision Agents' conventions."""

    @pytest.mark.parametrize("rule", TESTED)
    def test_convention_is_kept(self, rule: str, subject: Subject) -> None:
        """No file of the plugin breaks the rule.

        Each finding says where and how to mend it.
        """
        if found := _findings(subject.folder.parent).get(rule):
            pytest.fail("\n".join(map(str, found)), pytrace=False)


@functools.cache
def _findings(folder: Path) -> dict[str, list[Finding]]:
    """What the checks and ruff find in a plugin's folder, by rule."""
    found = defaultdict(list)
    for finding in check(folder, use=["ruff"]):
        found[finding.rule].append(finding)
    return found
