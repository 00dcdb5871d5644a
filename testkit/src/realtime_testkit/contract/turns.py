"""TN: who has the turn, and what happens to an answer that the user interrupts."""

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

from realtime_testkit import protocol
from realtime_testkit.agent_flow import AGENT, AgentFlow, RecordedConversation
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    BOB,
    NativeCall,
    begun,
    fence,
    final,
    hears,
    is_interrupted,
    passes,
    say,
    speak,
    stops,
)
from realtime_testkit.signals import (
    frames,
    speech,
    tone,
)
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)


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


def _sent(connection: Connection) -> list[protocol.Command]:
    """What the plugin said since the session began, audio left out."""
    return [each for each in connection.commands[1:] if not isinstance(each, protocol.AppendAudio)]


async def _plays_out(
    connection: Connection, record: EventRecorder, transport: Transport, ms: float
) -> None:
    """Let time pass, at least that many milliseconds of playback."""
    await fence(connection, record)
    over = time.perf_counter() + ms / 1000 + transport.late_s
    while time.perf_counter() < over:
        await fence(connection, record)


class Turns(Contract):
    """Turns of the user and the agent, barge-in and truncation."""

    @pytest.fixture(autouse=True)
    async def alice_speaks(
        self, llm: Realtime, connection: Connection, transport: Transport
    ) -> None:
        """Alice has said a word."""
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)

    @pytest.fixture
    def long(self, facts: Facts, transport: Transport) -> bytes:
        """Speech that still plays while a test does something."""
        return speech(transport.long_s * 1000, facts.output_rate)

    @pytest.fixture
    def short(self, facts: Facts) -> bytes:
        """Five frames of speech."""
        return speech(100, facts.output_rate)

    @pytest.fixture
    async def answering(self, make: Make, llm: Realtime) -> OutputRecorder:
        """The output, read by somebody who answers barge-ins as the agent's flow does."""
        return make.listen(llm, answers=True)

    async def test_tn1_barge_in_during_generation_clears_output(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Speech during generation clears the output and emits Done(interrupted=True) once."""
        await say(connection, audio=[long, long], text="A canary", status=None)
        await _begins_to_speak(llm)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        assert not _unheard(llm), "audio is still queued for the agent's track"
        assert [end.interrupted for end in _ends(llm)] == [True]

    async def test_tn1_barge_in_during_playback_clears_output(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Speech during playback clears the output and emits Done(interrupted=True) once."""
        # What is heard of it is longer than its last piece.
        await say(connection, audio=[long, speech(0.2, facts.output_rate)], text="A canary")
        await _begins_to_speak(llm)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        assert not _unheard(llm), "audio is still queued for the agent's track"
        assert sum(end.interrupted for end in _ends(llm)) == 1

    async def test_tn1_cancelled_response_is_announced_once(
        self, answering: OutputRecorder, connection: Connection, record: EventRecorder, long: bytes
    ) -> None:
        """A response cancelled by the provider ends with exactly one Done(interrupted=True)."""
        await say(connection, audio=long, status="cancelled")
        end = await answering.done("response_1")
        assert end.interrupted
        await fence(connection, record)
        assert len(answering.dones()) == 1

    async def test_tn1_several_signals_give_one_end(
        self,
        answering: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Several signals of one barge-in give exactly one Done(interrupted=True)."""
        await say(connection, audio=long, text="A canary", status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.Interrupted("response_1"), protocol.ResponseDone("response_1", "cancelled")
        )
        await fence(connection, record)
        await fence(connection, record)
        assert answering.dones() == [RealtimeAudioOutputDone(True, "response_1")]

    async def test_tn1_speech_in_silence_is_no_barge_in(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """Speech while nothing is said emits no interrupted end and sends nothing."""
        facts.need("speech_events")
        await hears(connection, "Canary?", "user_1")
        await say(connection, text="A silent canary")
        await hears(connection, "And a canary?", "user_2")
        await fence(connection, record)
        assert output.dones() == [RealtimeAudioOutputDone(False, "response_1")]
        assert not _sent(connection)

    async def test_tn1_speech_after_playback_is_no_barge_in(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Speech after an answer was played emits no interrupted end and sends nothing."""
        facts.need("speech_events")
        await say(connection, audio=speech(20, facts.output_rate))
        await _plays_out(connection, record, transport, 30)
        await hears(connection, "Canary!")
        await fence(connection, record)
        assert output.dones() == [RealtimeAudioOutputDone(False, "response_1")]
        assert not _sent(connection)

    async def test_tn1_flow_flushes_the_track(
        self, flow: AgentFlow, connection: Connection, facts: Facts, long: bytes
    ) -> None:
        """Speech during an answer flushes the agent's track and starts and ends the turns."""
        await say(connection, audio=long, text="A canary", status=None)
        await flow.plays()
        await is_interrupted(connection, facts)
        await flow.track.first(AudioOutputFlush)
        assert not flow.audible(), "the track plays on"
        ended = await flow.turns.first(AgentTurnEndedEvent)
        assert ended.interrupted
        await flow.turns.first(UserTurnStartedEvent)
        await connection.send(protocol.UserSpeechStopped("user_2"))
        if facts.speech_events:
            await flow.turns.first(UserTurnEndedEvent)

    async def test_tn1_next_answer_survives_the_flows_interrupt(
        self,
        flow: AgentFlow,
        connection: Connection,
        facts: Facts,
        long: bytes,
        short: bytes,
        transport: Transport,
    ) -> None:
        """The answer that follows a barge-in is heard whole and is in the conversation whole."""
        await say(connection, audio=long, text="A canary", status=None)
        await flow.plays()
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=short, text="The canary stops")
        await flow.ends()
        assert transport.same(flow.audible(), short, facts.output_rate)
        wanted = [("user", "Stop, canary.")] if facts.transcription else []
        await flow.reads(("assistant", "A canary"), *wanted, ("assistant", "The canary stops"))

    async def test_tn1_slow_conversation_loses_nothing_of_the_next_answer(
        self,
        llm: Realtime,
        watchdog: Watchdog,
        connection: Connection,
        facts: Facts,
        transport: Transport,
        long: bytes,
        short: bytes,
    ) -> None:
        """All audio of the next answer is heard where each message takes 0.2 s to store."""
        conversation = RecordedConversation(takes_s=0.2)
        flow = await watchdog.ending.enter_async_context(AgentFlow(llm, conversation))
        await say(connection, audio=long, text="A canary", status=None)
        await flow.plays()
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=[short] * 3, text="The canary stops")
        await flow.ends()
        assert transport.same(flow.audible(), short * 3, facts.output_rate)
        assert flow.lines[-1] == ("assistant", "The canary stops")

    @pytest.mark.parametrize("takes_s", [0.05, 0.3, 0.6])
    async def test_tn1_slow_reader_loses_nothing_of_the_next_answer(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        transport: Transport,
        long: bytes,
        short: bytes,
        takes_s: float,
    ) -> None:
        """All audio of the next answer is emitted however late the barge-in is answered."""
        answering = make.listen(llm, answers=True, takes_s=takes_s)
        await say(connection, audio=long, status=None)
        await answering.first(RealtimeAudioOutput)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"), protocol.UserSpeechStopped("user_2")
        )
        await say(connection, "response_2", audio=[short] * 3)
        await answering.done("response_2")
        assert transport.same(answering.speech("response_2"), short * 3, facts.output_rate)
        assert [end.interrupted for end in answering.dones()] == [True, False]

    async def test_tn1_app_interrupts_before_the_flow_answers(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
        short: bytes,
    ) -> None:
        """interrupt() by another task than the reader's is the app's, and stops the next answer.

        The reader answers the barge-in afterwards, and the answer after that is emitted.
        """
        answering = make.listen(llm, answers=True, takes_s=0.3)
        await say(connection, audio=long, status=None)
        await answering.first(RealtimeAudioOutput)
        await is_interrupted(connection, facts)
        await answering.done("response_1")
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"), protocol.UserSpeechStopped("user_2")
        )
        await say(connection, "response_2", audio=short, text="UNWANTED", status=None)
        await fence(connection, record)
        await llm.interrupt()
        await connection.send(protocol.ResponseDone("response_2", "cancelled"))
        await say(connection, "response_3", audio=short)
        await answering.done("response_3")
        assert not answering.chunks("response_2")
        assert answering.speech("response_3") == short

    async def test_tn1_barge_in_is_announced_once(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The next speech clears nothing and ends no response that was interrupted before."""
        facts.need("speech_events", "transcription")
        await say(connection, audio=long, status=None)
        await connection.send(protocol.UserSpeechStarted("user_2"))
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutputDone):
                break
        await llm.interrupt()  # as the flow does
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
            protocol.UserSpeechStarted("user_3"),
        )
        await fence(connection, record)
        left = {item.text for item in llm.output.peek() if isinstance(item, RealtimeUserTranscript)}
        assert left == {"Stop, canary."}, "cleared, though nobody was speaking"
        assert not _ends(llm)

    async def test_tn1_every_barge_in_is_announced(
        self, answering: OutputRecorder, connection: Connection, facts: Facts, long: bytes
    ) -> None:
        """Each of three barge-ins is announced once, and no item is truncated twice."""
        for number in (1, 2, 3):
            response_id = f"response_{number}"
            await say(connection, response_id, audio=long, status=None)
            await answering.first(RealtimeAudioOutput, number)
            await is_interrupted(connection, facts, f"user_{number}")
            end = await answering.done(response_id)
            assert end.interrupted
            await connection.send(
                protocol.ResponseDone(response_id, "cancelled"),
                protocol.UserSpeechStopped(f"user_{number}"),
            )
        assert len(answering.dones()) == 3
        cut = [each.item_id for each in connection.received(protocol.TruncateItem)]
        assert len(cut) == len(set(cut)), f"cut off what was cut off before: {cut}"

    async def test_tn2_late_audio_and_text_are_dropped(
        self,
        answering: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
        long: bytes,
    ) -> None:
        """Audio, text and the end of an interrupted response that arrive late are not emitted."""
        await say(connection, audio=long, text="A canary", status=None)
        await answering.until(lambda: bool(answering.chunks()), "speech")
        await is_interrupted(connection, facts)
        await answering.done("response_1")
        heard = len(answering.items)
        await connection.send(
            protocol.AudioDelta("response_1", short, "item_response_1"),
            protocol.TextDelta("response_1", " LATE", item_id="item_response_1"),
            protocol.TextDone("response_1", "A canary LATE", item_id="item_response_1"),
            protocol.ResponseDone("response_1"),
        )
        await fence(connection, record)
        late = answering.items[heard:]
        assert not [each for each in late if isinstance(each, RealtimeAudioOutput)]
        assert not [said for said in answering.agent_said() if "LATE" in said.text]
        assert len(answering.dones()) == 1

    async def test_tn2_late_deltas_after_interrupt_are_dropped(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
        transport: Transport,
    ) -> None:
        """After interrupt(), audio and text of the response are dropped, however late."""
        await say(connection, audio=short, text="A canary", status=None)
        await output.until(lambda: bool(output.chunks()), "speech")
        await llm.interrupt()
        await connection.send(
            protocol.AudioDelta("response_1", short, "item_response_1"),
            protocol.TextDelta("response_1", " LATE", item_id="item_response_1"),
            protocol.ResponseDone("response_1", "cancelled"),
        )
        await fence(connection, record)
        late = round(transport.late_s * facts.output_rate) * 2
        assert 0 < len(output.speech()) <= len(short) + late
        assert not [said for said in output.agent_said() if "LATE" in said.text]
        await say(connection, "response_2", audio=short)
        await output.done("response_2")
        assert output.speech("response_2") == short
        if facts.ids:
            heard = output.speech("response_1")
            await connection.send(protocol.AudioDelta("response_1", short, "item_response_1"))
            await fence(connection, record)
            assert output.speech("response_1") == heard

    async def test_tn2_queued_deltas_of_an_interrupted_answer_are_dropped(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Of an answer interrupted before the flow took it, no more than a final is emitted."""
        facts.need("transcription", "speech_events")
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=long, text="A canary", status=None)
        await is_interrupted(connection, facts, "user_3")
        await fence(connection, record)
        answering = make.listen(llm, answers=True)
        await answering.first(RealtimeUserSpeechStarted)
        await fence(connection, record)
        said = [(each.mode, each.text) for each in answering.agent_said()]
        assert said in ([], [("final", "A canary")])

    async def test_tn2_caller_gets_no_late_text(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """The caller of an interrupted response gets the text from before the barge-in."""
        asking = begun(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La la", status=None, request_id=request.request_id)
        await fence(connection, record)
        await is_interrupted(connection, facts)
        await connection.send(protocol.TextDelta("response_1", " LATE", item_id="item_response_1"))
        assert (await asking).text == "La la"

    async def test_tn2_answer_to_a_turn_that_went_on_is_cancelled(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """A response begun while the user speaks again is cancelled and not emitted.

        The response that follows the whole turn is emitted.
        """
        facts.need("speech_events", "turn_detection")
        await hears(connection, "I had a canary", "user_1")
        await connection.send(protocol.UserSpeechStarted("user_2"))
        await say(connection, audio=short, text="TOO EARLY", status=None)
        await stops(connection, facts)
        await connection.send(
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("and a cat", True, "user_2"),
        )
        await say(connection, "response_2", audio=short, text="Oh, canary")
        await output.done("response_2")
        assert not output.chunks("response_1")
        assert not [said for said in output.agent_said() if "EARLY" in said.text]
        assert output.speech("response_2") == short
        assert len(connection.received(protocol.CancelResponse)) == facts.cancellation

    async def test_tn2_answer_due_at_an_interrupt_is_cancelled(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The answer due to the user's turn is cancelled and not emitted after interrupt()."""
        facts.need("speech_events", "turn_detection")
        await hears(connection, "Is it a canary?", "user_1")
        await fence(connection, record)
        await llm.interrupt()
        await say(connection, audio=short, text="LATE", status=None)
        await stops(connection, facts)
        await hears(connection, "Hello, canary?", "user_2")
        await say(connection, "response_2", audio=short, text="Hello canary")
        await output.done("response_2")
        assert not output.chunks("response_1")
        assert output.speech("response_2") == short
        assert not [said for said in output.agent_said() if "LATE" in said.text]

    async def test_tn2_turn_after_one_that_was_not_answered_is_answered(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The next answer is emitted where the one due at interrupt() never begins."""
        facts.need("speech_events", "turn_detection")
        await hears(connection, "Is it a canary?", "user_1")
        await fence(connection, record)
        await llm.interrupt()
        await hears(connection, "Hello, canary?", "user_2")
        await say(connection, audio=short, text="Hello canary")
        await output.done("response_1")
        assert output.speech() == short

    async def test_tn2_slow_answer_due_at_an_interrupt_is_cancelled(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """The answer due at interrupt() is cancelled, too, if requests no longer wait for it."""
        facts.need("text", "speech_events", "turn_detection", "request_ids")
        await hears(connection, "Is it a canary?", "user_1")
        await fence(connection, record)
        await llm.interrupt()
        asked = begun(final(llm.simple_response("Sing something")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La la", request_id=request.request_id)
        assert (await asked).text == "La la"
        await say(connection, "response_2", audio=short, text="LATE", status=None)
        await stops(connection, facts, "response_2")
        await fence(connection, record)
        assert not output.chunks("response_2")
        assert not [said for said in output.agent_said() if "LATE" in said.text]

    @pytest.mark.parametrize("by", ["the user", "the app"])
    async def test_tn2_answer_to_an_interrupted_request_is_dropped(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
        by: str,
        native: NativeCall,
    ) -> None:
        """The response to a request interrupted before it began is stopped and not emitted."""
        asking = begun(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        if by == "the user":
            await is_interrupted(connection, facts)
            await connection.send(protocol.UserSpeechStopped("user_2"))
        else:
            await llm.interrupt()
        assert not (await asking).text
        await say(connection, audio=short, text="LATE", status=None, request_id=request.request_id)
        if facts.cancellation:
            await connection.wait_for(protocol.CancelResponse)
        await llm.interrupt()  # again, while it is being stopped
        await stops(connection, facts)
        await fence(connection, record)
        assert len(connection.received(protocol.CancelResponse)) == facts.cancellation
        assert not output.chunks()
        assert not output.agent_said()

    async def test_tn2_tools_of_an_interrupted_answer_start_no_answer(
        self, make: Make, provider: Provider, facts: Facts, short: bytes, native: NativeCall
    ) -> None:
        """After interrupt(), later calls are not run and a running tool starts no answer."""
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
            protocol.ToolCall("response_1", "call_1", "order", '{"name": "early canary"}')
        )
        await fence(connection, record)
        await llm.interrupt()
        await connection.send(
            protocol.ToolCall("response_1", "call_2", "order", '{"name": "late canary"}'),
            protocol.ResponseDone("response_1", "cancelled"),
        )
        await fence(connection, record)
        goes_on.set()
        await fence(connection, record)
        asking = begun(final(native(llm, "Canary?")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="Yes", request_id=request.request_id)
        assert (await asking).text == "Yes", "the tool of the interrupted answer was talked about"
        assert called == ["early canary"]
        assert len(connection.received(protocol.CreateResponse)) == 1

    async def test_tn3_barge_in_sends_one_cancel(
        self,
        answering: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """A provider that goes on by itself gets exactly one CancelResponse."""
        facts.need("speech_events", "cancellation")
        await say(connection, audio=long, status=None)
        await connection.send(protocol.UserSpeechStarted("user_2"))
        stop = await connection.wait_for(protocol.CancelResponse)
        assert stop.response_id in (None, "response_1")
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStarted("user_2"),
            protocol.UserSpeechStopped("user_2"),
        )
        await fence(connection, record)
        await fence(connection, record)
        assert len(connection.received(protocol.CancelResponse)) == 1

    @pytest.mark.parametrize(
        "ends",
        [protocol.Interrupted("response_1"), protocol.ResponseDone("response_1", "cancelled")],
        ids=["interrupted", "cancelled"],
    )
    async def test_tn3_stopped_response_is_not_cancelled(
        self,
        answering: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        long: bytes,
        ends: protocol.Event,
    ) -> None:
        """No CancelResponse is sent for a response that the provider stopped by itself."""
        await say(connection, audio=long, status=None)
        await connection.send(ends)
        await answering.done("response_1")
        await connection.send(
            protocol.UserSpeechStarted("user_2"), protocol.UserSpeechStopped("user_2")
        )
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(protocol.CancelResponse)

    async def test_tn3_finished_response_is_not_cancelled(
        self,
        answering: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """No CancelResponse is sent for a response that was generated to its end."""
        await say(connection, audio=long)
        await answering.done("response_1")
        await is_interrupted(connection, facts)
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(protocol.CancelResponse)

    async def test_tn3_nothing_to_cancel_is_no_error(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """An error for a cancel that came too late gives no error event and no other end."""
        facts.need("cancellation", "harmless_codes")
        await say(connection, audio=short, status=None)
        await connection.send(
            *(protocol.Fault(code, harmless=True) for code in facts.harmless_codes)
        )
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        await fence(connection, record)
        assert not record.errors
        assert output.dones() == [RealtimeAudioOutputDone(False, "response_1")]

    async def test_tn4_interrupt_cancels_the_response(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
        short: bytes,
    ) -> None:
        """interrupt() clears the output and sends one CancelResponse.

        The next response is emitted.
        """
        facts.need("cancellation")
        await say(connection, audio=long, status=None)
        await fence(connection, record)
        await llm.interrupt()
        stop = await connection.wait_for(protocol.CancelResponse)
        assert stop.response_id in (None, "response_1")
        assert not _unheard(llm), "audio is still queued for the agent's track"
        await llm.interrupt()
        await connection.send(protocol.ResponseDone("response_1", "cancelled"))
        await fence(connection, record)
        assert not _ends(llm), "an end for an answer that the app cut itself"
        await say(connection, "response_2", audio=short)
        await fence(connection, record)
        assert [end.interrupted for end in _ends(llm)] == [False]
        assert len(connection.received(protocol.CancelResponse)) == 1

    async def test_tn4_interrupt_in_silence_sends_nothing(
        self, make: Make, llm: Realtime, connection: Connection, record: EventRecorder
    ) -> None:
        """interrupt() while nothing is said sends nothing and raises nothing.

        That holds before connect(), after a finished response, while the connection breaks and after
        close().
        """
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

    async def test_tn4_flows_interrupt_sends_no_second_cancel(
        self,
        flow: AgentFlow,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The flow's interrupt() in answer to a barge-in sends no second CancelResponse."""
        await say(connection, audio=long, status=None)
        await flow.plays()
        await is_interrupted(connection, facts)
        await flow.track.first(AudioOutputFlush)
        await fence(connection, record)
        expected = facts.speech_starts and facts.cancellation
        assert len(connection.received(protocol.CancelResponse)) == expected

    async def test_tn4_flows_interrupt_keeps_a_newer_request(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
        native: NativeCall,
    ) -> None:
        """The flow's interrupt() in answer to a barge-in does not end a newer request."""
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"), protocol.UserSpeechStopped("user_2")
        )
        await say(connection, "response_2", text="Yes?")  # the answer that was due to the user
        await fence(connection, record)
        asking = begun(final(native(llm, "Go on, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutputDone):
                break
        await llm.interrupt()  # as the flow does, now that it has seen the end
        await say(connection, "response_3", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"

    async def test_tn4_interrupt_keeps_an_announcement_not_taken_yet(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """interrupt() keeps a Done(interrupted=True) that nobody has taken yet."""
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        await llm.interrupt()
        assert [end.interrupted for end in _ends(llm)] == [True]

    async def test_tn4_late_answer_of_the_flow_keeps_the_next_answer(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """The flow's interrupt() keeps the next answer and sends nothing, however late it is."""
        await say(connection, audio=long, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("A canary?", True, "user_2"),
        )
        await say(connection, "response_2", text="La la", status=None)
        while not _words(llm):  # a plugin may hold them back for a while
            await fence(connection, record)
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutputDone):
                break
        await fence(connection, record)
        sent = len(_sent(connection))
        await llm.interrupt()
        await connection.send(protocol.ResponseDone("response_2"))
        await fence(connection, record)
        assert "".join(_words(llm)) in ("La la", "La laLa la"), "deltas, and perhaps the final"
        assert len(_sent(connection)) == sent

    async def test_tn4_app_can_interrupt_after_a_barge_in(
        self,
        answering: OutputRecorder,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        long: bytes,
    ) -> None:
        """After an answered barge-in, interrupt() by the app stops the next response."""
        await say(connection, audio=long, status=None)
        await answering.first(RealtimeAudioOutput)
        await is_interrupted(connection, facts)
        await answering.done("response_1")
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"), protocol.UserSpeechStopped("user_2")
        )
        await say(connection, "response_2", audio=long, status=None)
        await answering.first(RealtimeAudioOutput, 2)
        await llm.interrupt()
        await connection.send(protocol.ResponseDone("response_2", "cancelled"))
        await say(connection, "response_3", audio=long)
        await answering.done("response_3")
        assert [end.response_id for end in answering.dones()] == ["response_1", "response_3"]

    async def test_tn4_request_after_an_interrupt_is_heard(
        self,
        flow: AgentFlow,
        connection: Connection,
        facts: Facts,
        long: bytes,
        short: bytes,
        transport: Transport,
    ) -> None:
        """flow.simple_response() stops the answer, and the requested one is heard whole."""
        facts.need("text")
        await say(connection, audio=long, status=None)
        await flow.plays()
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.flow.simple_response("Sing, canary", AGENT))
            await stops(connection, facts)
            request = await connection.wait_for(protocol.CreateResponse)
            await say(connection, "response_2", audio=short, request_id=request.request_id)
        await flow.ends()
        assert transport.same(flow.audible(), short, facts.output_rate)
        assert len(connection.received(protocol.CancelResponse)) == facts.cancellation

    async def test_tn1_barge_in_after_a_stall_is_announced(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A user who speaks while the end of an answer is heard, which had a pause, interrupts it."""
        sound = speech(100, facts.output_rate)
        await say(connection, audio=sound, text="A canary", status=None)
        await output.first(RealtimeAudioOutput)
        await passes(0.4)
        await connection.send(
            protocol.AudioDelta("response_1", sound * 3, "item_response_1"),
            protocol.ResponseDone("response_1"),
        )
        await fence(connection, record, spoken=False)
        await is_interrupted(connection, facts)
        await output.until(
            lambda: any(end.interrupted for end in output.dones("response_1")), "the barge-in"
        )

    async def test_tn1_barge_in_over_speech_of_a_lost_session_is_announced(
        self,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """What is still heard of a session that is lost is interrupted in the next, untruncated."""
        facts.need("speech_events")
        transport.needs_messages()
        await say(connection, audio=speech(20_000, facts.output_rate), text="A canary sings")
        await output.done("response_1")
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await again.send(protocol.UserSpeechStarted("user_2"))
        await output.until(
            lambda: any(end.interrupted for end in output.dones("response_1")), "the barge-in"
        )
        await fence(again, record)
        assert not again.received(protocol.TruncateItem)

    async def test_tn5_turn_starts_and_ends_once(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """Repeated signals of one turn give one start and one end, attributed to the speaker."""
        facts.need("speech_events")
        for number in (1, 2):
            item_id = f"user_{number}"
            await connection.send(
                protocol.UserSpeechStarted(item_id),
                protocol.UserSpeechStarted(item_id),
                protocol.UserSpeechStarted(),
                protocol.UserSpeechStopped(item_id),
                protocol.UserSpeechStopped(item_id),
                protocol.AudioCommitted(item_id),
                protocol.UserTranscript("A canary", True, item_id),
            )
            await say(connection, f"response_{number}", text="Yes")
        await fence(connection, record)
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        kinds = [type(item) for item in output.items if isinstance(item, turns)]
        assert kinds == [RealtimeUserSpeechStarted, RealtimeUserSpeechEnded] * 2
        by = [item.participant for item in output.items if isinstance(item, turns)]
        assert by == [ALICE] * 4

    async def test_tn5_stop_without_start_is_ignored(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A speech stop without a start emits no end of a turn."""
        facts.need("speech_events")
        await connection.send(protocol.UserSpeechStopped("user_1"))
        await fence(connection, record)
        assert not output.of(RealtimeUserSpeechEnded)

    async def test_tn5_late_transcript_ends_no_turn(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """The transcript of an earlier turn does not end the turn in progress."""
        facts.need("speech_events", "transcription", "ids")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.UserSpeechStarted("user_2"),
            protocol.UserTranscript("A canary", True, "user_1"),
        )
        await fence(connection, record)
        assert len(output.of(RealtimeUserSpeechStarted)) == 2
        assert len(output.of(RealtimeUserSpeechEnded)) == 1

    async def test_tn5_transcripts_alone_make_turns(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
        transport: Transport,
    ) -> None:
        """Without reports of speech, each transcript gives one start and one end of a turn.

        None of them is a barge-in.
        """
        facts.need("transcription")
        for number in (1, 2):
            item_id = f"user_{number}"
            await connection.send(
                protocol.UserTranscript("A ", False, item_id),
                protocol.UserTranscript("canary", False, item_id),
                protocol.UserTranscript("A canary", True, item_id),
            )
            await say(connection, f"response_{number}", text="Yes")
        # A transcript may trail the turn it is of: nobody speaks while this is heard.
        await say(connection, "response_3", audio=long)
        await transport.spoken(connection)
        await connection.send(protocol.UserTranscript("Canary?", True, "user_3"))
        await fence(connection, record)
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        kinds = [type(item) for item in output.items if isinstance(item, turns)]
        assert kinds == [RealtimeUserSpeechStarted, RealtimeUserSpeechEnded] * 3
        assert not [end for end in output.dones() if end.interrupted]

    async def test_tn5_answer_ends_the_users_turn(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        short: bytes,
    ) -> None:
        """Without a report of the end of speech, the turn ends before the answer's audio."""
        facts.need("speech_events")
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await say(connection, audio=short, text="A canary")
        await output.done("response_1")
        ended = await output.first(RealtimeUserSpeechEnded)
        assert ended.participant == ALICE
        order = [type(item) for item in output.items]
        assert order.index(RealtimeUserSpeechEnded) < order.index(RealtimeAudioOutput)

    async def test_tn5_interrupting_turns_start_and_end_once(
        self,
        flow: AgentFlow,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Each turn that interrupts the agent starts and ends once in the agent's flow."""
        for number in (1, 2):
            await say(connection, f"response_{number}", audio=long, status=None)
            await flow.plays()
            await is_interrupted(connection, facts, f"user_{number}")
            await connection.send(
                protocol.ResponseDone(f"response_{number}", "cancelled"),
                protocol.UserSpeechStopped(f"user_{number}"),
                protocol.UserTranscript("Stop, canary", True, f"user_{number}"),
            )
            await flow.turns.first(UserTurnStartedEvent, number)
            await flow.turns.first(UserTurnEndedEvent, number)
        await fence(connection, record)
        users = UserTurnStartedEvent | UserTurnEndedEvent
        kinds = [type(turn) for turn in flow.turns.items if isinstance(turn, users)]
        assert kinds == [UserTurnStartedEvent, UserTurnEndedEvent] * 2

    async def test_tn5_turn_belongs_to_who_began_it(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """A turn is attributed to the participant whose audio preceded its start."""
        facts.need("speech_events")
        await hears(connection, "A canary", "user_1")
        await fence(connection, record)
        await speak(llm, transport, A_WORD, BOB)
        await connection.send(protocol.UserSpeechStarted("user_2"))
        await fence(connection, record)
        await speak(llm, transport, A_WORD, ALICE)
        await connection.send(protocol.UserSpeechStopped("user_2"))
        await fence(connection, record)
        assert [item.participant for item in output.of(RealtimeUserSpeechStarted)] == [ALICE, BOB]
        assert [item.participant for item in output.of(RealtimeUserSpeechEnded)] == [ALICE, BOB]

    async def test_tn5_agent_speech_starts_and_ends_once(
        self,
        answering: OutputRecorder,
        connection: Connection,
        facts: Facts,
        long: bytes,
        short: bytes,
    ) -> None:
        """The agent's speech starts and ends once per spoken response, with the right flag.

        A written response has neither.
        """
        await say(connection, audio=[short, short], text="A canary")
        await answering.done("response_1")
        await say(connection, "response_2", text="In writing")
        await answering.done("response_2")
        await say(connection, "response_3", audio=[short, long], status=None)
        await answering.until(lambda: len(answering.chunks("response_3")) >= 2, "speech")
        await is_interrupted(connection, facts)
        await answering.done("response_3")
        await connection.send(protocol.ResponseDone("response_3", "cancelled"))
        turns = RealtimeAgentSpeechStarted | RealtimeAgentSpeechEnded
        assert [item for item in answering.items if isinstance(item, turns)] == [
            RealtimeAgentSpeechStarted("response_1"),
            RealtimeAgentSpeechEnded(False, "response_1"),
            RealtimeAgentSpeechStarted("response_3"),
            RealtimeAgentSpeechEnded(True, "response_3"),
        ]

    async def test_tn6_truncation_stays_within_received_audio(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """TruncateItem never names a time beyond the audio that was received."""
        facts.need("truncation")
        await say(connection, audio=speech(20, facts.output_rate), status=None)
        await _plays_out(connection, record, transport, 40)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        cuts = [cut.audio_end_ms for cut in connection.received(protocol.TruncateItem)]
        assert all(0 <= cut <= 20 for cut in cuts), f"received 20 ms, cut at {cuts} ms"

    @pytest.mark.parametrize("by", ["the user", "the app"])
    @pytest.mark.parametrize("status", [None, "completed"], ids=["generating", "playing"])
    async def test_tn6_truncation_is_no_later_than_playback(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        long: bytes,
        record: EventRecorder,
        status: protocol.ResponseStatus | None,
        by: str,
        transport: Transport,
    ) -> None:
        """TruncateItem names the item once, and no more of its audio than can have been played."""
        facts.need("truncation")
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "A canary", item_id="item_response_1"),
        )
        await _plays_out(connection, record, transport, 15)  # nothing yet
        began = time.perf_counter()
        await connection.send(protocol.AudioDelta("response_1", long, "item_response_1"))
        if status is not None:
            await connection.send(protocol.ResponseDone("response_1", status))
        await fence(connection, record)
        if by == "the user":
            await is_interrupted(connection, facts)
        else:
            await llm.interrupt()
        cut = await connection.wait_for(protocol.TruncateItem)
        played_ms = (time.perf_counter() - began) * 1000
        assert 0 <= cut.audio_end_ms <= played_ms
        assert cut.item_id == "item_response_1"
        await fence(connection, record)
        assert len(connection.received(protocol.TruncateItem)) == 1

    async def test_tn6_truncation_keeps_what_was_played(
        self,
        output: OutputRecorder,
        connection: Connection,
        facts: Facts,
        long: bytes,
        record: EventRecorder,
        transport: Transport,
    ) -> None:
        """TruncateItem names at least as much audio as was played."""
        facts.need("truncation")
        await say(connection, audio=long, status=None)
        await output.until(lambda: bool(output.chunks()), "speech")
        began = time.perf_counter()
        await _plays_out(connection, record, transport, 25)
        heard_ms = (time.perf_counter() - began) * 1000
        await is_interrupted(connection, facts)
        cut = await connection.wait_for(protocol.TruncateItem)
        assert cut.audio_end_ms >= int(heard_ms)

    async def test_tn6_queued_answer_counts_as_unheard(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        long: bytes,
        record: EventRecorder,
        transport: Transport,
    ) -> None:
        """A second answer is truncated to 0 ms while the first one still plays."""
        facts.need("truncation")
        began = time.perf_counter()
        await say(connection, audio=long)
        await say(connection, "response_2", audio=long, status=None)
        await _plays_out(connection, record, transport, 20)
        await is_interrupted(connection, facts)
        await connection.wait_for(protocol.TruncateItem, 2)
        played_ms = (time.perf_counter() - began) * 1000
        cuts = connection.received(protocol.TruncateItem)
        assert {cut.item_id for cut in cuts} == {"item_response_1", "item_response_2"}
        assert sum(cut.audio_end_ms for cut in cuts) <= played_ms
        heard = [cut.audio_end_ms for cut in cuts if cut.item_id == "item_response_2"]
        assert heard == [0], "the first plays on, and of the second was nothing heard"

    async def test_tn6_each_item_of_an_answer_is_truncated(
        self, llm: Realtime, connection: Connection, facts: Facts, long: bytes
    ) -> None:
        """Both spoken items of one response are truncated, together to no more than was played."""
        facts.need("truncation", "ids")
        began = time.perf_counter()
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.AudioDelta("response_1", long, "item_1"),
            protocol.AudioDelta("response_1", long, "item_2"),
        )
        await is_interrupted(connection, facts)
        await connection.wait_for(protocol.TruncateItem, 2)
        played_ms = (time.perf_counter() - began) * 1000
        cuts = connection.received(protocol.TruncateItem)
        assert {cut.item_id for cut in cuts} == {"item_1", "item_2"}
        assert sum(cut.audio_end_ms for cut in cuts) <= played_ms

    async def test_tn6_second_interruption_truncates_nothing_again(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        long: bytes,
    ) -> None:
        """Two interruptions before the cancel is confirmed send one cancel and one truncation."""
        facts.need("truncation", "cancellation", "speech_starts")
        await say(connection, audio=long, status=None)
        await output.until(lambda: bool(output.chunks()), "speech")
        await llm.interrupt()
        await llm.interrupt()
        await is_interrupted(connection, facts)
        await fence(connection, record)
        await connection.send(protocol.ResponseDone("response_1", "cancelled"))
        await fence(connection, record)
        assert len(connection.received(protocol.CancelResponse)) == 1
        cut = [each.item_id for each in connection.received(protocol.TruncateItem)]
        assert len(cut) == len(set(cut)), f"truncated again: {cut}"

    async def test_tn6_written_answer_is_not_truncated(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """No TruncateItem is sent for an answer without audio."""
        facts.need("truncation")
        await say(connection, text="A written canary", spoken=False, status=None)
        await is_interrupted(connection, facts)
        await output.done("response_1")
        await fence(connection, record)
        assert not connection.received(protocol.TruncateItem)

    @pytest.mark.parametrize("respond", [True, False])
    @pytest.mark.parametrize("order", ["transcript first", "answer first"])
    async def test_tn7_committed_turn_starts_and_ends_once(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
        respond: bool,
        order: str,
    ) -> None:
        """With push-to-talk each turn starts and ends once, whenever its transcript comes."""
        facts.need("manual_turns", "transcription")
        await llm.update_session(turn_detection=False)
        requests = 0
        for number in (1, 2):
            await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000), ALICE)
            await llm.commit_audio(respond=respond)
            await connection.wait_for(protocol.CommitAudio, number)
            transcript = protocol.UserTranscript(f"Canary {number}.", True, f"user_{number}")
            await connection.say_if_supported(protocol.AudioCommitted(f"user_{number}"))
            if order == "transcript first":
                await connection.send(transcript)
            if respond:
                requests += 1
                request = await connection.wait_for(protocol.CreateResponse, requests)
                await say(
                    connection, f"response_{number}", text="Yes", request_id=request.request_id
                )
            if order == "answer first":
                await connection.send(transcript)
            await fence(connection, record)
        await output.until(lambda: len(output.user_lines()) == 2, "two transcripts")
        await fence(connection, record)
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        kinds = [type(item) for item in output.items if isinstance(item, turns)]
        assert kinds == [RealtimeUserSpeechStarted, RealtimeUserSpeechEnded] * 2
        assert not [end for end in output.dones() if end.interrupted]
