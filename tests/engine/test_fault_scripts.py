"""A plugin under random faults of its provider and random calls of its user."""

import asyncio
import contextlib
import gc
import io
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from getstream.video.rtc.track_util import PcmData
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.events import (
    LLMErrorEvent,
    RealtimeConnectedEvent,
    RealtimeDisconnectedEvent,
)
from vision_agents.core.llm.realtime import RealtimeAudioOutputDone as Done

from tests.engine.fault_provider import (
    ACKNOWLEDGEMENTS,
    ANSWERS,
    CONTENT,
    HANDSHAKES,
    KEY,
    STEPS,
    Double,
    Script,
)

SCRIPTS = int(os.environ.get("FAULT_SCRIPTS", "40"))

SILENCE_S = 0.1
"""The plugin's bounds on the provider: on its answers, on accepting a session, on reading."""

BOUND_S = 5.0
"""How long any public coroutine may take."""

CLOSE_S = 3.0
"""How long close() may take."""

LEFTOVER_S = 1.0
"""How long tasks may take to be gone after close()."""

SPEAKER = Participant(None, "user", "participant")
SPOKEN = PcmData.from_bytes(bytes(range(96)) * 40, 48_000)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_output_tokens": 50},
    {"prompt": CONTENT, "temperature": 10**30},
    {"half": f"{CONTENT} \ud83d"},
    {"not": object()},
    {"audio": {"input": {"format": {"type": "audio/none"}}}},
    {"audio": {"output": {"format": {"type": "audio/pcmu"}}}},
]
CALLS = st.one_of(
    st.tuples(st.just("connect"), st.none()),
    st.tuples(st.just("connect"), st.none()),
    st.tuples(st.just("ask"), st.sampled_from([CONTENT, "", f"{CONTENT} \ud83d", "x" * 100_000])),
    st.tuples(st.just("ask"), st.just(CONTENT)),
    st.tuples(
        st.just("native"),
        st.sampled_from(
            [
                {},
                {"conversation": "none", "input": [{"role": "user", "content": [CONTENT]}]},
                {"instructions": CONTENT, "metadata": {"a": CONTENT}},
                {"input": CONTENT, "tools": [object()]},
                {"max_output_tokens": 10**30},
            ]
        ),
    ),
    st.tuples(
        st.sampled_from(["leave", "cancel", "hear", "commit", "interrupt", "instruct", "close"]),
        st.none(),
    ),
    st.tuples(st.just("update"), st.sampled_from(OPTIONS)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.002, 0.02, 0.06])),
)


@dataclass
class Watch:
    """What must not happen, and did.

    Attributes:
        found: what was wrong.
        allowed: the exceptions that public coroutines may raise.
    """

    package: str
    allowed: tuple[type[BaseException], ...]
    found: list[str] = field(default_factory=list)

    def text(self, where: str, text: str, *, one_line: bool = False) -> None:
        """Search what others can read."""
        for secret in (KEY, CONTENT):
            if secret in text:
                self.found.append(f"{secret} is in {where}: {text[:300]!r}")
        if one_line and ("\n" in text or "\r" in text):
            self.found.append(f"line ends in {where}: {text[:300]!r}")

    def error(self, where: str, error: BaseException | None) -> None:
        """Search an exception, and all that hangs on it."""
        seen: list[BaseException] = []
        while error is not None and error not in seen:
            seen.append(error)
            for text in (
                str(error),
                repr(error),
                repr(vars(error)),
                *getattr(error, "__notes__", ()),
            ):
                self.text(f"{type(error).__name__} of {where}", text)
            error = error.__cause__ or error.__context__

    async def call(self, name: str, begin: Callable[[], Awaitable[object]]) -> None:
        """Await a public coroutine; only some exceptions may come out."""
        began = time.monotonic()
        try:
            await begin()
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or not current.cancelling():
                self.found.append(f"{name} was cancelled by the plugin")
        except self.allowed as error:
            self.error(name, error)
        except Exception as error:  # noqa: BLE001 - any other is what is looked for
            self.found.append(f"{name} raised {error!r}")
            self.error(name, error)
        if time.monotonic() - began > BOUND_S:
            self.found.append(f"{name} took longer than {BOUND_S:g} s")


