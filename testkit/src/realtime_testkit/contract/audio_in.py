"""AI: what people say reaches the provider, all of it and nothing else."""

import asyncio
import itertools

import numpy as np
import pytest
from getstream.video.rtc.track_util import PcmData
from numpy.typing import NDArray
from vision_agents.core.edge.types import Participant
from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder
from realtime_testkit.scenarios import (
    ALICE,
    BOB,
    begun,
    fence,
    say,
    speak,
)
from realtime_testkit.signals import (
    Samples,
    frames,
    level_db,
    ramp,
    samples_of,
    silence,
    sinad_db,
    tone,
)
from realtime_testkit.transport import Transport

from .base import Contract

CAROL = Participant(None, "carol", "participant-carol")
MAX_FRAME_BYTES = 64 * 1024
MARK = 11111
"""A level that occurs nowhere but in audio that must not arrive."""


def _marked(seconds: float) -> list[PcmData]:
    return frames(tone(300, seconds, 48000, peak=MARK), 48000)


def _unmarked(seconds: float) -> list[PcmData]:
    return frames(tone(300, seconds, 48000, peak=MARK // 10), 48000)


def _holds_mark(samples: Samples) -> bool:
    return bool((np.abs(samples.astype(int)) > MARK // 2).any())


def _as_float(samples: Samples) -> NDArray[np.float32]:
    return (samples / 32768).astype(np.float32)


def _twice(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.stack([samples, samples])


async def _heard(connection: Connection, llm: Realtime) -> Samples:
    """Hang up; returns all that the provider received."""
    await llm.close()
    await connection.closed.wait()
    return samples_of(connection.audio())


class AudioIn(Contract):
    """Audio from the call to the provider."""

    @pytest.fixture
    async def said(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> "Said":
        """Lets a participant speak, and returns what the provider heard of it."""
        return Said(llm, connection, transport, facts.input_rate)

    async def test_ai1_audio_arrives_at_the_declared_rate(
        self, said: "Said", facts: Facts, transport: Transport
    ) -> None:
        """48 kHz audio arrives with its duration and order kept, at the provider's rate."""
        rising = [tone(hertz, 0.3, 48000) for hertz in (300, 600, 1200)]
        heard = await said.all_of(frames(np.concatenate(rising), 48000))
        missing_s = 0.9 - len(heard) / facts.input_rate
        assert abs(missing_s) < 0.02 + transport.slack_s, f"{missing_s:.3f} s are missing"
        third = len(heard) // 3
        for index, hertz in enumerate((300, 600, 1200)):
            middle = heard[index * third : (index + 1) * third][third // 4 : -third // 4]
            sinad = sinad_db(middle, hertz, facts.input_rate)
            assert sinad > transport.sinad_db, f"out of order: SINAD {sinad:.1f} dB at {hertz} Hz"

    async def test_ai1_audio_at_the_providers_rate_is_unchanged(
        self, said: "Said", facts: Facts, transport: Transport
    ) -> None:
        """Audio at the provider's own rate arrives sample by sample as it was sent."""
        spoken = tone(440, 0.5, facts.input_rate)
        heard = await said.all_of(frames(spoken, facts.input_rate))
        same = transport.same(heard.tobytes(), spoken.tobytes(), facts.input_rate)
        assert same, f"{len(heard)} of {len(spoken)} samples"
        assert sinad_db(transport.settled(heard), 440, facts.input_rate) > transport.pure_db

    @pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
    @pytest.mark.parametrize("kind", ["mono", "stereo", "float", "stereo float"])
    async def test_ai2_any_format_is_normalised(
        self, said: "Said", facts: Facts, rate: int, kind: str, transport: Transport
    ) -> None:
        """Audio of any rate, channels and sample type keeps duration, level and tone."""
        samples: NDArray[np.generic] = tone(440, 0.4, rate)
        if "float" in kind:
            samples = _as_float(tone(440, 0.4, rate))
        if "stereo" in kind:
            samples = _twice(samples)
        heard = await said.all_of(frames(samples, rate))
        changed_s = abs(len(heard) / facts.input_rate - 0.4)
        assert changed_s < 0.02 + transport.slack_s, "the duration changed"
        settled = transport.settled(heard)
        assert abs(level_db(settled)) < 1, f"the level changed by {level_db(settled):.1f} dB"
        assert sinad_db(settled, 440, facts.input_rate) > transport.sinad_db

    async def test_ai2_empty_frames_are_ignored(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Empty frames between others send nothing, raise nothing and lose nothing."""
        pieces = frames(tone(300, 0.1, facts.input_rate), facts.input_rate)
        empty = PcmData(samples=np.zeros(0, np.int16), sample_rate=48000, format="s16", channels=1)
        await speak(llm, transport, [empty, *pieces[:2], empty, *pieces[2:]])
        await connection.wait_audio(facts.input_rate // 10 * 2)
        assert all(command.data for command in connection.received(protocol.AppendAudio))
        await record.settled()
        assert not record.errors

    async def test_ai3_audio_before_connect_is_never_sent(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Audio from before connect() is never sent, and giving it does not block."""
        llm = make()
        await speak(llm, transport, _marked(0.1))
        async with asyncio.timeout(1.0):
            for pcm in _marked(0.1):
                await llm.simple_audio_response(pcm, ALICE)
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, transport, _unmarked(0.2))
        heard = await _heard(connection, llm)
        assert len(heard) > 0
        assert not _holds_mark(heard), "audio from before connect() arrived"

    async def test_ai3_audio_after_close_is_never_sent(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Audio from the session before and from after close() is not sent to the next session."""
        llm = make()
        await llm.connect()
        await speak(llm, transport, _marked(0.2))
        await llm.close()
        await speak(llm, transport, _marked(0.2))
        await llm.connect()
        connection = await provider.connection(2)
        await speak(llm, transport, _unmarked(0.2))
        heard = await _heard(connection, llm)
        assert len(heard) > 0
        assert not _holds_mark(heard), "audio from the call before arrived"

    async def test_ai3_paced_audio_before_an_interrupt_is_dropped(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """Paced audio that waits when interrupt() is called is never sent."""
        pacing = AudioInputPacingConfig(
            sample_rate=facts.input_rate, startup_buffer_ms=1000, max_buffer_ms=2000
        )
        llm = make(input_audio_pacing=pacing)
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, transport, _marked(0.5))
        await llm.interrupt()
        await speak(llm, transport, _unmarked(1.1))
        await connection.wait_audio(2)
        heard = await _heard(connection, llm)
        assert not _holds_mark(heard), "audio from before the interrupt arrived"

    async def test_ai3_resampler_rest_before_an_interrupt_is_dropped(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Samples that the resampler holds when interrupt() is called are never sent."""
        facts.need("cancellation")
        await say(connection, text="a canary", status=None)
        await fence(connection, record)
        # A quarter of a wave more: what is left behind is as loud as it gets.
        await speak(llm, transport, _marked(0.1 + 1 / 1200))
        await llm.interrupt()
        await speak(llm, transport, _unmarked(0.1))
        await connection.wait_for(protocol.CancelResponse)
        await _heard(connection, llm)
        commands = connection.commands
        interrupt = commands.index(connection.received(protocol.CancelResponse)[0])
        late = b"".join(c.data for c in commands[interrupt:] if isinstance(c, protocol.AppendAudio))
        assert late, "nothing arrived any more"
        assert not _holds_mark(samples_of(late)), "audio from before the interrupt arrived"

    async def test_ai3_collected_audio_before_an_interrupt_is_dropped(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Audio collected for a piece when interrupt() is called is never sent."""
        llm = make(input_chunk_ms=100)
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, transport, _marked(0.08))
        await llm.interrupt()
        await speak(llm, transport, _unmarked(0.3))
        heard = await _heard(connection, llm)
        assert len(heard) > 0
        assert not _holds_mark(heard), "audio from before the interrupt arrived"

    async def test_ai3_collected_audio_of_a_lost_session_is_dropped(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """Audio collected when the connection is lost is not sent to the next session."""
        llm = make(input_chunk_ms=100)
        await llm.connect()
        record = make.record(llm)
        connection = await provider.connection()
        await speak(llm, transport, _marked(0.08))
        connection.abort()
        await record.up(2)
        await speak(llm, transport, _unmarked(0.3))
        heard = await _heard(await provider.connection(2), llm)
        assert len(heard) > 0
        assert not _holds_mark(heard), "audio from before the outage arrived"

    async def test_ai4_paced_audio_is_steady(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """Paced audio is sent in frames of equal size at a steady rate."""
        pacing = AudioInputPacingConfig(sample_rate=facts.input_rate, startup_buffer_ms=40)
        llm = make(input_audio_pacing=pacing)
        await llm.connect()
        connection = await provider.connection()
        pieces = frames(tone(300, 0.14, facts.input_rate), facts.input_rate)
        speaking = asyncio.create_task(speak(llm, transport, pieces))
        times: list[float] = []
        for count in range(1, 8):
            await connection.wait_for(protocol.AppendAudio, count)
            times.append(asyncio.get_running_loop().time())
        sizes = {len(command.data) for command in connection.received(protocol.AppendAudio)}
        assert sizes == {facts.input_rate // 50 * 2}, f"frames of {sizes} bytes"
        await speaking
        assert times[-1] - times[0] > 0.06, "140 ms of audio went out at once"

    async def test_ai4_paced_audio_ends_with_close(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """Paced audio that waits when close() is called is not sent to the next session."""
        pacing = AudioInputPacingConfig(sample_rate=facts.input_rate, startup_buffer_ms=40)
        llm = make(input_audio_pacing=pacing)
        await llm.connect()
        connection = await provider.connection()
        await speak(llm, transport, _marked(1.0))
        await connection.wait_audio(1)
        await llm.close()
        await speak(llm, transport, _marked(0.1))
        await llm.connect()
        second = await provider.connection(2)
        await speak(llm, transport, _unmarked(0.1))
        await second.wait_audio(2)
        heard = samples_of(second.audio())
        assert not _holds_mark(heard), "audio from the call before arrived"

    async def test_ai4_frames_are_bounded(
        self, said: "Said", facts: Facts, transport: Transport
    ) -> None:
        """5 s of audio in one frame arrives unchanged, in messages of at most 64 KiB."""
        spoken = tone(300, 5.0, facts.input_rate)
        heard = await said.all_of(frames(spoken, facts.input_rate, ms=5000))
        assert transport.same(heard.tobytes(), spoken.tobytes(), facts.input_rate)
        sizes = [len(c.data) for c in said.connection.received(protocol.AppendAudio)]
        assert max(sizes) <= MAX_FRAME_BYTES, f"a frame of {max(sizes)} bytes"

    async def test_ai4_long_audio_on_a_busy_connection_is_complete(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Two minutes of audio, sent faster than the connection takes them, arrive unchanged."""
        transport.needs_messages()
        spoken = ramp(120 * facts.input_rate)
        await speak(llm, transport, frames(spoken, facts.input_rate, ms=5000))
        heard = await _heard(connection, llm)
        assert heard.tobytes() == spoken.tobytes()

    @pytest.mark.parametrize("ms", [40, 100])
    async def test_ai4_chunked_audio_goes_out_in_pieces(
        self, make: Make, provider: Provider, facts: Facts, ms: int, transport: Transport
    ) -> None:
        """With input_chunk_ms, audio goes out in pieces of that length, all of it.

        The pieces arrive while the user still speaks.
        """
        transport.needs_messages()
        llm = make(input_chunk_ms=ms)
        await llm.connect()
        connection = await provider.connection()
        # The caller's frames stay as they are: this one is used again and again.
        await speak(llm, transport, frames(tone(400, 0.02, 48000), 48000) * 50)
        # All but what does not fill a piece, and it is there while the caller still speaks.
        await connection.wait_for(protocol.AppendAudio, 1000 // ms - 1)
        await llm.close()
        await connection.closed.wait()
        sizes = [len(command.data) for command in connection.received(protocol.AppendAudio)]
        piece = facts.input_rate * ms // 1000 * 2
        assert set(sizes[1:-1]) == {piece}, f"pieces of {sizes} bytes, not {piece}"
        assert 0.9 * piece < sizes[0] <= piece, f"a first piece of {sizes[0]} bytes, not {piece}"
        assert abs(sum(sizes) - facts.input_rate * 2) <= 4, "not all of it arrived"

    @pytest.mark.allows("open connections")
    async def test_ai4_audio_to_a_hung_provider_is_bounded(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """The session ends before unlimited audio is stored for a provider that stopped reading."""
        transport.needs_messages()
        llm = make(client=make.client(send_timeout_s=0.05))
        await llm.connect()
        (await provider.connection()).freeze()
        pieces = frames(tone(300, 5.0, facts.input_rate), facts.input_rate, ms=5000)
        sent_s = 0
        while llm.connected:
            assert sent_s < 1000, "all of it was taken, and the session goes on"
            await speak(llm, transport, pieces)
            await asyncio.sleep(0)  # the reader is who notices
            sent_s += 5

    async def test_ai5_resampling_keeps_a_tone(
        self, said: "Said", facts: Facts, transport: Transport
    ) -> None:
        """A 1 kHz tone in 20 ms frames of 48 kHz arrives with its SINAD kept."""
        heard = await said.all_of(frames(tone(1000, 1.0, 48000), 48000))
        settled = heard[len(heard) // 10 : -len(heard) // 10]
        sinad = sinad_db(settled, 1000, facts.input_rate)
        why = f"SINAD {sinad:.1f} dB: the resampler keeps no memory between frames"
        assert sinad >= transport.pure_db, why

    async def test_ai5_resampling_removes_what_is_too_high(
        self, said: "Said", facts: Facts
    ) -> None:
        """A tone above the new Nyquist frequency arrives below -40 dB."""
        nyquist = facts.input_rate / 2
        if nyquist > 18000:
            excuse("contract.toml: input_rate leaves nothing above it to fold back")
        heard = await said.all_of(frames(tone((nyquist + 24000) / 2, 1.0, 48000), 48000))
        settled = heard[len(heard) // 10 : -len(heard) // 10]
        level = level_db(settled)
        assert level < -40, f"{level:.1f} dB: the resampler has no low-pass filter"

    async def test_ai6_interleaved_speakers_stay_undamaged(
        self, said: "Said", facts: Facts, transport: Transport
    ) -> None:
        """Two interleaved speakers each arrive with their tone kept."""
        phone, laptop = (Participant(None, "alice", f"participant-{n}") for n in (1, 2))
        voices = {phone.id: 440.0, laptop.id: 1000.0}
        heard: dict[str, list[Samples]] = {phone.id: [], laptop.id: []}
        low, high = (
            frames(tone(hertz, 0.6, 48000), 48000, ms=transport.turn_ms)
            for hertz in voices.values()
        )
        for piece, participant in itertools.chain.from_iterable(
            ((a, phone), (b, laptop)) for a, b in zip(low, high, strict=True)
        ):
            heard[participant.id].append(await said.piece(piece, participant))
        for speaker, hertz in voices.items():
            for samples in transport.joined(heard[speaker]):
                sinad = sinad_db(samples[facts.input_rate // 20 :], hertz, facts.input_rate)
                assert sinad > transport.pure_db - 10, f"{speaker}: SINAD {sinad:.1f} dB"

    @pytest.mark.parametrize("chunk_ms", [0, 150])
    async def test_ai6_change_of_format_keeps_the_audio(
        self, make: Make, provider: Provider, facts: Facts, chunk_ms: int, transport: Transport
    ) -> None:
        """A change of rate, channels and sample type keeps duration, level and tone."""
        llm = make(input_chunk_ms=chunk_ms)
        await llm.connect()
        said = Said(llm, await provider.connection(), transport, facts.input_rate)
        parts = [
            frames(tone(500, 0.4, 48000), 48000),
            frames(_twice(tone(500, 0.4, 16000)), 16000),
            frames(_as_float(tone(500, 0.4, 44100)), 44100),
        ]
        heard = await said.all_of(itertools.chain.from_iterable(parts))
        changed_s = abs(len(heard) / facts.input_rate - 1.2)
        assert changed_s < 0.03 + transport.slack_s, "the duration changed"
        third = len(heard) // 3
        for index in range(3):
            middle = heard[index * third : (index + 1) * third][third // 5 : -third // 5]
            assert abs(level_db(middle)) < 1
            assert sinad_db(middle, 500, facts.input_rate) > transport.sinad_db

    async def test_ai6_change_of_format_within_a_piece_keeps_the_audio(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """A change of rate while a piece is collected loses no audio."""
        llm = make(input_chunk_ms=100)
        await llm.connect()
        said = Said(llm, await provider.connection(), transport, facts.input_rate)
        before, after = tone(3000, 0.02, 48000), tone(3000, 0.4, 16000)
        heard = await said.all_of([*frames(before, 48000), *frames(after, 16000, ms=200)])
        lost_s = abs(0.42 - len(heard) / facts.input_rate)
        assert lost_s < 0.01 + transport.slack_s + transport.late_s, f"{lost_s:.3f} s are missing"
        start = facts.input_rate // 20
        assert sinad_db(heard[start : 4 * start], 3000, facts.input_rate) > transport.sinad_db

    @pytest.mark.parametrize(("rate", "ms"), [(48000, 20), (44100, 10), (16000, 20), (48000, 7.5)])
    async def test_ai7_duration_in_is_duration_out(
        self, said: "Said", facts: Facts, rate: int, ms: float, transport: Transport
    ) -> None:
        """The duration that arrives is the duration that was sent, to within one frame."""
        heard = await said.all_of(frames(tone(440, 1.0, rate), rate, ms=ms))
        missing_ms = 1000 - len(heard) / facts.input_rate * 1000
        assert abs(missing_ms) < ms + transport.slack_s * 1000, f"{missing_ms:.1f} ms are missing"

    @pytest.mark.parametrize("chunk_ms", [0, 150])
    async def test_ai7_commit_sends_the_rest_of_the_turn(
        self, make: Make, provider: Provider, facts: Facts, chunk_ms: int, transport: Transport
    ) -> None:
        """commit_audio() sends everything that was spoken before it, for each speaker in turn."""
        facts.need("manual_turns")
        llm = make(turn_detection=False, input_chunk_ms=chunk_ms)
        await llm.connect()
        connection = await provider.connection()
        for count, participant in enumerate((ALICE, BOB), start=1):
            await speak(llm, transport, frames(tone(440, 0.2, 48000), 48000), participant)
            await llm.commit_audio(respond=False)
            await connection.wait_for(protocol.CommitAudio, count)
        spoken = round(0.2 * facts.input_rate) * 2
        turns = [b""]
        for command in connection.commands:
            match command:
                case protocol.AppendAudio(data):
                    turns[-1] += data
                case protocol.CommitAudio():
                    turns.append(b"")
        least = spoken - round(transport.slack_s * facts.input_rate) * 2 - 2
        most = spoken + round(transport.late_s * facts.input_rate) * 2 + 2
        assert [least <= len(turn) <= most for turn in turns[:-1]] == [True, True], (
            f"turns of {[len(turn) for turn in turns]} bytes, spoken were {spoken}"
        )

    async def test_ai7_commit_while_others_begin_to_speak_sends_the_rest(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """commit_audio() sends the rest of both speakers while a third begins.

        It has to wait meanwhile, for the line is full.
        """
        facts.need("manual_turns")
        transport.needs_messages()
        llm = make(client=make.client(send_timeout_s=5.0), turn_detection=False, input_chunk_ms=200)
        await llm.connect()
        connection = await provider.connection()
        flood = frames(silence(transport.flood_s, facts.input_rate), facts.input_rate, ms=5000)
        flooding = begun(speak(llm, transport, flood, CAROL))
        spoken = frames(tone(440, 0.16, facts.input_rate), facts.input_rate)
        for participant in (ALICE, BOB):
            for pcm in spoken:
                await llm.process_audio(pcm, participant)
        committing = begun(llm.commit_audio(respond=False))
        for number in itertools.count():
            if committing.done():
                break
            await llm.process_audio(spoken[0], Participant(None, f"{number}", f"{number}"))
            await asyncio.sleep(0)
        await committing
        await flooding
        await connection.wait_for(protocol.CommitAudio)
        commands = connection.commands
        commit = commands.index(connection.received(protocol.CommitAudio)[0])
        before = [each.data for each in commands[:commit] if isinstance(each, protocol.AppendAudio)]
        loud_s = np.count_nonzero(samples_of(b"".join(before))) / facts.input_rate
        assert loud_s > 0.3, f"{loud_s:.2f} s of 0.32 s arrived"


class Said:
    """A participant who speaks, and what the provider heard."""

    def __init__(
        self, llm: Realtime, connection: Connection, transport: Transport, input_rate: int
    ) -> None:
        self.connection = connection
        self._transport = transport
        self._llm = llm
        self._input_rate = input_rate

    async def all_of(self, pieces: "itertools.chain[PcmData] | list[PcmData]") -> Samples:
        """Speak and hang up; returns all the provider heard."""
        pieces = list(pieces)
        await speak(self._llm, self._transport, pieces)
        seconds = sum(pcm.duration for pcm in pieces)
        await self._transport.arrives(self.connection, seconds, self._input_rate)
        return await _heard(self.connection, self._llm)

    async def piece(self, pcm: PcmData, participant: Participant) -> Samples:
        """Speak one frame; returns what the provider heard of it."""
        before = len(self.connection.audio())
        await speak(self._llm, self._transport, [pcm], participant)
        return samples_of((await self.connection.wait_audio(before + 1))[before:])
