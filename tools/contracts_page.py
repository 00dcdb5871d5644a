"""Writes docs/contracts.md from the testkit's catalogue and its tests.

uv run python -m tools.contracts_page            # writes the page
uv run python -m tools.contracts_page --check    # fails if it is out of date
"""

import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contracts.md"
TESTKIT = ROOT / "testkit" / "src" / "realtime_testkit"
TEST = re.compile(r"^    (?:async )?def test_([a-z]{2}\d+)_", re.MULTILINE)
LIVE = "live.py"
GROUPS = {
    "LC": "connecting and closing",
    "CN": "lost connections",
    "RC": "what a new session is told",
    "SE": "settings",
    "EF": "the settings in force",
    "AI": "audio in",
    "AO": "audio out",
    "TN": "turns and barge-in",
    "TR": "transcripts",
    "RS": "when a response is asked for",
    "TX": "text in",
    "NT": "the native call",
    "TL": "tools",
    "MS": "messages and history",
    "VD": "video",
    "RB": "bad input, a busy loop",
    "FL": "failures",
    "OB": "logs, events and metrics",
    "AG": "in an agent",
    "CT": "the constructor",
    "PK": "the package",
    "US": "usage",
    "SC": "security",
    "BD": "bounds",
    "GP": "gaps and keep-alives",
}
HEAD = """# The contracts

What every realtime plugin has to do, and the tests of `vision-agents-realtime-testkit` prove. This page is
written from `testkit/src/realtime_testkit/catalogue.toml` by `uv run python -m tools.contracts_page`.

A plugin runs the tests by subclassing their classes in `tests/test_contract.py`; what its provider cannot do is
stated in `tests/contract.toml`. The account at the end of a run says of each contract whether it is
met, excused by a fact, waived or to do. The number of tests is that of test functions: many of them
have parameters. *Live* is a contract that is also tested with the provider itself (`pytest --live`).
"""


def main(arguments: list[str]) -> int:
    """Write the page, or compare it."""
    new = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == new:
        return 0
    if "--check" in arguments:
        print(f"{PAGE.name} is out of date: uv run python -m tools.contracts_page")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


def page() -> str:
    """Return the page."""
    catalogue = tomllib.loads((TESTKIT / "catalogue.toml").read_text(encoding="utf-8"))
    tests: Counter[str] = Counter()
    live: set[str] = set()
    for path in sorted((TESTKIT / "contract").glob("*.py")):
        found = [name.upper() for name in TEST.findall(path.read_text(encoding="utf-8"))]
        if path.name == LIVE:
            live.update(found)
        else:
            tests.update(found)
    parts = [HEAD]
    for group in dict.fromkeys([*GROUPS, *(contract[:2] for contract in catalogue)]):
        entries = {name: entry for name, entry in catalogue.items() if name[:2] == group}
        if entries:
            parts += [f"## {group}: {GROUPS.get(group, group)}", ""]
            parts += ["| Contract | What a user loses without it | Where to look | Tests |"]
            parts += ["|---|---|---|---|"]
            parts += [
                f"| {name} | {entry['loses']} | {looks(entry)} | "
                f"{tests[name]}{', live' if name in live else ''} |"
                for name, entry in entries.items()
            ]
            parts += [""]
    return "\n".join(parts)


def looks(entry: dict[str, str]) -> str:
    """Return where to look, and the convention that the contract enforces, if it does."""
    rule = f" ([{entry['rule']}](conventions.md))" if "rule" in entry else ""
    return entry["look"].replace("_", "\\_") + rule


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
