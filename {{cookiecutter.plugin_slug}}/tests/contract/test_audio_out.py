"""AO: what the provider says is heard, all of it, once, and at its own speed."""

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
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .calling import Call
from .kit import (
    Ear,
    Facts,
    Recorder,
    Samples,
    fence,
    level_db,
    needs_messages,
    ramp,
    samples_of,
    say,
    sinad_db,
    tone,
)
from .making import Make


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class TestAudioOut:
    async def test_ao1_is_tagged_with_the_providers_rate(
        self, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The agent speaks at twice or half its speed, like a cartoon."""
        spoken = tone(1000, 0.5, facts.output_rate)
        await say(connection, audio=spoken.tobytes())
        await ear.done("response_1")
        chunks = ear.chunks()
        assert {pcm.sample_rate for pcm in chunks} == {facts.output_rate}
        assert {(pcm.format, pcm.channels) for pcm in chunks} == {("s16", 1)}
        duration = sum(pcm.duration for pcm in chunks)
        kept = -0.001 - transit.SLACK_S < duration - 0.5 < 0.001 + transit.LATE_S
        assert kept, f"0.5 s became {duration:.3f} s"

    async def test_ao1_follows_the_announced_rate(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A provider that gives another rate than was asked for is not understood."""
        facts.need("announced_rate")
        llm = make(options=facts.announced_rate_options)
        await llm.connect()
        ear = make.listen(llm)
        await say(await provider.connection(), audio=ramp(facts.announced_rate).tobytes())
        await ear.done("response_1")
        assert {pcm.sample_rate for pcm in ear.chunks()} == {facts.announced_rate}
        assert sum(pcm.duration for pcm in ear.chunks()) == pytest.approx(1.0)

    async def test_ao1_keeps_its_quality(
        self, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The agent sounds as if on an old telephone."""
        highest = transit.HIGHEST * facts.output_rate
        await say(connection, audio=tone(highest, 0.5, facts.output_rate).tobytes())
        await ear.done("response_1")
        heard = transit.settled(np.concatenate([pcm.samples for pcm in ear.chunks()]))
        assert abs(level_db(heard)) < transit.LEVEL_DB
        assert sinad_db(heard, highest, facts.output_rate) > transit.HIGHEST_DB

    @pytest.mark.parametrize("seed", range(4))
    async def test_ao2_any_split_is_joined(
        self, ear: Ear, connection: loopback.Connection, seed: int
    ) -> None:
        """One odd byte turns the rest of the answer into noise."""
        chance = random.Random(seed)
        spoken = ramp(4800).tobytes()
        cuts = chance.sample(range(1, len(spoken)), 40)
        await say(connection, audio=_split(spoken, cuts), text="a canary sings")
        await ear.done("response_1")
        assert ear.speech() == spoken

    async def test_ao2_byte_by_byte(self, ear: Ear, connection: loopback.Connection) -> None:
        """A provider that sends little at a time is not understood."""
        spoken = ramp(60).tobytes()
        await say(connection, audio=_split(spoken, list(range(1, len(spoken)))))
        await ear.done("response_1")
        assert ear.speech() == spoken

    async def test_ao2_an_odd_byte_stays_in_its_response(
        self, ear: Ear, connection: loopback.Connection
    ) -> None:
        """Half a sample at the end of one answer turns the next into noise."""
        spoken = ramp(480).tobytes()
        await say(connection, "response_1", audio=spoken + b"\x01")
        await say(connection, "response_2", audio=spoken)
        await ear.done("response_2")
        assert ear.speech("response_2") == spoken

    async def test_ao2_large_frames_get_through(
        self, ear: Ear, connection: loopback.Connection
    ) -> None:
        """A long answer in one piece ends the session."""
        spoken = bytes(range(256)) * (transit.LARGE // 256)
        await say(connection, audio=spoken)
        await ear.done("response_1")
        assert ear.speech() == spoken

    async def test_ao3_speech_has_one_end(
        self, ear: Ear, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The agent is taken to be speaking for ever, or to have stopped when it has not."""
        await say(connection, audio=ramp(4800).tobytes(), text="a canary")
        await fence(connection, record)
        dones = [(done.response_id, done.interrupted) for done in ear.dones()]
        assert dones == [("response_1", False)]
        kinds = [type(item) for item in ear.items]
        assert kinds.count(RealtimeAgentSpeechStarted) == 1
        assert kinds.count(RealtimeAgentSpeechEnded) == 1
        assert kinds.index(RealtimeAgentSpeechStarted) < kinds.index(RealtimeAudioOutput)
        last_audio = len(kinds) - 1 - kinds[::-1].index(RealtimeAudioOutput)
        ended = kinds.index(RealtimeAgentSpeechEnded)
        assert last_audio < ended < kinds.index(RealtimeAudioOutputDone)
        spoken = RealtimeAgentSpeechStarted | RealtimeAudioOutput | RealtimeAgentSpeechEnded
        ids = {item.response_id for item in ear.items if isinstance(item, spoken)}
        assert ids == {"response_1"}

    async def test_ao3_answers_side_by_side(
        self, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """An answer that begins before another has ended gets its sound, or its end."""
        facts.need("ids")
        spoken = ramp(480).tobytes()
        await say(connection, "response_1", audio=spoken[:3], status=None)
        await say(connection, "response_2", audio=spoken[:5], status=None)
        await connection.send(
            events.AudioDelta("response_1", spoken[3:], "item_response_1"),
            events.ResponseDone("response_1"),
            events.AudioDelta("response_2", spoken[5:], "item_response_2"),
            events.ResponseDone("response_2"),
        )
        await ear.done("response_2")
        assert [done.response_id for done in ear.dones()] == ["response_1", "response_2"]
        needs_messages()  # a track has one voice
        assert ear.speech("response_1") == ear.speech("response_2") == spoken

    async def test_ao3_text_has_one_end(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """After a written answer the agent is taken to be speaking for ever."""
        facts.need("text")
        llm = make(modalities="text")
        await llm.connect()
        ear = make.listen(llm)
        connection = await provider.connection()
        await say(connection, text="a canary", spoken=False)
        await fence(connection, make.record(llm))
        dones = [(done.response_id, done.interrupted) for done in ear.dones()]
        assert dones == [("response_1", False)]
        assert not ear.of(RealtimeAgentSpeechStarted), "nothing was spoken"

    async def test_ao3_a_tool_turn_has_one_end_each(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """An answer with a tool in it never ends, or ends before it is given."""
        facts.need("tools")
        llm = make()

        @llm.register_function(description="sings")
        async def sing() -> str:
            return "canary"

        await llm.connect()
        ear = make.listen(llm)
        connection = await provider.connection()
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_1", "sing", "{}"),
            events.ResponseDone("response_1"),
        )
        command = await connection.wait_for(events.CreateResponse)
        await say(
            connection, "response_2", audio=ramp(480).tobytes(), request_id=command.request_id
        )
        await fence(connection, make.record(llm))
        dones = [(done.response_id, done.interrupted) for done in ear.dones()]
        assert dones == [("response_1", False), ("response_2", False)]

    @pytest.mark.parametrize(
        ("status", "interrupted"),
        [("completed", False), ("incomplete", False), ("failed", False), ("cancelled", True)],
    )
    async def test_ao3_the_flag_tells_how_it_ended(
        self,
        llm: Realtime,
        make: Make,
        connection: loopback.Connection,
        record: Recorder,
        status: events.ResponseStatus,
        interrupted: bool,
    ) -> None:
        """Answers are cut off at their end, or go on after they were stopped."""
        ear = make.listen(llm, answers=True)
        await say(connection, audio=ramp(480).tobytes(), status=status)
        await fence(connection, record)
        await ear.done("response_1")
        assert [done.interrupted for done in ear.dones()] == [interrupted]

    async def test_ao3_what_follows_an_end_is_not_part_of_it(
        self, ear: Ear, connection: loopback.Connection, record: Recorder
    ) -> None:
        """An answer ends twice, or its last words come back in the next."""
        await say(connection, "response_1", audio=ramp(480).tobytes())
        await ear.done("response_1")
        await connection.send(
            events.AudioDelta("response_1", ramp(480).tobytes(), "item_response_1"),
            events.ResponseDone("response_1"),
        )
        await say(connection, "response_2", audio=ramp(48).tobytes())
        await ear.done("response_2")
        assert [done.response_id for done in ear.dones()] == ["response_1", "response_2"]
        assert len(ear.speech()) == (480 + 48) * 2

    async def test_ao4_nothing_is_cut_off_at_the_end(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The last word of every answer is missing."""
        # No whole number of the track's 20 ms.
        spoken = tone(440, 0.3137, facts.output_rate)
        async with Call(llm) as call:
            for number in (1, 2):
                await say(connection, f"response_{number}", audio=_halves(spoken))
            await call.track.until(
                lambda: sum(chunk.final for chunk in call.track.of(AudioOutputChunk)) == 2,
                "second final chunk",
            )
            heard = call.audible()
        damage = transit.damage(samples_of(heard), [spoken, spoken], facts.output_rate)
        assert damage <= transit.MAX_DAMAGE, f"{damage:.3f} of it is missing"

    async def test_ao5_each_piece_comes_once(
        self, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The agent stutters: every syllable comes twice."""
        spoken = ramp(facts.output_rate // 2).tobytes()
        pieces = [spoken[start : start + 960] for start in range(0, len(spoken), 960)]
        await say(connection, audio=pieces, text="a canary sings a song")
        await ear.done("response_1")
        assert ear.speech() == spoken, f"{len(ear.speech())} of {len(spoken)} bytes"


def _halves(samples: Samples) -> list[bytes]:
    data = samples.tobytes()
    return [data[: len(data) // 2], data[len(data) // 2 :]]
