"""What can be tested with the provider itself: `pytest --live`, with a key."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from importlib import resources
from typing import TYPE_CHECKING

import av
import pytest
from getstream.video.rtc.track_util import PcmData
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import (
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
    RealtimeUserTranscript,
)

from realtime_testkit.factories import CLOSE_S
from realtime_testkit.facts import Facts
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import ALICE, INSTRUCTIONS, NativeCall, final
from realtime_testkit.subject import Subject
from realtime_testkit.transport import transport_of
from realtime_testkit.watchdog import Watchdog

from .base import Contract

if TYPE_CHECKING:
    from realtime_testkit.realtime import Realtime

FRAME_S = 0.02
PATIENCE_S = 25.0
"""How long the provider may take for anything."""


class LiveCall:
    """A Realtime that talks to the provider itself, and what it emits.

    Attributes:
        llm: the Realtime.
        record: its events.
        output: its output.
    """

    def __init__(
        self, subject: Subject, watchdog: Watchdog, *, turn_detection: bool = True
    ) -> None:
        self.llm: Realtime = subject.build(
            base_url=os.environ.get(subject.base_url_variable), turn_detection=turn_detection
        )
        self.llm.set_instructions(INSTRUCTIONS)
        self.record = EventRecorder(self.llm, watchdog)
        transport = transport_of(subject.provider)
        self.output = OutputRecorder(self.llm, None, transport, answers=True)
        self._watchdog = watchdog

    async def close(self) -> None:
        """Close it; what the provider refused meanwhile is reported."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.llm.close()
        except TimeoutError:
            self._watchdog.found("LC8", f"close() took longer than {CLOSE_S:g} s")
        await self.record.check()
        await self.output.close()
        for event in self.record.errors:
            self._watchdog.found("SE4", f"the provider reported {event.error_code}: {event.error}")

    async def speak(self, seconds_of_silence: float = 1.5) -> None:
        """Let Alice speak, at the pace of a call, and fall silent."""
        silence = [_silence() for _ in range(round(seconds_of_silence / FRAME_S))]
        for pcm in _clip() + silence:
            await self.llm.process_audio(pcm, ALICE)
            await asyncio.sleep(FRAME_S)

    async def first(self, kind: type[object], what: str) -> None:
        """Wait for the first item of a kind in the output."""
        await self.output.until(lambda: bool(self.output.of(kind)), what, PATIENCE_S)

    async def transcript(self, kind: type[RealtimeUserTranscript | RealtimeAgentTranscript]) -> str:
        """Wait for a final transcript."""

        def finals() -> list[str]:
            return [each.text for each in self.output.of(kind) if each.mode == "final"]

        await self.output.until(lambda: bool(finals()), f"final {kind.__name__}", PATIENCE_S)
        return finals()[0]


