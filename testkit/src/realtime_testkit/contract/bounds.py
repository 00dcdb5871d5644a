"""BD: what a long session, or a bad server, can make a plugin keep."""

import asyncio
import contextlib
import gc
import itertools
import logging
import time
import weakref
from collections import deque
from collections.abc import Collection, Iterable

import pytest
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.realtime import RealtimeAudioOutput

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder
from realtime_testkit.scenarios import (
    Asked,
    begun,
    converse,
    fence,
    hears,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import frames, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)
ROUNDS = 600
SESSIONS = 10
PIECES = 500
GROWTH = 0.1
"""More objects and items than this, for each of the last rounds, are kept for ever."""


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
        assert sum(len(message.text) for message in told) <= 8 * 1024 * 1024
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
        rounds = ROUNDS // 3 if what == "calls" else ROUNDS
        for start in range(0, 3 * rounds, rounds):
            for number in range(start, start + rounds):
                await connection.send(*_unfinished(what, number))
                if number % 100 == 99:
                    await fence(connection, record)
            await fence(connection, record)
            llm.output.clear()
            if what == "calls":
                await passes(0.5)  # tools may still run
            kept.append(_kept_by(subject))
        grown = kept[2] - kept[1]
        assert grown < rounds * GROWTH, f"{grown} more items for {rounds} {what}: {kept}"

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
        await passes(0.5)  # tools may still run
        kept = _characters_kept_by(subject)
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
        for _ in range(3):
            for _ in range(SESSIONS):
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
            kept.append(_kept_by(subject))
        grown = kept[2] - kept[1]
        assert grown < SESSIONS, f"{grown} more items for {SESSIONS} sessions: {kept}"

    @pytest.mark.allows("loop gaps")
    async def test_bd2_speakers_are_forgotten(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Of many speakers the oldest are forgotten."""
        llm = make()
        await llm.connect()
        speakers: list[weakref.ref[Participant]] = []
        for number in range(200):
            speaker = Participant(None, f"user-{number}", f"participant-{number}")
            speakers.append(weakref.ref(speaker))
            for pcm in A_WORD:
                await llm.process_audio(pcm, speaker)
            await asyncio.sleep(0)
        del speaker
        gc.collect()
        kept = sum(speaker() is not None for speaker in speakers)
        assert kept <= 100, f"{kept} of 200 speakers are kept"

    @pytest.mark.allows("loop gaps", "open connections", "many logs")
    async def test_bd3_frames_before_acceptance_are_bounded(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport, subject: Subject
    ) -> None:
        """Of what comes before the session is accepted, no more than 16 MiB are kept.

        The provider sends 60 long transcripts. connect() may raise instead.
        """
        facts.need("transcription")
        provider.accepts.clear()
        llm = make()
        output = make.listen(llm)
        connecting = begun(llm.connect())
        connection = await provider.connection()
        text = "canary " * (transport.full // 7)
        for number in range(10):
            if connection.closed.is_set() or connecting.done():
                break
            with contextlib.suppress(ConnectionError):
                await connection.send(protocol.UserTranscript(text, True, f"user_{number}"))
        provider.accepts.set()
        with contextlib.suppress(subject.session_error):
            await connecting
            await fence(connection, make.record(llm))
        kept = sum(len(said.text) for said in output.user_said())
        assert kept <= 16 * 1024 * 1024, f"{kept} characters were kept"

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
    async def test_bd5_long_text_costs_the_same_a_piece(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
        asked: bool,
    ) -> None:
        """A piece of a long text takes no more than five times the CPU time of an early one."""
        if asked:
            facts.need("text")
        request_id = None
        if asked:
            asking = Asked(llm.simple_response("Sing, canary"))
            request_id = (await asking.request(connection)).request_id
        await connection.send(protocol.ResponseStarted("response_1", request_id))
        text = "canary " * (transport.full // 7000)
        costs: list[float] = []
        for _ in range(6):
            began = time.thread_time()
            provider.rewrite = lambda frame: itertools.repeat(frame, PIECES)
            await connection.send(protocol.TextDelta("response_1", text, item_id="item_1"))
            provider.rewrite = None
            await fence(connection, record)
            llm.output.clear()
            costs.append(time.thread_time() - began)
        early = max(costs[:2])
        assert min(costs[3:]) < 5 * early, f"seconds for {PIECES} pieces each: {costs}"
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
        protocol.TextDelta(response, "canary ", item_id=item),
        protocol.ResponseDone(response),
    ]


def _kept_by(subject: Subject) -> int:
    """How many objects of the plugin there are, and how many items their collections have."""
    own, collections = _objects_of(subject)
    return len(own) + sum(map(len, collections.values()))


def _characters_kept_by(subject: Subject) -> int:
    """How much text objects of the plugin and their collections refer to."""
    own, collections = _objects_of(subject)
    kept = [each for one in (*own, *collections.values()) for each in gc.get_referents(one)]
    kept += [key for one in collections.values() if isinstance(one, dict) for key in one]
    return sum({id(each): len(each) for each in kept if isinstance(each, str)}.values())


def _objects_of(subject: Subject) -> tuple[list[object], dict[int, Collection[object]]]:
    """The objects of the plugin, and the collections that they refer to."""
    gc.collect()
    package = subject.plugin.__name__
    own = [each for each in gc.get_objects() if f"{type(each).__module__}".startswith(package)]
    collections = _collections_of(own)
    return own, collections | _collections_of(collections.values())


def _collections_of(objects: Iterable[object]) -> dict[int, Collection[object]]:
    """The collections that objects refer to, by identity."""
    return {
        id(each): each
        for one in objects
        for each in gc.get_referents(one)
        if isinstance(each, dict | list | set | deque)
    }
