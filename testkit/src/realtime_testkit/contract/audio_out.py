"""AO: what the provider says is emitted, all of it, once, and at its own rate."""

import itertools
import random

import numpy as np
import pytest
from vision_agents.core.agents.inference.audio import AudioOutputChunk
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentSpeechStarted,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
)

from realtime_testkit import protocol
from realtime_testkit.agent_flow import AgentFlow
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    fence,
    is_interrupted,
    say,
)
from realtime_testkit.signals import (
    Samples,
    level_db,
    ramp,
    samples_of,
    sinad_db,
    speech,
    tone,
)
from realtime_testkit.transport import Transport

from .base import Contract


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class AudioOut(Contract):
    """Audio from the provider to the call."""

    async def test_ao1_audio_is_tagged_with_the_providers_rate(
        self, output: OutputRecorder, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Output audio is mono s16 at the provider's rate, with its duration kept."""
        spoken = tone(1000, 0.5, facts.output_rate)
        await say(connection, audio=spoken.tobytes())
        await output.done("response_1")
        chunks = output.chunks()
        assert {pcm.sample_rate for pcm in chunks} == {facts.output_rate}
        assert {(pcm.format, pcm.channels) for pcm in chunks} == {("s16", 1)}
        duration = sum(pcm.duration for pcm in chunks)
        kept = -0.001 - transport.slack_s < duration - 0.5 < 0.001 + transport.late_s
        assert kept, f"0.5 s became {duration:.3f} s"

    async def test_ao1_announced_rate_is_followed(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Output audio is tagged with the rate that the provider announced."""
        facts.need("announced_rate")
        llm = make(options=facts.announced_rate_options)
        await llm.connect()
        output = make.listen(llm)
        await say(await provider.connection(), audio=ramp(facts.announced_rate).tobytes())
        await output.done("response_1")
        assert {pcm.sample_rate for pcm in output.chunks()} == {facts.announced_rate}
        assert sum(pcm.duration for pcm in output.chunks()) == pytest.approx(1.0)

    async def test_ao1_audio_is_not_downsampled(
        self, output: OutputRecorder, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """A high tone in the provider's audio is emitted with its level and SINAD kept."""
        highest = transport.highest * facts.output_rate
        await say(connection, audio=tone(highest, 0.5, facts.output_rate).tobytes())
        await output.done("response_1")
        heard = transport.settled(np.concatenate([pcm.samples for pcm in output.chunks()]))
        assert abs(level_db(heard)) < transport.level_db
        assert sinad_db(heard, highest, facts.output_rate) > transport.highest_db

    @pytest.mark.parametrize("seed", range(4))
    async def test_ao2_any_split_gives_the_same_audio(
        self, output: OutputRecorder, connection: Connection, seed: int
    ) -> None:
        """Audio split at random bytes is emitted unchanged."""
        chance = random.Random(seed)
        spoken = ramp(4800).tobytes()
        cuts = chance.sample(range(1, len(spoken)), 40)
        await say(connection, audio=_split(spoken, cuts), text="a canary sings")
        await output.done("response_1")
        assert output.speech() == spoken

    async def test_ao2_audio_byte_by_byte_is_joined(
        self, output: OutputRecorder, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Audio sent byte by byte is emitted unchanged."""
        transport.needs_messages()
        spoken = speech(2.5, facts.output_rate)
        await say(connection, audio=_split(spoken, list(range(1, len(spoken)))))
        await output.done("response_1")
        assert output.speech() == spoken

    async def test_ao2_odd_byte_stays_in_its_response(
        self, output: OutputRecorder, connection: Connection, facts: Facts
    ) -> None:
        """Half a sample at the end of one response does not shift the audio of the next."""
        spoken = speech(200, facts.output_rate)
        await say(connection, "response_1", audio=spoken + b"\x01")
        await output.done("response_1")
        await say(connection, "response_2", audio=spoken)
        await output.done("response_2")
        assert output.speech("response_2") == spoken

    async def test_ao2_large_frames_are_emitted(
        self, output: OutputRecorder, connection: Connection, transport: Transport
    ) -> None:
        """Audio in one frame of several MiB is emitted unchanged."""
        spoken = bytes(range(256)) * (transport.large // 256)
        await say(connection, audio=spoken)
        await output.done("response_1")
        assert output.speech() == spoken

    async def test_ao3_speech_has_one_end(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder
    ) -> None:
        """A spoken response emits speech start, audio, speech end and one Done, in order."""
        await say(connection, audio=ramp(4800).tobytes(), text="a canary")
        await fence(connection, record)
        dones = [(done.response_id, done.interrupted) for done in output.dones()]
        assert dones == [("response_1", False)]
        kinds = [type(item) for item in output.items]
        assert kinds.count(RealtimeAgentSpeechStarted) == 1
        assert kinds.count(RealtimeAgentSpeechEnded) == 1
        assert kinds.index(RealtimeAgentSpeechStarted) < kinds.index(RealtimeAudioOutput)
        last_audio = len(kinds) - 1 - kinds[::-1].index(RealtimeAudioOutput)
        ended = kinds.index(RealtimeAgentSpeechEnded)
        assert last_audio < ended < kinds.index(RealtimeAudioOutputDone)
        spoken = RealtimeAgentSpeechStarted | RealtimeAudioOutput | RealtimeAgentSpeechEnded
        ids = {item.response_id for item in output.items if isinstance(item, spoken)}
        assert ids == {"response_1"}

    async def test_ao3_interleaved_responses_keep_their_audio_and_end(
        self, output: OutputRecorder, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Two responses that overlap each emit their own audio and one end."""
        facts.need("ids")
        spoken = ramp(480).tobytes()
        await say(connection, "response_1", audio=spoken[:3], status=None)
        await say(connection, "response_2", audio=spoken[:5], status=None)
        await connection.send(
            protocol.AudioDelta("response_1", spoken[3:], "item_response_1"),
            protocol.ResponseDone("response_1"),
            protocol.AudioDelta("response_2", spoken[5:], "item_response_2"),
            protocol.ResponseDone("response_2"),
        )
        await output.done("response_2")
        assert [done.response_id for done in output.dones()] == ["response_1", "response_2"]
        transport.needs_messages()  # a track has one voice
        assert output.speech("response_1") == output.speech("response_2") == spoken

    async def test_ao3_written_response_has_one_end(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A written response emits one Done(interrupted=False) and no start of speech."""
        facts.need("written_answers")
        llm = make(modalities="text")
        await llm.connect()
        output = make.listen(llm)
        connection = await provider.connection()
        await say(connection, text="a canary", spoken=False)
        await fence(connection, make.record(llm))
        dones = [(done.response_id, done.interrupted) for done in output.dones()]
        assert dones == [("response_1", False)]
        assert not output.of(RealtimeAgentSpeechStarted), "nothing was spoken"

    async def test_ao3_tool_call_and_answer_have_one_end_each(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The response with a tool call and the one that follows each emit one Done."""
        facts.need("tools", "explicit_requests")
        llm = make()

        @llm.register_function(description="sings")
        async def sing() -> str:
            return "canary"

        await llm.connect()
        output = make.listen(llm)
        connection = await provider.connection()
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "sing", "{}"),
            protocol.ResponseDone("response_1"),
        )
        command = await connection.wait_for(protocol.CreateResponse)
        await say(
            connection, "response_2", audio=ramp(480).tobytes(), request_id=command.request_id
        )
        await fence(connection, make.record(llm))
        dones = [(done.response_id, done.interrupted) for done in output.dones()]
        assert dones == [("response_1", False), ("response_2", False)]

    @pytest.mark.parametrize(
        ("status", "interrupted"),
        [("completed", False), ("incomplete", False), ("failed", False), ("cancelled", True)],
    )
    async def test_ao3_done_says_how_the_response_ended(
        self,
        llm: Realtime,
        make: Make,
        connection: Connection,
        record: EventRecorder,
        status: protocol.ResponseStatus,
        interrupted: bool,
    ) -> None:
        """Done is interrupted for a cancelled response alone."""
        output = make.listen(llm, answers=True)
        await say(connection, audio=ramp(480).tobytes(), status=status)
        await fence(connection, record)
        await output.done("response_1")
        assert [done.interrupted for done in output.dones()] == [interrupted]

    async def test_ao3_late_audio_after_the_end_is_dropped(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """Audio and a second end after the end of a response are dropped."""
        facts.need("ids")
        await say(connection, "response_1", audio=ramp(480).tobytes())
        await output.done("response_1")
        await connection.send(
            protocol.AudioDelta("response_1", ramp(480).tobytes(), "item_response_1"),
            protocol.ResponseDone("response_1"),
        )
        await say(connection, "response_2", audio=ramp(48).tobytes())
        await output.done("response_2")
        assert [done.response_id for done in output.dones()] == ["response_1", "response_2"]
        assert len(output.speech()) == (480 + 48) * 2

    async def test_ao4_flow_plays_answers_to_their_end(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Through the agent's flow, two answers are played whole, each with one final chunk."""
        # No whole number of the track's 20 ms.
        spoken = tone(440, 0.3137, facts.output_rate)
        async with AgentFlow(llm) as flow:
            for number in (1, 2):
                await say(connection, f"response_{number}", audio=_halves(spoken))
            await flow.track.until(
                lambda: sum(chunk.final for chunk in flow.track.of(AudioOutputChunk)) == 2,
                "second final chunk",
            )
            heard = flow.audible()
        damage = transport.damage(samples_of(heard), [spoken, spoken], facts.output_rate)
        assert damage <= transport.max_damage, f"{damage:.3f} of it is missing"

    async def test_ao5_each_piece_is_emitted_once(
        self, output: OutputRecorder, connection: Connection, facts: Facts
    ) -> None:
        """Each piece of audio is emitted exactly once, in order."""
        spoken = speech(500, facts.output_rate)
        pieces = [spoken[start : start + 960] for start in range(0, len(spoken), 960)]
        await say(connection, audio=pieces, text="a canary sings a song")
        await output.done("response_1")
        assert output.speech() == spoken, f"{len(output.speech())} of {len(spoken)} bytes"

    async def test_ao6_two_spoken_items_have_one_end(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A response with two spoken items has one start, one end of speech and one Done."""
        facts.need("ids")
        spoken = ramp(2400).tobytes()
        await connection.send(protocol.ResponseStarted("response_1"))
        for number in (1, 2):
            text, item_id = f"Canary {number}.", f"agent_{number}"
            await connection.send(
                protocol.TextDelta("response_1", text, True, item_id, number - 1),
                protocol.AudioDelta("response_1", spoken, item_id),
                protocol.TextDone("response_1", text, True, item_id, number - 1),
            )
            await fence(connection, record)
            assert not output.dones(), "an end before the response has ended"
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        await fence(connection, record)
        kinds = [type(item) for item in output.items]
        assert kinds.count(RealtimeAgentSpeechStarted) == 1
        assert kinds.count(RealtimeAgentSpeechEnded) == 1
        assert kinds.count(RealtimeAudioOutputDone) == 1
        last_audio = len(kinds) - 1 - kinds[::-1].index(RealtimeAudioOutput)
        assert last_audio < kinds.index(RealtimeAgentSpeechEnded)
        assert output.speech("response_1") == spoken * 2

    async def test_ao6_two_spoken_items_are_interrupted_once(
        self, make: Make, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A barge-in during the second item gives one end of speech and one Done."""
        facts.need("ids")
        answering = make.listen(llm, answers=True)
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.AudioDelta("response_1", ramp(48000).tobytes(), "agent_1"),
            protocol.AudioDelta("response_1", ramp(48000).tobytes(), "agent_2"),
        )
        await answering.first(RealtimeAudioOutput)
        await is_interrupted(connection, facts)
        await answering.done("response_1")
        await connection.send(protocol.ResponseDone("response_1", "cancelled"))
        await fence(connection, record)
        assert answering.dones() == [RealtimeAudioOutputDone(True, "response_1")]
        assert [end.interrupted for end in answering.of(RealtimeAgentSpeechEnded)] == [True]


def _halves(samples: Samples) -> list[bytes]:
    data = samples.tobytes()
    return [data[: len(data) // 2], data[len(data) // 2 :]]
