"""BD: what a long session, or a bad server, can make a plugin keep."""

import asyncio
import contextlib
import itertools
import logging

import pytest
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.realtime import RealtimeAudioOutput

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.kept import allocated_by, kept_bytes, kept_items
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder
from realtime_testkit.scenarios import (
    Asked,
    NativeCall,
    begun,
    converse,
    fence,
    hears,
    say,
    speak,
)
from realtime_testkit.signals import frames, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)
A_PIECE = "canary " * 10
ROUNDS, LAST_ROUNDS = 500, 100
SESSIONS = 10
SPEAKERS = 100
CALLS = 300
LAST_CALLS = 40
GROWTH = 0.1
"""More objects and items than this, for each of the last rounds, are kept for ever."""

MIB = 1024 * 1024


class Bounds(Contract):
    """Tests of BD1 to BD6."""

    @pytest.mark.allows("loop gaps")
    async def test_bd1_conversation_for_a_new_session_is_bounded(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """A new session is told no more than 8 MiB of a conversation of 18 MiB, the newest."""
        facts.need("history", "transcription")
        transport.needs_messages()
        llm = make()
        await llm.connect()
        connection, record, output = await provider.connection(), make.record(llm), make.listen(llm)
        await speak(llm, transport, A_WORD)
        for number in range(20):
            text = f"{number} " + "canary " * (transport.full // 42)
            await hears(connection, text, f"user_{number}")
            await say(connection, f"response_{number}", text="canary")
        await fence(connection, record)
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage)
        await converse(llm, output, again, "response_99")
        told = again.received(protocol.AddMessage)
        assert sum(len(message.text) for message in told) <= 8 * MIB
        assert any(message.text.startswith("19 ") for message in told), "the newest is missing"

    @pytest.mark.allows("loop gaps", "many logs")
    @pytest.mark.parametrize("what", ["responses", "transcripts", "calls", "finished responses"])
    async def test_bd1_what_is_over_or_never_finishes_is_forgotten(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        subject: Subject,
        facts: Facts,
        what: str,
    ) -> None:
        """What the plugin keeps does not grow with responses, transcripts and calls."""
        if what == "calls":
            facts.need("tools")
        if what == "transcripts":
            facts.need("transcription", "ids")
        kept: list[int] = []
        for start, count in ((0, ROUNDS), (ROUNDS, ROUNDS + LAST_ROUNDS)):
            for number in range(start, count):
                await connection.send(*_unfinished(what, number))
                if number % 100 < 99:
                    continue
                if what == "calls":
                    await connection.wait_for(protocol.AddToolResult, number + 1)
                await fence(connection, record)
            llm.output.clear()
            kept.append(kept_items(subject))
        grown = kept[1] - kept[0]
        assert grown < LAST_ROUNDS * GROWTH, f"{grown} more for {LAST_ROUNDS} {what}: {kept}"

    @pytest.mark.allows("loop gaps")
    async def test_bd1_long_ids_are_forgotten(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        subject: Subject,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Of 60 responses and calls with ids of 20,000 characters, no more than 10 are kept."""
        facts.need("ids", "tools")
        transport.needs_messages()
        long = "x" * (transport.full // 300)
        for number in range(60):
            name = f"{long}{number}"
            call = protocol.ToolCall(name, name, "no_such_tool", "{}")
            await connection.send(protocol.ResponseStarted(name), call)
            await connection.send(protocol.TextDelta(name, "canary ", item_id=name))
            await connection.send(protocol.ResponseDone(name))
        await fence(connection, record)
        llm.output.clear()
        kept = kept_bytes(subject)
        assert kept < 10 * len(long), f"{kept} characters are kept"

    @pytest.mark.allows("loop gaps", "many logs")
    @pytest.mark.parametrize("how", ["lost", "closed"])
    async def test_bd1_sessions_are_forgotten(
        self,
        make: Make,
        provider: Provider,
        subject: Subject,
        facts: Facts,
        watchdog: Watchdog,
        how: str,
    ) -> None:
        """What the plugin keeps does not grow with the sessions that were lost, or closed."""
        # What pytest records of the log would keep errors, and these their sessions.
        for handler in logging.getLogger().handlers:
            handler.addFilter(_without_arguments)
            watchdog.ending.callback(handler.removeFilter, _without_arguments)
        llm = make(client=make.client(reconnect_attempts=1000))
        await llm.connect()
        kept, number = list[int](), 1
        for sessions in (2 * SESSIONS, SESSIONS):
            for _ in range(sessions):
                connection = await provider.connection(number)
                output = make.listen(llm)
                # Without words: a conversation is kept for the next session.
                await say(connection, audio=speech(100, facts.output_rate), status=None)
                await output.first(RealtimeAudioOutput)
                await output.close()
                number += 1
                if how == "lost":
                    connection.abort()
                    await make.record(llm).up(number)
                else:
                    await llm.close()
                    await llm.connect()
            llm.output.clear()
            kept.append(kept_items(subject))
        grown = kept[1] - kept[0]
        assert grown < SESSIONS, f"{grown} more items for {SESSIONS} sessions: {kept}"

    @pytest.mark.allows("loop gaps")
    @pytest.mark.parametrize("how", ["answered", "abandoned"])
    async def test_bd1_native_calls_are_forgotten(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        native: NativeCall,
        subject: Subject,
        how: str,
    ) -> None:
        """What the plugin keeps does not grow with native calls, read to the end or abandoned."""
        kept = dict[int, int]()
        for number in range(1, CALLS + 1):
            stream = native(llm, f"Sing, canary {number}")
            asked = begun(anext(stream))
            request = await connection.wait_for(protocol.CreateResponse, number)
            response_id = f"response_{number}"
            await connection.send(
                protocol.ResponseStarted(response_id, request.request_id),
                protocol.TextDelta(response_id, "La", False, f"item_{number}"),
            )
            await asked
            if how == "abandoned":
                await stream.aclose()
            await connection.send(protocol.ResponseDone(response_id))
            async for _ in stream:
                pass
            if number >= CALLS - LAST_CALLS and not (CALLS - number) % LAST_CALLS:
                await fence(connection, record)
                llm.output.clear()
                kept[number] = kept_items(subject)
        grown = kept[CALLS] - kept[CALLS - LAST_CALLS]
        assert grown < LAST_CALLS * GROWTH, f"{grown} more items for {LAST_CALLS} calls: {kept}"

    @pytest.mark.allows("loop gaps")
    @pytest.mark.parametrize("whose", ["the agent", "the agent, in parts", "the user"])
    async def test_bd1_text_kept_of_one_turn_is_bounded(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        subject: Subject,
        facts: Facts,
        transport: Transport,
        whose: str,
    ) -> None:
        """Of a text of 20 MiB that does not end, no more than 8 MiB are kept."""
        transport.needs_messages()
        if whose == "the user":
            facts.need("transcription", "partial_transcripts")
            await speak(llm, transport, A_WORD)
        else:
            await connection.send(protocol.ResponseStarted("response_1"))
        for number in range(40):
            text = f"{number} " + "canary " * (MIB // 14)
            if whose == "the user":
                await connection.send(protocol.UserTranscript(text, False, "user_1"))
            else:
                item_id = f"item_{number if whose == 'the agent, in parts' else 1}"
                await connection.send(protocol.TextDelta("response_1", text, item_id=item_id))
            await fence(connection, record)
            llm.output.clear()
        kept = kept_bytes(subject)
        assert kept <= 8 * MIB, f"{kept} bytes are kept"

    @pytest.mark.allows("loop gaps")
    @pytest.mark.parametrize("some_are_read", [False, True])
    async def test_bd1_output_that_nobody_reads_is_bounded(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        subject: Subject,
        facts: Facts,
        transport: Transport,
        watchdog: Watchdog,
        some_are_read: bool,
    ) -> None:
        """Where nobody reads the output, 64 MiB of 96 MiB are kept at most, the newest.

        The same where few items are read.

        There is at most one warning.
        """
        transport.needs_messages()
        await connection.send(protocol.ResponseStarted("response_1"))
        piece = speech(1000 * MIB / 2 / facts.output_rate, facts.output_rate)
        for _ in range(8):
            provider.rewrite = lambda frame: itertools.repeat(frame, 12)
            await connection.send(protocol.AudioDelta("response_1", piece, "item_1"))
            provider.rewrite = None
            await fence(connection, record)
            if some_are_read:
                llm.output.get_nowait()
        last = speech(20, facts.output_rate)
        await connection.send(protocol.AudioDelta("response_1", last, "item_1"))
        await fence(connection, record)
        kept = kept_bytes(subject)
        assert kept <= 64 * MIB, f"{kept} bytes are kept"
        waiting = [each for each in llm.output.peek() if isinstance(each, RealtimeAudioOutput)]
        assert waiting[-1].data.samples.tobytes() == last, "the newest is missing"
        warnings = [line for line in watchdog.log_lines if line.startswith("WARNING")]
        assert len(warnings) <= 1, warnings

    @pytest.mark.allows("loop gaps")
    async def test_bd2_speakers_are_forgotten(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        subject: Subject,
    ) -> None:
        """What the plugin keeps does not grow with those who ever spoke."""
        kept = list[int]()
        for start, count in ((0, 2 * SPEAKERS), (2 * SPEAKERS, 3 * SPEAKERS)):
            for number in range(start, count):
                speaker = Participant(None, f"user-{number}", f"participant-{number}")
                for pcm in A_WORD:
                    await llm.process_audio(pcm, speaker)
            await fence(connection, record)
            kept.append(kept_items(subject))
        grown = kept[1] - kept[0]
        assert grown < SPEAKERS * GROWTH, f"{grown} more items for {SPEAKERS} speakers: {kept}"

    @pytest.mark.allows("loop gaps", "open connections", "many logs")
    @pytest.mark.parametrize("what", ["long texts", "many events"])
    async def test_bd3_too_much_before_acceptance_ends_the_attempt(
        self, make: Make, provider: Provider, transport: Transport, subject: Subject, what: str
    ) -> None:
        """connect() raises where 20 MiB or 5,000 events come first; 16 MiB are kept at most."""
        provider.accepts.clear()
        llm = make(client=make.client(connect_timeout_s=15.0))
        connecting = begun(llm.connect())
        connection = await provider.connection()
        text, count = A_PIECE, 5000
        if what == "long texts":
            text = "canary " * (min(2 * MIB, transport.full) // 7)
            count = 20 * MIB // len(text)
        with contextlib.suppress(ConnectionError):
            await connection.send(protocol.ResponseStarted("response_1"))
            for _ in range(count):
                if connection.closed.is_set() or connecting.done():
                    break
                await connection.send(protocol.TextDelta("response_1", text, item_id="item_1"))
        provider.accepts.set()
        with pytest.raises(subject.session_error):
            await connecting
        assert not llm.connected
        kept = kept_bytes(subject)
        assert kept <= 16 * MIB, f"{kept} bytes are kept"

    async def test_bd4_tools_run_side_by_side_up_to_a_limit(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Of a hundred calls at once fifty or fewer run at a time; all are answered."""
        facts.need("tools")
        llm = make(tool_timeout_s=10.0)
        running, most, goes_on = 0, 0, asyncio.Event()

        @llm.register_function(description="takes its time")
        async def work() -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await goes_on.wait()
            running -= 1
            return "canary"

        await llm.connect()
        connection = await provider.connection()
        await connection.send(protocol.ResponseStarted("response_1"))
        for number in range(100):
            call = protocol.ToolCall("response_1", f"call_{number}", "work", "{}")
            await connection.send(call)
        await connection.send(protocol.ResponseDone("response_1"))
        await fence(connection, make.record(llm))
        goes_on.set()
        await connection.wait_for(protocol.AddToolResult, 100)
        assert 1 < most <= 50, f"{most} ran at once"

    @pytest.mark.allows("loop gaps")
    @pytest.mark.parametrize("asked", [True, False], ids=["asked for", "of its own accord"])
    async def test_bd5_piece_of_a_long_text_allocates_no_more_than_an_early_one(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
        asked: bool,
    ) -> None:
        """Pieces after 512 KiB and after 8 MiB of a text are handled without a copy of it."""
        request_id = None
        if asked:
            facts.need("text")
            asking = Asked(llm.simple_response("Sing, canary"))
            request_id = (await asking.request(connection)).request_id
        await connection.send(protocol.ResponseStarted("response_1", request_id))
        frames_of = dict[str, str | bytes]()
        for text in (A_PIECE, "canary " * (min(MIB // 2, transport.full) // 7)):
            await connection.send(protocol.TextDelta("response_1", text, item_id="item_1"))
            frames_of[text] = connection.sent[-1]
        small, large = frames_of.values()
        size = len(max(frames_of, key=len))

        async def pieces(frame: str | bytes, count: int) -> None:
            for _ in range(count):
                await connection.send_raw(frame)  # the provider would make copies
            await fence(connection, record)
            llm.output.clear()

        await pieces(small, 1)
        took = [await allocated_by(pieces(small, 10))]
        sent = size
        for total in (MIB // 2, min(8 * MIB, 20 * transport.full)):
            await pieces(large, (total - sent) // size)
            sent = total
            took.append(await allocated_by(pieces(small, 10)))
        assert max(took) < 400_000, f"bytes in use for ten pieces: {took}"
        await connection.send(protocol.ResponseDone("response_1"))
        if asked:
            await asking.task

    async def test_bd6_announced_rate_ends_with_its_session(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A rate that the provider announces in one session is not that of the next."""
        facts.need("announced_rate")
        provider.accepts.clear()
        llm = make()
        connecting = begun(llm.connect())
        connection = await provider.connection()
        await connection.send(protocol.SessionAccepted(output_rate=facts.announced_rate))
        await connecting
        output = make.listen(llm)
        await say(connection, audio=speech(500, facts.announced_rate))
        await output.done("response_1")
        assert {pcm.sample_rate for pcm in output.chunks()} == {facts.announced_rate}
        came = len(output.chunks())
        connection.abort()
        provider.accepts.set()
        await make.record(llm).up(2)
        await say(await provider.connection(2), "response_2", audio=speech(500, facts.output_rate))
        await output.done("response_2")
        assert {pcm.sample_rate for pcm in output.chunks()[came:]} == {facts.output_rate}


def _without_arguments(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage(), None
    return True


def _unfinished(what: str, number: int) -> list[protocol.Event]:
    response, item = f"response_{number}", f"item_{number}"
    match what:
        case "responses":
            return [
                protocol.ResponseStarted(response),
                protocol.TextDelta(response, "canary ", item_id=item),
            ]
        case "transcripts":
            return [protocol.UserTranscript("canary ", False, item)]
        case "calls":
            call = protocol.ToolCall(response, f"call_{number}", "no_such_tool", "{}")
            return [protocol.ResponseStarted(response), call]
    return [
        protocol.ResponseStarted(response),
        protocol.TextDelta(response, "canary ", False, item),
        protocol.ResponseDone(response),
    ]
