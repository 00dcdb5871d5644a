"""The house's conventions that ruff cannot check, each named by its id.

`uv run pytest` runs them; `uv run tests/test_conventions.py` runs ruff and mypy, too,
and so checks every convention there is. A finding names the rule, the line and the
way out. Not the author's to edit.
"""

import ast
import configparser
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
{% if cookiecutter.layout == 'workspace' %}from fnmatch import fnmatch
{% endif %}from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
{% if cookiecutter.layout == 'workspace' %}HOUSE = ROOT.parents[1]
PYTEST_INI = HOUSE / "pytest.ini"
{% else %}PYTEST_INI = ROOT / "pytest.ini"
{% endif %}PACKAGE = next(path.parent for path in ROOT.glob("vision_agents/plugins/*/__init__.py"))
HOT = {"process_audio", "simple_audio_response", "send", "send_audio", "encode", "decode"}
LIFECYCLE = ("connect", "close", "interrupt")
SECTIONS = ("Features", "Installation", "Usage", "Configuration", "Dependencies")


@dataclass(frozen=True)
class Source:
    """A Python file, read once."""

    path: Path
    text: str
    tree: ast.Module
    comments: list[tuple[int, str]]

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{line}"


def _read(folder: str) -> list[Source]:
    paths = [path for path in sorted((ROOT / folder).rglob("*.py")) if ".venv" not in path.parts]
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [Source(path, text, ast.parse(text), _comments(text)) for path, text in texts]


def _comments(text: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [(each.start[0], each.string) for each in tokens if each.type == tokenize.COMMENT]


@pytest.fixture(scope="module")
def package() -> list[Source]:
    """The package's files."""
    return _read("vision_agents")


@pytest.fixture(scope="module")
def tests() -> list[Source]:
    """The tests' files."""
    return _read("tests")


@pytest.fixture(scope="module")
def everything(package: list[Source], tests: list[Source]) -> list[Source]:
    """Every file of the plugin."""
    return package + tests + _read("example")


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def readme() -> str:
    """README.md."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _report(rule: str, way_out: str, found: list[str]) -> None:
    assert not found, "\n".join([f"{rule}: {way_out}", *found])


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _logs(node: ast.AST, level: str) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"), attr=attr)):
            return attr == level
    return False


def _is_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "isEnabledFor" in ast.dump(node.test)


def _realtime(package: list[Source]) -> tuple[Source, ast.ClassDef]:
    for source in package:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == "Realtime":
                return source, node
    raise AssertionError("R1: no class Realtime: the house exports it by that name")


def _arguments(realtime: ast.ClassDef) -> dict[str, ast.expr | None]:
    """The constructor's arguments and their defaults, None without one."""
    given = next(each for each in _methods(realtime) if each.name == "__init__").args
    positional = given.args[1:]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    named = zip(positional, bare + list(given.defaults), strict=True)
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return {argument.arg: default for argument, default in (*named, *keywords)}


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]


class TestPackage:
    """P: the package and its papers."""

    def test_p1_the_folder_has_what_every_plugin_has(self) -> None:
        wanted = ("pyproject.toml", "README.md", "py.typed", "tests", "example")
        missing = [name for name in wanted if not (ROOT / name).exists()]
        _report("P1", "put these beside pyproject.toml", missing)

    def test_p2_namespaces_are_shared(self) -> None:
        folders = (ROOT / "vision_agents", PACKAGE.parent)
        found = [folder.name for folder in folders if (folder / "__init__.py").exists()]
        _report(
            "P2", "delete __init__.py in these: the core and other plugins share the folder", found
        )

    def test_p3_names_agree(self, project: dict[str, object]) -> None:
        name = f"vision-agents-plugins-{PACKAGE.name.replace('_', '-')}"
        match project:
            case {"project": {"name": given}} if given == name:
                return
        pytest.fail(f"P3: pyproject.toml: project.name must be {name!r}, as the folder is named")

    def test_p4_the_wheel_holds_the_package_alone(self, project: dict[str, object]) -> None:
        match project:
            case {"tool": {"hatch": {"build": {"targets": {"wheel": {"packages": packages}}}}}}:
                _report(
                    "P4",
                    'pyproject.toml: wheel packages must be ["vision_agents"]',
                    [] if packages == ["vision_agents"] else [str(packages)],
                )
{% if cookiecutter.layout == 'standalone' %}                assert (PACKAGE / "py.typed").exists(), "P4: py.typed is missing in the package"
{% endif %}                return
        pytest.fail("P4: pyproject.toml: set tool.hatch.build.targets.wheel.packages")

    def test_p5_the_package_says_what_it_is(self, project: dict[str, object]) -> None:
        match project:
            case {
                "project": {
                    "readme": "README.md",
                    "license": str(),
                    "requires-python": str(),
                    "urls": {"Documentation": str(), "Website": str(), "Source": str()},
                }
            }:
                return
        pytest.fail(
            "P5: pyproject.toml: project needs readme = 'README.md', license, requires-python "
            "and the URLs Documentation, Website and Source"
        )

    def test_p6_hatchling_builds(self, project: dict[str, object]) -> None:
        match project:
            case {"build-system": {"build-backend": "hatchling.build"}}:
                return
        pytest.fail("P6: pyproject.toml: build-system.build-backend must be hatchling.build")

