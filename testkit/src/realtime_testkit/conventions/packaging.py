"""P: the package and what is published of it."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch

from .folder import PluginFolder, read_toml
from .rules import Rule
from .source import Place, calls, defaults

SECTIONS = ["Features", "Installation", "Usage", "Configuration", "Dependencies"]
SECRET = re.compile(r"\b[A-Z][A-Z0-9_]*_(?:KEY|SECRET|TOKEN)\b")
AUTHORS_SECTION = re.compile(
    r"contribut|develop|^tests?$|testing|edit|template|adapt|put in|release|updat", re.IGNORECASE
)
VISION_AGENTS_URL = re.compile(
    r"https://(visionagents\.ai|github\.com/GetStream/Vision-Agents)(/|$)"
)
TEST_ONLY_FILE = re.compile(r"(^|/)(test_[^/]*|[^/]*_test|conftest|[^/]*_double)\.py$|/tests?/")
TEST_ONLY_IMPORT = re.compile(
    r"(pytest|_pytest|pytest_\w+|unittest|mock|hypothesis|blockbuster|realtime_testkit"
    r"|vision_agents\.testing)(\.|$)"
    r"|(websockets\.(asyncio\.|sync\.)?server|websockets\.serve|aiohttp\.(web|test_utils)"
    r"|http\.server|socketserver|uvicorn|fastapi|starlette|asyncio\.start_server)(\.|$)"
)
TEST_ONLY_DEPENDENCY = re.compile(
    r"(pytest([-_]\w+)*|hypothesis|blockbuster|mypy|ruff|vision-agents-realtime-testkit)\b(?!-)",
    re.IGNORECASE,
)


class P1(Rule):
    """The folder has pyproject.toml, README.md, py.typed, tests/, example/ and the package."""

    fix = "add it: every plugin has it"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for each of them."""
        wanted = [plugin.root / name for name in ("pyproject.toml", "README.md", "py.typed")]
        wanted += [plugin.root / "tests", plugin.root / "example", plugin.package / "__init__.py"]
        for path in wanted:
            if not path.exists():
                yield Place(path.relative_to(plugin.root).as_posix())


class P2(Rule):
    """`vision_agents/` and `vision_agents/plugins/` are namespace folders."""

    fix = "delete it: Vision Agents and other plugins share the folder"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Neither has an `__init__.py`."""
        for name in ("vision_agents/__init__.py", "vision_agents/plugins/__init__.py"):
            if (plugin.root / name).exists():
                yield Place(name)


class P3(Rule):
    """The names of distribution, folder and module agree."""

    fix = "name the distribution vision-agents-plugins-NAME, with dashes, for the module NAME"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Compare the names."""
        match plugin.pyproject:
            case {"project": {"name": str(name)}} if (
                name == plugin.distribution and plugin.name.isidentifier()
            ):
                return
        yield plugin.in_pyproject("name")


class P4(Rule):
    """The wheel holds `vision_agents` alone, with py.typed in the package."""

    fix = 'set wheel packages = ["vision_agents"] and nothing else, and add py.typed to the package'

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at Hatch's settings; in the monorepo py.typed is beside pyproject.toml only."""
        typed = plugin.package / "py.typed"
        if plugin.workspace is None and not typed.exists():
            yield Place(typed.relative_to(plugin.root).as_posix())
        match plugin.pyproject:
            case {"tool": {"hatch": {"build": {"targets": {"wheel": wheel}, **others}}}}:
                match wheel:
                    case {"packages": ["vision_agents"], **more} if (
                        set(more) <= {"exclude"} and not others
                    ):
                        return
        yield plugin.in_pyproject("packages", "tool.hatch.build.targets.wheel", "project")


