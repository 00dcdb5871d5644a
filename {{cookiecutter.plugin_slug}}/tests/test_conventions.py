"""The house's conventions: each by its id, with what keeps it and the way out.

`uv run tests/test_conventions.py` runs them all on every file, ruff and mypy among them;
`uv run pytest` what takes no time, and not on the sealed suite. A finding names the rule, the
line and the way out. Not the author's to edit.
"""

import ast
import configparser
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
{% if cookiecutter.layout == 'workspace' %}from fnmatch import fnmatch
{% endif %}from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

WAY_OUT = {
    "P1": "put it there: every plugin has it",
    "P2": "delete it: the core and other plugins share the folder",
    "P3": "distribution, folder and module have one name: vision-agents-plugins-NAME for NAME",
    "P4": 'wheel packages = ["vision_agents"] and nothing else, py.typed in the package',
    "P5": 'project has readme = "README.md", license, requires-python and URLs (Documentation, '
    "Website, Source)",
    "P6": 'build-backend = "hatchling.build"; in the monorepo the version comes from hatch-vcs, and '
    "vision-agents from the workspace",
    "P7": 'import Realtime in __init__.py and name it in __all__: "Realtime"',
    "P8": "README.md: title, introduction, then Features, Installation (uv add), Usage, "
    "Configuration (a row for each parameter of the constructor), Dependencies",
    "P9": "example/ has a pyproject.toml, an .env.example with a line for every key, and an "
    "Agent, a Runner and an AgentLauncher",
    "P10": "add it as other plugins have theirs, then run uv lock",
    "C1": "delete the import: Python 3.11 reads annotations as they are",
    "C2": "name the exceptions that can come; where nobody can, log or raise, and say why in a "
    "comment",
    "C3": "name the attribute, or type the object so that you can",
    "C4": "write a docstring, Google style: a line, a few more where needed, then Args, Raises",
    "C5": "delete the divider: a long file wants another file",
    "C6": "use logger.exception, which logs the traceback",
    "C7": "import at the top of the file",
    "C8": "name the type instead; a noqa says why: `# noqa: RULE - the reason`",
    "C9": "name the type, or say object",
    "C10": "run `ruff check --fix`: it sorts the imports, and those for types alone apart",
    "C11": "use what the other package makes public",
    "C12": "modules, functions and variables are snake_case, classes CapWords",
    "C13": "annotate everything, in today's syntax, and truly",
    "C14": "one logger a module, at its top: logger = logging.getLogger(__name__)",
    "C15": "put it under `if logger.isEnabledFor(logging.DEBUG):`",
    "C17": "connect, close and interrupt are `async def`; close() releases in `finally`",
    "C18": "order: __init__, lifecycle, properties, public, private, dunders",
    "C19": "audio is PcmData, and getstream.video.rtc.track_util converts it",
    "C21": "model, voice, base_url and api_key are arguments with defaults",
    "C22": "await it, or put it into asyncio.to_thread",
    "C23": "say format=..., in a function of its own, and call that with asyncio.to_thread",
    "doors": "the rooms have one-way doors: acme_realtime -> client -> wire <- loopback",
    "R1": "class Realtime(realtime.Realtime), with provider_name, calls super().__init__()",
    "R2": "__init__(self, model, client, ...)",
    "R3": "Realtime has connect, _handle_events and close",
    "R4": "one public method takes *args and **kwargs, and yields",
    "R5": "simple_response calls the native wrapper",
    "R8": "Realtime has simple_audio_response",
    "R10": "Realtime has _normalize_message",
    "T1": "never mock: run against loopback.Provider",
    "T2": "delete the mark: asyncio_mode is auto",
    "T3": "one test is marked integration, and skips where the key is not set",
    "T4": "install the package (uv sync) instead of editing sys.path",
    "T5": "tests sit in the class of what they test; what they need comes from fixtures",
    "T6": "assert on what is heard, said or stored, not on who called whom",
    "T7": 'pytest: asyncio_mode = "auto", a timeout, --strict-markers, --import-mode=importlib',
}
# Ruff's rules that keep one of the house's. A ban (TID251) says itself which one it keeps.
RUFF = {
    "C2": ("BLE001", "E722", "S110", "S112"),
    "C3": ("B009", "B010"),
    "C4": ("D",),
    "C6": ("TRY400", "TRY401", "G201", "G202"),
    "C7": ("PLC0415",),
    "C8": ("PGH", "RUF100"),
    "C9": ("ANN401",),
    "C10": ("I", "TC"),
    "C11": ("PLC2701", "SLF001"),
    "C12": ("N",),
    "C13": ("ANN", "UP"),
    "C14": ("LOG",),
    "C22": ("ASYNC",),
}