class Logs(logging.Handler):
    """Searches log records: all of the plugin's, the others' from INFO on."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        own = record.name.startswith(self._watch.package)
        if not own and record.levelno < logging.INFO:
            return
        where = f"a {record.levelname} line of {record.name}"
        self._watch.text(where, record.getMessage(), one_line=own)
        if record.exc_info:
            self._watch.error(where, record.exc_info[1])
        if record.levelno >= logging.ERROR and (own or record.name == "asyncio"):
            self._watch.found.append(f"{where}: {record.getMessage()} {record.exc_info}")


@contextlib.contextmanager
def logged(watch: Watch) -> Iterator[None]:
    """Watch what is logged."""
    root, own, handler = logging.getLogger(), logging.getLogger(watch.package), Logs(watch)
    levels = root.level, own.level
    root.setLevel(logging.INFO)
    own.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        own.setLevel(levels[1])


class Odd:
    """A result that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError(CONTENT)


class User:
    """Calls the public coroutines of a plugin, side by side."""

    def __init__(self, plugin: ModuleType, url: str, watch: Watch) -> None:
        client = import_module(f"{plugin.__name__}.client").Client(
            KEY,
            url,
            connect_timeout_s=SILENCE_S,
            send_timeout_s=SILENCE_S,
            reconnect_delay_s=0.005,
            reconnect_max_delay_s=0.01,
            reconnect_attempts=3,
        )
        self.llm = plugin.Realtime(
            client=client, tool_timeout_s=SILENCE_S, response_timeout_s=SILENCE_S
        )
        self.tasks: list[asyncio.Task[None]] = []
        self._watch = watch
        self._register()
        self.llm.set_instructions(CONTENT)
        self.llm.events.subscribe(self._on_event)
        self._flow = asyncio.create_task(watch.call("the agent's flow", self._read))

    def do(self, what: str, with_what: Any) -> None:
        """Begin one call."""
        llm = self.llm
        words = f"{CONTENT} {len(self.tasks)}"
        match what:
            case "connect":
                self._begin(what, llm.connect)
            case "ask":
                self._begin(what, lambda: self._all_of(llm.simple_response(with_what)))
            case "native":
                self._begin(what, lambda: self._all_of(llm.create_response(CONTENT, **with_what)))
            case "leave":
                self._begin(what, lambda: self._first_of(llm.simple_response(CONTENT)))
            case "cancel" if self.tasks:
                self.tasks[-1].cancel()
            case "hear":
                self._begin(what, lambda: llm.simple_audio_response(SPOKEN, SPEAKER))
            case "commit":
                self._begin(what, llm.commit_audio)
            case "interrupt":
                self._begin(what, llm.interrupt)
            case "instruct":
                llm.set_instructions(words)
            case "update":
                changes = {"instructions": words, "options": with_what}
                self._begin(what, lambda: llm.update_session(**changes))
            case "close":
                self._begin(what, llm.close)

    async def finish(self) -> None:
        """Wait for the calls, and close."""
        await self._wait(self.tasks, BOUND_S)
        closing = asyncio.create_task(self._watch.call("close", self.llm.close))
        await self._wait([closing], CLOSE_S)

    async def leave(self) -> None:
        """Read the output no longer."""
        self._flow.cancel()
        await asyncio.wait([self._flow])
        await self.llm.events.shutdown()

    async def answer(self) -> str:
        """Connect to a provider that does everything right, and ask; again where it is too slow."""
        await self.llm.update_session(options={})
        while True:
            try:
                await self.llm.connect()
                stream = self.llm.simple_response("Hello")
                return "".join([getattr(item, "text", "") async for item in stream])
            except TimeoutError:
                continue
            except ConnectionError as error:
                if not getattr(error, "temporary", False):
                    raise

    def _begin(self, what: str, begin: Callable[[], Awaitable[object]]) -> None:
        self.tasks.append(asyncio.create_task(self._watch.call(what, begin), name=what))

    async def _wait(self, tasks: list[asyncio.Task[None]], bound_s: float) -> None:
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=bound_s)
        for task in pending:
            stack = io.StringIO()
            task.print_stack(file=stack)
            self._watch.found.append(f"not done after {bound_s:g} s: {stack.getvalue()}")
            task.cancel()

    async def _all_of(self, stream: AsyncIterator[object]) -> None:
        async for _ in stream:
            pass

    async def _first_of(self, stream: Any) -> None:
        try:
            await anext(stream, None)
        finally:
            await stream.aclose()

    async def _read(self) -> None:
        async for item in self.llm.output:
            if isinstance(item, Done) and item.interrupted:
                await self.llm.interrupt()

    async def _on_event(
        self, event: LLMErrorEvent | RealtimeConnectedEvent | RealtimeDisconnectedEvent
    ) -> None:
        name = type(event).__name__
        self._watch.text(name, repr(event))
        if isinstance(event, LLMErrorEvent) and isinstance(event.error, Exception):
            self._watch.error(name, event.error)

    def _register(self) -> None:
        async def look(city: str) -> str:
            await asyncio.sleep(0.001)
            return f"{city} {CONTENT}"

        async def fail(city: str) -> str:
            raise RuntimeError(CONTENT)

        async def hang(city: str) -> str:
            await asyncio.sleep(3600)
            return city

        async def odd(city: str) -> object:
            return {1: Odd(), "n": 10**400}

        async def hang_up(city: str) -> None:
            await self.llm.close()

        for function in (look, fail, hang, odd):
            self.llm.register_function(description=CONTENT)(function)
        self.llm.register_function("hang up", CONTENT)(hang_up)


