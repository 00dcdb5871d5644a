"""The mutants: bugs that were really made, each as a small patch of the generated plugin.

They stand in the TOML files beside this one, a file an area:

    [[mutant]]
    id = "H18"
    breaks = ["AO1"]             # the contracts that should notice; another of their group may, too
    why = "what changes, and how anybody could tell"
    on = "video"                 # an answer set, or "second_wire"; without, the default plugin
    [[mutant.edit]]
    file = "acme_realtime.py"    # in the package, or else in the plugin's folder
    find = '''...'''             # exactly once in that file
    replace = '''...'''
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from bench.mutants import suite


class DoesNotFit(ValueError):
    """A mutant's snippet is not in the plugin, or is there more than once."""


@dataclass(frozen=True)
class Edit:
    """One replacement in one file."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutant:
    """One bug; ``source`` is the file that describes it, ``on`` the plugin to put it into."""

    id: str
    breaks: tuple[str, ...]
    why: str
    edits: tuple[Edit, ...]
    source: str
    on: str = "default"

    @property
    def really_made(self) -> bool:
        """Whether it is one that was fixed in public, H in Vision Agents and P in its peers."""
        return re.fullmatch(r"[HP]\d\d", self.id) is not None

    def patched(self, plugin: Path) -> dict[Path, str]:
        """The files of a plugin that change, and what they become.

        Raises:
            DoesNotFit: the plugin has changed, and this has to follow.
        """
        texts: dict[Path, str] = {}
        for edit in self.edits:
            path = plugin / suite.PACKAGE / edit.file
            if not path.exists():
                path = plugin / edit.file
            text = texts.get(path) or path.read_text(encoding="utf-8")
            if text.count(edit.find) != 1:
                raise DoesNotFit(
                    f"{self.id}: this is {text.count(edit.find)} times in {edit.file}, not once; "
                    f"mend bench/mutants/{self.source}:\n{edit.find}"
                )
            texts[path] = text.replace(edit.find, edit.replace)
        for path, text in texts.items():
            if path.suffix == ".py":
                compile(text, str(path), "exec")
        return texts


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
        raise ValueError(f"told twice: {', '.join(sorted(twice))}")
    return sorted(mutants, key=lambda mutant: mutant.id)