ROOT = Path(__file__).parents[1]
{% if cookiecutter.layout == 'workspace' %}HOUSE = ROOT.parents[1]
PYTEST_INI = HOUSE / "pytest.ini"
HOUSES = ("--config-file", "../../pyproject.toml", "vision_agents")  # mypy's settings and files
{% else %}PYTEST_INI = ROOT / "pytest.ini"
{% endif %}PACKAGE = next(
    (path.parent for path in ROOT.glob("vision_agents/plugins/*/__init__.py")),
    ROOT / "vision_agents" / "plugins" / "NAME",
)
BROAD = {"Exception", "BaseException"}
ATTRIBUTES = {"getattr", "hasattr", "setattr", "delattr"}
ATTRIBUTE_METHODS = {"__getattribute__", "__setattr__", "__delattr__"}
DIVIDER = re.compile(
    r"#\s*([-=#*~_+/\\\u2500-\u259f])\1{2,}"  # begins with a line, whatever it is drawn with
    r"|#.*([-=#*~_+/\\<\u2500-\u259f])\2{2,}\s*$"  # ends with one
    r"|#(?!\s*\.{3}$)(\s*[^\w\s]){3,}\s*$"  # is one
    r"|#\s*[-=*~]{2,}\s|##|#\s*(%%|(end)?region\b|MARK:)"
)
SUPPRESSION = re.compile(r"#\s*(type|mypy|pyright|ty|pyre)\s*:\s*(ignore|disable)|#\s*pyre-ignore")
NOQA = re.compile(r"#\s*(ruff\s*:|flake8\s*:|noqa\b)", re.IGNORECASE)
NOQA_WITH_REASON = re.compile(r"#\s*noqa: [A-Z]+\d+(, ?[A-Z]+\d+)* - \w", re.IGNORECASE)
DOCSTRING_LINES = 8
DOCSTRING_SECTION = re.compile(r"^(Args|Attributes|Example|Raises|Returns|Yields):$", re.MULTILINE)
HOT = re.compile(r"audio|frame|^(send|encode|decode|events|_receive|_handle_events?)$")
LIFECYCLE = ("connect", "close", "interrupt")
EDGE = {"client", "wire", "loopback", "parrot", "peer", "video"}  # rooms where audio is bytes
AT_THE_EDGE = {"_packed", "whole_samples", "_listen", "_hear", "_is_quiet"}  # no PcmData here
BYTES = {"bytes", "bytearray", "memoryview"}
CONVERSIONS = {"to_ndarray", "reformat", "to_image", "to_rgb"}
SECTIONS = ["Features", "Installation", "Usage", "Configuration", "Dependencies"]
MOCKS = {"setattr", "delattr", "setitem", "delitem", "mocker", "Mock", "MagicMock", "AsyncMock"}
WATCHES = re.compile(
    r"assert_(not_|any_|has_)?(call|await)\w*|(mock|method)_calls|(call|await)_(count|args\w*)"
)
SETUPS = re.compile(r"(setup|teardown)_(method|class|module|function)|(setUp|tearDown)\w*")
SECRET = re.compile(r"\b[A-Z][A-Z0-9_]*_(?:KEY|SECRET|TOKEN)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A Python file, read once."""

    path: Path
    tree: ast.Module
    comments: dict[int, str]

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{line}"


def _read(folder: str, *left_out: str) -> list[Source]:
    left_out = (*left_out, ".venv")
    paths = sorted((ROOT / folder).rglob("*.py"))
    paths = [path for path in paths if not set(left_out) & set(path.relative_to(ROOT).parts)]
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [Source(path, ast.parse(text), _comments(text)) for path, text in texts]


def _comments(text: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {each.start[0]: each.string for each in tokens if each.type == tokenize.COMMENT}


@pytest.fixture(scope="module")
def package() -> list[Source]:
    """The package's files."""
    return _read("vision_agents")


@pytest.fixture(scope="module")
def tests(request: pytest.FixtureRequest) -> list[Source]:
    """The tests' files; those of the suite, which its seal keeps, where all is run."""
    whole = "Tools" in request.config.getini("python_classes")
    return _read("tests", *([] if whole else ["contract"]))


@pytest.fixture(scope="module")
def everything(package: list[Source], tests: list[Source]) -> list[Source]:
    """Every file of the plugin."""
    return package + tests + _read("example")


@pytest.fixture(scope="module")
def realtime(package: list[Source]) -> tuple[Source, ast.ClassDef]:
    """The class the house exports, and the file it is in."""
    for source in package:
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == "Realtime":
                return source, node
    pytest.fail(f"R1 {PACKAGE.relative_to(ROOT).as_posix()}: {WAY_OUT['R1']}", pytrace=False)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pytest_ini() -> configparser.SectionProxy:
    """What pytest is told."""
    parser = configparser.ConfigParser()
    parser.read(PYTEST_INI, encoding="utf-8")
    return parser["pytest"]


@pytest.fixture(scope="module")
def readme() -> str:
    """README.md without its code."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _report(rule: str, found: Iterable[str]) -> None:
    """Fail with a line for each finding: the rule, where, and the way out."""
    lines = [f"{rule} {where}: {WAY_OUT[rule]}" for where in dict.fromkeys(found)]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def _in_pyproject(*keys: str) -> list[str]:
    """Where the first of these keys stands in pyproject.toml."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    for key in keys:
        for number, line in enumerate(lines, start=1):
            if re.match(rf"\s*{key}\s*=|\[{key}\]", line):
                return [f"pyproject.toml:{number}"]
    return ["pyproject.toml"]


@cache
def _nodes(tree: ast.AST) -> list[ast.AST]:
    """All there is in a file; nearly every rule asks."""
    return list(ast.walk(tree))


def _functions(tree: ast.AST) -> Iterator[Function]:
    for node in _nodes(tree):
        if isinstance(node, Function):
            yield node


def _methods(node: ast.ClassDef) -> dict[str, Function]:
    return {each.name: each for each in node.body if isinstance(each, Function)}


def _classes(sources: list[Source]) -> Iterator[tuple[Source, ast.ClassDef]]:
    for source in sources:
        for node in _nodes(source.tree):
            if isinstance(node, ast.ClassDef):
                yield source, node


@cache
def _calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    calls = [node for node in _nodes(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(call.func), call) for call in calls]


def _arguments(realtime: ast.ClassDef) -> dict[str, ast.expr | None]:
    """The constructor's arguments and their defaults, None without one."""
    given = _methods(realtime)["__init__"].args
    positional = (given.posonlyargs + given.args)[1:]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    named = zip(positional, bare + list(given.defaults), strict=True)
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return {argument.arg: default for argument, default in (*named, *keywords)}


def _names(expression: ast.AST | None) -> set[str]:
    return {node.id for node in ast.walk(expression or ast.Pass()) if isinstance(node, ast.Name)}


def _own(function: Function) -> Iterator[ast.AST]:
    """What a function does itself, not what functions inside it do."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def _loose_strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """First lines of strings that stand by themselves, as comments."""
    for node in _nodes(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, f"# {text.strip().partition(chr(10))[0]}"


def _samples(function: Function) -> Iterator[int]:
    """Lines that take samples in hand; that av counts them in a frame is no matter."""
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(attr="cast"), args=[ast.Constant(str()), *_]):
                yield node.lineno
            case ast.Call(func=ast.Name(id="len")):
                continue
        for part in ast.iter_child_nodes(node):
            match part:
                case ast.Attribute(attr="samples", ctx=ast.Load(), value=owner):
                    counted = re.search(r"(^self|frame)$", ast.unparse(owner))
                    if not counted or isinstance(node, ast.Subscript | ast.Attribute):
                        yield part.lineno


def _wrappers(realtime: ast.ClassDef) -> list[Function]:
    """Methods that take whatever the provider's own call takes."""
    methods = _methods(realtime).values()
    return [m for m in methods if m.args.vararg and m.args.kwarg and not m.name.startswith("_")]


def _named(sources: list[Source], wrong: Callable[[str], object]) -> list[str]:
    """Where a name is used, of whatever it is."""
    found = []
    for source in sources:
        for node in _nodes(source.tree):
            match node:
                case (
                    ast.Attribute(lineno=line, attr=name)
                    | ast.Name(lineno=line, id=name)
                    | ast.arg(lineno=line, arg=name)
                ) if wrong(name):
                    found.append(source.at(line))
    return found


def _unguarded(node: ast.AST) -> Iterator[ast.Call]:
    """Debug calls in front of which nobody asks whether anyone listens."""
    for _, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.If) and "isEnabledFor" in ast.unparse(child.test):
                off = isinstance(child.test, ast.UnaryOp)
                yield from _unguarded(ast.Module(child.body if off else child.orelse, []))
                if off and isinstance(child.body[-1], ast.Return | ast.Continue):
                    break
                continue
            if isinstance(child, ast.Call) and re.search(
                r"log(ger)?\.(debug\(|log\((logging\.)?(DEBUG|10)\b)", ast.unparse(child)
            ):
                yield child
            yield from _unguarded(child)


def _rank(method: Function) -> int:
    match method.name:
        case "__init__" | "__new__" | "__post_init__":
            return 0
        case "__aenter__" | "__aexit__" | "__enter__" | "__exit__" | "connect" | "close":
            return 1
        case name if name.startswith("__"):
            return 5
        case name if name.startswith("_"):
            return 4
    decorators = " ".join(map(ast.unparse, method.decorator_list))
    return 2 if re.search(r"property\b|\.(setter|getter|deleter)\b", decorators) else 3


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


class Tools:
    """Ruff and mypy, whose findings get the house's ids; see the end of this file."""

    def check_ruff(self) -> None:
        lines = []
        for finding in json.loads(_run("ruff", "check", "--output-format=json")):
            code, message = finding["code"] or "syntax", finding["message"]
            path = Path(finding["filename"]).relative_to(ROOT.resolve()).as_posix()
            rules = [rule for rule in RUFF if code.startswith(RUFF[rule])]
            if code == "TID251":
                rules = re.findall(r": ([A-Z]\d+): ", message)
            way_out = "".join(f" {WAY_OUT[rule]}" for rule in rules[:1])
            where = f"{path}:{finding['location']['row']}"
            lines.append(f"{(rules or ['ruff'])[0]} {where}:{way_out} ({code}: {message})")
        if lines:
            pytest.fail("\n".join(lines), pytrace=False)

    def check_format(self) -> None:
        printed = _run("ruff", "format", "--check")
        found = re.findall(r"^Would reformat: (.*)$", printed, re.MULTILINE)
        if found:
            pytest.fail(
                "\n".join(f"ruff {name}: run `ruff format`" for name in found), pytrace=False
            )

    @pytest.mark.timeout(600)  # the first run reads all of vision-agents
    def check_mypy(self) -> None:
        printed = _run("mypy", "--no-error-summary", "--no-pretty"{% if cookiecutter.layout == 'workspace' %}, *HOUSES{% endif %})
        lines = [
            f"C13 {line} ({WAY_OUT['C13']})" for line in printed.splitlines() if ": error: " in line
        ]
        if lines:
            pytest.fail("\n".join(lines), pytrace=False)


class TestPackage:
    """P: the package and its papers."""

    def test_p1_the_folder_has_what_every_plugin_has(self) -> None:
        wanted = [ROOT / name for name in ("pyproject.toml", "README.md", "py.typed")]
        wanted += [ROOT / "tests", ROOT / "example", PACKAGE / "__init__.py"]
        _report("P1", [str(path.relative_to(ROOT)) for path in wanted if not path.exists()])

    def test_p2_namespaces_are_shared(self) -> None:
        files = ("vision_agents/__init__.py", "vision_agents/plugins/__init__.py")
        _report("P2", [name for name in files if (ROOT / name).exists()])

    def test_p3_names_agree(self, project: dict[str, object]) -> None:
        name = f"vision-agents-plugins-{PACKAGE.name.replace('_', '-')}"
        match project:
            case {"project": {"name": given}} if given == name and PACKAGE.name.isidentifier():
                return
        _report("P3", _in_pyproject("name"))

    def test_p4_the_wheel_holds_the_package_alone(self, project: dict[str, object]) -> None:
{% if cookiecutter.layout == 'standalone' %}        typed = PACKAGE / "py.typed"
        _report("P4", [] if typed.exists() else [typed.relative_to(ROOT).as_posix()])
{% endif %}        match project:
            case {
                "tool": {
                    "hatch": {
                        "build": {
                            "targets": {"wheel": {"packages": ["vision_agents"], **more}},
                            **others,
                        }
                    }
                }
            } if set(more) <= {"exclude"} and not others:
                return
        _report("P4", _in_pyproject("packages", "project"))

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
        _report("P5", _in_pyproject("project"))

    def test_p6_hatchling_builds(self, project: dict[str, object]) -> None:
        match project:
            case {"build-system": {"build-backend": "hatchling.build"}}:
                return
        _report("P6", _in_pyproject("build-backend"))
{% if cookiecutter.layout == 'workspace' %}
    def test_p6_version_and_core_come_from_the_workspace(self, project: dict[str, object]) -> None:
        match project:
            case {
                "project": {"dynamic": ["version"], "dependencies": [*dependencies]},
                "tool": {
                    "hatch": {"version": {"source": "vcs"}},
                    "uv": {"sources": {"vision-agents": {"workspace": True}}},
                },
            } if "vision-agents" in dependencies:
                return
        _report("P6", _in_pyproject("dependencies"))
{% endif %}
    def test_p7_the_package_exports_realtime(self, package: list[Source]) -> None:
        [init] = [each for each in package if each.path == PACKAGE / "__init__.py"]
        imported = {
            alias.asname or alias.name
            for node in init.tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        exported = [
            ast.unparse(node.value)
            for node in init.tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value is not None
            and "__all__" in ast.unparse(node).partition("=")[0]
        ]
        ok = "Realtime" in imported and "'Realtime'" in "".join(exported)
        _report("P7", [] if ok else [init.at(1)])

    def test_p8_the_readme_has_its_sections(self, readme: str) -> None:
        title, _, rest = readme.lstrip().partition("\n")
        intro = rest.partition("\n#")[0].strip()
        _report("P8", [] if title.startswith("# ") and intro else ["README.md:1 (title)"])
        found = [
            name for name in re.findall(r"^## (.*)$", readme, re.MULTILINE) if name in SECTIONS
        ]
        _report("P8", [f"README.md ({name})" for name in SECTIONS if name not in found])
        _report("P8", [] if found == SECTIONS else [f"README.md (order: {', '.join(found)})"])
        whole = (ROOT / "README.md").read_text(encoding="utf-8")
        _report("P8", [] if "uv add vision-agents-plugins-" in whole else ["README.md (uv add)"])

    def test_p8_the_readme_lists_every_parameter(
        self, readme: str, realtime: tuple[Source, ast.ClassDef]
    ) -> None:
        section = readme.partition("\n## Configuration\n")[2].partition("\n## ")[0]
        table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
        rows = re.findall(r"^\| *`(\w+)`", table[0] if table else "", re.MULTILINE)
        arguments = list(_arguments(realtime[1]))
        wrong = sorted(set(rows) ^ set(arguments)) or ["order"] * (rows != arguments)
        _report("P8", [f"README.md (Configuration: {name})" for name in wrong])

    def test_p9_the_example_stands_alone(self) -> None:
        example = ROOT / "example"
        files = ("pyproject.toml", ".env.example")
        _report("P9", [f"example/{name}" for name in files if not (example / name).exists()])
        sources = _read("example")
        used = {name for source in sources for name, _ in _calls(source.tree)}
        used = {name.rpartition(".")[2] for name in used}
        wanted = ("Agent", "Runner", "AgentLauncher")
        _report("P9", [f"example/ ({name})" for name in wanted if name not in used])
        texts = [path.read_text(encoding="utf-8") for path in example.glob("*.py")]
        keys = {f"{PACKAGE.name.upper()}_API_KEY", *SECRET.findall("".join(texts))}
        if any("getstream.Edge(" in text for text in texts):
            keys |= {"STREAM_API_KEY", "STREAM_API_SECRET"}
        named = re.findall(r"^(\w+)=", (example / ".env.example").read_text("utf-8"), re.MULTILINE)
        _report("P9", [f"example/.env.example ({key})" for key in sorted(keys - {*named})])
{% if cookiecutter.layout == 'workspace' %}
    def test_p10_the_monorepo_knows_the_plugin(self, project: dict[str, dict[str, str]]) -> None:
        files = (HOUSE / "pyproject.toml", HOUSE / "agents-core" / "pyproject.toml")
        root, core = (tomllib.loads(path.read_text(encoding="utf-8")) for path in files)
        name, uv = project["project"]["name"], root["tool"]["uv"]
        source, member = {"workspace": True}, f"plugins/{ROOT.name}"
        members = uv["workspace"]["members"]
        places = {
            f"../../pyproject.toml ({name} in uv sources)": uv["sources"].get(name) == source,
            f"../../pyproject.toml ({member} in uv workspace members)": any(
                fnmatch(member, pattern) for pattern in members
            ),
            f"../../agents-core/pyproject.toml (extra {PACKAGE.name})": (
                [name] in core["project"]["optional-dependencies"].values()
            ),
        }
        _report("P10", [place for place, registered in places.items() if not registered])
{% endif %}

class TestCode:
    """C: the code."""

    def test_c2_broad_excepts_say_why(self, everything: list[Source]) -> None:
        found = []
        for source in everything:
            for node in _nodes(source.tree):
                if isinstance(node, ast.ExceptHandler) and (
                    node.type is None or BROAD & _names(node.type)
                ):
                    first, last = node.body[0], node.body[-1]
                    said = any(n in source.comments for n in range(node.lineno, first.lineno + 1))
                    passed_on = isinstance(last, ast.Raise) and last.exc is None
                    found += [] if said or passed_on else [source.at(node.lineno)]
            found += [
                source.at(call.lineno)
                for name, call in _calls(source.tree)
                if name in ("suppress", "contextlib.suppress") and BROAD & _names(call)
            ]
        _report("C2", found)

    def test_c3_attributes_are_named(self, everything: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in everything
            for node in _nodes(source.tree)
            if (isinstance(node, ast.Name) and node.id in ATTRIBUTES)
            or (isinstance(node, ast.Attribute) and node.attr in ATTRIBUTE_METHODS)
        ]
        _report("C3", found)

    def test_c4_docstrings_are_short(self, package: list[Source]) -> None:
        found = []
        for source in package:
            for node in _nodes(source.tree):
                if isinstance(node, Function | ast.ClassDef):
                    said = DOCSTRING_SECTION.split(ast.get_docstring(node) or "")[0].strip()
                    if said.count("\n") >= DOCSTRING_LINES:
                        found.append(source.at(node.body[0].lineno))
        _report("C4", found)

    def test_c5_no_section_dividers(self, everything: list[Source]) -> None:
        found = [
            source.at(line)
            for source in everything
            for line, comment in (*source.comments.items(), *_loose_strings(source.tree))
            if DIVIDER.match(comment)
        ]
        _report("C5", found)

    def test_c7_nothing_is_imported_by_its_name(self, everything: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in everything
            for node in _nodes(source.tree)
            if isinstance(node, ast.Name) and node.id == "__import__"
        ]
        _report("C7", found)

    def test_c8_nothing_is_ignored_without_a_reason(self, everything: list[Source]) -> None:
        found = [
            source.at(line)
            for source in everything
            for line, comment in source.comments.items()
            if SUPPRESSION.search(comment)
            or (NOQA.search(comment) and not NOQA_WITH_REASON.search(comment))
        ]
        _report("C8", found)

    def test_c11_no_private_module_is_imported(self, everything: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in everything
            for node in _nodes(source.tree)
            if isinstance(node, ast.Import)
            and any(re.search(r"(^|\.)_[^_.]", alias.name) for alias in node.names)
        ]
        _report("C11", found)

    def test_c14_one_logger_a_module(self, package: list[Source]) -> None:
        found = []
        for source in package:
            made = [call for name, call in _calls(source.tree) if name.endswith("getLogger")]
            right = [
                node.value
                for node in source.tree.body
                if ast.unparse(node) == "logger = logging.getLogger(__name__)"
                and isinstance(node, ast.Assign)
            ]
            found += [source.at(call.lineno) for call in made if call not in right[:1]]
        _report("C14", found)

    def test_c15_debug_logging_is_guarded_in_hot_paths(self, package: list[Source]) -> None:
        found = []
        for source in package:
            unguarded = list(_unguarded(source.tree))
            found += [
                source.at(call.lineno)
                for node in _nodes(source.tree)
                if isinstance(node, ast.For | ast.AsyncFor | ast.While)
                or (isinstance(node, Function) and HOT.search(node.name))
                for call in ast.walk(node)
                if call in unguarded
            ]
        _report("C15", found)

    def test_c17_lifecycle_methods_are_async(
        self, package: list[Source], realtime: tuple[Source, ast.ClassDef]
    ) -> None:
        source, node = realtime
        methods = _methods(node)
        _report("C17", [source.at(node.lineno) for name in LIFECYCLE if name not in methods])
        found = [
            source.at(method.lineno)
            for source, node in _classes(package)
            for name, method in _methods(node).items()
            if name in LIFECYCLE and not isinstance(method, ast.AsyncFunctionDef)
        ]
        _report("C17", found)
        close = methods["close"]
        tries = [each for each in ast.walk(close) if isinstance(each, ast.Try)]
        _report("C17", [] if any(t.finalbody for t in tries) else [source.at(close.lineno)])

    def test_c18_methods_are_in_order(self, package: list[Source]) -> None:
        found = []
        for source, node in _classes(package):
            methods: list[Function] = [each for each in node.body if isinstance(each, Function)]
            found += [
                source.at(later.lineno)
                for before, later in pairwise(methods)
                if _rank(later) < _rank(before)
            ]
        _report("C18", found)

    def test_c19_audio_is_passed_as_pcm(self, package: list[Source]) -> None:
        found = [
            source.at(function.lineno)
            for source in package
            if source.path.stem not in EDGE
            for function in _functions(source.tree)
            if function.name not in AT_THE_EDGE
            for node in (*ast.walk(function.args), function.returns)
            if BYTES & _names(node.annotation if isinstance(node, ast.arg) else node)
        ]
        _report("C19", found)

    def test_c19_no_arithmetic_on_samples(self, package: list[Source]) -> None:
        found = [
            source.at(line)
            for source in package
            for function in _functions(source.tree)
            if function.name not in AT_THE_EDGE
            for line in _samples(function)
        ]
        _report("C19", found)

    def test_c21_settings_are_arguments(self, realtime: tuple[Source, ast.ClassDef]) -> None:
        source, node = realtime
        arguments = _arguments(node)
        wanted = ("model", "voice", "base_url", "api_key")
        missing = [name for name in wanted if arguments.get(name) is None]
        _report("C21", [f"{source.at(node.lineno)} ({name})" for name in missing])

    def test_c23_frames_are_converted_with_a_format_off_the_loop(
        self, package: list[Source]
    ) -> None:
        found = []
        for source in package:
            for function in _functions(source.tree):
                for node in _own(function):
                    match node:
                        case ast.Call(func=ast.Attribute(attr=name), keywords=given) if (
                            name in CONVERSIONS
                        ):
                            named = name == "to_image" or any(
                                each.arg == "format" for each in given
                            )
                            if not named or isinstance(function, ast.AsyncFunctionDef):
                                found.append(source.at(node.lineno))
        _report("C23", found)

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
            for node in _nodes(source.tree):
                if allowed is not None and isinstance(node, ast.ImportFrom) and node.level:
                    named = {node.module} if node.module else {each.name for each in node.names}
                    found += [source.at(node.lineno)] if named - allowed else []
        _report("doors", found)


class TestRealtime:
    """R: what every realtime plugin is made of; the contracts prove that it works."""

    def test_r1_realtime_is_the_house_s(self, realtime: tuple[Source, ast.ClassDef]) -> None:
        source, node = realtime
        named = [
            each
            for each in node.body
            if isinstance(each, ast.Assign | ast.AnnAssign)
            and re.match(r"provider_name\b", ast.unparse(each))
        ]
        derived = any(ast.unparse(base).endswith("Realtime") for base in node.bases)
        started = [name for name, _ in _calls(node)].count("super().__init__")
        _report("R1", [] if named and derived and started else [source.at(node.lineno)])

    def test_r2_the_client_can_be_passed_in(self, realtime: tuple[Source, ast.ClassDef]) -> None:
        source, node = realtime
        ok = list(_arguments(node))[:2] == ["model", "client"]
        _report("R2", [] if ok else [source.at(_methods(node)["__init__"].lineno)])

    @pytest.mark.parametrize(
        ("rule", "name"),
        [
            ("R3", "connect"),
            ("R3", "_handle_events"),
            ("R3", "close"),
            ("R5", "simple_response"),
            ("R8", "simple_audio_response"),
            ("R10", "_normalize_message"),
        ],
    )
    def test_r3_r5_r8_r10_realtime_has_the_pattern_s_methods(
        self, rule: str, name: str, realtime: tuple[Source, ast.ClassDef]
    ) -> None:
        source, node = realtime
        _report(rule, [] if name in _methods(node) else [source.at(node.lineno)])

    def test_r4_one_method_wraps_the_native_call(
        self, realtime: tuple[Source, ast.ClassDef]
    ) -> None:
        source, node = realtime
        wrappers = _wrappers(node)
        streams = [
            each for each in wrappers if each.returns and "Async" in ast.unparse(each.returns)
        ]
        ok = len(wrappers) == len(streams) == 1
        lines = [each.lineno for each in wrappers] or [node.lineno]
        _report("R4", [] if ok else map(source.at, lines))

    def test_r5_simple_response_delegates_to_it(
        self, realtime: tuple[Source, ast.ClassDef]
    ) -> None:
        source, node = realtime
        simple = _methods(node)["simple_response"]
        called = {name for name, _ in _calls(simple)}
        ok = any(f"self.{each.name}" in called for each in _wrappers(node))
        _report("R5", [] if ok else [source.at(simple.lineno)])


class TestTests:
    """T: the tests."""

    def test_t1_nothing_is_mocked(self, tests: list[Source]) -> None:
        _report("T1", _named(tests, MOCKS.__contains__))

    def test_t1_nothing_imported_is_replaced(self, tests: list[Source]) -> None:
        found = []
        for source in tests:
            imported = {
                alias.asname or alias.name
                for node in _nodes(source.tree)
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in node.names
            }
            found += [
                source.at(node.lineno)
                for node in _nodes(source.tree)
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store | ast.Del)
                and ast.unparse(node).partition(".")[0] in imported
            ]
        _report("T1", found)

    def test_t2_asyncio_needs_no_mark(self, tests: list[Source]) -> None:
        found = [
            source.at(node.lineno)
            for source in tests
            for node in _nodes(source.tree)
            if isinstance(node, ast.Attribute) and re.search(r"\bmark\.asyncio$", ast.unparse(node))
        ]
        _report("T2", found)

    def test_t3_there_is_a_live_test(self, tests: list[Source]) -> None:
        for source in tests:
            marked = [
                each
                for each in _functions(source.tree)
                if any("mark.integration" in ast.unparse(mark) for mark in each.decorator_list)
            ]
            skips = [name for name, _ in _calls(source.tree) if re.search(r"skip(if)?$", name)]
            if marked and skips and "_API_KEY" in ast.unparse(source.tree):
                return
        _report("T3", ["tests/"])

    def test_t4_nobody_touches_sys_path(
        self, tests: list[Source], pytest_ini: configparser.SectionProxy
    ) -> None:
        _report("T4", _named(tests, lambda name: name == "syspath_prepend"))
        _report("T4", ["pytest.ini (pythonpath)"] if "pythonpath" in pytest_ini else [])

    def test_t5_tests_sit_in_classes(self, tests: list[Source]) -> None:
        found = []
        for source in tests:
            methods = {
                id(each)
                for _, node in _classes([source])
                for each in _methods(node).values()
                if not SETUPS.match(each.name) and node.name.startswith("Test")
            }
            found += [
                source.at(each.lineno)
                for each in _functions(source.tree)
                if re.match(rf"test_|{SETUPS.pattern}", each.name) and id(each) not in methods
            ]
        _report("T5", found)

    def test_t6_tests_watch_no_calls(self, tests: list[Source]) -> None:
        _report("T6", _named(tests, WATCHES.fullmatch))

    def test_t7_pytest_is_strict(self, pytest_ini: configparser.SectionProxy) -> None:
        options = pytest_ini.get("addopts", "").split()
        limits = [each.partition("=")[2] for each in options if each.startswith("--timeout=")]
        seconds = float(pytest_ini.get("timeout", next(iter(limits), "0")))
        if (
            pytest_ini.get("asyncio_mode") != "auto"
            or seconds <= 0
            or not {"--import-mode=importlib", "--strict-markers"} <= set(options)
        ):
            _report("T7", ["pytest.ini"])


if __name__ == "__main__":
    with_tools = ("-o", "python_classes=Test Tools", "-o", "python_functions=test check")
    sys.exit(pytest.main([__file__, *with_tools, *sys.argv[1:]]))
