"""What can be proved with the provider itself: `uv run pytest --live`, with your key."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

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
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Client, Realtime, events

from .accounting import LIVE
from .kit import ALICE, API_KEY, BASE_URL, INSTRUCTIONS, Ear, Facts, Recorder, final, native
from .making import CLOSE_S
from .watch import Watch

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CLIP = Path(__file__).parents[2] / "example" / "clips" / "hello.wav"
FRAME_S = 0.02
PATIENCE_S = 25.0
"""How long the provider may take for anything."""


class Live:
    """A Realtime that talks to the provider itself, and what comes of it."""

    def __init__(self, watch: Watch, *, turn_detection: bool = True) -> None:
        url = os.environ.get(BASE_URL)
        self.llm = Realtime(base_url=url, turn_detection=turn_detection)
        self.llm.set_instructions(INSTRUCTIONS)
        self.record = Recorder(self.llm, watch)
        self.ear = Ear(self.llm, None, answers=True)
        self._watch = watch

    async def close(self) -> None:
        """Close it; what the provider refused meanwhile is found."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.llm.close()
        except TimeoutError:
            self._watch.found("LC8", f"close() took longer than {CLOSE_S:g} s")
        await self.record.check()
        await self.ear.close()
        for event in self.record.errors:
            self._watch.found("SE4", f"the provider reported {event.error_code}: {event.error}")

    async def says(self, seconds_of_silence: float = 1.5) -> None:
        """Alice speaks, at the pace of a call, and falls silent."""
        spoken = _clip()
        silence = [_silence() for _ in range(round(seconds_of_silence / FRAME_S))]
        for pcm in spoken + silence:
            await self.llm.process_audio(pcm, ALICE)
            await asyncio.sleep(FRAME_S)

    async def hears(self, kind: type[object], what: str, count: int = 1) -> None:
        """Wait for the count-th item of a kind in the output."""
        await self.ear.until(lambda: len(self.ear.of(kind)) >= count, what, PATIENCE_S)

    async def hears_text(self, kind: type[RealtimeUserTranscript | RealtimeAgentTranscript]) -> str:
        """Wait for a whole transcript."""

        def finals() -> list[str]:
            return [each.text for each in self.ear.of(kind) if each.mode == "final"]

        await self.ear.until(lambda: bool(finals()), f"final {kind.__name__}", PATIENCE_S)
        return finals()[0]


def _clip() -> list[PcmData]:
    with av.open(CLIP) as file:
        resampler = av.AudioResampler("s16", "mono", 48000, round(48000 * FRAME_S))
        decoded = [frame for packet in file.decode(audio=0) for frame in resampler.resample(packet)]
    return [PcmData.from_av_frame(frame) for frame in decoded]


def _silence() -> PcmData:
    return PcmData.from_bytes(bytes(round(48000 * FRAME_S) * 2), 48000)


@pytest.fixture
async def talk(under_watch: Watch) -> AsyncIterator[Live]:
    """Connected to the provider itself."""
    if not os.environ.get(API_KEY):
        pytest.skip(f"{LIVE}set {API_KEY} to talk to the provider itself")
    talk = Live(under_watch)
    try:
        await talk.llm.connect()
        yield talk
    finally:
        await talk.close()


