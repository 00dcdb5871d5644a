"""CN: lost connections are reopened where that makes sense, and ends are announced."""

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message
from vision_agents.core.llm.realtime import (
    RealtimeAudioOutput,
    RealtimeUserSpeechEnded,
    RealtimeUserSpeechStarted,
    RealtimeUserTranscript,
)

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.providers.connection import Connection as ProviderConnection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.raw_server import RawServer, response
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    NativeCall,
    converse,
    fence,
    final,
    hears,
    passes,
    say,
    speak,
    stays_pending,
)
from realtime_testkit.signals import frames, ramp, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

TEMPORARY = [1011, 1012, 1013, 1014]


class Connection(Contract):
    """Tests of CN1 to CN10."""

    @pytest.fixture
    async def microphone(self, llm: Realtime) -> AsyncIterator[None]:
        """Alice speaks all the time."""

        async def talk() -> None:
            for pcm in itertools.cycle(frames(tone(300, 1.0, 48000), 48000)):
                await llm.process_audio(pcm, ALICE)
                await asyncio.sleep(0.001)

        talking = asyncio.create_task(talk())
        yield
        talking.cancel()
        await asyncio.wait([talking])

    async def test_cn1_clean_close_is_not_reconnected(
        self,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
    ) -> None:
        """A close with 1000 emits one clean disconnected event, no error, and no new handshake."""
        await connection.close(1000)
        await record.down()
        assert not llm.connected
        await llm.close()
        await record.settled()
        assert [event.clean for event in record.disconnected] == [True]
        assert not record.errors, "an end is no error"
        assert provider.handshakes == 1, "called back after a clean end"

    async def test_cn1_clean_close_ends_an_open_response(
        self, make: Make, llm: Realtime, connection: ProviderConnection, record: EventRecorder
    ) -> None:
        """A close with 1000 during a response emits Done(interrupted=True), and is clean."""
        output = make.listen(llm, answers=True)
        await say(connection, audio=ramp(2400).tobytes(), text="a canary", status=None)
        await output.first(RealtimeAudioOutput)
        await connection.close(1000)
        end = await output.done("response_1")
        assert end.interrupted
        await record.down()
        assert [event.clean for event in record.disconnected] == [True]

    async def test_cn1_expired_session_is_reconnected(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A close with 1000 whose reason says that the session expired opens a new session."""
        connection = await provider.connection()
        await connection.close(1000, facts.expired_reason)
        await record.up(2)
        await converse(llm, output, await provider.connection(2))

    async def test_cn2_abrupt_loss_is_reconnected(
        self, llm: Realtime, output: OutputRecorder, provider: Provider, record: EventRecorder
    ) -> None:
        """A connection that breaks is reopened; one unclean disconnected event, no error."""
        connection = await provider.connection()
        connection.abort()
        await record.up(2)
        assert [event.clean for event in record.disconnected] == [False]
        assert not record.errors, "made good is no error"
        await converse(llm, output, await provider.connection(2))

    @pytest.mark.allows("open connections")
    async def test_cn2_silent_provider_is_noticed_and_reconnected(
        self, make: Make, provider: Provider, transport: Transport, subject: Subject
    ) -> None:
        """A provider that answers no ping is left, and a new session is opened, without an error.

        Its TCP connection stays open. Nothing is sent meanwhile but pings.
        """
        if transport.name != "websocket":
            excuse("client.py: the provider is not reached over WebSocket")
        if "ping_interval_s" not in inspect.signature(subject.client).parameters:
            excuse("client.py: the client has no ping_interval_s")
        llm = make(client=make.client(ping_interval_s=0.2))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).freeze()
        await record.up(2)
        assert [event.clean for event in record.disconnected] == [False]
        assert not record.errors
        await converse(llm, make.listen(llm), await provider.connection(2))

    async def test_cn3_error_that_says_expired_is_reconnected(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """An error that says the session expired leads to a new session.

        The close that follows is a clean one.
        """
        connection = await provider.connection()
        await connection.send(protocol.Fault(facts.expired_reason))
        await connection.close(1000)
        await record.up(2)
        await converse(llm, output, await provider.connection(2))

    async def test_cn3_expired_session_without_attempts_ends_in_one_error(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """With reconnect_attempts=0 the error of an expired session is emitted with its code."""
        llm = make(client=make.client(reconnect_attempts=0))
        await llm.connect()
        record = make.record(llm)
        connection = await provider.connection()
        await connection.send(protocol.Fault(facts.expired_reason))
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        assert [str(getattr(each.error, "code", "")) for each in record.errors] == [
            facts.expired_reason
        ]

    @pytest.mark.parametrize("code", TEMPORARY)
    async def test_cn3_temporary_close_code_is_reconnected(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        code: int,
    ) -> None:
        """A temporary close code opens one session with the same configuration, no error."""
        llm = make()
        if facts.tools:

            @llm.register_function(description="tells the time")
            async def tell_time() -> str:
                return "canary"

        await llm.connect()
        output, record = make.listen(llm), make.record(llm)
        first = await provider.connection()
        await converse(llm, output, first)
        await first.close(code)
        await record.up(2)
        second = await provider.connection(2)
        assert second.config == first.config
        await converse(llm, output, second)
        assert len(provider.connections) == 2
        assert not record.errors, "made good is no error"

    async def test_cn4_reconnects_are_paced_and_bounded(
        self, make: Make, provider: Provider
    ) -> None:
        """Reconnects are paced by a growing delay with a cap, and end in one error.

        Attempts are counted across sessions that lived shortly.
        """
        delay_s, cap_s, attempts = 0.01, 0.04, 9
        llm = make(
            client=make.client(
                reconnect_delay_s=delay_s,
                reconnect_max_delay_s=cap_s,
                reconnect_attempts=attempts,
            )
        )
        record = make.record(llm)
        times: list[float] = []
        await llm.connect()
        for number in range(1, attempts + 2):
            await record.up(number)
            times.append(asyncio.get_running_loop().time())
            await provider.connections[-1].close(1011)
        await record.until(lambda: bool(record.errors), "LLMErrorEvent at the end")
        assert not llm.connected
        assert len(record.errors) == 1
        assert not record.disconnected[-1].clean
        assert provider.handshakes == 1 + attempts, "attempts are counted across short sessions"
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(gaps[1:]) > 0.9 * delay_s, f"attempts without a delay: {gaps}"
        assert min(gaps[-2:]) > 0.9 * cap_s, f"the delay does not grow: {gaps}"
        # Without the cap the last two delays are 0.29 s and 0.47 s.
        assert min(gaps[-2:]) - min(gaps) < 5 * cap_s, f"the delay has no cap: {gaps}"

    async def test_cn4_unreachable_provider_is_tried_at_the_same_pace(
        self, make: Make, provider: Provider
    ) -> None:
        """Attempts that reach nobody wait for the client's delay, and for nothing else."""
        client = make.client(
            reconnect_delay_s=0.01, reconnect_max_delay_s=0.02, reconnect_attempts=10
        )
        llm = make(client=client)
        await llm.connect()
        record = make.record(llm)
        await provider.stop_listening()
        provider.connections[-1].abort()
        await record.until(lambda: bool(record.errors), "LLMErrorEvent at the end")
        assert not llm.connected

    async def test_cn4_fatal_close_reason_is_not_retried(
        self,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """A fatal close reason is not retried: one unclean disconnected, one error event.

        What is asked of the session after that raises the same error.
        """
        await connection.close(1011, facts.fatal_reason)
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        with pytest.raises(subject.session_error) as raised:
            await llm.commit_audio()
        assert str(raised.value) == str(record.errors[0].error)
        await llm.close()
        await record.settled()
        assert [event.clean for event in record.disconnected] == [False]
        assert len(record.errors) == 1
        assert provider.handshakes == 1

    async def test_cn4_reconnect_refused_with_401_is_not_retried(
        self,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
    ) -> None:
        """A reconnect answered with 401 is not repeated, and one error event is emitted."""
        provider.refuse = 401
        connection.abort()
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        await llm.close()
        await record.settled()
        assert len(record.errors) == 1
        assert provider.handshakes == 2

    @pytest.mark.parametrize("status", [429, 503])
    async def test_cn4_busy_provider_is_tried_again(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
        status: int,
    ) -> None:
        """Reconnects answered with 429 or 503 are repeated until accepted, without an error."""
        provider.refuse = status
        connection.abort()
        await provider.wait_handshakes(3)
        provider.refuse = None
        await record.up(2)
        assert not record.errors
        await converse(llm, output, await provider.connection(2))

    @pytest.mark.parametrize(
        "answer",
        [None, b"", response(500), response(520), response(529)],
        ids=["hung up", "no answer", "500", "520", "529"],
    )
    async def test_cn4_handshake_that_fails_is_tried_again(
        self, make: Make, provider: Provider, answer: bytes | None
    ) -> None:
        """Reconnects that are hung up on, or answered 5xx, are repeated, without an error."""
        llm = make(client=make.client(reconnect_attempts=100))
        await llm.connect()
        record = make.record(llm)
        await provider.stop_listening()
        port = urlsplit(provider.url).port or 0
        async with RawServer(answer, port=port) as server:
            (await provider.connection()).abort()
            await record.down()
            async with asyncio.timeout(3.0):
                while server.connections < 3:
                    await passes(0.01)
            assert not record.errors
        await provider.listen()
        await record.up(2)
        assert not record.errors
        await converse(llm, make.listen(llm), await provider.connection(2))

    async def test_cn4_passing_fault_while_configuring_is_tried_again(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Reconnects whose configuration meets a passing fault are repeated."""
        facts.need("temporary_code")
        llm = make(client=make.client(reconnect_attempts=100))
        await llm.connect()
        record = make.record(llm)
        provider.reject = facts.temporary_code
        (await provider.connection()).abort()
        await provider.wait_handshakes(3)
        provider.reject = None
        await record.up(2)
        await converse(llm, make.listen(llm), provider.connections[-1])

    async def test_cn3_harmless_fault_while_configuring_is_no_end(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """An error that is only a warning does not end the configuration of a session."""
        facts.need("harmless_codes")
        provider.accepts.clear()
        llm = make()
        connecting = asyncio.create_task(llm.connect())
        connection = await provider.connection()
        await connection.send(protocol.Fault(facts.harmless_codes[0], harmless=True))
        await stays_pending(connecting)
        provider.accepts.set()
        await connecting
        assert provider.handshakes == 1

    async def test_cn5_unencodable_change_while_down_is_reported(
        self, llm: Realtime, connection: ProviderConnection, record: EventRecorder
    ) -> None:
        """Instructions that cannot be encoded end a reconnect in a session or an error."""
        connection.abort()
        await record.down()
        llm.set_instructions("Be a canary: \ud83d")
        await record.until(
            lambda: bool(record.errors) or len(record.connected) == 2, "session or error"
        )

    async def test_cn5_failed_reconnect_is_announced(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
    ) -> None:
        """When reconnecting fails, one unclean disconnected and one error event are emitted.

        Requests raise, and connect() works later.
        """
        await provider.stop_listening()
        connection.abort()
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        assert not llm.connected
        assert [event.clean for event in record.disconnected] == [False]
        assert len(record.errors) == 1
        with pytest.raises(ConnectionError):
            async for _ in llm.simple_response("canary?"):
                pass
        await provider.listen()
        await llm.connect()
        await converse(llm, output, await provider.connection(2))

    async def test_cn5_network_that_returns_is_reconnected(
        self, make: Make, provider: Provider
    ) -> None:
        """When the provider listens again in time, the session is reopened without an error."""
        llm = make(client=make.client(reconnect_attempts=100))
        await llm.connect()
        record = make.record(llm)
        await provider.stop_listening()
        (await provider.connection()).abort()
        await record.down()
        await passes(0.03)  # attempts fail meanwhile
        await provider.listen()
        await record.up(2)
        assert not record.errors
        await converse(llm, make.listen(llm), await provider.connection(2))

    async def test_cn5_failed_attempts_leave_no_connection(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Attempts that time out leave no connection open."""
        client = make.client(connect_timeout_s=max(0.5, transport.connects_s), reconnect_attempts=1)
        llm = make(client=client)
        await llm.connect()
        record = make.record(llm)
        provider.accepts.clear()
        (await provider.connection()).abort()
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        assert provider.handshakes == 2
        provider.accepts.set()
        async with asyncio.timeout(1.0):
            for connection in provider.connections:
                await connection.closed.wait()

    async def test_cn6_audio_while_down_is_dropped_quietly(
        self,
        make: Make,
        provider: Provider,
        watchdog: Watchdog,
        transport: Transport,
    ) -> None:
        """While down, audio raises nothing, logs fewer than ten lines and is not sent later."""
        client = make.client(reconnect_delay_s=0.05, reconnect_attempts=50)
        llm = make(client=client)
        await llm.connect()
        output, record = make.listen(llm), make.record(llm)
        connection = await provider.connection()
        await provider.stop_listening()
        connection.abort()
        # Also before the plugin has noticed.
        await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000))
        await record.down()
        before = len(watchdog.log_lines)
        await speak(llm, transport, frames(tone(300, 1.0, 48000), 48000))
        logged = watchdog.log_lines[before:]
        assert len(logged) < 10, f"{len(logged)} log lines for 50 frames: {logged[:2]}"
        await provider.listen()
        await record.up(2)
        second = await provider.connection(2)
        assert not second.audio(), "audio from the outage arrived after it"
        await converse(llm, output, second)
        assert len(record.errors) <= 1

    @pytest.mark.allows("open connections")
    async def test_cn6_audio_to_a_provider_that_does_not_read_reconnects(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """A provider that stops reading is left after the send timeout, without an error."""
        transport.needs_messages()
        llm = make(client=make.client(send_timeout_s=0.05))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).freeze()
        # More than the sockets between hold.
        loud = np.tile(ramp(25_000), 200)
        await speak(llm, transport, frames(loud, facts.input_rate, ms=10_000))
        await record.up(2)
        assert not record.errors
        await converse(llm, make.listen(llm), await provider.connection(2))

    @pytest.mark.usefixtures("microphone")
    async def test_cn7_many_drops_leave_one_session(
        self,
        make: Make,
        provider: Provider,
        llm: Realtime,
        output: OutputRecorder,
        record: EventRecorder,
    ) -> None:
        """After twelve drops one session is open, with one handshake and no task a drop.

        Audio is sent all the time.
        """
        tasks: list[int] = []
        for number in range(1, 13):
            connection = await provider.connection(number)
            await record.up(number)
            await _is_heard(output, connection)
            tasks.append(len(asyncio.all_tasks()))
            if number % 2:
                connection.abort()
            else:
                await connection.close(1012)
        await record.up(13)
        assert provider.handshakes == 13, "more than one reconnect a drop"
        still_open = [each for each in provider.connections if not each.closed.is_set()]
        assert len(still_open) == 1, f"{len(still_open)} sessions"
        assert tasks[-1] <= tasks[2] + 1, f"tasks pile up: {tasks}"
        assert not record.errors
        sent = len(still_open[0].audio())
        await still_open[0].wait_audio(sent + 1)

    async def test_cn8_close_ends_the_delay_before_a_reconnect(
        self, make: Make, provider: Provider
    ) -> None:
        """close() in the delay before a reconnect returns in a second; no handshake follows."""
        llm = make(client=make.client(reconnect_delay_s=60, reconnect_max_delay_s=60))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).abort()
        await record.down()
        async with asyncio.timeout(1.0):
            await llm.close()
        await record.settled()
        assert len(record.disconnected) == 1
        assert provider.handshakes == 1

    async def test_cn8_interrupt_ends_a_request_that_waits_for_a_reconnect(
        self, make: Make, provider: Provider, native: NativeCall
    ) -> None:
        """interrupt() during the delay before a reconnect ends a waiting request with an empty final."""
        llm = make(client=make.client(reconnect_delay_s=60, reconnect_max_delay_s=60))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).abort()
        await record.down()
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        await stays_pending(asking)
        async with asyncio.timeout(1.0):
            await llm.interrupt()
            assert not (await asking).text

    async def test_cn8_request_during_a_long_delay_times_out(
        self, make: Make, provider: Provider, subject: Subject, native: NativeCall
    ) -> None:
        """A request during the delay before a reconnect raises after response_timeout_s."""
        llm = make(
            client=make.client(reconnect_delay_s=60, reconnect_max_delay_s=60),
            response_timeout_s=0.05,
        )
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).abort()
        await record.down()
        async with asyncio.timeout(1.0):
            with pytest.raises(subject.session_error):
                await final(native(llm, "Sing, canary"))

    async def test_cn8_close_ends_a_reconnect_under_way(
        self, llm: Realtime, provider: Provider, record: EventRecorder
    ) -> None:
        """close() while a reconnect waits for acceptance returns in a second and closes it."""
        first = await provider.connection()
        provider.accepts.clear()
        first.abort()
        second = await provider.connection(2)
        async with asyncio.timeout(1.0):
            await llm.close()
        provider.accepts.set()
        async with asyncio.timeout(1.0):
            await second.closed.wait()
        await record.settled()
        assert len(record.connected) == 1
        assert provider.handshakes == 2

    async def test_cn9_open_response_is_ended_by_a_drop(
        self,
        make: Make,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
    ) -> None:
        """A drop ends a response with one Done(interrupted=True) and a final transcript.

        The next session may use the same ids.
        """
        output = make.listen(llm, answers=True)
        await say(connection, audio=ramp(2400).tobytes(), text="a canary", status=None)
        await output.first(RealtimeAudioOutput)
        connection.abort()
        await output.done("response_1")
        await record.up(2)
        assert [done.interrupted for done in output.dones()] == [True]
        assert output.agent_said()[-1].mode == "final"
        # The ids of a new session begin anew.
        await converse(llm, output, await provider.connection(2))
        assert [done.interrupted for done in output.dones()] == [True, False]

    async def test_cn9_user_turn_is_ended_by_a_drop(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """A drop ends the user's turn, and the next session announces a new one."""
        facts.need("turn_detection")
        for number in (1, 2):
            connection = await provider.connection(number)
            await record.up(number)
            await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000))
            await connection.wait_audio(1)
            await connection.send(
                protocol.UserSpeechStarted("item_1"),
                protocol.UserTranscript("canary", False, "item_1"),
            )
            await output.first(RealtimeUserSpeechStarted, number)
            await output.first(RealtimeUserTranscript, number)
            connection.abort()
            await output.first(RealtimeUserSpeechEnded, number)

    async def test_cn9_half_a_sample_is_dropped_with_its_session(
        self,
        make: Make,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
    ) -> None:
        """Half a sample received before a drop is not joined with the next session's audio."""
        output = make.listen(llm, answers=True)
        await say(connection, audio=b"\x01\x02\x03", status=None)
        await output.first(RealtimeAudioOutput)
        connection.abort()
        await record.up(2)
        await converse(llm, output, await provider.connection(2))

    async def test_cn9_conversation_is_told_to_the_next_session(
        self,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """After a drop the new session is told what both sides said."""
        facts.need("history", "text")

        async def ask() -> None:
            async for _ in llm.simple_response("Are you a canary?"):
                pass

        asking = asyncio.create_task(ask())
        command = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="I am a canary", request_id=command.request_id)
        await asking
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage, 2)
        told = [(message.role, message.text) for message in again.received(protocol.AddMessage)]
        assert told == [("user", "Are you a canary?"), ("assistant", "I am a canary")]

    async def test_cn9_lost_session_is_resumed_with_the_newest_handle(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A reconnect resumes with the newest handle, and tells only what was said after it."""
        facts.need("resumes", "transcription")
        await connection.send(protocol.Resumable("handle_1"))
        await hears(connection, "Before the canary.", "user_1")
        await connection.send(protocol.Resumable("handle_2"))
        await hears(connection, "After the canary.", "user_2")
        await fence(connection, record)
        assert _handle(connection) is None
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        assert _handle(again) == "handle_2", "the newest handle is not the one that is used"
        message = await again.wait_for(protocol.AddMessage)
        assert (message.role, message.text) == ("user", "After the canary.")
        await converse(llm, output, again)
        assert len(again.received(protocol.AddMessage)) == 1, "told again what the provider knows"

    async def test_cn9_resumption_handle_is_used_once(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A session resumed and lost again is told everything, without the same handle."""
        facts.need("resumes", "transcription")
        await hears(connection, "Are you a canary?")
        await connection.send(protocol.Resumable("handle_1"))
        await fence(connection, record)
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        assert _handle(again) == "handle_1"
        again.abort()
        await record.up(3)
        anew = await provider.connection(3)
        assert _handle(anew) is None
        message = await anew.wait_for(protocol.AddMessage)
        assert (message.role, message.text) == ("user", "Are you a canary?")
        await converse(llm, output, anew)

    @pytest.mark.parametrize("how", ["refused", "taken back", "closed"])
    async def test_cn9_rejected_handle_is_dropped(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        how: str,
    ) -> None:
        """A handle that was refused, taken back or outlived by close() is not used.

        No error is emitted.
        """
        facts.need("resumes", "transcription")
        await hears(connection, "Are you a canary?")
        await connection.send(protocol.Resumable("handle_1"))
        if how == "taken back":
            await connection.send(protocol.Resumable(None))
        await fence(connection, record)
        provider.resumes = how != "refused"
        if how == "closed":
            await llm.close()
            await llm.connect()
        else:
            connection.abort()
        await record.up(2)
        newest = provider.connections[-1]
        assert _handle(newest) is None
        await converse(llm, output, newest)
        told = [message.text for message in newest.received(protocol.AddMessage)]
        assert told == ([] if how == "closed" else ["Are you a canary?"])
        assert not record.errors

    async def test_cn10_ping_is_answered(
        self, llm: Realtime, connection: ProviderConnection, facts: Facts
    ) -> None:
        """A ping in a message is answered with its token."""
        facts.need("pings")
        for token in ("first", "second"):
            await connection.send(protocol.Ping(token))
        pong = await connection.wait_for(protocol.Pong, 2)
        assert [each.token for each in connection.received(protocol.Pong)] == ["first", "second"]
        assert pong.token == "second"

    async def test_cn10_keep_alive_is_sent_in_silence(
        self, llm: Realtime, connection: ProviderConnection, facts: Facts
    ) -> None:
        """A keep-alive is sent within five seconds in which nobody speaks."""
        facts.need("keep_alives")
        await connection.wait_for(protocol.KeepAlive)

    async def test_cn9_handshake_that_is_never_answered_is_given_up(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """A reconnect whose handshake gets no answer is repeated after the timeout.

        The connection of the attempt before is closed then.
        """
        client = make.client(
            connect_timeout_s=max(0.3, transport.connects_s), reconnect_attempts=100
        )
        llm = make(client=client)
        await llm.connect()
        record = make.record(llm)
        await provider.stop_listening()
        port = urlsplit(provider.url).port or 0
        async with RawServer(None, port=port, silent=True) as server:
            (await provider.connection()).abort()
            async with asyncio.timeout(5.0):
                while server.connections < 3:
                    await passes(0.01)
            assert server.open <= 1, "attempts that were given up are still open"
            assert not record.errors
            await llm.close()

    async def test_cn9_session_that_is_never_accepted_is_given_up(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """A reconnect that the provider does not accept is repeated after the timeout."""
        client = make.client(
            connect_timeout_s=max(0.3, transport.connects_s), reconnect_attempts=100
        )
        llm = make(client=client)
        await llm.connect()
        record = make.record(llm)
        provider.accepts.clear()
        (await provider.connection()).abort()
        await provider.connection(3)
        provider.accepts.set()
        await record.up(2)
        assert not record.errors

    async def test_cn9_reconnect_that_is_not_complete_is_closed(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """close() closes a new session that does not read the conversation it is told."""
        facts.need("history", "images")
        transport.needs_messages()
        llm = make(client=make.client(send_timeout_s=10.0))
        picture = {"type": "input_image", "image_url": "data:image/jpeg;base64," + "AAAA" * 500_000}
        said = [{"type": "input_text", "text": "a canary"}, picture]
        told = [Message("", role="user", original={"content": said}) for _ in range(8)]
        llm.set_conversation(InMemoryConversation("", told))
        await llm.connect()
        connection = await provider.connection()
        provider.accepts.clear()
        connection.abort()
        again = await provider.connection(2)
        again.freeze()
        provider.accepts.set()
        await passes(0.2)  # the conversation fills the line
        await llm.close()
        again.thaw()
        async with asyncio.timeout(2.0):
            await again.closed.wait()

    async def test_cn9_open_request_raises_on_a_drop(
        self,
        llm: Realtime,
        connection: ProviderConnection,
        provider: Provider,
        record: EventRecorder,
    ) -> None:
        """A request whose response was under way raises within a second after a drop."""

        async def ask() -> None:
            async for _ in llm.simple_response("canary?"):
                pass

        asking = asyncio.create_task(ask())
        command = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="a canary", request_id=command.request_id, status=None)
        await fence(connection, record)
        connection.abort()
        await asyncio.wait([asking], timeout=1.0)
        assert asking.done(), "simple_response goes on after the drop"
        with pytest.raises(ConnectionError):
            await asking


async def _is_heard(output: OutputRecorder, connection: ProviderConnection) -> None:
    """Assert that the agent is heard; the microphone has its own task."""
    ended = len(output.dones())
    await say(connection, audio=ramp(480).tobytes())
    await output.until(lambda: len(output.dones()) == ended + 1, "Done of response_1")


def _handle(connection: ProviderConnection) -> str | None:
    """The handle with which a connection was to resume a lost session."""
    return connection.received(protocol.Configure)[0].resume