{% if cookiecutter.layout == 'workspace' %}    def test_p6_version_and_core_come_from_the_workspace(self, project: dict[str, object]) -> None:
        match project:
            case {
                "project": {"dynamic": ["version"], "dependencies": [*dependencies]},
                "tool": {
                    "hatch": {"version": {"source": "vcs"}},
                    "uv": {"sources": {"vision-agents": {"workspace": True}}},
                },
            } if "vision-agents" in dependencies:
                return
        pytest.fail(
            "P6: pyproject.toml: the version is dynamic, from hatch-vcs, and vision-agents is "
            "{ workspace = true } without bounds"
        )

{% endif %}    def test_p7_the_package_exports_realtime(self) -> None:
        tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
        exported = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        ok = bool(exported) and "Realtime" in exported[0]
        assert ok, f'P7: {PACKAGE.name}/__init__.py: name "Realtime" in __all__'

    def test_p8_the_readme_has_its_sections(self, readme: str) -> None:
        found = [name for name in SECTIONS if f"\n## {name}\n" not in readme]
        _report("P8", "README.md: add these sections", found)

    def test_p8_the_readme_lists_every_parameter(self, readme: str, package: list[Source]) -> None:
        _, realtime = _realtime(package)
        arguments = list(_arguments(realtime))
        section = readme.partition("\n## Configuration\n")[2].partition("\n## ")[0]
        table = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)[: len(arguments)]
        assert table == arguments, (
            f"P8: README.md, Configuration: the table has {table}, the constructor {arguments}"
        )

    def test_p9_the_example_stands_alone(self) -> None:
        example = ROOT / "example"
        found = [
            name for name in ("pyproject.toml", ".env.example") if not (example / name).exists()
        ]
        _report("P9", "example/ needs these", found)
        text = "".join(path.read_text(encoding="utf-8") for path in example.glob("*_example.py"))
        found = [name for name in ("Agent(", "Runner(", "AgentLauncher(") if name not in text]
        _report("P9", "example/: use the house's Agent, Runner and AgentLauncher", found)
        keys = (example / ".env.example").read_text(encoding="utf-8")
        variable = f"{PACKAGE.name.upper()}_API_KEY"
        assert variable in keys, f"P9: example/.env.example: name {variable}"
{% if cookiecutter.layout == 'workspace' %}
    def test_p10_the_monorepo_knows_the_plugin(self, project: dict[str, dict[str, str]]) -> None:
        files = (HOUSE / "pyproject.toml", HOUSE / "agents-core" / "pyproject.toml")
        root, core = (tomllib.loads(path.read_text(encoding="utf-8")) for path in files)
        name, uv = project["project"]["name"], root["tool"]["uv"]
        source, member = {"workspace": True}, f"plugins/{ROOT.name}"
        members = uv["workspace"]["members"]
        places = {
            f"pyproject.toml, uv sources: {name}": uv["sources"].get(name) == source,
            f'pyproject.toml, uv workspace members: "{member}"': any(
                fnmatch(member, pattern) for pattern in members
            ),
            f'agents-core/pyproject.toml, extras: {PACKAGE.name} = ["{name}"]': (
                [name] in core["project"]["optional-dependencies"].values()
            ),
        }
        missing = [place for place, registered in places.items() if not registered]
        _report("P10", "add these as other plugins have theirs, then run uv lock", missing)
{% endif %}

