"""What keeps the code readable beyond Vision Agents' own conventions."""

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

from .folder import PluginFolder
from .rules import Rule
from .source import Place, Source


class Lint(Rule):
    """Ruff finds nothing else."""

    fix = "see the message"

    @property
    def id(self) -> str:
        """The tool's name."""
        return "ruff"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Report files that do not parse; runner.py adds what ruff finds."""
        yield from plugin.broken


class Format(Rule):
    """Files are formatted by `ruff format`, by the folder's own settings."""

    fix = "run `ruff format`"

    @property
    def id(self) -> str:
        """The tool's name."""
        return "format"


class Imports(Rule):
    """Modules of the package import each other in one direction; `_engine` imports no other."""

    fix = "break the circle: move what both need into a third module"

    @property
    def id(self) -> str:
        """A name, as it is no rule of Vision Agents."""
        return "imports"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for imports that lead back to their module, and for those out of `_engine`."""
        package = plugin.package.relative_to(plugin.root).as_posix()
        modules = {_module(source.name): source for source in plugin.code}
        imports = {name: _relative_imports(name, modules) for name in modules}
        for name, imported in imports.items():
            for target, line in imported:
                leaves = name.startswith(f"{package}/_engine/") and not target.startswith(
                    f"{package}/_engine"
                )
                if leaves or _leads_to(target, name, imports):
                    yield modules[name].at(line)


def _module(name: str) -> str:
    """A module's path without its suffix; that of a package is its folder."""
    return name.removesuffix(".py").removesuffix("/__init__")


def _relative_imports(name: str, modules: dict[str, Source]) -> list[tuple[str, int]]:
    """The package's modules that a module imports at run time, with the lines."""
    found = []
    source = modules[name]
    skipped = {
        each
        for node in source.nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for each in ast.walk(node)
    }
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.level and node not in skipped:
            folder = PurePosixPath(source.name)
            for _ in range(node.level):
                folder = folder.parent
            base = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
            for alias in node.names:
                target = (base / alias.name).as_posix()
                target = target if target in modules else base.as_posix()
                if target in modules and target != name:
                    found.append((target, node.lineno))
    return found


def _leads_to(start: str, goal: str, imports: dict[str, list[tuple[str, int]]]) -> bool:
    todo, seen = [start], {start}
    for name in todo:
        for target, _ in imports[name]:
            if target == goal:
                return True
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return False


RULES = (Lint(), Format(), Imports())