@pytest.mark.integration
@pytest.mark.timeout(120)
class Live(Contract):
    """Tests of a few contracts with the provider itself."""

    @pytest.fixture
    async def call(self, subject: Subject, watchdog: Watchdog) -> AsyncIterator[LiveCall]:
        """A Realtime that is connected to the provider itself."""
        if not os.environ.get(subject.api_key_variable):
            pytest.exit(f"--live needs the provider's key: set {subject.api_key_variable}", 4)
        call = LiveCall(subject, watchdog)
        try:
            await call.llm.connect()
            yield call
        finally:
            await call.close()

    async def test_lc1_live_connect_succeeds(self, call: LiveCall, facts: Facts) -> None:
        """connect() succeeds, and the connected event has the capabilities."""
        await call.record.up()
        assert call.llm.connected
        capabilities = call.record.connected[0].capabilities or []
        assert ("tools" in capabilities) == facts.tools

    async def test_lc2_live_wrong_key_raises(
        self, call: LiveCall, subject: Subject, watchdog: Watchdog
    ) -> None:
        """connect() with a wrong key raises, and emits one error event."""
        url = os.environ.get(subject.base_url_variable)
        wrong = subject.build(api_key=f"{watchdog.key}x", base_url=url)
        record = EventRecorder(wrong, watchdog)
        try:
            with pytest.raises(subject.session_error):
                await wrong.connect()
            await record.settled()
            assert not wrong.connected
            assert len(record.errors) == 1
        finally:
            await wrong.close()

    async def test_lc3_live_connect_works_after_close(self, call: LiveCall) -> None:
        """After close() and connect() a text is answered."""
        await call.llm.close()
        await call.llm.connect()
        assert (await final(call.llm.simple_response("Say yes."))).text.strip()

    async def test_nt3_live_text_is_answered_in_deltas(self, call: LiveCall, facts: Facts) -> None:
        """A text is answered in several deltas and one final with model, times and usage."""
        facts.need("text")
        *deltas, last = [item async for item in call.llm.simple_response("Count from 1 to 10.")]
        assert isinstance(last, LLMResponseFinal)
        pieces = [each.delta or "" for each in deltas if isinstance(each, LLMResponseDelta)]
        assert len(pieces) > 1, "it was not streamed"
        assert "".join(pieces).strip() == last.text.strip()
        assert last.model
        assert last.latency_ms is not None
        assert last.time_to_first_token_ms is not None
        assert last.time_to_first_token_ms < last.latency_ms
        assert not facts.usage or last.output_tokens

    async def test_nt6_live_session_works_after_an_abandoned_answer(
        self, call: LiveCall, facts: Facts, native: NativeCall
    ) -> None:
        """After an answer was abandoned the next text is answered."""
        facts.need("text")
        stream = native(call.llm, "Count from 1 to 100.")
        async with contextlib.aclosing(stream):
            await anext(stream)
        assert (await final(call.llm.simple_response("Say yes."))).text.strip()

    async def test_ao3_live_answer_is_spoken(self, call: LiveCall, facts: Facts) -> None:
        """An answer is spoken in mono, at one rate, for a likely time, and ends once."""
        facts.need("text")
        answer = await final(call.llm.simple_response("Say: good morning, everybody."))
        await call.first(RealtimeAudioOutputDone, "end of the answer")
        spoken = call.output.of(RealtimeAudioOutput)
        seconds = sum(each.data.duration for each in spoken)
        assert 0.2 < seconds < 5.0 + len(answer.text), f"{answer.text!r} took {seconds:.1f} s"
        assert {each.data.channels for each in spoken} == {1}
        assert len({each.data.sample_rate for each in spoken}) == 1
        assert [each.interrupted for each in call.output.dones()] == [False]

    async def test_tr1_live_spoken_turn_is_transcribed(self, call: LiveCall, facts: Facts) -> None:
        """A spoken turn is answered, and both sides are transcribed."""
        facts.need("turn_detection")
        await call.speak()
        await call.first(RealtimeAudioOutput, "answer to what was said")
        assert (await call.transcript(RealtimeAgentTranscript)).strip()
        if facts.transcription:
            assert (await call.transcript(RealtimeUserTranscript)).strip()
            assert all(each.participant == ALICE for each in call.output.user_said())

    async def test_tn1_live_barge_in_interrupts(self, call: LiveCall, facts: Facts) -> None:
        """Speech during a long answer emits Done(interrupted=True), and ends the request."""
        facts.need("turn_detection", "text")
        asking = asyncio.create_task(final(call.llm.simple_response("Count from 1 to 200.")))
        await call.first(RealtimeAudioOutput, "beginning of the answer")
        await call.speak()
        await call.output.until(
            lambda: any(each.interrupted for each in call.output.dones()), "barge-in", PATIENCE_S
        )
        async with asyncio.timeout(PATIENCE_S):
            await asking

    async def test_tn4_live_interrupt_stops_the_answer(self, call: LiveCall, facts: Facts) -> None:
        """interrupt() ends a long answer within a second, and the next text is answered."""
        facts.need("text")
        asking = asyncio.create_task(final(call.llm.simple_response("Count from 1 to 200.")))
        await call.first(RealtimeAudioOutput, "beginning of the answer")
        await call.llm.interrupt()
        async with asyncio.timeout(1.0):
            await asking
        assert (await final(call.llm.simple_response("Say yes."))).text.strip()

    async def test_tl3_live_tool_is_called_once(self, call: LiveCall, facts: Facts) -> None:
        """A tool is called once, and its result is spoken of."""
        facts.need("tools", "text")
        cities: list[str] = []

        @call.llm.register_function("get_weather", "Tells the weather in a city")
        async def get_weather(city: str) -> dict[str, object]:
            cities.append(city)
            return {"sky": "cloudless", "celsius": 21}

        question = "Use get_weather for Oslo, and tell me what it says."
        answer = await final(call.llm.simple_response(question))
        assert len(cities) == 1, f"called {len(cities)} times"
        assert answer.text.strip(), "nothing was said of the result"

    async def test_se5_live_instructions_can_be_changed(self, call: LiveCall, facts: Facts) -> None:
        """New instructions are accepted, and the next text is answered."""
        facts.need("text", "updates")
        await call.llm.update_session(instructions="You are a canary who says yes to everything.")
        assert (await final(call.llm.simple_response("Are you a canary?"))).text.strip()

    async def test_se5_live_manual_turn_is_answered(
        self, subject: Subject, watchdog: Watchdog, facts: Facts, call: LiveCall
    ) -> None:
        """Without turn detection, a turn that commit_audio() ends is answered."""
        facts.need("manual_turns")
        by_hand = LiveCall(subject, watchdog, turn_detection=False)
        try:
            await by_hand.llm.connect()
            await by_hand.speak(seconds_of_silence=0.1)
            await by_hand.llm.commit_audio()
            await by_hand.first(RealtimeAudioOutputDone, "answer to a turn ended by hand")
        finally:
            await by_hand.close()

    async def test_ob1_live_key_is_never_shown(self, call: LiveCall, facts: Facts) -> None:
        """The checks of every scenario find the key nowhere while a text is answered."""
        facts.need("text")
        assert (await final(call.llm.simple_response("Say yes."))).text.strip()


def _clip() -> list[PcmData]:
    clip = resources.files("realtime_testkit") / "clips" / "hello.wav"
    with clip.open("rb") as opened, av.open(opened, "r") as file:
        resampler = av.AudioResampler("s16", "mono", 48000, round(48000 * FRAME_S))
        decoded = [frame for packet in file.decode(audio=0) for frame in resampler.resample(packet)]
    return [PcmData.from_av_frame(frame) for frame in decoded]


def _silence() -> PcmData:
    return PcmData.from_bytes(bytes(round(48000 * FRAME_S) * 2), 48000)
