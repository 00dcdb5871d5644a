"""The mutants: bugs as small changes of the generated plugin.

They stand in the TOML files beside this one:

    [[mutant]]
    id = "H18"
    breaks = ["AO1"]         # the contracts that should notice
    why = "what changes, and how anybody could tell"
    nearest = "why the bug as it was made cannot be written here"  # where that is so
    on = "video"             # the plugin it goes into, of KINDS; without, the default one
    [[mutant.edit]]
    find = '''...'''         # once in the package
    replace = '''...'''

``find`` is compared token by token, so neither line breaks nor indentation count, and neither
does a comma before a closing bracket. What `replace` says is indented as the line in which the
match begins, and ``@@`` in it stands for what was found. An edit may also have:

    file = "wire.py"         # only in this file: of the package, or else of the plugin's folder
    after = "async def ask"  # the first match after this text, which is there once
"""

import re
import textwrap
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.mutants import suite

MATCH = "@@"
"""Stands in a replacement for what was found."""

UNLIKE = "unlike"
"""The plugin for a provider that differs in still more than the wires do; see unlike.toml."""

KINDS = (*suite.PLUGINS, UNLIKE)

_TOKEN = re.compile(r"\w+|[^\w\s]")


class AnchorNotFound(ValueError):
    """A mutant's text is not in the plugin, or is there more than once."""


@dataclass(frozen=True)
class Edit:
    """One replacement."""

    find: str
    replace: str
    file: str = ""
    after: str = ""

    def applied(self, texts: dict[Path, str]) -> tuple[Path, str]:
        """Return the file that changes, and what it becomes.

        Raises:
            AnchorNotFound: none does, or it is not clear which.
        """
        found = [(path, match) for path, text in texts.items() for match in self._matches(text)]
        if len(found) != 1:
            raise AnchorNotFound(f"{len(found)} times {self.find.strip()!r}")
        path, match = found[0]
        text = texts[path]
        line = text[text.rfind("\n", 0, match.start()) + 1 :]
        indent = line[: len(line) - len(line.lstrip())]
        first, *rest = textwrap.dedent(self.replace).strip("\n").split("\n")
        new = "\n".join([first, *(f"{indent}{each}" for each in rest)])
        return path, text[: match.start()] + new.replace(MATCH, match[0]) + text[match.end() :]

    def _matches(self, text: str) -> list[re.Match[str]]:
        pattern = _pattern(self.find)
        if not self.after:
            return list(pattern.finditer(text))
        starts = list(_pattern(self.after).finditer(text))
        if len(starts) != 1:
            return []
        match = pattern.search(text, starts[0].end())
        return [] if match is None else [match]


@dataclass(frozen=True)
class Mutant:
    """One bug; ``source`` is the file that describes it, ``on`` the plugin to put it into."""

    id: str
    breaks: tuple[str, ...]
    why: str
    edits: tuple[Edit, ...]
    source: str
    on: str = "default"
    nearest: str = ""

    @property
    def really_made(self) -> bool:
        """Whether it is one that was fixed in public, H in Vision Agents and P in its peers."""
        return re.fullmatch(r"[HP]\d\d", self.id) is not None

    def patched(self, plugin: Path) -> dict[Path, str]:
        """Return the files of a plugin that change, and what they become.

        Raises:
            AnchorNotFound: the plugin has changed, and the row has to follow.
            SyntaxError: what they become is no Python.
        """
        return patched(plugin, self.edits, f"{self.id} ({self.source})")


def patched(plugin: Path, edits: Iterable[Edit], what: str) -> dict[Path, str]:
    """Return the files of a plugin that edits change, and what they become; see Mutant.patched."""
    package = plugin / suite.PACKAGE
    changed: dict[Path, str] = {}
    for edit in edits:
        paths = sorted(package.rglob("*.py"))
        if edit.file:
            inside = package / edit.file
            paths = [inside if inside.exists() else plugin / edit.file]
        texts = {path: changed.get(path) or path.read_text("utf-8") for path in paths}
        try:
            path, text = edit.applied(texts)
        except AnchorNotFound as error:
            raise AnchorNotFound(f"{what}: {error}") from None
        changed[path] = text
    for path, text in changed.items():
        if path.suffix == ".py":
            try:
                compile(text, str(path), "exec")
            except SyntaxError as error:
                raise SyntaxError(f"{what}: {error}") from None
    return changed


def make_unlike(plugin: Path) -> None:
    """Make the default plugin the one called UNLIKE."""
    page = tomllib.loads(Path(__file__).with_name("unlike.toml").read_text("utf-8"))
    edits = [Edit(**edit) for edit in page["edit"]]
    for path, text in patched(plugin, edits, "unlike.toml").items():
        path.write_text(text, encoding="utf-8")


def load() -> list[Mutant]:
    """Read them all."""
    mutants: list[Mutant] = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        page = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in page.get("mutant", []):
            edits = tuple(Edit(**edit) for edit in entry.pop("edit"))
            breaks = tuple(entry.pop("breaks"))
            mutants.append(Mutant(**entry, breaks=breaks, edits=edits, source=path.name))
    ids = [mutant.id for mutant in mutants]
    twice = {each for each in ids if ids.count(each) > 1}
    if twice:
        raise ValueError(f"described twice: {', '.join(sorted(twice))}")
    return sorted(mutants, key=lambda mutant: mutant.id)


def _pattern(text: str) -> re.Pattern[str]:
    """Return what matches a text token by token, as a whole."""
    tokens = _TOKEN.findall(text)
    parts = [rf",?\s*{re.escape(each)}" if each in ")]}" else re.escape(each) for each in tokens]
    pattern = r"\s*".join(parts)
    # A word in it is a whole word.
    before = r"(?<!\w)" if re.match(r"\w", tokens[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", tokens[-1]) else ""
    return re.compile(before + pattern + after)
