"""C: the code."""

import ast
import re
from collections.abc import Iterator

from .folder import PluginFolder
from .rules import Rule
from .source import (
    Function,
    Place,
    Source,
    annotations,
    arguments,
    calls,
    defaults,
    last_name,
    methods,
    names,
    own_nodes,
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
EXCEPTION_OF_C19 = re.compile(r"#\s*C19: \w")
DOCSTRING_LINES = 8
DOCSTRING_SECTION = re.compile(r"^(Args|Attributes|Example|Raises|Returns|Yields):$", re.MULTILINE)
DEBUG_CALL = re.compile(r"log(ger)?\.(debug\(|log\((logging\.)?(DEBUG|10)\b)")
LOG_CALL = re.compile(
    r"log(ger)?\.(debug|info|warning|error|exception|critical|log)$", re.IGNORECASE
)
SECRET_NAME = re.compile(r"(^|_)(api_?key|secret|token|password|authorization|headers)$", re.I)
HOT = re.compile(r"audio|frame|^(send|encode|decode|events|_receive|_handle_events?)$")
LIFECYCLE = ("connect", "close", "interrupt")
BYTES = {"bytes", "bytearray", "memoryview"}
PICTURES = re.compile(r"\b(VideoFrame|Image)\b")
CONVERSIONS = {"to_ndarray", "reformat", "to_image", "to_rgb"}


class C1(Rule):
    """No `from __future__ import annotations`."""

    fix = "delete the import: Python 3.11 reads annotations as they are"


class C2(Rule):
    """Specific exceptions; a broad one only where the type cannot be known, and never silent."""

    fix = (
        "name the exceptions that can occur; where they cannot be known, log or raise, and say why "
        "in a comment"
    )
    ruff = ("BLE001", "E722", "S110", "S112")

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """A broad `except` has a comment or raises again; `suppress` is never broad."""
        for source in plugin.sources:
            for node in source.nodes:
                if isinstance(node, ast.ExceptHandler) and (
                    node.type is None or BROAD & names(node.type)
                ):
                    first, last = node.body[0], node.body[-1]
                    lines = range(node.lineno, first.lineno + 1)
                    explained = any(line in source.comments for line in lines)
                    if not explained and not (isinstance(last, ast.Raise) and last.exc is None):
                        yield source.at(node)
            for name, call in source.calls:
                if name in ("suppress", "contextlib.suppress") and BROAD & names(call):
                    yield source.at(call)


class C3(Rule):
    """No getattr, hasattr, setattr or delattr."""

    fix = "name the attribute, or type the object so that you can"
    ruff = ("B009", "B010")

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the names, called or not."""
        for source in plugin.sources:
            for node in source.nodes:
                match node:
                    case ast.Name(id=name) if name in ATTRIBUTES:
                        yield source.at(node)
                    case ast.Attribute(attr=name) if name in ATTRIBUTE_METHODS:
                        yield source.at(node)


class C4(Rule):
    """Docstrings in Google's style, and short."""

    fix = (
        "write a docstring in Google's style: one line, a few more where needed, then Args, Raises"
    )
    ruff = ("D",)

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for long ones; and, in private packages, which ruff leaves out, for missing ones."""
        for source in plugin.code:
            for node in source.nodes:
                if isinstance(node, Function | ast.ClassDef):
                    text = DOCSTRING_SECTION.split(ast.get_docstring(node) or "")[0].strip()
                    if text.count("\n") >= DOCSTRING_LINES:
                        yield source.at(node.body[0])
            if re.search(r"/_(?!_init__)", source.name):
                for public in _public(source.tree):
                    if ast.get_docstring(public) is None:
                        yield source.at(public)


class C5(Rule):
    """No section-divider comments."""

    fix = "delete the divider; split the file if it is too long"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at comments, and at strings that stand for comments."""
        for source in plugin.sources:
            for line, comment in (*source.comments.items(), *source.loose_strings):
                if DIVIDER.match(comment):
                    yield source.at(line)


class C6(Rule):
    """`logger.exception` for an error with a traceback."""

    fix = "use logger.exception, which logs the traceback"
    ruff = ("TRY400", "TRY401", "G201", "G202")


class C7(Rule):
    """No imports inside functions."""

    fix = "import at the top of the file"
    ruff = ("PLC0415",)

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for `__import__`; ruff finds the others."""
        for source in plugin.sources:
            for node in source.nodes:
                if isinstance(node, ast.Name) and node.id == "__import__":
                    yield source.at(node)


class C8(Rule):
    """No `# type: ignore`; a `noqa` says why."""

    fix = "name the type instead; give a noqa its reason: `# noqa: RULE - the reason`"
    ruff = ("PGH", "RUF100")

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the comments."""
        for source in plugin.sources:
            for line, comment in source.comments.items():
                unexplained = NOQA.search(comment) and not NOQA_WITH_REASON.search(comment)
                if SUPPRESSION.search(comment) or unexplained:
                    yield source.at(line)


class C9(Rule):
    """No `Any` where a type can be named."""

    fix = "name the type, or use object"
    ruff = ("ANN401",)


class C10(Rule):
    """Imports in order: standard library, third party, relative; for types alone apart."""

    fix = "run `ruff check --fix`, which sorts the imports"
    ruff = ("I", "TC")


class C11(Rule):
    """Nothing is imported from another package's private modules, and no private name."""

    fix = "use what the other package makes public"
    ruff = ("PLC2701", "SLF001")

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for `import package._module`; ruff finds the others."""
        for source in plugin.sources:
            for node in source.nodes:
                if isinstance(node, ast.Import) and any(
                    re.search(r"(^|\.)_[^_.]", alias.name) for alias in node.names
                ):
                    yield source.at(node)


class C12(Rule):
    """Private names start with an underscore; public ones are snake_case, classes CapWords."""

    fix = "rename: modules, functions and variables are snake_case, classes CapWords"
    ruff = ("N",)


class C13(Rule):
    """Annotations everywhere, in modern syntax, and true."""

    fix = "annotate everything, in modern syntax (`X | None`, `dict[str, T]`), correctly"
    ruff = ("ANN", "UP")
    mypy = True


class C14(Rule):
    """One logger a module: `logging.getLogger(__name__)`."""

    fix = "define one logger at the top of the module: logger = logging.getLogger(__name__)"
    ruff = ("LOG",)

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """All calls of getLogger but the one at the top."""
        for source in plugin.code:
            right = [
                node.value
                for node in source.tree.body
                if isinstance(node, ast.Assign)
                and ast.unparse(node) == "logger = logging.getLogger(__name__)"
            ]
            for name, call in source.calls:
                if name.endswith("getLogger") and call not in right[:1]:
                    yield source.at(call)


class C15(Rule):
    """Debug logging in a hot path (audio, loops over events) is guarded by `isEnabledFor`."""

    fix = "put it under `if logger.isEnabledFor(logging.DEBUG):`"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for unguarded calls in loops and in functions whose names say audio or frames."""
        for source in plugin.code:
            unguarded = list(_unguarded(source.tree))
            for node in source.nodes:
                if isinstance(node, ast.For | ast.AsyncFor | ast.While) or (
                    isinstance(node, Function) and HOT.search(node.name)
                ):
                    for call in ast.walk(node):
                        if isinstance(call, ast.Call) and call in unguarded:
                            yield source.at(call)


class C16(Rule):
    """A constructor given bad arguments raises ValueError that says what is wrong and how to mend it."""

    fix = "raise ValueError that names the argument and what it may be"
    contract_only = True


class C17(Rule):
    """Lifecycle methods are async; resources are released in `finally`."""

    fix = "connect, close and interrupt are `async def`; close() releases in `finally`"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the methods of these names in every class, and at `close` of Realtime."""
        for source in plugin.code:
            for node in source.classes:
                for name, method in methods(node).items():
                    if name in LIFECYCLE and not isinstance(method, ast.AsyncFunctionDef):
                        yield source.at(method)
        if plugin.realtime is not None:
            for name in LIFECYCLE:
                if name not in plugin.realtime_methods:
                    source, node = plugin.realtime
                    yield Place(source.name, node.lineno, name)
        if "close" in plugin.realtime_methods:
            source, close = plugin.realtime_methods["close"]
            if not _releases(plugin, close):
                yield source.at(close)


class C18(Rule):
    """Methods in order: __init__, lifecycle, properties, public, private, dunders."""

    fix = "move it: __init__, lifecycle, properties, public, private, dunders"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Compare each method with the one before; async context managers may be first or last."""
        for source in plugin.code:
            for node in source.classes:
                rank = 0
                for method in methods(node).values():
                    later = {each for each in _ranks(method) if each >= rank}
                    if not later:
                        yield source.at(method)
                    rank = min(later or _ranks(method))


class C19(Rule):
    """Audio passes as PcmData, never as bytes; getstream's audio utilities convert it."""

    fix = (
        "pass PcmData and convert with getstream.video.rtc.track_util; where packed bytes come from "
        "or go to the wire, put `# C19: the reason` on the signature or below the module's docstring"
    )

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for bytes in signatures of modules that know PcmData, and for sample arithmetic."""
        for source in plugin.code:
            knows_pcm = any(name.endswith(".PcmData") for name, _ in source.imports)
            at_edge = _is_excepted(source, 1, source.tree.body[1:2])
            for function in source.functions:
                if _is_excepted(source, function.lineno, function.body):
                    continue
                types = list(annotations(function))
                if (
                    knows_pcm
                    and not at_edge
                    and any(BYTES & names(each) for each in types)
                    and not any(PICTURES.search(ast.unparse(each)) for each in types)
                ):
                    yield source.at(function)
                yield from map(source.at, _samples(function))


class C20(Rule):
    """The provider's client can be passed in, and is reachable as `.client`."""

    fix = "keep what is passed as client in self.client"
    contract_only = True


class C21(Rule):
    """Settings people change (model, voice, base_url, api_key) are arguments with defaults."""

    fix = "model, voice, base_url and api_key are arguments with defaults"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the constructor's parameters."""
        if "__init__" in plugin.realtime_methods:
            source, method = plugin.realtime_methods["__init__"]
            given = defaults(method)
            for name in ("model", "voice", "base_url", "api_key"):
                if given.get(name) is None:
                    yield Place(source.name, method.lineno, name)


class C22(Rule):
    """Nothing blocks the event loop."""

    fix = "await it, or use asyncio.to_thread"
    ruff = ("ASYNC",)


class C23(Rule):
    """A video frame is converted with an explicit format, off the event loop."""

    fix = "pass format=..., in a function of its own that asyncio.to_thread calls"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for conversions without a format, and for those in an async function."""
        for source in plugin.code:
            for function in source.functions:
                for node in own_nodes(function):
                    match node:
                        case ast.Call(func=ast.Attribute(attr=name), keywords=given) if (
                            name in CONVERSIONS
                        ):
                            named = any(each.arg == "format" for each in given)
                            if isinstance(function, ast.AsyncFunctionDef) or not (
                                named or name == "to_image"
                            ):
                                yield source.at(node)


class C24(Rule):
    """One failure is one error event; lifecycle steps are logged, without secrets."""

    fix = "log connecting, connected, reconnecting and closed at DEBUG or INFO; never log a key"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for secrets in calls of a logger, and for a module that logs its steps."""
        for source in plugin.code:
            for name, call in source.calls:
                if LOG_CALL.search(name):
                    for node in ast.walk(call):
                        match node:
                            case ast.Name(id=text) | ast.Attribute(attr=text) if SECRET_NAME.search(
                                text
                            ):
                                yield source.at(call)
        if plugin.realtime is not None and not any(
            re.search(r"log(ger)?\.(debug|info)$", name)
            for source in plugin.code
            for name, _ in source.calls
        ):
            yield plugin.realtime[0].at(plugin.realtime[1])


class C25(Rule):
    """`Realtime` is an async context manager: `async with` connects and closes."""

    fix = "Realtime has __aenter__, which awaits connect(), and __aexit__, which awaits close()"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the two methods and for what they await."""
        if plugin.realtime is None:
            return
        for name, wanted in (("__aenter__", "self.connect"), ("__aexit__", "self.close")):
            source, node = plugin.realtime
            if name not in plugin.realtime_methods:
                yield Place(source.name, node.lineno, name)
                continue
            source, method = plugin.realtime_methods[name]
            awaited = {
                ast.unparse(each.value.func)
                for each in ast.walk(method)
                if isinstance(each, ast.Await) and isinstance(each.value, ast.Call)
            }
            if wanted not in awaited:
                yield source.at(method)


class C26(Rule):
    """What a caller may pass as `client=` is a Protocol, documented method by method."""

    fix = "annotate client with a typing.Protocol, each of its methods with a docstring"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the annotation of `client`; a class of an SDK is documented by its vendor."""
        if "__init__" not in plugin.realtime_methods:
            return
        source, method = plugin.realtime_methods["__init__"]
        client = arguments(method).get("client")
        if client is None:
            return
        if client.annotation is None:
            yield source.at(client)
            return
        wanted = _types(client.annotation) - {"None", "Optional", "Union"}
        if not wanted or wanted & {"Any", "object"}:
            yield source.at(client)
        for name in wanted:
            found = plugin.find_class(name)
            if found is None:
                continue
            where, node = found
            if "Protocol" not in map(last_name, node.bases):
                yield where.at(node)
            for each in (node, *methods(node).values()):
                if ast.get_docstring(each) is None:
                    yield where.at(each)


def _types(annotation: ast.expr) -> set[str]:
    """The last parts of the names in an annotation, quoted or not."""
    found = set()
    for node in ast.walk(annotation):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.Constant(value=str(text)):
                found |= _types(ast.parse(text, mode="eval").body)
    prefixes = {
        node.value.id
        for node in ast.walk(annotation)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return found - prefixes


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Public classes and functions of a module, and public methods of those classes."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            overrides = {last_name(each) for each in node.decorator_list} & {"override", "setter"}
            if not overrides:
                yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _unguarded(node: ast.AST) -> Iterator[ast.Call]:
    """Debug calls that are not under a check of the logger's level."""
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
            if isinstance(child, ast.Call) and DEBUG_CALL.search(ast.unparse(child)):
                yield child
            yield from _unguarded(child)


def _releases(plugin: PluginFolder, close: Function) -> bool:
    """Whether `close`, or something that it calls in the package, has a `finally` or a stack."""
    todo, seen = [close], set[str]()
    for function in todo:
        for node in ast.walk(function):
            if isinstance(node, ast.Try) and node.finalbody:
                return True
        text = ast.unparse(function)
        if re.search(r"\bAsyncExitStack\b|\.aclose\(|\.push_async_callback\(", text):
            return True
        for name, _ in calls(function):
            called = name.rpartition(".")[2]
            if called not in seen and len(seen) < 8:
                seen.add(called)
                todo += [
                    each
                    for source in plugin.code
                    for each in source.functions
                    if each.name == called and name.startswith("self.")
                ]
    return False


def _ranks(method: Function) -> set[int]:
    """The places in a class that a method may have."""
    match method.name:
        case "__init__" | "__new__" | "__post_init__":
            return {0}
        case "connect" | "close":
            return {1}
        case "_handle_events" | "_handle_event":
            return {1, 4}
        case "__aenter__" | "__aexit__" | "__enter__" | "__exit__":
            return {1, 5}
        case name if name.startswith("__"):
            return {5}
        case name if name.startswith("_"):
            return {4}
    decorators = " ".join(map(ast.unparse, method.decorator_list))
    return {2 if re.search(r"property\b|\.(setter|getter|deleter)\b", decorators) else 3}


def _is_excepted(source: Source, first: int, body: list[ast.stmt]) -> bool:
    """Whether a signature, or the head of a module, has a comment that excepts it from C19."""
    lines = range(first, body[0].lineno + 1 if body else first + 1)
    return any(EXCEPTION_OF_C19.match(source.comments.get(line, "")) for line in lines)


def _samples(function: Function) -> Iterator[int]:
    """Lines that read or compute samples. Counting those of a frame is allowed."""
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
                    match node:
                        case ast.Attribute(attr="nbytes" | "size"):
                            continue
                        case ast.Subscript() | ast.Attribute():
                            counted = None
                    if not counted:
                        yield part.lineno


RULES = (
    C1(), C2(), C3(), C4(), C5(), C6(), C7(), C8(), C9(), C10(), C11(), C12(), C13(),
    C14(), C15(), C16(), C17(), C18(), C19(), C20(), C21(), C22(), C23(), C24(), C25(), C26(),
)  # fmt: skip