class P5(Rule):
    """README.md, license, requires-python and URLs are part of the metadata."""

    fix = (
        'set readme = "README.md", license, requires-python, and URLs named Documentation, '
        "Website and Source"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at [project]."""
        match plugin.pyproject:
            case {
                "project": {
                    "readme": "README.md",
                    "license": str() | {"text": str()} | {"file": str()},
                    "requires-python": str(),
                    "urls": {"Documentation": str(), "Website": str(), "Source": str()},
                }
            }:
                return
        yield plugin.in_pyproject("project")


class P6(Rule):
    """Hatchling builds it; in the monorepo version and vision-agents are the workspace's."""

    fix = (
        'set build-backend = "hatchling.build"; in the monorepo take the version from hatch-vcs '
        "and vision-agents from the workspace"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the build system and, in the monorepo, at version and dependencies."""
        match plugin.pyproject:
            case {"build-system": {"build-backend": "hatchling.build"}}:
                pass
            case _:
                yield plugin.in_pyproject("build-backend", "build-system")
        if plugin.workspace is None:
            return
        match plugin.pyproject:
            case {
                "project": {"dynamic": ["version"], "dependencies": [*dependencies]},
                "tool": {
                    "hatch": {"version": {"source": "vcs"}},
                    "uv": {"sources": {"vision-agents": {"workspace": True}}},
                },
            } if "vision-agents" in dependencies:
                return
        yield plugin.in_pyproject("dependencies", "project")


class P7(Rule):
    """`__init__.py` exports the public class as `Realtime`, with `__all__`."""

    fix = 'import the class as Realtime in __init__.py and add "Realtime" to __all__'

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the imports and at `__all__`."""
        if plugin.init is None:
            return
        exported = "".join(
            ast.unparse(node.value)
            for node in plugin.init.tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value is not None
            and "__all__" in ast.unparse(node).partition("=")[0]
        )
        if plugin.exported is None or "'Realtime'" not in exported:
            yield plugin.init.at(1)


class P8(Rule):
    """README.md has the usual sections, and a table of every parameter of the constructor."""

    fix = (
        "README.md: title, introduction, then Features, Installation (uv add), Usage, "
        "Configuration (a row for each parameter of the constructor), Dependencies"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Compare headings with the usual ones, and the table with the constructor."""
        if not plugin.readme:
            return
        prose = plugin.readme_prose
        title, _, rest = prose.lstrip().partition("\n")
        if not title.startswith("# ") or not rest.partition("\n#")[0].strip():
            yield Place("README.md", 1, "title")
        found = [name for name in re.findall(r"^## (.*)$", prose, re.MULTILINE) if name in SECTIONS]
        missing = [name for name in SECTIONS if name not in found]
        for name in missing:
            yield Place("README.md", detail=name)
        if not missing and found != SECTIONS:
            yield Place("README.md", detail=f"order: {', '.join(found)}")
        if not re.search(rf'uv add ("vision-agents\[|{plugin.distribution}\b)', plugin.readme):
            yield Place("README.md", detail="uv add")
        if "__init__" in plugin.realtime_methods:
            section = prose.partition("\n## Configuration\n")[2].partition("\n## ")[0]
            table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
            rows = re.findall(r"^\| *`(\w+)`", table[0] if table else "", re.MULTILINE)
            parameters = list(defaults(plugin.realtime_methods["__init__"][1]))
            wrong = sorted(set(rows) ^ set(parameters)) or ["order"] * (rows != parameters)
            for name in wrong:
                yield Place("README.md", detail=f"Configuration: {name}")


class P9(Rule):
    """example/ stands alone: its pyproject.toml, an .env.example with every key, an agent."""

    fix = (
        "example/ needs a pyproject.toml, an .env.example with a line for every key, and an "
        "Agent, a Runner and an AgentLauncher"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the files, for the three names in a call, and for every key."""
        example = plugin.root / "example"
        for name in ("pyproject.toml", ".env.example"):
            if not (example / name).exists():
                yield Place(f"example/{name}")
        used = {
            name.rpartition(".")[2] for source in plugin.example for name, _ in calls(source.tree)
        }
        for name in ("Agent", "Runner", "AgentLauncher"):
            if name not in used:
                yield Place("example/", detail=name)
        if (example / ".env.example").exists():
            text = (example / ".env.example").read_text(encoding="utf-8")
            for key in sorted(_keys(plugin) - set(re.findall(r"^(\w+)=", text, re.MULTILINE))):
                yield Place("example/.env.example", detail=key)


class P10(Rule):
    """In the monorepo the plugin is in the root's sources and members, and an extra of the core."""

    fix = "add it as other plugins are, in the list's order, then run uv lock"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the three lists; where the other plugins are in order, this one is, too."""
        if plugin.workspace is None:
            return
        root, core = (
            read_toml(plugin.workspace / path)
            for path in ("pyproject.toml", "agents-core/pyproject.toml")
        )
        name, member = plugin.distribution, f"plugins/{plugin.root.name}"
        sources, members, extras = _lists(root, core)
        in_root, in_core = "../../pyproject.toml", "../../agents-core/pyproject.toml"
        if sources.get(name) != {"workspace": True}:
            yield Place(in_root, detail=f"{name} in uv sources")
        elif not _is_in_order(filter(_is_plugin, sources), name):
            yield Place(in_root, detail=f"{name} out of order in uv sources")
        if not any(fnmatch(member, pattern) for pattern in members):
            yield Place(in_root, detail=f"{member} in uv workspace members")
        elif not _is_in_order(filter(_is_plugin, members), member):
            yield Place(in_root, detail=f"{member} out of order in uv workspace members")
        extra = next((key for key, value in extras.items() if value == [name]), None)
        if extra is None:
            yield Place(in_core, detail=f"extra {plugin.name}")
        elif not _is_in_order((key for key in extras if _is_plugin(str(extras[key]))), extra):
            yield Place(in_core, detail=f"extra {extra} out of order")


class P11(Rule):
    """In the monorepo the plugin is installed as an extra, and has no settings of its own kind."""

    fix = (
        'in the monorepo README.md says uv add "vision-agents[NAME]", the URLs are Vision '
        "Agents' own, and there are no ruff or cruft settings"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at README.md, URLs and settings."""
        if plugin.workspace is None:
            return
        extra = "[_-]".join(map(re.escape, plugin.name.split("_")))
        if not re.search(rf'uv add "vision-agents\[{extra}\]"', plugin.readme):
            yield Place("README.md", detail="uv add")
        match plugin.pyproject:
            case {"project": {"urls": {**urls}}}:
                for name, url in urls.items():
                    if not VISION_AGENTS_URL.match(str(url)):
                        yield plugin.in_pyproject(str(name))
        match plugin.pyproject:
            case {"tool": {**tools}}:
                for name in {"ruff", "cruft"} & set(tools):
                    yield Place("pyproject.toml", detail=f"tool.{name}")
        for pattern in ("ruff.toml", ".ruff.toml", ".cruft.json"):
            for path in plugin.root.rglob(pattern):
                yield Place(path.relative_to(plugin.root).as_posix())


class P12(Rule):
    """README.md is the package's page; what an author needs is in CONTRIBUTING.md."""

    fix = (
        "begin README.md with title, introduction and Features, and move what an author needs to "
        "CONTRIBUTING.md"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Features is the first section, and no section is for authors."""
        lines = re.sub(
            r"^```.*?^```$",
            lambda block: "\n" * block[0].count("\n"),
            plugin.readme,
            flags=re.MULTILINE | re.DOTALL,
        ).splitlines()
        headings = [
            (number, line[3:].strip())
            for number, line in enumerate(lines, start=1)
            if line.startswith("## ")
        ]
        if headings and headings[0][1] != "Features":
            yield Place("README.md", headings[0][0])
        for number, heading in headings:
            if AUTHORS_SECTION.search(heading) and heading not in SECTIONS:
                yield Place("README.md", number)
        roots = (plugin.root, plugin.workspace or plugin.root)
        if not any((root / "CONTRIBUTING.md").exists() for root in roots):
            yield Place("CONTRIBUTING.md")


class P13(Rule):
    """Nothing that only tests need is in the wheel: no embedded provider, no test double."""

    fix = "move it to tests/, and what it needs to the dependency group dev"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at file names, imports and dependencies."""
        for source in plugin.code:
            if TEST_ONLY_FILE.search(source.name):
                yield Place(source.name)
            for name, line in source.imports:
                if TEST_ONLY_IMPORT.match(name):
                    yield source.at(line)
        match plugin.pyproject:
            case {"project": {"dependencies": [*dependencies]}}:
                for dependency in dependencies:
                    if TEST_ONLY_DEPENDENCY.match(str(dependency)):
                        yield Place("pyproject.toml", detail=str(dependency))


def _keys(plugin: PluginFolder) -> set[str]:
    """Environment variables with secrets that the package or its example reads."""
    texts = {
        node.value
        for source in (*plugin.code, *plugin.example)
        for node in source.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    keys = {text for text in texts if SECRET.fullmatch(text)}
    for source in plugin.example:
        keys.update(SECRET.findall(ast.unparse(source.tree)))
        if any(name == "getstream.Edge" for name, _ in source.calls):
            keys |= {"STREAM_API_KEY", "STREAM_API_SECRET"}
    return keys


def _lists(
    root: Mapping[str, object], core: Mapping[str, object]
) -> tuple[dict[str, object], list[str], dict[str, object]]:
    """The monorepo's uv sources, its workspace members, and the core's extras."""
    sources: dict[object, object] = {}
    members: list[object] = []
    extras: dict[object, object] = {}
    match root:
        case {"tool": {"uv": {"sources": {**sources}, "workspace": {"members": [*members]}}}}:
            pass
    match core:
        case {"project": {"optional-dependencies": {**extras}}}:
            pass
    return (
        {str(name): value for name, value in sources.items()},
        [str(member) for member in members],
        {str(name): value for name, value in extras.items()},
    )


def _is_plugin(entry: str) -> bool:
    """Whether an entry of one of the monorepo's lists is a plugin."""
    return entry.startswith("plugins/") or "vision-agents-plugins-" in entry


def _is_in_order(entries: Iterable[str], entry: str) -> bool:
    """Whether an entry is where it belongs; true of a list that has no order of its own."""
    listed = list(entries)
    others = [each for each in listed if each != entry]
    return others != sorted(others) or listed == sorted(listed) or entry not in listed


RULES = (P1(), P2(), P3(), P4(), P5(), P6(), P7(), P8(), P9(), P10(), P11(), P12(), P13())
