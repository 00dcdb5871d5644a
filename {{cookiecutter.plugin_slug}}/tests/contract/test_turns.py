"""TN: who has the turn, and what becomes of an answer the user talks over."""

import asyncio
import time

import pytest
from vision_agents.core.agents.events import (
    AgentTurnEndedEvent,
    UserTurnEndedEvent,
    UserTurnStartedEvent,
)
from vision_agents.core.agents.inference.audio import AudioOutputFlush
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentSpeechStarted,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
    RealtimeUserSpeechEnded,
    RealtimeUserSpeechStarted,
    RealtimeUserTranscript,
)
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback, wire

from . import transit
from .calling import AGENT, Call
from .kit import (
    ALICE,
    BOB,
    Ear,
    Facts,
    Recorder,
    fence,
    final,
    frames,
    hears,
    is_interrupted,
    native,
    say,
    speak,
    speech,
    stops,
    tone,
)
from .making import Make

A_WORD = frames(tone(300, 0.02, 48000), 48000)


@pytest.fixture(autouse=True)
async def _alice_speaks(llm: Realtime, connection: loopback.Connection) -> None:
    await speak(llm, A_WORD, ALICE)
    await connection.wait_audio(1)


@pytest.fixture
def long(facts: Facts) -> bytes:
    """Speech that plays on while a test does something."""
    return speech(transit.LONG_S * 1000, facts.output_rate)


@pytest.fixture
def short(facts: Facts) -> bytes:
    """Five frames of speech."""
    return speech(100, facts.output_rate)


@pytest.fixture
async def answering(make: Make, llm: Realtime) -> Ear:
    """An ear that answers barge-ins, as the agent's flow does."""
    return make.listen(llm, answers=True)


def _unheard(llm: Realtime) -> list[RealtimeAudioOutput]:
    return [item for item in llm.output.peek() if isinstance(item, RealtimeAudioOutput)]


def _words(llm: Realtime) -> list[str]:
    return [item.text for item in llm.output.peek() if isinstance(item, RealtimeAgentTranscript)]


async def _begins_to_speak(llm: Realtime) -> None:
    """Take the first piece of speech, and leave the rest for the agent's track."""
    async for item in llm.output:
        if isinstance(item, RealtimeAudioOutput):
            return


def _ends(llm: Realtime) -> list[RealtimeAudioOutputDone]:
    return [item for item in llm.output.peek() if isinstance(item, RealtimeAudioOutputDone)]


def _sent(connection: loopback.Connection) -> list[events.Command]:
    """What the plugin said since the session began, audio left out."""
    return [each for each in connection.commands[1:] if not isinstance(each, events.AppendAudio)]


async def _plays_out(connection: loopback.Connection, record: Recorder, ms: float) -> None:
    await fence(connection, record)
    over = time.perf_counter() + ms / 1000 + transit.LATE_S
    while time.perf_counter() < over:
        await fence(connection, record)


