"""A plugin's folder, read once."""

import ast
import configparser
import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from .source import Function, Place, Source, last_name, methods

SKIPPED = {".venv", "venv", "build", "dist", "node_modules", "__pycache__"}


class NotAPlugin(ValueError):
    """The folder holds no Vision Agents plugin; the message says what is missing."""


class PluginFolder:
    """A realtime plugin as its files say it is.

    Args:
        root: the folder with pyproject.toml, README.md and vision_agents/.

    Attributes:
        package: the folder vision_agents/plugins/NAME.
        code, tests, example: the Python files of the package, the tests and the example.
        broken: Python files that do not parse, or that are not UTF-8.

    Raises:
        NotAPlugin: there is no vision_agents/plugins/NAME in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        plugins = self.root / "vision_agents" / "plugins"
        packages = sorted(path for path in plugins.glob("[!._]*") if any(path.glob("*.py")))
        if not packages:
            raise NotAPlugin(
                f"{root} is not a plugin's folder: it has no vision_agents/plugins/NAME"
            )
        self.package = packages[0]
        self.broken: list[Place] = []
        self.code = self._read("vision_agents")
        self.tests = self._read("tests")
        self.example = self._read("example")

    @property
    def name(self) -> str:
        """The plugin's name, as in `vision_agents.plugins.NAME`."""
        return self.package.name

    @property
    def distribution(self) -> str:
        """The name under which it is published."""
        return f"vision-agents-plugins-{self.name.replace('_', '-')}"

    @cached_property
    def workspace(self) -> Path | None:
        """The root of the Vision Agents monorepo that the plugin is in, or None."""
        root = self.root.parent.parent
        core = root / "agents-core" / "pyproject.toml"
        return root if self.root.parent.name == "plugins" and core.exists() else None

    @property
    def sources(self) -> list[Source]:
        """Every Python file."""
        return [*self.code, *self.tests, *self.example]

    @cached_property
    def init(self) -> Source | None:
        """The package's `__init__.py`."""
        name = (self.package / "__init__.py").relative_to(self.root).as_posix()
        return next((source for source in self.code if source.name == name), None)

    @cached_property
    def exported(self) -> str | None:
        """The name of the class that the package exports as `Realtime`."""
        for node in self.init.tree.body if self.init else []:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == "Realtime":
                        return alias.name
        return None

    @cached_property
    def realtime(self) -> tuple[Source, ast.ClassDef] | None:
        """The class that is exported as `Realtime`, and its file."""
        return self.find_class(self.exported or "Realtime")

    @cached_property
    def realtime_methods(self) -> dict[str, tuple[Source, Function]]:
        """The methods of `Realtime`, those of base classes in the package among them."""
        found: dict[str, tuple[Source, Function]] = {}
        todo, seen = [self.realtime], set[ast.ClassDef]()
        for each in todo:
            if each is not None and each[1] not in seen:
                source, node = each
                seen.add(node)
                for name, method in methods(node).items():
                    found.setdefault(name, (source, method))
                todo += [self.find_class(last_name(base)) for base in node.bases]
        return found

    @cached_property
    def pyproject(self) -> Mapping[str, object]:
        """pyproject.toml; empty where there is none, or none that can be read."""
        return read_toml(self.root / "pyproject.toml")

    @cached_property
    def pytest_settings(self) -> tuple[str, Mapping[str, str]]:
        """Pytest's settings as text, and the file that they are in."""
        for folder in (self.root, self.workspace):
            if folder is None:
                continue
            where = "" if folder == self.root else "../../"
            parser = configparser.ConfigParser(interpolation=None)
            parser.read(folder / "pytest.ini", encoding="utf-8")
            if parser.has_section("pytest"):
                return f"{where}pytest.ini", parser["pytest"]
            match read_toml(folder / "pyproject.toml"):
                case {"tool": {"pytest": {"ini_options": {**settings}} | {**settings}}}:
                    texts = {str(name): _as_text(value) for name, value in settings.items()}
                    return f"{where}pyproject.toml", texts
        return "pyproject.toml", {}

    @cached_property
    def readme(self) -> str:
        """README.md; empty where there is none."""
        path = self.root / "README.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def readme_prose(self) -> str:
        """README.md without its blocks of code."""
        return re.sub(r"^```.*?^```$", "", self.readme, flags=re.MULTILINE | re.DOTALL)

    def find_class(self, name: str) -> tuple[Source, ast.ClassDef] | None:
        """A class of this name at the top of one of the package's modules."""
        for source in self.code:
            for node in source.tree.body:
                if isinstance(node, ast.ClassDef) and node.name == name:
                    return source, node
        return None

    def in_pyproject(self, *keys: str) -> Place:
        """Where the first of these keys or tables is in pyproject.toml."""
        path = self.root / "pyproject.toml"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for key in keys:
            for number, line in enumerate(lines, start=1):
                if re.match(rf"\s*{re.escape(key)}\s*=|\[{re.escape(key)}\]", line):
                    return Place("pyproject.toml", number)
        return Place("pyproject.toml")

    def _read(self, folder: str) -> list[Source]:
        found = []
        for path in sorted((self.root / folder).rglob("*.py")):
            if SKIPPED & set(path.relative_to(self.root).parts):
                continue
            try:
                found.append(Source.read(path, self.root))
            except (SyntaxError, ValueError) as error:
                line = error.lineno or 0 if isinstance(error, SyntaxError) else 0
                self.broken.append(Place(path.relative_to(self.root).as_posix(), line, str(error)))
        return found


def read_toml(path: Path) -> Mapping[str, object]:
    """Read a TOML file; empty where there is none, or none that can be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _as_text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
