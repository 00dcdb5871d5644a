"""The surface of Vision Agents that the template is written against.

    python tools/surface.py      prints that of the installed release, as JSON

Names with their signatures: of `Realtime` and its base classes, private helpers included, and of
what goes through `output`, the deltas and the events.
"""

import dataclasses
import inspect
import json
import re
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

CORE = "vision_agents.core."
UNLESS_NAMED = "acme_realtime.py"


def surface() -> dict[str, str]:
    """What is installed here."""
    # Importing the core takes seconds, and comparing needs none of it.
    from vision_agents.core.llm import events, llm, realtime  # noqa: PLC0415

    found = dict(_members(realtime.Realtime))
    for module in (realtime, llm, events):
        found |= _dataclasses(module)
    return dict(sorted(found.items()))


def compare(covered: Mapping[str, str], found: Mapping[str, str], package: Path) -> list[str]:
    """Say what is new, gone or changed, and which of the plugin's files to look at.

    Args:
        covered: the surface that the template was written against.
        found: another release's.
        package: a generated plugin's, for the files that name a thing.
    """
    lines = []
    for name in sorted(covered.keys() | found.keys()):
        before, after = covered.get(name), found.get(name)
        if before == after:
            continue
        if before is None:
            what = f"new: {name}{after}"
        elif after is None:
            what = f"gone: {name}{before}"
        else:
            what = f"changed: {name} was {before}, is {after}"
        lines.append(f"{what}; look at {', '.join(_files_naming(name, package))}")
    return lines


def _members(cls: ABCMeta) -> Iterator[tuple[str, str]]:
    for name, static in ((n, inspect.getattr_static(cls, n)) for n in dir(cls)):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        if not owner.__module__.startswith(CORE) or (
            name.startswith(("__", "_abc_")) and name != "__init__"
        ):
            continue
        kind = "abstract " if name in cls.__abstractmethods__ else ""
        match static:
            case property(fget=getter) if getter is not None:
                shown = f": property {inspect.signature(getter)}"
            case staticmethod() | classmethod():
                shown = f": {type(static).__name__} {inspect.signature(static.__func__)}"
            case _ if inspect.isfunction(static):
                kind += "async " if inspect.iscoroutinefunction(static) else ""
                shown = f": {kind}{inspect.signature(static)}"
            case _:
                shown = f": {type(static).__name__}"
        yield f"Realtime.{name}", shown


def _dataclasses(module: ModuleType) -> dict[str, str]:
    return {
        name: f": {inspect.signature(each)}"
        for name, each in vars(module).items()
        if dataclasses.is_dataclass(each) and isinstance(each, type)
        if each.__module__ == module.__name__
    }


def _files_naming(name: str, package: Path) -> list[str]:
    word = re.compile(rf"\b{re.escape(name.rpartition('.')[2])}\b")
    texts = {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in package.rglob("*.py")
    }
    return [file for file, text in sorted(texts.items()) if word.search(text)] or [UNLESS_NAMED]


if __name__ == "__main__":
    print(json.dumps(surface(), indent=2))