class TestLive:
    async def test_lc1_live_connects(self, talk: Live) -> None:
        """The provider takes no session as this plugin asks for it."""
        await talk.record.up()
        assert talk.llm.connected
        assert talk.record.connected[0].capabilities == list(talk.llm.client.capabilities)

    async def test_lc2_live_a_wrong_key(self, talk: Live, under_watch: Watch) -> None:
        """A wrong key goes unnoticed, or is tried for ever."""
        wrong = Realtime(api_key=f"{under_watch.key}x", base_url=os.environ.get(BASE_URL))
        record = Recorder(wrong, under_watch)
        try:
            with pytest.raises(events.SessionError):
                await wrong.connect()
            await record.settled()
            assert not wrong.connected
            assert len(record.errors) == 1
        finally:
            await wrong.close()

    async def test_lc3_live_connects_again(self, talk: Live) -> None:
        """After one call the agent is useless until it is restarted."""
        await talk.llm.close()
        await talk.llm.connect()
        assert (await final(talk.llm.simple_response("Say yes."))).text.strip()

    async def test_nt3_live_answers_a_text(self, talk: Live, facts: Facts) -> None:
        """The answer to a text comes in one lump, without its end or without its numbers."""
        facts.need("text")
        *deltas, last = [item async for item in talk.llm.simple_response("Count from 1 to 10.")]
        assert isinstance(last, LLMResponseFinal)
        pieces = [each.delta or "" for each in deltas if isinstance(each, LLMResponseDelta)]
        assert len(pieces) > 1, "it was not streamed"
        assert "".join(pieces).strip() == last.text.strip()
        assert last.model == talk.llm.model
        assert last.latency_ms is not None
        assert last.time_to_first_token_ms is not None
        assert last.time_to_first_token_ms < last.latency_ms
        assert not facts.usage or last.output_tokens

    async def test_nt6_live_an_abandoned_answer(self, talk: Live, facts: Facts) -> None:
        """After an answer nobody waited for the session is of no more use."""
        facts.need("text")
        stream = native(talk.llm, "Count from 1 to 100.")
        async with contextlib.aclosing(stream):
            await anext(stream)
        assert (await final(talk.llm.simple_response("Say yes."))).text.strip()

    async def test_ao3_live_a_spoken_answer(self, talk: Live, facts: Facts) -> None:
        """What the agent says cannot be heard, or at a wrong speed, or never ends."""
        facts.need("text")
        answer = await final(talk.llm.simple_response("Say: good morning, everybody."))
        await talk.hears(RealtimeAudioOutputDone, "end of the answer")
        spoken = talk.ear.of(RealtimeAudioOutput)
        seconds = sum(each.data.duration for each in spoken)
        assert 0.2 < seconds < 5.0 + len(answer.text), f"{answer.text!r} took {seconds:.1f} s"
        assert {each.data.channels for each in spoken} == {1}
        assert len({each.data.sample_rate for each in spoken}) == 1
        assert [each.interrupted for each in talk.ear.dones()] == [False]

    async def test_tr1_live_a_spoken_turn(self, talk: Live, facts: Facts) -> None:
        """The provider hears nobody, or nobody reads what was said."""
        facts.need("turn_detection")
        await talk.says()
        await talk.hears(RealtimeAudioOutput, "answer to what was said")
        assert (await talk.hears_text(RealtimeAgentTranscript)).strip()
        if facts.transcription:
            assert (await talk.hears_text(RealtimeUserTranscript)).strip()
            assert all(each.participant == ALICE for each in talk.ear.user_said())

    async def test_tn1_live_a_barge_in(self, talk: Live, facts: Facts) -> None:
        """The agent talks over the user."""
        facts.need("turn_detection", "text")
        asking = asyncio.create_task(final(talk.llm.simple_response("Count from 1 to 200.")))
        await talk.hears(RealtimeAudioOutput, "beginning of the answer")
        await talk.says()
        await talk.ear.until(
            lambda: any(each.interrupted for each in talk.ear.dones()), "barge-in", PATIENCE_S
        )
        async with asyncio.timeout(PATIENCE_S):
            await asking

    async def test_tn4_live_the_app_interrupts(self, talk: Live, facts: Facts) -> None:
        """An app that stops the agent is answered by an error, or by nothing ever after."""
        facts.need("text")
        asking = asyncio.create_task(final(talk.llm.simple_response("Count from 1 to 200.")))
        await talk.hears(RealtimeAudioOutput, "beginning of the answer")
        await talk.llm.interrupt()
        async with asyncio.timeout(1.0):
            await asking
        assert (await final(talk.llm.simple_response("Say yes."))).text.strip()

    async def test_tl3_live_a_tool(self, talk: Live, facts: Facts) -> None:
        """The provider never calls a tool, or does not take its result."""
        facts.need("tools", "text")
        cities: list[str] = []

        @talk.llm.register_function("get_weather", "Tells the weather in a city")
        async def get_weather(city: str) -> dict[str, object]:
            cities.append(city)
            return {"sky": "cloudless", "celsius": 21}

        question = "Use get_weather for Oslo, and tell me what it says."
        answer = await final(talk.llm.simple_response(question))
        assert len(cities) == 1, f"called {len(cities)} times"
        assert answer.text.strip(), "nothing was said of the result"

    async def test_se5_live_new_instructions(self, talk: Live, facts: Facts) -> None:
        """An agent given a new role in mid-call is refused it."""
        facts.need("text")
        await talk.llm.update_session(instructions="You are a canary who says yes to everything.")
        assert (await final(talk.llm.simple_response("Are you a canary?"))).text.strip()

    async def test_se5_live_turns_by_hand(
        self, under_watch: Watch, facts: Facts, talk: Live
    ) -> None:
        """Push-to-talk gets no answer."""
        facts.need("manual_turns")
        by_hand = Live(under_watch, turn_detection=False)
        try:
            await by_hand.llm.connect()
            await by_hand.says(seconds_of_silence=0.1)
            await by_hand.llm.commit_audio()
            await by_hand.hears(RealtimeAudioOutputDone, "answer to a turn ended by hand")
        finally:
            await by_hand.close()

    async def test_ob1_live_the_key(self, talk: Live, facts: Facts) -> None:
        """The key is in a log, an event or a repr: the checks of every scenario look."""
        facts.need("text")
        await final(talk.llm.simple_response("Say yes."))
        assert isinstance(talk.llm.client, Client)
