"""T: the tests."""

import ast
import re
from collections.abc import Callable, Iterator

from .folder import PluginFolder
from .rules import Rule
from .source import Place, Source, last_name, methods

MOCKS = {"setattr", "delattr", "setitem", "delitem", "mocker", "Mock", "MagicMock", "AsyncMock"}
WATCHES = re.compile(
    r"assert_(not_|any_|has_)?(call|await)\w*|(mock|method)_calls|(call|await)_(count|args\w*)"
)
SETUPS = re.compile(r"(setup|teardown)_(method|class|module|function)|(setUp|tearDown)\w*")


class T1(Rule):
    """Nothing is mocked or patched."""

    fix = "run against a provider of realtime_testkit.providers instead of a mock"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for mocks by name, and for assignments to what was imported."""
        yield from _named(plugin.tests, MOCKS.__contains__)
        for source in plugin.tests:
            imported = {
                alias.asname or alias.name
                for node in source.nodes
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            }
            for node in source.nodes:
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store | ast.Del)
                    and ast.unparse(node).partition(".")[0] in imported
                ):
                    yield source.at(node)


class T2(Rule):
    """`asyncio_mode` is auto: no `@pytest.mark.asyncio`."""

    fix = "delete the mark: asyncio_mode is auto"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the mark."""
        for source in plugin.tests:
            for node in source.nodes:
                if isinstance(node, ast.Attribute) and re.search(
                    r"\bmark\.asyncio$", ast.unparse(node)
                ):
                    yield source.at(node)


class T3(Rule):
    """A live test is marked `integration`; without a key it is skipped, with `--live` it fails."""

    fix = (
        "mark a test that talks to the provider itself with @pytest.mark.integration and skip it "
        "where the key is not set, or subclass contract.Live"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for a subclass of the contract's class, or for a test with the mark and a skip."""
        for source in plugin.tests:
            if any(last_name(base) == "Live" for node in source.classes for base in node.bases):
                return
            marked = any("mark.integration" in ast.unparse(each) for each in _marks(source))
            if marked and any(re.search(r"\bskip(if)?$", name) for name, _ in source.calls):
                return
        yield Place("tests/")


class T4(Rule):
    """Nothing changes `sys.path`."""

    fix = "install the package (uv sync) instead of changing sys.path"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for pytest's own means; ruff finds the others."""
        yield from _named(plugin.tests, "syspath_prepend".__eq__)
        name, settings = plugin.pytest_settings
        if "pythonpath" in settings:
            yield Place(name, detail="pythonpath")


class T5(Rule):
    """Tests are methods of a test class for what they test; what they need comes from fixtures."""

    fix = "move the test into a class, and its setup into a fixture"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for test functions outside of test classes, and for setup methods."""
        for source in plugin.tests:
            in_classes = {
                each
                for node in source.classes
                for each in methods(node).values()
                if not SETUPS.match(each.name) and node.name.startswith("Test")
            }
            for each in source.functions:
                if re.match(rf"test_|{SETUPS.pattern}", each.name) and each not in in_classes:
                    yield source.at(each)


class T6(Rule):
    """Tests assert on behaviour, output and state, never on method calls."""

    fix = "assert on what is sent, emitted or stored, not on which method was called"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the assertions of mocks."""
        yield from _named(plugin.tests, WATCHES.fullmatch)


class T7(Rule):
    """Pytest has strict markers, a time limit for each test and the import mode importlib."""

    fix = 'set asyncio_mode = "auto", a timeout, --strict-markers and --import-mode=importlib'

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at pytest's settings."""
        name, settings = plugin.pytest_settings
        options = settings.get("addopts", "").split()
        limits = [each.partition("=")[2] for each in options if each.startswith("--timeout=")]
        limit = settings.get("timeout", next(iter(limits), "0"))
        if (
            settings.get("asyncio_mode") != "auto"
            or not re.search(r"[1-9]", limit)
            or "--import-mode=importlib" not in options
            or not ("--strict-markers" in options or settings.get("strict_markers") == "True")
        ):
            yield Place(name)


def _marks(source: Source) -> Iterator[ast.expr]:
    """Decorators, and what a module has as `pytestmark`."""
    for node in source.nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from node.decorator_list
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                yield value


def _named(sources: list[Source], is_wrong: Callable[[str], object]) -> Iterator[Place]:
    """Where a name is used, whatever it names."""
    for source in sources:
        for node in source.nodes:
            match node:
                case (
                    ast.Attribute(lineno=line, attr=name)
                    | ast.Name(lineno=line, id=name)
                    | ast.arg(lineno=line, arg=name)
                ) if is_wrong(name):
                    yield source.at(line)


RULES = (T1(), T2(), T3(), T4(), T5(), T6(), T7())