class TestTurns:
    async def test_tn1_barge_in_during_generation(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The agent talks on over the user."""
        await say(connection, audio=[long, long], text="A canary", status=None)
        await _begins_to_speak(llm)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        assert not _unheard(llm), "audio is still queued for the agent's track"
        assert [end.interrupted for end in _ends(llm)] == [True]

    async def test_tn1_barge_in_during_playback(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """An answer that was generated faster than it plays cannot be interrupted."""
        # What is heard of it is longer than its last piece.
        await say(connection, audio=[long, speech(0.2, facts.output_rate)], text="A canary")
        await _begins_to_speak(llm)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        assert not _unheard(llm), "audio is still queued for the agent's track"
        assert sum(end.interrupted for end in _ends(llm)) == 1

    async def test_tn1_the_provider_stops_by_itself(
        self, answering: Ear, connection: loopback.Connection, record: Recorder, long: bytes
    ) -> None:
        """The agent talks on where the provider only says that it cancelled the answer."""
        await say(connection, audio=long, status="cancelled")
        end = await answering.done("response_1")
        assert end.interrupted
        await fence(connection, record)
        assert len(answering.dones()) == 1

    async def test_tn1_one_end_for_many_signals(
        self,
        answering: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The flow flushes again and again, and with it the next answer."""
        await say(connection, audio=long, text="A canary", status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            events.Interrupted("response_1"), events.ResponseDone("response_1", "cancelled")
        )
        await fence(connection, record)
        await fence(connection, record)
        assert answering.dones() == [RealtimeAudioOutputDone(True, "response_1")]

    async def test_tn1_nothing_to_interrupt(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """Every turn of the user begins with a flush, though nobody speaks."""
        facts.need("speech_events")
        await hears(connection, "Canary?", "user_1")
        await say(connection, text="A silent canary")
        await hears(connection, "And a canary?", "user_2")
        await fence(connection, record)
        assert ear.dones() == [RealtimeAudioOutputDone(False, "response_1")]
        assert not _sent(connection)

    async def test_tn1_after_playback(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The user answers a question, and it counts as an interruption."""
        facts.need("speech_events")
        await say(connection, audio=speech(20, facts.output_rate))
        await _plays_out(connection, record, 30)
        await hears(connection, "Canary!")
        await fence(connection, record)
        assert ear.dones() == [RealtimeAudioOutputDone(False, "response_1")]
        assert not _sent(connection)

    async def test_tn1_through_the_flow(
        self, call: Call, connection: loopback.Connection, facts: Facts, long: bytes
    ) -> None:
        """The flow is not told: the track plays the rest, nobody hears of a turn."""
        await say(connection, audio=long, text="A canary", status=None)
        await call.track.until(lambda: bool(call.audible()), "speech on the track")
        await is_interrupted(connection, facts)
        await call.track.first(AudioOutputFlush)
        assert not call.audible(), "the track plays on"
        ended = await call.turns.first(AgentTurnEndedEvent)
        assert ended.interrupted
        await call.turns.first(UserTurnStartedEvent)
        await connection.send(events.UserSpeechStopped("user_2"))
        if facts.speech_events:
            await call.turns.first(UserTurnEndedEvent)

    async def test_tn1_the_next_answer_survives(
        self,
        call: Call,
        connection: loopback.Connection,
        facts: Facts,
        long: bytes,
        short: bytes,
    ) -> None:
        """The flow's answer to the barge-in takes the next answer's first words with it."""
        await say(connection, audio=long, text="A canary", status=None)
        await call.track.until(lambda: bool(call.audible()), "speech on the track")
        await is_interrupted(connection, facts)
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=short, text="The canary stops")
        await call.ends()
        assert transit.same(call.audible(), short, facts.output_rate)
        wanted = [("user", "Stop, canary.")] if facts.transcription else []
        await call.reads(("assistant", "A canary"), *wanted, ("assistant", "The canary stops"))

    async def test_tn1_only_once(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """What was interrupted is interrupted again when the user speaks next."""
        facts.need("speech_events", "transcription")
        await say(connection, audio=long, status=None)
        await connection.send(events.UserSpeechStarted("user_2"))
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutputDone):
                break
        await llm.interrupt()  # as the flow does
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
            events.UserSpeechStarted("user_3"),
        )
        await fence(connection, record)
        left = [item.text for item in llm.output.peek() if isinstance(item, RealtimeUserTranscript)]
        assert left == ["Stop, canary."], "cleared, though nobody was speaking"
        assert not _ends(llm)

    async def test_tn1_again_and_again(
        self, answering: Ear, connection: loopback.Connection, facts: Facts, long: bytes
    ) -> None:
        """An agent can be interrupted once, and never again."""
        for number in (1, 2, 3):
            response_id = f"response_{number}"
            await say(connection, response_id, audio=long, status=None)
            await answering.first(RealtimeAudioOutput, number)
            await is_interrupted(connection, facts, f"user_{number}")
            end = await answering.done(response_id)
            assert end.interrupted
            await connection.send(
                events.ResponseDone(response_id, "cancelled"),
                events.UserSpeechStopped(f"user_{number}"),
            )
        assert len(answering.dones()) == 3
        cut = [each.item_id for each in connection.received(events.TruncateItem)]
        assert len(cut) == len(set(cut)), f"cut off what was cut off before: {cut}"

    async def test_tn2_late_audio_and_text(
        self,
        answering: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
        long: bytes,
    ) -> None:
        """A second after the user spoke the old answer goes on."""
        await say(connection, audio=long, text="A canary", status=None)
        await answering.until(lambda: bool(answering.chunks()), "speech")
        await is_interrupted(connection, facts)
        await answering.done("response_1")
        heard = len(answering.items)
        await connection.send(
            events.AudioDelta("response_1", short, "item_response_1"),
            events.TextDelta("response_1", " LATE", item_id="item_response_1"),
            events.TextDone("response_1", "A canary LATE", item_id="item_response_1"),
            events.ResponseDone("response_1"),
        )
        await fence(connection, record)
        late = answering.items[heard:]
        assert not [each for each in late if isinstance(each, RealtimeAudioOutput)]
        assert not [said for said in answering.agent_said() if "LATE" in said.text]
        assert len(answering.dones()) == 1

    async def test_tn2_late_after_the_app_interrupts(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The app interrupts, and the agent goes on with the rest, at once or in a while."""
        await say(connection, audio=short, text="A canary", status=None)
        await ear.until(lambda: bool(ear.chunks()), "speech")
        await llm.interrupt()
        await connection.send(
            events.AudioDelta("response_1", short, "item_response_1"),
            events.TextDelta("response_1", " LATE", item_id="item_response_1"),
            events.ResponseDone("response_1", "cancelled"),
        )
        await fence(connection, record)
        late = round(transit.LATE_S * facts.output_rate) * 2
        assert 0 < len(ear.speech()) <= len(short) + late
        assert not [said for said in ear.agent_said() if "LATE" in said.text]
        await say(connection, "response_2", audio=short)
        await ear.done("response_2")
        assert ear.speech("response_2") == short
        if facts.ids:
            heard = ear.speech("response_1")
            await connection.send(events.AudioDelta("response_1", short, "item_response_1"))
            await fence(connection, record)
            assert ear.speech("response_1") == heard

    async def test_tn2_words_held_back(
        self,
        make: Make,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """What was held of an answer is shown after it was interrupted, too."""
        facts.need("transcription", "speech_events")
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=long, text="A canary", status=None)
        await is_interrupted(connection, facts, "user_3")
        await fence(connection, record)
        answering = make.listen(llm, answers=True)
        await answering.first(RealtimeUserSpeechStarted)
        await fence(connection, record)
        said = [(each.mode, each.text) for each in answering.agent_said()]
        assert said == [("final", "A canary")]

    async def test_tn2_late_words_for_the_caller(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The text of an answer goes on after the user interrupted it."""
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La la", status=None, request_id=request.request_id)
        await fence(connection, record)
        await is_interrupted(connection, facts)
        await connection.send(events.TextDelta("response_1", " LATE", item_id="item_response_1"))
        assert (await asking).text == "La la"

    async def test_tn2_an_answer_to_a_turn_that_is_over(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The user goes on speaking, and the agent answers the first half of the sentence."""
        facts.need("speech_events", "turn_detection")
        await hears(connection, "I had a canary", "user_1")
        await connection.send(events.UserSpeechStarted("user_2"))
        await say(connection, audio=short, text="TOO EARLY", status=None)
        stop = await connection.wait_for(events.CancelResponse)
        assert stop.response_id in (None, "response_1")
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("and a cat", True, "user_2"),
        )
        await say(connection, "response_2", audio=short, text="Oh, canary")
        await ear.done("response_2")
        assert not ear.chunks("response_1")
        assert not [said for said in ear.agent_said() if "EARLY" in said.text]
        assert ear.speech("response_2") == short
        assert len(connection.received(events.CancelResponse)) == 1

    async def test_tn2_an_answer_after_the_app_interrupts(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The app interrupts just before the agent speaks, and it speaks all the same."""
        facts.need("speech_events", "turn_detection")
        await hears(connection, "Is it a canary?", "user_1")
        await fence(connection, record)
        await llm.interrupt()
        await say(connection, audio=short, text="LATE", status=None)
        await connection.wait_for(events.CancelResponse)
        await connection.send(events.ResponseDone("response_1", "cancelled"))
        await hears(connection, "Hello, canary?", "user_2")
        await say(connection, "response_2", audio=short, text="Hello canary")
        await ear.done("response_2")
        assert not ear.chunks("response_1")
        assert ear.speech("response_2") == short
        assert not [said for said in ear.agent_said() if "LATE" in said.text]

    @pytest.mark.parametrize("by", ["the user", "the app"])
    async def test_tn2_a_request_that_was_interrupted(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
        by: str,
    ) -> None:
        """The answer to a request that was taken back is spoken all the same."""
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        if by == "the user":
            await is_interrupted(connection, facts)
            await connection.send(events.UserSpeechStopped("user_2"))
        else:
            await llm.interrupt()
        assert not (await asking).text
        await say(connection, audio=short, text="LATE", status=None, request_id=request.request_id)
        await stops(connection, facts)
        await fence(connection, record)
        assert not ear.chunks()
        assert not ear.agent_said()

    async def test_tn2_tools_of_an_interrupted_answer(
        self,
        make: Make,
        provider: loopback.Provider,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The user says stop, and the order is placed all the same, or talked about."""
        facts.need("tools")
        llm = make()
        called: list[str] = []
        goes_on = asyncio.Event()

        @llm.register_function("order", "Order a canary")
        async def order(name: str) -> str:
            called.append(name)
            await goes_on.wait()
            return "canary ordered"

        await llm.connect()
        connection = await provider.connection(2)
        record = make.record(llm)
        await say(connection, audio=short, status=None)
        await connection.send(
            events.ToolCall("response_1", "call_1", "order", '{"name": "early canary"}')
        )
        await fence(connection, record)
        await llm.interrupt()
        await connection.send(
            events.ToolCall("response_1", "call_2", "order", '{"name": "late canary"}'),
            events.ResponseDone("response_1", "cancelled"),
        )
        await fence(connection, record)
        goes_on.set()
        await fence(connection, record)
        asking = asyncio.create_task(final(native(llm, "Canary?")))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, "response_2", text="Yes", request_id=request.request_id)
        assert (await asking).text == "Yes", "the tool of the interrupted answer was talked about"
        assert called == ["early canary"]
        assert len(connection.received(events.CreateResponse)) == 1

    async def test_tn3_the_provider_is_told_to_stop(
        self,
        answering: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """A provider that does not stop by itself talks on, and is paid for it."""
        facts.need("speech_events")
        await say(connection, audio=long, status=None)
        await connection.send(events.UserSpeechStarted("user_2"))
        stop = await connection.wait_for(events.CancelResponse)
        assert stop.response_id in (None, "response_1")
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStarted("user_2"),
            events.UserSpeechStopped("user_2"),
        )
        await fence(connection, record)
        await fence(connection, record)
        assert len(connection.received(events.CancelResponse)) == 1

    @pytest.mark.parametrize(
        "ends",
        [events.Interrupted("response_1"), events.ResponseDone("response_1", "cancelled")],
        ids=["interrupted", "cancelled"],
    )
    async def test_tn3_a_provider_that_stopped(
        self,
        answering: Ear,
        connection: loopback.Connection,
        record: Recorder,
        long: bytes,
        ends: events.Event,
    ) -> None:
        """A provider that stops by itself is told to stop: the next answer may be hit."""
        await say(connection, audio=long, status=None)
        await connection.send(ends)
        await answering.done("response_1")
        await connection.send(
            events.UserSpeechStarted("user_2"), events.UserSpeechStopped("user_2")
        )
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(events.CancelResponse)

    async def test_tn3_a_finished_answer(
        self,
        answering: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Cancelling what is finished hits the next answer, or makes the provider complain."""
        await say(connection, audio=long)
        await answering.done("response_1")
        await is_interrupted(connection, facts)
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(events.CancelResponse)

    async def test_tn3_nothing_to_cancel(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The provider had just finished when it was told to stop: the agent sees an error."""
        facts.need("cancellation")
        await say(connection, audio=short, status=None)
        await connection.send(*(events.Fault(code, harmless=True) for code in wire.HARMLESS_CODES))
        await connection.send(events.ResponseDone("response_1"))
        await ear.done("response_1")
        await fence(connection, record)
        assert not record.errors
        assert ear.dones() == [RealtimeAudioOutputDone(False, "response_1")]

    async def test_tn4_the_app_interrupts(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
        short: bytes,
    ) -> None:
        """The app silences the agent; the provider goes on generating, and so does the bill."""
        facts.need("cancellation")
        await say(connection, audio=long, status=None)
        await fence(connection, record)
        await llm.interrupt()
        stop = await connection.wait_for(events.CancelResponse)
        assert stop.response_id in (None, "response_1")
        assert not _unheard(llm), "audio is still queued for the agent's track"
        await llm.interrupt()
        await connection.send(events.ResponseDone("response_1", "cancelled"))
        await fence(connection, record)
        assert not _ends(llm), "an end for an answer that the app cut itself"
        await say(connection, "response_2", audio=short)
        await fence(connection, record)
        assert [end.interrupted for end in _ends(llm)] == [False]
        assert len(connection.received(events.CancelResponse)) == 1

    async def test_tn4_nothing_to_interrupt(
        self, make: Make, llm: Realtime, connection: loopback.Connection, record: Recorder
    ) -> None:
        """An interrupt at the wrong moment breaks the agent, or the next answer."""
        await make().interrupt()
        await say(connection, text="A canary")
        await fence(connection, record)
        await llm.interrupt()
        await fence(connection, record)
        assert not _sent(connection)
        await say(connection, "response_2", audio=bytes(96), status=None)
        await fence(connection, record)
        connection.abort()
        await llm.interrupt()
        await llm.close()
        await llm.interrupt()

    async def test_tn4_the_flow_answers_a_barge_in(
        self,
        call: Call,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The flow's own interrupt() is taken for the app's: the provider is told twice."""
        await say(connection, audio=long, status=None)
        await call.track.until(lambda: bool(call.audible()), "speech on the track")
        await is_interrupted(connection, facts)
        await call.track.first(AudioOutputFlush)
        await fence(connection, record)
        expected = 1 if facts.speech_events else 0
        assert len(connection.received(events.CancelResponse)) == expected

    async def test_tn4_a_reply_asked_for_since(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The answer to a barge-in comes late, and takes the next reply with it."""
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            events.ResponseDone("response_1", "cancelled"), events.UserSpeechStopped("user_2")
        )
        await fence(connection, record)
        asking = asyncio.create_task(final(native(llm, "Go on, canary")))
        request = await connection.wait_for(events.CreateResponse)
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutputDone):
                break
        await llm.interrupt()  # as the flow does, now that it has seen the end
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"

    async def test_tn4_before_the_flow_saw_a_barge_in(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The flow never hears of a barge-in, and plays what it has buffered."""
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        await llm.interrupt()
        assert [end.interrupted for end in _ends(llm)] == [True]

    async def test_tn4_a_flow_that_is_slow(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The answer to a barge-in comes after the next reply began, and stops that."""
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("A canary?", True, "user_2"),
        )
        await say(connection, "response_2", text="La la", status=None)
        while not _words(llm):  # held back until nobody is expected to answer any more
            await fence(connection, record)
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutputDone):
                break
        sent = len(_sent(connection))
        await llm.interrupt()
        await connection.send(events.ResponseDone("response_2"))
        await fence(connection, record)
        assert _words(llm) == ["La la"]
        assert len(_sent(connection)) == sent

    async def test_tn4_after_a_barge_in(
        self,
        answering: Ear,
        llm: Realtime,
        connection: loopback.Connection,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Interrupted once by the user, the agent cannot be stopped by the app any more."""
        await say(connection, audio=long, status=None)
        await answering.first(RealtimeAudioOutput)
        await is_interrupted(connection, facts)
        await answering.done("response_1")
        await connection.send(
            events.ResponseDone("response_1", "cancelled"), events.UserSpeechStopped("user_2")
        )
        await say(connection, "response_2", audio=long, status=None)
        await answering.first(RealtimeAudioOutput, 2)
        await llm.interrupt()
        await connection.send(events.ResponseDone("response_2", "cancelled"))
        await say(connection, "response_3", audio=long)
        await answering.done("response_3")
        assert [end.response_id for end in answering.dones()] == ["response_1", "response_3"]

    async def test_tn4_interrupt_and_ask(
        self, call: Call, connection: loopback.Connection, facts: Facts, long: bytes, short: bytes
    ) -> None:
        """The agent is told to say something else, and says nothing."""
        facts.need("text")
        await say(connection, audio=long, status=None)
        await call.track.until(lambda: bool(call.audible()), "speech on the track")
        async with asyncio.TaskGroup() as group:
            group.create_task(call.flow.simple_response("Sing, canary", AGENT))
            request = await connection.wait_for(events.CreateResponse)
            await stops(connection, facts)
            await say(connection, "response_2", audio=short, request_id=request.request_id)
        await call.ends()
        assert transit.same(call.audible(), short, facts.output_rate)
        assert len(connection.received(events.CancelResponse)) == facts.cancellation

    async def test_tn5_once_per_turn(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """Whoever counts turns counts wrong: a start or an end too many, or none."""
        facts.need("speech_events")
        for number in (1, 2):
            item_id = f"user_{number}"
            await connection.send(
                events.UserSpeechStarted(item_id),
                events.UserSpeechStarted(item_id),
                events.UserSpeechStarted(),
                events.UserSpeechStopped(item_id),
                events.UserSpeechStopped(item_id),
                events.AudioCommitted(item_id),
                events.UserTranscript("A canary", True, item_id),
            )
            await say(connection, f"response_{number}", text="Yes")
        await fence(connection, record)
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        kinds = [type(item) for item in ear.items if isinstance(item, turns)]
        assert kinds == [RealtimeUserSpeechStarted, RealtimeUserSpeechEnded] * 2
        by = [item.participant for item in ear.items if isinstance(item, turns)]
        assert by == [ALICE] * 4

    async def test_tn5_a_turn_that_never_began(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """A turn ends that nobody saw begin."""
        facts.need("speech_events")
        await connection.send(events.UserSpeechStopped("user_1"))
        await fence(connection, record)
        assert not ear.of(RealtimeUserSpeechEnded)

    async def test_tn5_a_transcript_ends_no_turn(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """A turn ends as it begins, for what was said before is only now written down."""
        facts.need("speech_events", "transcription", "ids")
        await connection.send(
            events.UserSpeechStarted("user_1"),
            events.UserSpeechStopped("user_1"),
            events.UserSpeechStarted("user_2"),
            events.UserTranscript("A canary", True, "user_1"),
        )
        await fence(connection, record)
        assert len(ear.of(RealtimeUserSpeechStarted)) == 2
        assert len(ear.of(RealtimeUserSpeechEnded)) == 1

    async def test_tn5_the_start_is_missing(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """With a provider that only transcribes, the user never has a turn."""
        facts.need("transcription")
        for number in (1, 2):
            item_id = f"user_{number}"
            await connection.send(
                events.UserTranscript("A ", False, item_id),
                events.UserTranscript("canary", False, item_id),
                events.UserTranscript("A canary", True, item_id),
            )
            await say(connection, f"response_{number}", text="Yes")
        # A transcript may trail the turn it is of: nobody speaks while this is heard.
        await say(connection, "response_3", audio=long)
        await transit.spoken(connection)
        await connection.send(events.UserTranscript("Canary?", True, "user_3"))
        await fence(connection, record)
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        kinds = [type(item) for item in ear.items if isinstance(item, turns)]
        assert kinds == [RealtimeUserSpeechStarted, RealtimeUserSpeechEnded] * 3
        assert not [end for end in ear.dones() if end.interrupted]

    async def test_tn5_the_end_is_missing(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The agent answers, and the user is still said to be speaking."""
        facts.need("speech_events")
        await connection.send(events.UserSpeechStarted("user_1"))
        await say(connection, audio=short, text="A canary")
        await ear.done("response_1")
        ended = await ear.first(RealtimeUserSpeechEnded)
        assert ended.participant == ALICE
        order = [type(item) for item in ear.items]
        assert order.index(RealtimeUserSpeechEnded) < order.index(RealtimeAudioOutput)

    async def test_tn5_a_turn_after_a_barge_in(
        self,
        call: Call,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The turn that interrupts the agent has no beginning or no end."""
        for number in (1, 2):
            await say(connection, f"response_{number}", audio=long, status=None)
            await call.track.until(lambda: bool(call.audible()), "speech on the track")
            await is_interrupted(connection, facts, f"user_{number}")
            await connection.send(
                events.ResponseDone(f"response_{number}", "cancelled"),
                events.UserSpeechStopped(f"user_{number}"),
                events.UserTranscript("Stop, canary", True, f"user_{number}"),
            )
            await call.turns.first(UserTurnStartedEvent, number)
            await call.turns.first(UserTurnEndedEvent, number)
        await fence(connection, record)
        users = UserTurnStartedEvent | UserTurnEndedEvent
        kinds = [type(turn) for turn in call.turns.items if isinstance(turn, users)]
        assert kinds == [UserTurnStartedEvent, UserTurnEndedEvent] * 2

    async def test_tn5_who_began_the_turn(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The next speaker's turn is the one's before."""
        facts.need("speech_events")
        await hears(connection, "A canary", "user_1")
        await fence(connection, record)
        await speak(llm, A_WORD, BOB)
        await connection.send(events.UserSpeechStarted("user_2"))
        await fence(connection, record)
        await speak(llm, A_WORD, ALICE)
        await connection.send(events.UserSpeechStopped("user_2"))
        await fence(connection, record)
        assert [item.participant for item in ear.of(RealtimeUserSpeechStarted)] == [ALICE, BOB]
        assert [item.participant for item in ear.of(RealtimeUserSpeechEnded)] == [ALICE, BOB]

    async def test_tn5_the_agents_turns(
        self,
        answering: Ear,
        connection: loopback.Connection,
        facts: Facts,
        long: bytes,
        short: bytes,
    ) -> None:
        """The agent is said to speak when it does not, or twice, or not at all."""
        await say(connection, audio=[short, short], text="A canary")
        await answering.done("response_1")
        await say(connection, "response_2", text="In writing")
        await answering.done("response_2")
        await say(connection, "response_3", audio=[short, long], status=None)
        await answering.until(lambda: len(answering.chunks("response_3")) >= 2, "speech")
        await is_interrupted(connection, facts)
        await answering.done("response_3")
        await connection.send(events.ResponseDone("response_3", "cancelled"))
        turns = RealtimeAgentSpeechStarted | RealtimeAgentSpeechEnded
        assert [item for item in answering.items if isinstance(item, turns)] == [
            RealtimeAgentSpeechStarted("response_1"),
            RealtimeAgentSpeechEnded(False, "response_1"),
            RealtimeAgentSpeechStarted("response_3"),
            RealtimeAgentSpeechEnded(True, "response_3"),
        ]

    async def test_tn6_not_beyond_what_was_received(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The provider refuses to forget audio it never sent, and falls silent."""
        facts.need("truncation")
        await say(connection, audio=speech(20, facts.output_rate), status=None)
        await _plays_out(connection, record, 40)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        cuts = [cut.audio_end_ms for cut in connection.received(events.TruncateItem)]
        assert all(0 <= cut <= 20 for cut in cuts), f"received 20 ms, cut at {cuts} ms"

    @pytest.mark.parametrize("by", ["the user", "the app"])
    @pytest.mark.parametrize("status", [None, "completed"], ids=["generating", "playing"])
    async def test_tn6_no_more_than_was_played(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        facts: Facts,
        long: bytes,
        record: Recorder,
        status: events.ResponseStatus | None,
        by: str,
    ) -> None:
        """The model believes the user has heard what nobody heard."""
        facts.need("truncation")
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "A canary", item_id="item_response_1"),
        )
        await _plays_out(connection, record, 15)  # nothing yet
        began = time.perf_counter()
        await connection.send(events.AudioDelta("response_1", long, "item_response_1"))
        if status is not None:
            await connection.send(events.ResponseDone("response_1", status))
        await fence(connection, record)
        if by == "the user":
            await is_interrupted(connection, facts)
        else:
            await llm.interrupt()
        cut = await connection.wait_for(events.TruncateItem)
        played_ms = (time.perf_counter() - began) * 1000
        assert 0 <= cut.audio_end_ms <= played_ms
        assert cut.item_id == "item_response_1"
        await fence(connection, record)
        assert len(connection.received(events.TruncateItem)) == 1

    async def test_tn6_as_much_as_was_played(
        self, ear: Ear, connection: loopback.Connection, facts: Facts, long: bytes, record: Recorder
    ) -> None:
        """The model forgets what the user did hear, and says it again."""
        facts.need("truncation")
        await say(connection, audio=long, status=None)
        await ear.until(lambda: bool(ear.chunks()), "speech")
        began = time.perf_counter()
        await _plays_out(connection, record, 25)
        heard_ms = (time.perf_counter() - began) * 1000
        await is_interrupted(connection, facts)
        cut = await connection.wait_for(events.TruncateItem)
        assert cut.audio_end_ms >= int(heard_ms)

    async def test_tn6_answers_that_play_one_after_another(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        facts: Facts,
        long: bytes,
        record: Recorder,
    ) -> None:
        """The model believes the user has heard a second answer while the first one plays."""
        facts.need("truncation")
        began = time.perf_counter()
        await say(connection, audio=long)
        await say(connection, "response_2", audio=long, status=None)
        await _plays_out(connection, record, 20)
        await is_interrupted(connection, facts)
        await connection.wait_for(events.TruncateItem, 2)
        played_ms = (time.perf_counter() - began) * 1000
        cuts = connection.received(events.TruncateItem)
        assert {cut.item_id for cut in cuts} == {"item_response_1", "item_response_2"}
        assert sum(cut.audio_end_ms for cut in cuts) <= played_ms
        heard = [cut.audio_end_ms for cut in cuts if cut.item_id == "item_response_2"]
        assert heard == [0], "the first plays on, and of the second was nothing heard"

    async def test_tn6_an_answer_of_two_messages(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts, long: bytes
    ) -> None:
        """Of an answer in two parts, the first counts as heard."""
        facts.need("truncation", "ids")
        began = time.perf_counter()
        await connection.send(
            events.ResponseStarted("response_1"),
            events.AudioDelta("response_1", long, "item_1"),
            events.AudioDelta("response_1", long, "item_2"),
        )
        await is_interrupted(connection, facts)
        await connection.wait_for(events.CancelResponse)
        await connection.wait_for(events.TruncateItem, 2)
        played_ms = (time.perf_counter() - began) * 1000
        cuts = connection.received(events.TruncateItem)
        assert {cut.item_id for cut in cuts} == {"item_1", "item_2"}
        assert sum(cut.audio_end_ms for cut in cuts) <= played_ms

    async def test_tn6_nothing_to_forget(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The provider is told to forget what was written, and complains."""
        facts.need("truncation")
        await say(connection, text="A written canary", spoken=False, status=None)
        await is_interrupted(connection, facts)
        await ear.done("response_1")
        await fence(connection, record)
        assert not connection.received(events.TruncateItem)
