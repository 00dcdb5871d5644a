"""R: what every realtime plugin is made of. The contract shows that it works."""

import ast
import re
from collections.abc import Iterator

from .folder import PluginFolder
from .rules import Rule
from .source import Function, Place, Source, calls, defaults


class R1(Rule):
    """`Realtime` is a subclass of Vision Agents' `Realtime` and sets `provider_name`."""

    fix = "class Realtime(realtime.Realtime) sets provider_name and calls super().__init__()"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the bases, at the class's names and at the constructor."""
        if plugin.realtime is None:
            yield Place(plugin.package.relative_to(plugin.root).as_posix())
            return
        source, node = plugin.realtime
        named = re.search(r"^\s*(self\.)?provider_name\b.*=", ast.unparse(node), re.MULTILINE)
        derived = any(ast.unparse(base).endswith("Realtime") for base in node.bases)
        started = any(name == "super().__init__" for name, _ in calls(node))
        if not (named and derived and started):
            yield source.at(node)


class R2(Rule):
    """The constructor takes `model` and `client` first: the client can be passed in."""

    fix = "__init__(self, model, client, ...)"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look at the constructor's parameters."""
        constructor = plugin.realtime_methods.get("__init__")
        if constructor is not None:
            source, method = constructor
            if list(defaults(method))[:2] != ["model", "client"]:
                yield source.at(method)


class R3(Rule):
    """`connect` opens the session, `_handle_events` reads it, `close` releases everything."""

    fix = "Realtime has connect, _handle_events and close"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the methods."""
        return _missing(plugin, "connect", "_handle_events", "close")


class R4(Rule):
    """One method wraps the provider's native call: `*args, **kwargs` go through, and it streams."""

    fix = "one public method takes *args and **kwargs, and returns an async iterator or generator"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """There is one such method, and it returns something asynchronous."""
        if plugin.realtime is None:
            return
        found = _wrappers(plugin)
        streams = [m for _, m in found if m.returns and "Async" in ast.unparse(m.returns)]
        if not len(found) == len(streams) == 1:
            yield from (source.at(method) for source, method in found)
            if not found:
                yield plugin.realtime[0].at(plugin.realtime[1])


class R5(Rule):
    """`simple_response` is the standard way in and delegates to the native wrapper."""

    fix = "simple_response calls the native wrapper"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the method and for the call in it."""
        yield from _missing(plugin, "simple_response")
        if "simple_response" in plugin.realtime_methods:
            source, simple = plugin.realtime_methods["simple_response"]
            called = {name for name, _ in calls(simple)}
            if not any(f"self.{method.name}" in called for _, method in _wrappers(plugin)):
                yield source.at(simple)


class R6(Rule):
    """Conversation history and instructions reach the provider."""

    fix = "send them in the session's configuration, again after a reconnect"
    contract_only = True


class R7(Rule):
    """A delta for each chunk, numbered, then one final with the whole text and the original."""

    fix = "yield LLMResponseDelta for each chunk and one LLMResponseFinal"
    contract_only = True


class R8(Rule):
    """`simple_audio_response` takes PcmData; output audio is PcmData at the provider's rate."""

    fix = "Realtime has simple_audio_response"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the method."""
        return _missing(plugin, "simple_audio_response")


class R9(Rule):
    """Transcripts of both sides are emitted."""

    fix = "emit the user's and the agent's transcripts"
    contract_only = True


class R10(Rule):
    """Messages are normalised in `_normalize_message`."""

    fix = "Realtime has _normalize_message"

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Look for the method."""
        return _missing(plugin, "_normalize_message")


def _missing(plugin: PluginFolder, *wanted: str) -> Iterator[Place]:
    if plugin.realtime is not None:
        source, node = plugin.realtime
        for name in wanted:
            if name not in plugin.realtime_methods:
                yield Place(source.name, node.lineno, name)


def _wrappers(plugin: PluginFolder) -> list[tuple[Source, Function]]:
    """Public methods that pass on whatever the provider's own call takes."""
    return [
        (source, method)
        for name, (source, method) in plugin.realtime_methods.items()
        if method.args.vararg and method.args.kwarg and not name.startswith("_")
    ]


RULES = (R1(), R2(), R3(), R4(), R5(), R6(), R7(), R8(), R9(), R10())
