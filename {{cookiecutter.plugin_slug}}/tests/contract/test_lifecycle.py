"""LC: a session opens, closes, and leaves nothing behind."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message
from vision_agents.core.llm.realtime import RealtimeUserSpeechStarted, RealtimeUserTranscript
from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .kit import (
    ALICE,
    BOB,
    Ear,
    Facts,
    Recorder,
    converse,
    fence,
    frames,
    hears,
    is_interrupted,
    ramp,
    say,
    speak,
    stays_pending,
    tone,
)
from .making import Make, dial

BOUND_S = 0.1
A_WORD = frames(tone(300, 0.02, 48000), 48000)

Script = Callable[[loopback.Provider], Awaitable[None]]


async def _busy(provider: loopback.Provider) -> None:
    provider.refuse = 503


async def _no_such_key(provider: loopback.Provider) -> None:
    provider.refuse = 401


async def _nobody_listens(provider: loopback.Provider) -> None:
    await provider.stop_listening()


async def _rejects_the_session(provider: loopback.Provider) -> None:
    provider.reject = "invalid_value"


async def _never_accepts(provider: loopback.Provider) -> None:
    provider.accepts.clear()


async def _never_greets(provider: loopback.Provider) -> None:
    provider.greets = False


REFUSALS: dict[Script, int | str | None] = {
    _busy: 503,
    _no_such_key: 401,
    _nobody_listens: None,
    _rejects_the_session: "invalid_value",
    _never_accepts: None,
    _never_greets: None,
}
"""How a provider may refuse, and the code that is told of it."""


async def _ends(connection: loopback.Connection) -> None:
    await connection.close(1000)


async def _throws_out(connection: loopback.Connection) -> None:
    await connection.close(1008, "policy")


async def _breaks(connection: loopback.Connection) -> None:
    connection.abort()


async def _breaks_down(connection: loopback.Connection) -> None:
    await connection.close(1011)


async def _says_nonsense(connection: loopback.Connection) -> None:
    await connection.send_raw(b"\xff\x00 nonsense")
    await connection.close(1002)


ENDS = [_ends, _throws_out, _breaks, _breaks_down, _says_nonsense]


def _tasks_but_the_providers() -> set[asyncio.Task[object]]:
    """The embedded provider shares the loop: its tasks are no business of close()."""
    found = set[asyncio.Task[object]]()
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if not inspect.iscoroutine(coroutine):
            continue
        if not coroutine.cr_code.co_filename.startswith(transit.PROVIDERS_CODE):
            found.add(task)
    return found


def _name(script: Callable[..., object]) -> str:
    return script.__name__.strip("_")


class TestLifecycle:
    async def test_lc1_connect_waits_for_the_session(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """The agent talks into a session that is not there yet, and gets default settings."""
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        await stays_pending(connecting)
        assert not llm.connected, "connected before the provider accepted the session"
        early = connection.commands[1:]
        assert not early, f"said before the provider accepted the session: {early}"
        provider.accepts.set()
        await connecting
        assert llm.connected

    async def test_lc1_one_connected_event(self, llm: Realtime, record: Recorder) -> None:
        """Whoever waits for the connected event waits for ever, or starts twice."""
        await record.settled()
        assert len(record.connected) == 1
        assert record.connected[0].session_id == llm.session_id
        assert not record.errors

    @pytest.mark.parametrize("refuses", REFUSALS, ids=_name)
    async def test_lc2_a_failed_connect_raises(
        self, make: Make, provider: loopback.Provider, refuses: Script
    ) -> None:
        """A wrong key or a provider that is down hangs the agent, or goes unnoticed."""
        await refuses(provider)
        llm = make(client=dial(provider, connect_timeout_s=BOUND_S))
        started = asyncio.get_running_loop().time()
        with pytest.raises(events.SessionError) as raised:
            await llm.connect()
        took = asyncio.get_running_loop().time() - started
        assert took < BOUND_S + 1.0, f"connect() took {took:.1f} s, its bound is {BOUND_S} s"
        assert raised.value.code == REFUSALS[refuses], "does not say why"
        assert not llm.connected
        record = make.record(llm)
        await record.settled()
        assert len(record.errors) == 1, f"one LLMErrorEvent, not {record.errors}"
        assert record.errors[0].error is raised.value
        assert not record.connected
        provider.accepts.set()
        async with asyncio.timeout(1.0):
            for connection in provider.connections:
                await connection.closed.wait()

    async def test_lc2_the_socket_breaks_while_connecting(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """A provider that restarts at the wrong moment hangs the agent."""
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        connection.abort()
        with pytest.raises(events.SessionError):
            await connecting
        assert not llm.connected
        provider.accepts.set()

    async def test_lc3_connects_again_after_a_failure(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """One failed attempt makes the agent useless until it is restarted."""
        provider.refuse = 503
        llm = make()
        with pytest.raises(events.SessionError):
            await llm.connect()
        provider.refuse = None
        provider.reject = "invalid_value"
        with pytest.raises(events.SessionError):
            await llm.connect()
        provider.reject = None
        await llm.connect()
        await converse(llm, make.listen(llm), await provider.connection(2))

    async def test_lc3_connects_again_after_close(
        self, make: Make, provider: loopback.Provider, ear: Ear, llm: Realtime
    ) -> None:
        """An agent that left a call cannot join the next one."""
        first = await provider.connection()
        await converse(llm, ear, first)
        await llm.close()
        await llm.connect()
        second = await provider.connection(2)
        assert second.config == first.config
        await converse(llm, ear, second)
        record = make.record(llm)
        await record.settled()
        assert (len(record.connected), len(record.disconnected)) == (2, 1)

    async def test_lc3_a_new_call_begins_anew(
        self,
        make: Make,
        provider: loopback.Provider,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The next call begins in the middle of the last: its words, its speaker, its turn."""
        facts.need("history", "transcription")
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "Are you a canary?")
        await say(connection, audio=ramp(24000).tobytes(), text="I am a canary", status=None)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        llm.set_conversation(InMemoryConversation("", [Message("I have a canary.", role="user")]))
        await llm.close()
        await llm.connect()
        ear, second = make.listen(llm), await provider.connection(2)
        await hears(second, "Nobody has said this, canary.", "user_3")
        await fence(second, record)
        llm.set_instructions("Be another canary.")
        await fence(second, record)
        assert not second.received(events.AddMessage), "the provider is told of another call"
        assert not ear.user_said(), "said by somebody in another call"
        await speak(llm, A_WORD, BOB)
        await second.wait_audio(1)
        await hears(second, "But this, canary.", "user_4")
        said = await ear.first(RealtimeUserTranscript)
        assert said.text == "But this, canary."
        by = [each.participant for each in ear.of(RealtimeUserSpeechStarted)]
        assert [*by, said.participant] == [BOB, BOB]

    async def test_lc4_closes_twice(self, llm: Realtime, record: Recorder) -> None:
        """Shutting down twice, as agents do, raises or announces two ends."""
        await llm.close()
        await llm.close()
        await record.settled()
        assert [event.clean for event in record.disconnected] == [True]

    async def test_lc4_closes_twice_at_once(self, llm: Realtime, record: Recorder) -> None:
        """Two owners that shut down at once trip over each other."""
        await asyncio.gather(llm.close(), llm.close())
        await record.settled()
        assert len(record.disconnected) == 1

    async def test_lc4_closes_before_connect(self, make: Make, provider: loopback.Provider) -> None:
        """An agent that never got to connect cannot be shut down."""
        llm = make()
        await llm.close()
        record = make.record(llm)
        await record.settled()
        assert not record.items
        await llm.connect()
        await converse(llm, make.listen(llm), await provider.connection())

    async def test_lc5_closes_at_once(self, make: Make, provider: loopback.Provider) -> None:
        """A call that ends as it begins leaves a paid session running."""
        llm = make()
        await llm.connect()
        await llm.close()
        connection = await provider.connection()
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        assert connection.close_code in (1000, 1001), "closed without a close frame"

    @pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
    async def test_lc5_closes_while_connecting(
        self, make: Make, provider: loopback.Provider, turns: int
    ) -> None:
        """Hanging up while it still rings leaves a session nobody knows of."""
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        await llm.close()
        # A close() that came before the attempt began has nothing to end.
        await asyncio.wait([connecting])
        assert connecting.exception() is None or isinstance(
            connecting.exception(), events.SessionError
        )
        await llm.close()
        assert not llm.connected

    async def test_lc5_closes_while_the_provider_hesitates(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """Hanging up on a slow provider takes as long as the provider."""
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        async with asyncio.timeout(1.0):
            await llm.close()
        with pytest.raises(events.SessionError):
            await connecting
        provider.accepts.set()
        async with asyncio.timeout(1.0):
            await connection.closed.wait()

    async def test_lc6_nothing_remains(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """Every call leaks a little, until the server falls over."""
        before = _tasks_but_the_providers()
        llm = make(input_audio_pacing=AudioInputPacingConfig(sample_rate=facts.input_rate))
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, frames(tone(300, 0.1, 48000), 48000))
        await say(connection, audio=bytes(4800), text="canary song")
        record = make.record(llm)
        await fence(connection, record)
        assert llm.output.peek(), "the response came out"
        await llm.close()
        remaining = {
            task for task in _tasks_but_the_providers() - before if "_run_handler" not in repr(task)
        }
        assert not remaining, f"still running when close() returned: {remaining}"
        assert not llm.output.peek(), f"still in the output: {llm.output.peek()}"
        await record.settled()
        assert len(record.disconnected) == 1, "something is still at work"
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        assert connection.close_code in (1000, 1001), "closed without a close frame"

    async def test_lc6_a_cancelled_caller_leaves_nothing(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """Whoever gives up waiting for a lost connection leaves something behind each time."""
        llm = make(client=dial(provider, reconnect_delay_s=60, reconnect_max_delay_s=60))
        await llm.connect()
        connection = await provider.connection()
        connection.abort()
        await make.record(llm).down()
        await connection.closed.wait()
        before = _tasks_but_the_providers()

        async def ask() -> None:
            async for _ in llm.simple_response("canary?", ALICE):
                pass

        waiting = [asyncio.create_task(ask()), asyncio.create_task(llm.connect())]
        for each in waiting:
            await stays_pending(each)
            each.cancel()
        await asyncio.wait(waiting)
        remaining = _tasks_but_the_providers() - before
        assert not remaining, f"still running: {remaining}"

    async def test_lc6_a_cancelled_connect_leaves_nothing(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """An agent that gives up on joining leaves a session behind."""
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert not llm.connected
        provider.accepts.set()
        async with asyncio.timeout(1.0):
            await connection.closed.wait()

    async def test_lc6_a_cancelled_close_still_closes(
        self, llm: Realtime, connection: loopback.Connection
    ) -> None:
        """A shutdown that is cut short leaves the session running."""
        closing = asyncio.create_task(llm.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not llm.connected
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        await llm.close()

    @pytest.mark.parametrize("ends", ENDS, ids=_name)
    async def test_lc7_closes_whatever_ended_the_session(
        self,
        make: Make,
        provider: loopback.Provider,
        ends: Callable[[loopback.Connection], Awaitable[None]],
    ) -> None:
        """After a lost session close() raises, and what was held is never released."""
        llm = make(client=dial(provider, reconnect_attempts=1))
        await llm.connect()
        connection = await provider.connection()
        await provider.stop_listening()
        await ends(connection)
        record = make.record(llm)
        await record.down()
        # What is lost is released there and then, not when somebody closes.
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        await llm.close()
        await record.settled()
        assert len(record.disconnected) == 1, "close() announced the end again"

    async def test_lc8_closes_over_a_hung_tool(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """One tool that hangs keeps the agent in the call for ever."""
        facts.need("tools")
        llm = make(tool_timeout_s=3600)
        cancelled, goes_on = asyncio.Event(), asyncio.Event()

        @llm.register_function(description="hangs, and will not be told")
        async def hang() -> str:
            try:
                await goes_on.wait()
            except asyncio.CancelledError:
                cancelled.set()
                await goes_on.wait()
            return "never"

        await llm.connect()
        connection = await provider.connection()
        await connection.send(events.ResponseStarted("response_1"))
        await connection.send(events.ToolCall("response_1", "call_1", "hang", "{}"))
        await fence(connection, make.record(llm))
        async with asyncio.timeout(3.0):
            await llm.close()
        assert cancelled.is_set(), "the tool goes on after close()"
        goes_on.set()

    @pytest.mark.allows("open connections")
    async def test_lc8_closes_over_a_hung_provider(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """A provider that hangs keeps the agent in the call for ever."""
        llm = make(client=dial(provider, send_timeout_s=0.1))
        await llm.connect()
        connection = await provider.connection()

        async def ask() -> None:
            async for _ in llm.simple_response("canary?", ALICE):
                pass

        asking = asyncio.create_task(ask())
        await connection.wait_for(events.CreateResponse)
        await transit.vanishes(connection)
        async with asyncio.timeout(3.0):
            await llm.close()
        await asyncio.wait([asking], timeout=1.0)
        assert asking.done(), "simple_response goes on after close()"

    async def test_lc9_connects_once(
        self, llm: Realtime, ear: Ear, provider: loopback.Provider, record: Recorder
    ) -> None:
        """Connecting twice pays for two sessions, and both answer."""
        await llm.connect()
        await asyncio.gather(llm.connect(), llm.connect())
        still_open = [each for each in provider.connections if not each.closed.is_set()]
        assert len(still_open) == 1, f"{len(still_open)} sessions"
        await converse(llm, ear, still_open[0])
        await record.settled()
        assert len(record.connected) - len(record.disconnected) == 1

    async def test_lc9_connects_once_at_first(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """Two callers that connect at once each get a session, and both answer."""
        llm = make()
        await asyncio.gather(llm.connect(), llm.connect())
        assert len(provider.connections) == 1
        await converse(llm, make.listen(llm), await provider.connection())
