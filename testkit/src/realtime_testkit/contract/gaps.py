"""GP: what has to be sent while nobody speaks."""

import asyncio
import time

import numpy as np
import pytest

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    begun,
    converse,
    fence,
    passes,
    speak,
    stays_pending,
)
from realtime_testkit.signals import frames, samples_of, tone
from realtime_testkit.transport import QUIET, Transport

from .base import Contract

A_WORD = frames(tone(300, 0.2, 48000), 48000)

SOON_S = 0.5
"""Long enough for silence to go out, where any does."""


class Gaps(Contract):
    """Tests of GP1 to GP3."""

    async def test_gp1_muted_microphone_sends_silence(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Where the microphone is muted in a turn, silence goes on at the pace of speech.

        In a second of it there are 0.7 to 1.3 seconds of audio, all of them silent.
        """
        facts.need("speech_events", "turn_detection")
        transport.needs_messages()
        rate = facts.input_rate
        await speak(llm, transport, A_WORD)
        await connection.wait_audio(round(0.1 * rate) * 2)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        spoken = len(connection.audio())
        await connection.wait_audio(spoken + 2)
        began, before = time.monotonic(), len(connection.audio())
        await passes(1.0)
        took_s = time.monotonic() - began
        silence = connection.audio()[before:]
        sent_s = len(silence) / 2 / rate
        assert 0.7 * took_s <= sent_s <= took_s + 0.3, f"{sent_s:.2f} s in {took_s:.2f} s"
        level = abs(samples_of(silence).astype(int)).max()
        assert level <= QUIET, "it is not silent"

    async def test_gp1_speech_is_sent_without_silence_in_it(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """In a turn, what a microphone sends without a pause arrives without a pause in it."""
        facts.need("speech_events", "turn_detection")
        transport.needs_messages()
        await speak(llm, transport, A_WORD)
        await connection.wait_audio(round(0.1 * facts.input_rate) * 2)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        spoken = len(connection.audio())
        sent_at, stalled = time.monotonic(), False
        for pcm in A_WORD * 4:
            await passes(0.02)
            stalled = stalled or time.monotonic() - sent_at > 0.1
            sent_at = time.monotonic()
            await llm.process_audio(pcm, ALICE)
        heard = await connection.wait_audio(spoken + round(0.6 * facts.input_rate) * 2)
        loud = abs(samples_of(heard[spoken:]).astype(int)) > QUIET
        pauses = np.diff(np.flatnonzero(loud))
        assert stalled or pauses.max() < 0.03 * facts.input_rate, "there is silence in the speech"

    async def test_gp1_silence_ends_with_the_turn(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Once the provider ended the turn no more silence is sent."""
        facts.need("speech_events", "turn_detection")
        transport.needs_messages()
        await speak(llm, transport, A_WORD)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await fence(connection, record)
        spoken = len(connection.audio())
        await connection.wait_audio(spoken + 2)
        await connection.send(
            protocol.UserSpeechStopped("user_1"), protocol.AudioCommitted("user_1")
        )
        await fence(connection, record)
        sent = len(connection.audio())
        await passes(SOON_S)
        assert len(connection.audio()) == sent
        await converse(llm, output, connection)

    async def test_gp1_no_silence_in_a_manual_turn(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """With turn detection off, nothing is sent while the microphone is muted."""
        facts.need("manual_turns")
        transport.needs_messages()
        llm = make(turn_detection=False)
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, transport, A_WORD)
        await connection.wait_audio(round(0.1 * facts.input_rate) * 2)
        await fence(connection, make.record(llm))
        sent = len(connection.audio())
        await passes(SOON_S)
        assert len(connection.audio()) == sent

    @pytest.mark.parametrize("how", ["lost", "closed"])
    async def test_gp1_silence_ends_with_the_session(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
        how: str,
    ) -> None:
        """A session after one that ended in mid-turn is sent no silence."""
        facts.need("speech_events", "turn_detection")
        transport.needs_messages()
        await speak(llm, transport, A_WORD)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await fence(connection, record)
        if how == "lost":
            connection.abort()
        else:
            await llm.close()
            await llm.connect()
        await record.up(2)
        again = await provider.connection(2)
        await passes(SOON_S)
        assert not again.audio()

    async def test_gp2_ping_before_acceptance_is_answered(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A ping is answered while the session waits to be accepted, too."""
        facts.need("pings")
        provider.greets = False
        connecting = begun(make().connect())
        connection = await _connection(provider, 1)
        if not facts.greets_first:
            await connection.wait_for(protocol.Configure)
        await connection.send(protocol.Ping("early"))
        assert (await connection.wait_for(protocol.Pong)).token == "early"
        provider.greets = True
        await connection.say_if_supported(protocol.SessionOpened("session_1"))
        if not facts.greets_first:
            await connection.send(protocol.SessionAccepted())
        await connecting

    async def test_gp2_ping_is_answered_while_audio_is_sent(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """A ping is answered once, between pieces of audio."""
        facts.need("pings")
        speaking = begun(speak(llm, transport, frames(tone(300, 2.0, 48000), 48000)))
        await connection.wait_audio(1)
        await connection.send(protocol.Ping("meanwhile"))
        await connection.wait_for(protocol.Pong)
        await speaking
        assert len(connection.received(protocol.Pong)) == 1

    async def test_gp2_no_keep_alive_is_sent_while_audio_is(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """No keep-alive is sent while the microphone sends, for longer than the first one took."""
        facts.need("keep_alives")
        began = time.monotonic()
        await connection.wait_for(protocol.KeepAlive)
        every_s = time.monotonic() - began
        await llm.process_audio(A_WORD[0], ALICE)
        sent = len(connection.received(protocol.KeepAlive))
        began = time.monotonic()
        while time.monotonic() - began < 1.5 * every_s:
            await passes(0.02)
            await llm.process_audio(A_WORD[0], ALICE)
        assert len(connection.received(protocol.KeepAlive)) == sent

    async def test_gp3_late_greeting_is_followed_by_the_configuration(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The configuration is sent after the greeting, and the session opens, on each connection."""
        facts.need("greets_first")
        llm = make()
        opening = begun(llm.connect())
        for number in (1, 2):
            provider.greets = False
            connection = await _connection(provider, number)
            await stays_pending(opening)
            assert not connection.commands, "sent before the greeting"
            provider.greets = True
            await connection.send(protocol.SessionOpened(f"session_{number}"))
            await opening
            assert len(connection.received(protocol.Configure)) == 1
            if number == 1:
                provider.greets = False
                connection.abort()
                opening = begun(make.record(llm).up(2))


async def _connection(provider: Provider, number: int) -> Connection:
    """Wait for a connection that is not configured yet."""
    async with asyncio.timeout(2.0):
        while len(provider.connections) < number:
            await passes(0.01)
    return provider.connections[number - 1]