class TestCode:
    """C: the code."""

    def test_c3_attributes_are_named(self, everything: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in everything
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("getattr", "hasattr", "setattr", "delattr")
        ]
        _report("C3", "name the attribute, or type the object so that you can", found)

    def test_c5_no_section_dividers(self, everything: list[Source]) -> None:
        divider = re.compile(r"#\s*([-=#*~_]{3,}|[-=#*~_]{2,}\s.*\s[-=#*~_]{2,})")
        found = [
            source.at(line)
            for source in everything
            for line, comment in source.comments
            if divider.match(comment)
        ]
        _report("C5", "delete the divider; a long file wants another file", found)

    def test_c8_no_type_ignore(self, everything: list[Source]) -> None:
        found = [
            source.at(line)
            for source in everything
            for line, comment in source.comments
            if re.match(r"#\s*type:\s*ignore", comment)
        ]
        _report("C8", "name the type instead of ignoring it", found)

    def test_c8_a_noqa_says_why(self, everything: list[Source]) -> None:
        found = [
            source.at(line)
            for source in everything
            for line, comment in source.comments
            if re.search(r"#\s*noqa", comment) and not re.search(r"noqa: [A-Z0-9, ]+ - \w", comment)
        ]
        _report("C8", "write `# noqa: RULE - the reason`", found)

    def test_c14_one_logger_a_module(self, package: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in package
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("logging.getLogger", "getLogger")
            and ast.unparse(node) != "logging.getLogger(__name__)"
        ]
        _report("C14", "use `logger = logging.getLogger(__name__)`, or a child of it", found)

    def test_c15_debug_logging_is_guarded_in_hot_paths(self, package: list[Source]) -> None:
        found = []
        for source in package:
            for function in _functions(source.tree):
                if function.name.lstrip("_") not in HOT and "audio" not in function.name:
                    continue
                guarded = {
                    id(inner)
                    for node in ast.walk(function)
                    if _is_guard(node)
                    for inner in ast.walk(node)
                }
                found += [
                    source.at(node.lineno)
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call) and _logs(node, "debug")
                    if id(node) not in guarded
                ]
        _report("C15", "put it under `if logger.isEnabledFor(logging.DEBUG):`", found)

    def test_c17_lifecycle_methods_are_async(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        methods = {each.name: each for each in _methods(realtime)}
        missing = [name for name in LIFECYCLE if name not in methods]
        _report("C17", "Realtime needs these methods", missing)
        found = [
            source.at(methods[name].lineno)
            for name in LIFECYCLE
            if not isinstance(methods[name], ast.AsyncFunctionDef)
        ]
        _report("C17", "make it `async def`", found)
        closes = ast.dump(methods["close"])
        assert "finalbody=[]" not in closes, "C17: close() must release in `finally`"

    def test_c18_methods_are_in_order(self, package: list[Source]) -> None:
        found = []
        for source in package:
            for node in ast.walk(source.tree):
                if isinstance(node, ast.ClassDef):
                    ranks = [(_rank(each), each) for each in _methods(node)]
                    found += [
                        f"{source.at(later.lineno)} {later.name}"
                        for (before, _), (after, later) in pairwise(ranks)
                        if after < before
                    ]
        way_out = "order: __init__, lifecycle, properties, public, private, dunders"
        _report("C18", way_out, found)

    def test_c19_no_arithmetic_on_samples(self, package: list[Source]) -> None:
        found = []
        for source in package:
            for function in _functions(source.tree):
                if function.name == "_packed":  # the one exception, at the wire's edge
                    continue
                found += [
                    source.at(node.lineno)
                    for node in ast.walk(function)
                    if isinstance(node, ast.BinOp | ast.Subscript | ast.AugAssign)
                    for part in ast.iter_child_nodes(node)
                    if isinstance(part, ast.Attribute) and part.attr == "samples"
                ]
        _report("C19", "use PcmData and getstream's audio utilities", found)

    def test_c21_settings_are_arguments(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        arguments = _arguments(realtime)
        found = [
            name
            for name in ("model", "voice", "base_url", "api_key")
            if name not in arguments or arguments[name] is None
        ]
        _report("C21", f"{source.at(realtime.lineno)}: arguments with defaults", found)

    def test_c23_frames_are_converted_with_a_format(self, package: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in package
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("to_ndarray", "reformat")
            and not any(keyword.arg == "format" for keyword in node.keywords)
        ]
        _report("C23", "say format=..., and convert off the event loop", found)

    def test_the_rooms_have_one_way_doors(self, package: list[Source]) -> None:
        doors = {
            "events": set[str](),
            "wire": {"events"},
            "client": {"events", "wire"{% if cookiecutter.transport == 'webrtc' %}, "peer"{% endif %}},
            "turns": {"events"},
            "messages": {"events"},
            "held_output": set[str](),
            "parrot": {"events"},
            "loopback": {"events", "wire", "parrot"{% if cookiecutter.transport == 'webrtc' %}, "peer"},
            "peer": set[str](){% else %}}{% endif %},
        }
        found = []
        for source in package:
            allowed = doors.get(source.path.stem)
            for node in ast.walk(source.tree):
                if allowed is not None and isinstance(node, ast.ImportFrom) and node.level:
                    named = {node.module} if node.module else {each.name for each in node.names}
                    found += [
                        f"{source.at(node.lineno)} imports {name}"
                        for name in sorted(named - allowed)
                    ]
        _report("doors", "acme_realtime -> client -> wire <- loopback, all through events", found)


class TestRealtime:
    """R: what every realtime plugin is made of; the contracts prove that it works."""

    def test_r1_realtime_names_its_provider(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        names = [
            node
            for node in realtime.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "provider_name"
        ]
        assert names, f"R1: {source.at(realtime.lineno)}: set provider_name in the class"

    def test_r2_the_client_can_be_passed_in(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        first = list(_arguments(realtime))[:2]
        where = source.at(realtime.lineno)
        assert first == ["model", "client"], f"R2: {where}: __init__(self, model, client, ...)"

    def test_r3_realtime_has_the_pattern_s_methods(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        wanted = {
            "R3": "_handle_events",
            "R5": "simple_response",
            "R8": "simple_audio_response",
            "R10": "_normalize_message",
        }
        names = {each.name for each in _methods(realtime)}
        found = [f"{rule}: {name}" for rule, name in wanted.items() if name not in names]
        _report("R3", f"{source.at(realtime.lineno)} lacks these methods", found)

    def test_r4_one_method_wraps_the_native_call(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        wrappers = [
            each.name
            for each in _methods(realtime)
            if each.args.vararg and each.args.kwarg and not each.name.startswith("_")
        ]
        where = source.at(realtime.lineno)
        assert len(wrappers) == 1, f"R4: {where}: one public method takes *args, **kwargs"

    def test_r5_simple_response_delegates_to_it(self, package: list[Source]) -> None:
        source, realtime = _realtime(package)
        methods = {each.name: each for each in _methods(realtime)}
        wrapper = next(
            name for name, each in methods.items() if each.args.vararg and name[0] != "_"
        )
        simple = methods["simple_response"]
        calls = [ast.unparse(node.func) for node in ast.walk(simple) if isinstance(node, ast.Call)]
        where = source.at(simple.lineno)
        assert f"self.{wrapper}" in calls, f"R5: {where}: simple_response calls self.{wrapper}"


class TestTests:
    """T: the tests."""

    def test_t1_nothing_is_mocked(self, tests: list[Source]) -> None:
        mocks = ("setattr", "setitem", "mocker", "MagicMock", "AsyncMock")
        found = [
            source.at(node.lineno)
            for source in tests
            for node in ast.walk(source.tree)
            if (isinstance(node, ast.Attribute) and node.attr in mocks)
            or (isinstance(node, ast.Name) and node.id in mocks)
            or (isinstance(node, ast.arg) and node.arg == "mocker")
        ]
        _report("T1", "never mock: run against loopback.Provider", found)

    def test_t2_asyncio_needs_no_mark(self, tests: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in tests
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.asyncio"
        ]
        _report("T2", "delete the mark: asyncio_mode is auto", found)

    def test_t3_there_is_a_live_test(self, tests: list[Source]) -> None:
        live = [each for each in tests if "pytest.mark.integration" in each.text]
        live = [each for each in live if each.path != Path(__file__)]
        assert live, "T3: write one test marked integration, that talks to the provider itself"

    def test_t5_tests_sit_in_classes(self, tests: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in tests
            for node in source.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
        ]
        _report("T5", "put it into the test class of what it tests", found)

    def test_t7_pytest_is_strict(self) -> None:
        parser = configparser.ConfigParser()
        parser.read(PYTEST_INI, encoding="utf-8")
        section = parser["pytest"]
        options = section.get("addopts", "").split()
        limits = [each for each in options if each.startswith("--timeout=")]
        wanted = {
            "asyncio_mode = auto": section.get("asyncio_mode") == "auto",
            "a timeout": bool(section.get("timeout", limits)),
            "--strict-markers": "--strict-markers" in options,
            "--import-mode=importlib": "--import-mode=importlib" in options,
        }
        _report("T7", "pytest.ini needs these", [name for name, had in wanted.items() if not had])


def _rank(method: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    decorators = [ast.unparse(each) for each in method.decorator_list]
    match method.name:
        case "__init__" | "__new__" | "__post_init__":
            return 0
        case "__aenter__" | "__aexit__" | "__enter__" | "__exit__" | "connect" | "close":
            return 1
        case name if name.startswith("__"):
            return 5
        case name if name.startswith("_"):
            return 4
        case _ if "property" in decorators:
            return 2
    return 3


if __name__ == "__main__":
    tools = (
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("mypy"{% if cookiecutter.layout == 'workspace' %}, "--config-file", "../../pyproject.toml", "vision_agents"{% else %},{% endif %}),
    )
    failed = [tool for tool in tools if subprocess.call(tool, cwd=ROOT)]
    sys.exit(pytest.main([__file__, "--quiet"]) or len(failed))
