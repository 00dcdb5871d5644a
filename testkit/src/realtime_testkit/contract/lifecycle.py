"""LC: a session opens, closes, and leaves nothing behind."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message
from vision_agents.core.llm.realtime import RealtimeUserSpeechStarted, RealtimeUserTranscript
from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.raw_server import RawServer
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    BOB,
    begun,
    code_of,
    converse,
    fence,
    hears,
    is_interrupted,
    say,
    speak,
    stays_pending,
)
from realtime_testkit.signals import frames, ramp, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

BOUND_S = 0.1
A_WORD = frames(tone(300, 0.02, 48000), 48000)

Script = Callable[[Provider], Awaitable[None]]


async def _is_busy(provider: Provider) -> None:
    provider.refuse = 503


async def _knows_no_key(provider: Provider) -> None:
    provider.refuse = 401


async def _does_not_listen(provider: Provider) -> None:
    await provider.stop_listening()


async def _rejects_the_session(provider: Provider) -> None:
    provider.reject = "invalid_value"


async def _never_accepts(provider: Provider) -> None:
    provider.accepts.clear()


async def _never_greets(provider: Provider) -> None:
    provider.greets = False


REFUSALS: dict[Script, int | str | None] = {
    _is_busy: 503,
    _knows_no_key: 401,
    _does_not_listen: None,
    _rejects_the_session: "invalid_value",
    _never_accepts: None,
    _never_greets: None,
}
"""How a provider may refuse a session, and the code of the error that is raised."""


async def _closes(connection: Connection) -> None:
    await connection.close(1000)


async def _violates_policy(connection: Connection) -> None:
    await connection.close(1008, "policy")


async def _aborts(connection: Connection) -> None:
    connection.abort()


async def _fails(connection: Connection) -> None:
    await connection.close(1011)


async def _sends_garbage(connection: Connection) -> None:
    await connection.send_raw(b"\xff\x00 nonsense")
    await connection.close(1002)


ENDS = [_closes, _violates_policy, _aborts, _fails, _sends_garbage]


def _tasks_but_the_providers(transport: Transport) -> set[asyncio.Task[object]]:
    """All tasks but those of the embedded provider, which runs in the same loop."""
    found = set[asyncio.Task[object]]()
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if not inspect.iscoroutine(coroutine):
            continue
        if not coroutine.cr_code.co_filename.startswith(transport.provider_code):
            found.add(task)
    return found


def _name(script: Callable[..., object]) -> str:
    return script.__name__.strip("_")


class Lifecycle(Contract):
    """Tests of LC1 to LC9."""

    async def test_lc1_connect_returns_after_acceptance(
        self, make: Make, provider: Provider
    ) -> None:
        """connect() waits until the provider accepts; nothing but the configuration is sent."""
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

    async def test_lc1_connected_is_emitted_once(
        self, llm: Realtime, record: EventRecorder
    ) -> None:
        """connect() emits one connected event, with the session's id, and no error."""
        await record.settled()
        assert len(record.connected) == 1
        assert record.connected[0].session_id == llm.session_id
        assert not record.errors

    @pytest.mark.parametrize("refuses", REFUSALS, ids=_name)
    async def test_lc2_failed_connect_raises_within_its_bound(
        self, make: Make, provider: Provider, refuses: Script, subject: Subject
    ) -> None:
        """connect() raises within its timeout, emits one error event and leaves no connection open."""
        if refuses is _rejects_the_session:
            subject.need_event(protocol.Fault("invalid_value"))
        await refuses(provider)
        # Who is refused need not wait for the bound, however slow the machine is.
        bound_s = BOUND_S if REFUSALS[refuses] is None else 15.0
        llm = make(client=make.client(connect_timeout_s=bound_s))
        started = asyncio.get_running_loop().time()
        with pytest.raises(subject.session_error) as raised:
            await llm.connect()
        took = asyncio.get_running_loop().time() - started
        most_s = min(bound_s + 1.0, 5.0)
        assert took < most_s, f"connect() took {took:.1f} s, its bound is {bound_s} s"
        assert code_of(raised.value) == REFUSALS[refuses], "the error has another code"
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

    async def test_lc2_warning_before_acceptance_does_not_end_the_attempt(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """An error that names no request, before the provider accepts, does not end connect()."""
        subject.need_event(protocol.Fault("model_is_deprecated"))
        provider.accepts.clear()
        llm = make()
        connecting = begun(llm.connect())
        connection = await provider.connection()
        await connection.send(protocol.Fault("model_is_deprecated"))
        await stays_pending(connecting)
        provider.accepts.set()
        await connecting
        assert provider.handshakes == 1
        await converse(llm, make.listen(llm), connection)

    async def test_lc2_connection_lost_while_connecting_raises(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """connect() raises when the connection breaks before the provider accepts."""
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        connection.abort()
        with pytest.raises(subject.session_error):
            await connecting
        assert not llm.connected
        provider.accepts.set()

    async def test_lc2_configuration_follows_the_greeting(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Nothing is sent before the provider greeted, where it wants that."""
        facts.need("greets_first")
        provider.greets = False
        connecting = asyncio.create_task(make().connect())
        await provider.wait_handshakes(1)
        await stays_pending(connecting)
        assert not provider.connections[0].commands
        connecting.cancel()
        await asyncio.wait([connecting])

    @pytest.mark.parametrize("text", ["half a character: \ud83d", "nothing: \x00"])
    async def test_lc2_odd_instructions_are_sent_or_refused(
        self, make: Make, subject: Subject, text: str
    ) -> None:
        """Instructions that cannot be encoded raise the session error, or are replaced."""
        llm = make(instructions=f"Be a canary. {text}")
        try:
            await llm.connect()
        except subject.session_error:
            return
        assert llm.connected

    @pytest.mark.parametrize("host", ["a..b", "provider.invalid", "-"])
    @pytest.mark.parametrize("proxy", ["", "socks5://127.0.0.1:9", "http://127.0.0.1:9", "canary"])
    async def test_lc2_unusable_address_or_proxy_raises(
        self,
        make: Make,
        subject: Subject,
        transport: Transport,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
        proxy: str,
    ) -> None:
        """An address or a proxy that cannot be used raises the session error or ValueError."""
        if proxy:
            monkeypatch.setenv("https_proxy", proxy)
            monkeypatch.setenv("HTTPS_PROXY", proxy)
        base_url = f"{transport.secure}://{host}/v1/realtime"

        async def connect() -> None:
            client = make.client(base_url=base_url, connect_timeout_s=1.0)
            await make(client=client).connect()

        with pytest.raises((subject.session_error, ValueError)) as raised:
            await connect()
        assert not isinstance(raised.value, UnicodeError), raised.value

    @pytest.mark.parametrize("answer", [b"", b"canary\r\n\r\n", b"HTTP/1.1 101 X\r\n\r\n"])
    async def test_lc2_answer_that_is_none_raises(
        self, make: Make, subject: Subject, transport: Transport, answer: bytes
    ) -> None:
        """A server that closes the handshake, or answers no HTTP, raises the session error."""
        async with RawServer(answer) as server:
            base_url = f"{transport.clear}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error):
                await llm.connect()
        record = make.record(llm)
        await record.settled()
        assert len(record.errors) == 1

    async def test_lc2_connect_during_a_failing_reconnect_raises(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """connect() raises when the reconnect that it waits for fails."""
        llm = make(client=make.client(reconnect_delay_s=0.05, reconnect_attempts=2))
        await llm.connect()
        await provider.stop_listening()
        (await provider.connection()).abort()
        await make.record(llm).down()
        with pytest.raises(subject.session_error):
            await llm.connect()
        assert not llm.connected

    async def test_lc3_connect_works_after_a_failure(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """After two failed attempts connect() opens a session with audio both ways."""
        provider.refuse = 503
        llm = make()
        with pytest.raises(subject.session_error):
            await llm.connect()
        provider.refuse = None
        provider.reject = "invalid_value"
        with pytest.raises(subject.session_error):
            await llm.connect()
        provider.reject = None
        await llm.connect()
        await converse(llm, make.listen(llm), await provider.connection(2))

    async def test_lc3_connect_works_after_close(
        self, make: Make, provider: Provider, output: OutputRecorder, llm: Realtime
    ) -> None:
        """connect() after close() opens a session with the same configuration and audio."""
        first = await provider.connection()
        await converse(llm, output, first)
        await llm.close()
        await llm.connect()
        second = await provider.connection(2)
        assert second.config == first.config
        await converse(llm, output, second)
        record = make.record(llm)
        await record.settled()
        assert (len(record.connected), len(record.disconnected)) == (2, 1)

    async def test_lc3_next_session_keeps_nothing_of_the_last(
        self,
        make: Make,
        provider: Provider,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """A session after close() has no history, speaker or open turn of the one before."""
        facts.need("history", "transcription")
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "Are you a canary?")
        await say(connection, audio=ramp(24000).tobytes(), text="I am a canary", status=None)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        llm.set_conversation(InMemoryConversation("", [Message("I have a canary.", role="user")]))
        await llm.close()
        await llm.connect()
        output, second = make.listen(llm), await provider.connection(2)
        await hears(second, "Nobody has said this, canary.", "user_3")
        await fence(second, record)
        llm.set_instructions("Be another canary.")
        await fence(second, record)
        assert not second.received(protocol.AddMessage), "the provider is told of another call"
        assert not output.user_said(), "said by somebody in another call"
        await speak(llm, transport, A_WORD, BOB)
        await second.wait_audio(1)
        await hears(second, "But this, canary.", "user_4")
        said = await output.first(RealtimeUserTranscript)
        assert said.text == "But this, canary."
        by = [each.participant for each in output.of(RealtimeUserSpeechStarted)]
        assert [*by, said.participant] == [BOB, BOB]

    async def test_lc4_second_close_does_nothing(
        self, llm: Realtime, record: EventRecorder
    ) -> None:
        """close() twice emits one disconnected event, a clean one."""
        await llm.close()
        await llm.close()
        await record.settled()
        assert [event.clean for event in record.disconnected] == [True]

    async def test_lc4_concurrent_closes_end_once(
        self, llm: Realtime, record: EventRecorder
    ) -> None:
        """Two concurrent close() emit one disconnected event."""
        await asyncio.gather(llm.close(), llm.close())
        await record.settled()
        assert len(record.disconnected) == 1

    async def test_lc4_close_before_connect_does_nothing(
        self, make: Make, provider: Provider
    ) -> None:
        """close() before connect() emits nothing, and connect() works after it."""
        llm = make()
        await llm.close()
        record = make.record(llm)
        await record.settled()
        assert not record.items
        await llm.connect()
        await converse(llm, make.listen(llm), await provider.connection())

    async def test_lc4_async_with_connects_and_closes(self, make: Make, provider: Provider) -> None:
        """`async with` connects on its way in, and closes on its way out."""
        llm = make()
        async with llm as entered:
            inside = llm.connected
            connection = await provider.connection()
        assert entered is llm
        assert (inside, llm.connected) == (True, False)
        async with asyncio.timeout(1.0):
            await connection.closed.wait()

    async def test_lc5_close_right_after_connect_reaches_the_provider(
        self, make: Make, provider: Provider
    ) -> None:
        """close() right after connect() sends a close frame within a second."""
        llm = make()
        await llm.connect()
        await llm.close()
        connection = await provider.connection()
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        assert connection.close_code in (1000, 1001), "closed without a close frame"

    @pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
    async def test_lc5_close_during_connect_ends_it(
        self, make: Make, provider: Provider, turns: int, subject: Subject
    ) -> None:
        """close() during connect() leaves nothing connected.

        connect() raises the session error, or nothing.
        """
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        await llm.close()
        # A close() that came before the attempt began has nothing to end.
        await asyncio.wait([connecting])
        error = connecting.exception()
        assert error is None or isinstance(error, subject.session_error)
        await llm.close()
        assert not llm.connected

    async def test_lc5_close_does_not_wait_for_acceptance(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """close() returns within a second while the provider has not accepted, and connect() raises."""
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        async with asyncio.timeout(1.0):
            await llm.close()
        with pytest.raises(subject.session_error):
            await connecting
        provider.accepts.set()
        async with asyncio.timeout(1.0):
            await connection.closed.wait()

    async def test_lc6_close_leaves_nothing(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """When close() returns, no task and no output item remains and the provider sees a close."""
        before = _tasks_but_the_providers(transport)
        llm = make(input_audio_pacing=AudioInputPacingConfig(sample_rate=facts.input_rate))
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000))
        await say(connection, audio=bytes(4800), text="canary song")
        record = make.record(llm)
        await fence(connection, record)
        assert llm.output.peek(), "the response came out"
        await llm.close()
        remaining = {
            task
            for task in _tasks_but_the_providers(transport) - before
            if "_run_handler" not in repr(task)
        }
        assert not remaining, f"still running when close() returned: {remaining}"
        assert not llm.output.peek(), f"still in the output: {llm.output.peek()}"
        await record.settled()
        assert len(record.disconnected) == 1, "something is still at work"
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        assert connection.close_code in (1000, 1001), "closed without a close frame"

    async def test_lc6_cancelled_callers_leave_no_task(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Cancelled callers that waited for a reconnect leave no task."""
        llm = make(client=make.client(reconnect_delay_s=60, reconnect_max_delay_s=60))
        await llm.connect()
        connection = await provider.connection()
        connection.abort()
        await make.record(llm).down()
        await connection.closed.wait()
        before = _tasks_but_the_providers(transport)

        async def ask() -> None:
            async for _ in llm.simple_response("canary?", ALICE):
                pass

        waiting = [asyncio.create_task(ask()), asyncio.create_task(llm.connect())]
        for each in waiting:
            await stays_pending(each)
            each.cancel()
        await asyncio.wait(waiting)
        remaining = _tasks_but_the_providers(transport) - before
        assert not remaining, f"still running: {remaining}"

    async def test_lc6_cancelled_connect_closes_its_connection(
        self, make: Make, provider: Provider
    ) -> None:
        """A cancelled connect() raises CancelledError and its connection is closed within a second."""
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

    async def test_lc6_connect_cancelled_at_any_moment_leaves_no_connection(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """After a cancelled connect() and close() no connection is open, whenever it was cancelled."""
        transport.needs_messages()  # a WebRTC call takes thousands of turns of the loop
        for turns in range(80):
            llm = make()
            connecting = begun(llm.connect())
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            await llm.close()
        async with asyncio.timeout(2.0):
            for connection in list(provider.connections):
                await connection.closed.wait()

    async def test_lc6_cancelled_close_still_closes(
        self, llm: Realtime, connection: Connection
    ) -> None:
        """A cancelled close() raises CancelledError, and the connection is closed within a second."""
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
    async def test_lc7_close_works_however_the_session_ended(
        self,
        make: Make,
        provider: Provider,
        ends: Callable[[Connection], Awaitable[None]],
    ) -> None:
        """A lost session is released at once, and close() neither raises nor announces the end again."""
        llm = make(client=make.client(reconnect_attempts=1))
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

    async def test_lc7_session_that_ends_by_an_error_is_released_at_once(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """After an error that ends the session, its connection is closed, though the peer keeps it."""
        facts.need("fatal_code")
        await connection.send(protocol.Fault(facts.fatal_code))
        await record.down()
        async with asyncio.timeout(1.0):
            await connection.closed.wait()
        await llm.close()

    async def test_lc8_close_is_bounded_with_a_hung_tool(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """close() returns within three seconds and cancels a tool that does not end."""
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
        await connection.send(protocol.ResponseStarted("response_1"))
        await connection.send(protocol.ToolCall("response_1", "call_1", "hang", "{}"))
        await fence(connection, make.record(llm))
        async with asyncio.timeout(3.0):
            await llm.close()
        assert cancelled.is_set(), "the tool goes on after close()"
        goes_on.set()

    async def test_lc8_close_starts_no_tool(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A call that comes while close() lets another tool finish is not run."""
        facts.need("tools")
        llm = make()
        started = asyncio.Event()
        called: list[str] = []

        @llm.register_function(description="takes its time")
        async def look() -> str:
            started.set()
            await asyncio.Event().wait()
            return "never"

        @llm.register_function(description="comes too late")
        async def order() -> str:
            called.append("order")
            return "ordered"

        await llm.connect()
        connection = await provider.connection()
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "look", "{}"),
        )
        await started.wait()
        closing = begun(llm.close())
        await connection.send(protocol.ToolCall("response_1", "call_2", "order", "{}"))
        await closing
        assert not called

    async def test_lc8_close_inside_a_tool_closes(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A tool that awaits close() raises nothing, and the session is closed."""
        facts.need("tools")
        llm = make()
        ended = asyncio.Event()

        @llm.register_function(description="hangs up")
        async def hang_up() -> str:
            await llm.close()
            ended.set()
            return "closed"

        await llm.connect()
        connection = await provider.connection()
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "hang_up", "{}"),
        )
        async with asyncio.timeout(3.0):
            await connection.closed.wait()
            await ended.wait()
        assert not llm.connected
        await llm.connect()
        again = await provider.connection(2)
        await fence(again, make.record(llm))
        await fence(again, make.record(llm))
        kinds = {type(command) for command in again.commands} - {protocol.AppendAudio}
        assert kinds == {protocol.Configure}, "the tool's result is part of the next call"

    @pytest.mark.allows("open connections")
    async def test_lc8_close_is_bounded_with_a_hung_provider(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """close() is bounded while the provider does not read, and requests end with it.

        The bound is three seconds.
        """
        llm = make(client=make.client(send_timeout_s=0.1))
        await llm.connect()
        connection = await provider.connection()

        async def ask() -> None:
            async for _ in llm.simple_response("canary?", ALICE):
                pass

        asking = asyncio.create_task(ask())
        await connection.wait_for(protocol.CreateResponse)
        await transport.vanishes(connection)
        async with asyncio.timeout(3.0):
            await llm.close()
        await asyncio.wait([asking], timeout=1.0)
        assert asking.done(), "simple_response goes on after close()"

    async def test_lc9_connect_while_connected_keeps_one_session(
        self, llm: Realtime, output: OutputRecorder, provider: Provider, record: EventRecorder
    ) -> None:
        """connect() while connected, also concurrently, leaves one session open."""
        await llm.connect()
        await asyncio.gather(llm.connect(), llm.connect())
        still_open = [each for each in provider.connections if not each.closed.is_set()]
        assert len(still_open) == 1, f"{len(still_open)} sessions"
        await converse(llm, output, still_open[0])
        await record.settled()
        assert len(record.connected) - len(record.disconnected) == 1

    async def test_lc9_concurrent_connects_open_one_session(
        self, make: Make, provider: Provider
    ) -> None:
        """Two concurrent first connect() open one connection."""
        llm = make()
        await asyncio.gather(llm.connect(), llm.connect())
        assert len(provider.connections) == 1
        await converse(llm, make.listen(llm), await provider.connection())