async def play(
    plugin: ModuleType, script: Script, steps: list[tuple[str, tuple[str, Any]]], pace_s: float
) -> list[str]:
    """Play a script, a step every ``pace_s``, or all at once; returns what was wrong."""
    errors = import_module(f"{plugin.__name__}._engine.errors")
    allowed = (errors.SessionError, errors.ResponseError, TimeoutError, ValueError)
    watch = Watch(plugin.__name__, allowed)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: watch.found.append(f"unhandled: {context}"))
    with logged(watch):
        async with Double(script) as double:
            user = User(plugin, double.url, watch)
            user.do("connect", None)
            if pace_s:
                await asyncio.wait(user.tasks, timeout=SILENCE_S)
            for who, (what, with_what) in steps:
                if what == "wait":
                    await asyncio.sleep(with_what)
                elif who == "user":
                    user.do(what, with_what)
                else:
                    await double.act(what, with_what)
                await asyncio.sleep(pace_s)
            await user.finish()
            double.behave()
            try:
                said = await asyncio.wait_for(user.answer(), BOUND_S)
                if CONTENT not in said:
                    watch.found.append(f"afterwards the answer is {said!r}")
            except Exception as error:  # noqa: BLE001 - it has to work again
                watch.found.append(f"afterwards there is no answer: {error!r}")
            await user.finish()
            watch.text("repr(llm)", repr(user.llm))
            watch.text("repr(llm.client)", repr(user.llm.client))
            await user.leave()
        watch.found += await left_over()
        del user
        gc.collect(1)  # the loop reports what no task was asked for
        await asyncio.sleep(0)
    return watch.found


async def left_over() -> list[str]:
    """Return what still runs, after a moment."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, others = await asyncio.wait(others, timeout=LEFTOVER_S)
    for task in others:
        task.cancel()
    return [f"left behind: {task.get_coro()}" for task in others]


@pytest.fixture(scope="module")
def plugin(default_engine: ModuleType) -> ModuleType:
    """The plugin with the default answers."""
    return import_module(default_engine.__name__.rpartition(".")[0])


class TestFaultScripts:
    @given(
        script=st.builds(
            Script,
            st.lists(HANDSHAKES, max_size=4),
            st.lists(ACKNOWLEDGEMENTS, max_size=6),
            st.lists(ANSWERS, max_size=8),
        ),
        steps=st.lists(
            st.one_of(
                st.tuples(st.just("user"), CALLS),
                st.tuples(st.just("user"), CALLS),
                st.tuples(st.just("provider"), STEPS),
            ),
            max_size=16,
        ),
        pace_s=st.sampled_from([0.005, 0.005, 0.0]),
    )
    @settings(
        max_examples=SCRIPTS,
        deadline=None,
        phases=[phase for phase in Phase if phase is not Phase.explain],  # that takes minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_no_fault_hangs_leaks_or_shows_a_secret(
        self,
        plugin: ModuleType,
        script: Script,
        steps: list[tuple[str, tuple[str, Any]]],
        pace_s: float,
    ) -> None:
        """Calls end in time with a documented exception, nothing is left, nothing is shown.

        Afterwards, with a provider that does everything right, the plugin answers.
        """
        found = asyncio.run(play(plugin, script, steps, pace_s))
        assert not found, "\n".join(found)
