"""CN: a call outlives a bad connection, and an end is an end."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import numpy as np
import pytest
from vision_agents.core.llm.realtime import (
    RealtimeAudioOutput,
    RealtimeUserSpeechEnded,
    RealtimeUserSpeechStarted,
    RealtimeUserTranscript,
)
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .kit import (
    ALICE,
    Ear,
    Facts,
    Recorder,
    converse,
    fence,
    final,
    frames,
    hears,
    native,
    needs_messages,
    passes,
    ramp,
    say,
    speak,
    stays_pending,
    tone,
)
from .making import Make, dial
from .watch import Watch

TEMPORARY = [1011, 1012, 1013, 1014]


class TestConnection:
    @pytest.fixture
    async def microphone(self, llm: Realtime) -> AsyncIterator[None]:
        """Somebody talks all the time."""

        async def talk() -> None:
            for pcm in itertools.cycle(frames(tone(300, 1.0, 48000), 48000)):
                await llm.process_audio(pcm, ALICE)
                await asyncio.sleep(0.001)

        talking = asyncio.create_task(talk())
        yield
        talking.cancel()
        await asyncio.wait([talking])

    async def test_cn1_a_clean_end_is_an_end(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
    ) -> None:
        """When the provider hangs up the agent stands still, or calls back for ever."""
        await connection.close(1000)
        await record.down()
        assert not llm.connected
        await llm.close()
        await record.settled()
        assert [event.clean for event in record.disconnected] == [True]
        assert not record.errors, "an end is no error"
        assert provider.handshakes == 1, "called back after a clean end"

    async def test_cn1_an_end_in_mid_answer(
        self, make: Make, llm: Realtime, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The provider hangs up while it speaks, and the agent is said to speak for ever."""
        ear = make.listen(llm, answers=True)
        await say(connection, audio=ramp(2400).tobytes(), text="a canary", status=None)
        await ear.first(RealtimeAudioOutput)
        await connection.close(1000)
        end = await ear.done("response_1")
        assert end.interrupted
        await record.down()
        assert [event.clean for event in record.disconnected] == [True]

    async def test_cn1_an_expired_session_goes_on(
        self, llm: Realtime, ear: Ear, provider: loopback.Provider, record: Recorder, facts: Facts
    ) -> None:
        """A provider that limits its sessions ends every long call."""
        connection = await provider.connection()
        await connection.close(1000, facts.expired_reason)
        await record.up(2)
        await converse(llm, ear, await provider.connection(2))

    async def test_cn2_an_abrupt_loss_is_made_good(
        self, llm: Realtime, ear: Ear, provider: loopback.Provider, record: Recorder
    ) -> None:
        """A hiccup of the network ends the call, and nobody says so."""
        connection = await provider.connection()
        connection.abort()
        await record.up(2)
        assert [event.clean for event in record.disconnected] == [False]
        assert not record.errors, "made good is no error"
        await converse(llm, ear, await provider.connection(2))

    async def test_cn3_an_error_says_that_it_expired(
        self, llm: Realtime, ear: Ear, provider: loopback.Provider, record: Recorder, facts: Facts
    ) -> None:
        """A provider that says why it hangs up ends every long call, for it does so politely."""
        connection = await provider.connection()
        await connection.send(events.Fault(facts.expired_reason))
        await connection.close(1000)
        await record.up(2)
        await converse(llm, ear, await provider.connection(2))

    @pytest.mark.parametrize("code", TEMPORARY)
    async def test_cn3_a_temporary_code_is_made_good(
        self,
        make: Make,
        provider: loopback.Provider,
        facts: Facts,
        code: int,
    ) -> None:
        """The provider restarts a server, and the agent is silent for the rest of the call."""
        llm = make()
        if facts.tools:

            @llm.register_function(description="tells the time")
            async def tell_time() -> str:
                return "canary"

        await llm.connect()
        ear, record = make.listen(llm), make.record(llm)
        first = await provider.connection()
        await converse(llm, ear, first)
        await first.close(code)
        await record.up(2)
        second = await provider.connection(2)
        assert second.config == first.config
        await converse(llm, ear, second)
        assert len(provider.connections) == 2
        assert not record.errors, "made good is no error"

    async def test_cn4_attempts_are_bounded(self, make: Make, provider: loopback.Provider) -> None:
        """A provider that takes calls and drops them is called hundreds of times a second."""
        delay_s, cap_s, attempts = 0.01, 0.04, 5
        llm = make(
            client=dial(
                provider,
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
        pauses = list(llm.client.reconnect_delays())
        assert len(pauses) == attempts
        assert max(pauses) == cap_s, f"pauses without a cap: {pauses}"
        assert pauses[1] < 2 * delay_s, f"not the pause asked for: {pauses}"
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert min(gaps[1:]) > 0.9 * delay_s, f"attempts without a pause: {gaps}"
        assert gaps[-1] > 0.9 * cap_s, f"pauses do not grow: {gaps}"

    async def test_cn4_a_fatal_reason_is_not_retried(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """A key that was revoked is tried again and again, and the account locked."""
        await connection.close(1011, facts.fatal_reason)
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        await llm.close()
        await record.settled()
        assert [event.clean for event in record.disconnected] == [False]
        assert len(record.errors) == 1
        assert provider.handshakes == 1

    async def test_cn4_a_refused_reconnect_with_401_is_not_retried(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
    ) -> None:
        """A key that was revoked during the call is tried again and again."""
        provider.refuse = 401
        connection.abort()
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        await llm.close()
        await record.settled()
        assert len(record.errors) == 1
        assert provider.handshakes == 2

    @pytest.mark.parametrize("status", [429, 503])
    async def test_cn4_a_busy_provider_is_tried_again(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
        status: int,
    ) -> None:
        """A provider that is back after a moment has lost the call all the same."""
        provider.refuse = status
        connection.abort()
        await provider.wait_handshakes(3)
        provider.refuse = None
        await record.up(2)
        assert not record.errors
        await converse(llm, ear, await provider.connection(2))

    async def test_cn5_a_refused_reconnect_is_announced(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
    ) -> None:
        """The call goes on in silence, and no supervisor hears of it."""
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
        await converse(llm, ear, await provider.connection(2))

    async def test_cn5_a_network_that_comes_back(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """A network that is away for a moment ends the call."""
        llm = make(client=dial(provider, reconnect_attempts=100))
        await llm.connect()
        record = make.record(llm)
        await provider.stop_listening()
        (await provider.connection()).abort()
        await record.down()
        await passes(0.03)  # attempts that fail, and nobody sees
        await provider.listen()
        await record.up(2)
        assert not record.errors
        await converse(llm, make.listen(llm), await provider.connection(2))

    async def test_cn5_failed_attempts_leave_nothing(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """Each attempt that failed keeps a session open, and paid for."""
        client = dial(provider, connect_timeout_s=transit.CONNECTS_S, reconnect_attempts=1)
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

    async def test_cn6_audio_while_down_is_let_go(
        self,
        make: Make,
        provider: loopback.Provider,
        under_watch: Watch,
    ) -> None:
        """A short outage floods the log with a line per frame, or ends the microphone."""
        client = dial(provider, reconnect_delay_s=0.05, reconnect_attempts=50)
        llm = make(client=client)
        await llm.connect()
        ear, record = make.listen(llm), make.record(llm)
        connection = await provider.connection()
        await provider.stop_listening()
        connection.abort()
        # Also before the plugin has noticed.
        await speak(llm, frames(tone(300, 0.2, 48000), 48000))
        await record.down()
        before = len(under_watch.log_lines)
        await speak(llm, frames(tone(300, 1.0, 48000), 48000))
        logged = under_watch.log_lines[before:]
        assert len(logged) < 10, f"{len(logged)} log lines for 50 frames: {logged[:2]}"
        await provider.listen()
        await record.up(2)
        second = await provider.connection(2)
        assert not second.audio(), "audio from the outage arrived after it"
        await converse(llm, ear, second)
        assert len(record.errors) <= 1

    @pytest.mark.allows("open connections")
    async def test_cn6_audio_nobody_reads_is_let_go(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A provider that stops reading ends the microphone, or costs an error a frame."""
        needs_messages()
        llm = make(client=dial(provider, send_timeout_s=0.05))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).freeze()
        # More than the sockets between hold.
        loud = np.tile(ramp(25_000), 200)
        await speak(llm, frames(loud, facts.input_rate, ms=10_000))
        await record.up(2)
        assert not record.errors
        await converse(llm, make.listen(llm), await provider.connection(2))

    @pytest.mark.usefixtures("microphone")
    async def test_cn7_many_drops_leave_one_session(
        self, make: Make, provider: loopback.Provider, llm: Realtime, ear: Ear, record: Recorder
    ) -> None:
        """Each drop leaves a session, a reader or a timer behind, until all of them answer."""
        tasks: list[int] = []
        for number in range(1, 13):
            connection = await provider.connection(number)
            await record.up(number)
            await converse_one_way(ear, connection)
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

    async def test_cn8_close_wins_over_the_pause(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """An agent told to leave joins again."""
        llm = make(client=dial(provider, reconnect_delay_s=60, reconnect_max_delay_s=60))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).abort()
        await record.down()
        async with asyncio.timeout(1.0):
            await llm.close()
        await record.settled()
        assert len(record.disconnected) == 1
        assert provider.handshakes == 1

    async def test_cn8_an_interrupt_wins_over_the_pause(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """Who asks while the connection is down cannot take it back."""
        llm = make(client=dial(provider, reconnect_delay_s=60, reconnect_max_delay_s=60))
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).abort()
        await record.down()
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        await stays_pending(asking)
        async with asyncio.timeout(1.0):
            await llm.interrupt()
            assert not (await asking).text

    async def test_cn8_a_request_outlasts_no_pause(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """Who asks while the connection is down waits until it is back, if it ever is."""
        llm = make(
            client=dial(provider, reconnect_delay_s=60, reconnect_max_delay_s=60),
            response_timeout_s=0.05,
        )
        await llm.connect()
        record = make.record(llm)
        (await provider.connection()).abort()
        await record.down()
        async with asyncio.timeout(1.0):
            with pytest.raises(events.SessionError):
                await final(native(llm, "Sing, canary"))

    async def test_cn8_close_wins_over_the_attempt(
        self, llm: Realtime, provider: loopback.Provider, record: Recorder
    ) -> None:
        """An agent told to leave while it reconnects stays, and is paid for."""
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

    async def test_cn9_an_open_response_is_ended(
        self,
        make: Make,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
    ) -> None:
        """The agent is taken to be speaking for the rest of the call, and hears no one."""
        ear = make.listen(llm, answers=True)
        await say(connection, audio=ramp(2400).tobytes(), text="a canary", status=None)
        await ear.first(RealtimeAudioOutput)
        connection.abort()
        await ear.done("response_1")
        await record.up(2)
        assert [done.interrupted for done in ear.dones()] == [True]
        assert ear.agent_said()[-1].mode == "final"
        # The ids of a new session begin anew.
        await converse(llm, ear, await provider.connection(2))
        assert [done.interrupted for done in ear.dones()] == [True, False]

    async def test_cn9_the_turn_begins_anew(
        self,
        llm: Realtime,
        ear: Ear,
        provider: loopback.Provider,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """After a drop no turn is announced any more, so no one can interrupt the agent."""
        facts.need("turn_detection")
        for number in (1, 2):
            connection = await provider.connection(number)
            await record.up(number)
            await speak(llm, frames(tone(300, 0.1, 48000), 48000))
            await connection.wait_audio(1)
            await connection.send(
                events.UserSpeechStarted("item_1"), events.UserTranscript("canary", False, "item_1")
            )
            await ear.first(RealtimeUserSpeechStarted, number)
            await ear.first(RealtimeUserTranscript, number)
            connection.abort()
            await ear.first(RealtimeUserSpeechEnded, number)

    async def test_cn9_half_a_sample_stays_behind(
        self,
        make: Make,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
    ) -> None:
        """Half a sample from before the drop turns all that follows into noise."""
        ear = make.listen(llm, answers=True)
        await say(connection, audio=b"\x01\x02\x03", status=None)
        await ear.first(RealtimeAudioOutput)
        connection.abort()
        await record.up(2)
        await converse(llm, ear, await provider.connection(2))

    async def test_cn9_the_conversation_goes_on(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """After a drop the agent has forgotten whom it talks to."""
        facts.need("history", "text")

        async def ask() -> None:
            async for _ in llm.simple_response("Are you a canary?"):
                pass

        asking = asyncio.create_task(ask())
        command = await connection.wait_for(events.CreateResponse)
        await say(connection, text="I am a canary", request_id=command.request_id)
        await asking
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        await again.wait_for(events.AddMessage, 2)
        told = [(message.role, message.text) for message in again.received(events.AddMessage)]
        assert told == [("user", "Are you a canary?"), ("assistant", "I am a canary")]

    async def test_cn9_a_lost_session_is_resumed(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The provider kept all that was said, and is told it again, or told nothing at all."""
        facts.need("resumes", "transcription")
        await connection.send(events.Resumable("handle_1"))
        await hears(connection, "Before the canary.", "user_1")
        await connection.send(events.Resumable("handle_2"))
        await hears(connection, "After the canary.", "user_2")
        await fence(connection, record)
        assert _handle(connection) is None
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        assert _handle(again) == "handle_2", "the newest handle is not the one that is used"
        message = await again.wait_for(events.AddMessage)
        assert (message.role, message.text) == ("user", "After the canary.")
        await converse(llm, ear, again)
        assert len(again.received(events.AddMessage)) == 1, "told again what the provider knows"

    async def test_cn9_a_handle_is_used_once(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """What a handle restores may be what ended the session: it ends again, and again."""
        facts.need("resumes", "transcription")
        await hears(connection, "Are you a canary?")
        await connection.send(events.Resumable("handle_1"))
        await fence(connection, record)
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        assert _handle(again) == "handle_1"
        again.abort()
        await record.up(3)
        anew = await provider.connection(3)
        assert _handle(anew) is None
        message = await anew.wait_for(events.AddMessage)
        assert (message.role, message.text) == ("user", "Are you a canary?")
        await converse(llm, ear, anew)

    @pytest.mark.parametrize("how", ["refused", "taken back", "closed"])
    async def test_cn9_a_handle_that_is_no_good(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
        facts: Facts,
        how: str,
    ) -> None:
        """A session that cannot be taken up again is asked for until the call is over."""
        facts.need("resumes", "transcription")
        await hears(connection, "Are you a canary?")
        await connection.send(events.Resumable("handle_1"))
        if how == "taken back":
            await connection.send(events.Resumable(None))
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
        await converse(llm, ear, newest)
        told = [message.text for message in newest.received(events.AddMessage)]
        assert told == ([] if how == "closed" else ["Are you a canary?"])
        assert not record.errors

    async def test_cn9_an_unfinished_caller_is_told(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        provider: loopback.Provider,
        record: Recorder,
    ) -> None:
        """Whoever waited for the lost answer waits for ever."""

        async def ask() -> None:
            async for _ in llm.simple_response("canary?"):
                pass

        asking = asyncio.create_task(ask())
        command = await connection.wait_for(events.CreateResponse)
        await say(connection, text="a canary", request_id=command.request_id, status=None)
        await fence(connection, record)
        connection.abort()
        await asyncio.wait([asking], timeout=1.0)
        assert asking.done(), "simple_response goes on after the drop"
        with pytest.raises(ConnectionError):
            await asking


async def converse_one_way(ear: Ear, connection: loopback.Connection) -> None:
    """The agent is heard; the microphone has its own task."""
    ended = len(ear.dones())
    await say(connection, audio=ramp(480).tobytes())
    await ear.until(lambda: len(ear.dones()) == ended + 1, "Done of response_1")


def _handle(connection: loopback.Connection) -> str | None:
    """The handle by which a connection was to take up a lost session."""
    return connection.received(events.Configure)[0].resume
