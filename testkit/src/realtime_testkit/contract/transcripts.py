"""TR: what both sides said is in the conversation, once, in order, with its speaker."""

import asyncio
import time

import pytest
from vision_agents.core.agents.events import UserTurnEndedEvent, UserTurnStartedEvent
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeUserTranscript,
)

from realtime_testkit import protocol
from realtime_testkit.agent_flow import AGENT, AgentFlow, Line
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    BOB,
    Asked,
    NativeCall,
    continuation,
    fence,
    hears,
    is_interrupted,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import (
    frames,
    ramp,
    speech,
    tone,
)
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)


class Transcripts(Contract):
    """Transcripts of both sides, and the conversation they make."""

    @pytest.fixture(autouse=True)
    async def alice_speaks(self, llm: Realtime, transport: Transport) -> None:
        """Alice has said a word."""
        await speak(llm, transport, A_WORD, ALICE)

    async def test_tr1_user_pieces_and_final_make_one_message(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """Pieces and the final transcript of a turn give one message with the final text.

        It is shown as it grows.
        """
        facts.need("transcription", "partial_transcripts")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.UserTranscript("I like ", False, "user_1"),
            protocol.UserTranscript("canaries", False, "user_1"),
        )
        await flow.conversation.changes.until(
            lambda: flow.lines == [("user", "I like canaries")], "transcript as it comes"
        )
        assert flow.unfinished, "complete before the provider said so"
        await connection.send(protocol.UserTranscript("I like canaries.", True, "user_1"))
        await _is_answered(connection, flow, ("user", "I like canaries."))

    async def test_tr1_empty_final_completes_the_pieces(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """A user's message made of pieces alone is completed by an empty final transcript."""
        facts.need("transcription", "partial_transcripts")
        lines: list[Line] = []
        for whose in ("my ", "your "):
            await connection.send(
                protocol.UserSpeechStarted(),
                protocol.UserSpeechStopped(),
                protocol.UserTranscript(whose, False),
                protocol.UserTranscript("canary", False),
                protocol.UserTranscript("", True),
            )
            lines.append(("user", f"{whose}canary"))
            await flow.reads(*lines, finished=False)
        await _is_answered(connection, flow, *lines)

    async def test_tr1_agent_pieces_and_final_make_one_message(
        self, flow: AgentFlow, connection: Connection
    ) -> None:
        """Pieces and the whole text of an answer give one message.

        It is shown as it grows, and completed once.
        """
        await say(connection, text="A canary sings", audio=bytes(960), status=None)
        await flow.conversation.changes.until(
            lambda: flow.lines == [("assistant", "A canary sings")], "transcript as it comes"
        )
        assert flow.unfinished, "complete before the provider said so"
        await connection.send(
            protocol.TextDelta("response_1", ".", item_id="item_response_1"),
            protocol.TextDone("response_1", "A canary sings.", item_id="item_response_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "A canary sings."))

    async def test_tr1_whole_text_alone_makes_a_message(
        self, flow: AgentFlow, connection: Connection
    ) -> None:
        """An answer whose text comes in one piece at its end is in the conversation."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDone("response_1", "All at once, canary.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "All at once, canary."))

    async def test_tr1_end_of_response_completes_the_pieces(
        self, flow: AgentFlow, connection: Connection
    ) -> None:
        """An answer whose whole text is not repeated is completed at the end of the response."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "Just pieces,", item_id="agent_1"),
            protocol.TextDelta("response_1", " canary.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "Just pieces, canary."))

    async def test_tr1_empty_whole_text_keeps_the_pieces(
        self, flow: AgentFlow, connection: Connection
    ) -> None:
        """An empty whole text at the end does not replace the pieces."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "Just pieces, canary.", item_id="agent_1"),
            protocol.TextDone("response_1", "", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "Just pieces, canary."))

    async def test_tr1_parts_of_an_answer_are_joined(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """The texts of all items and content parts of one response make one message, in order."""
        facts.need("ids")
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "One canary.", item_id="agent_1"),
            protocol.TextDone("response_1", "One canary.", item_id="agent_1"),
            protocol.TextDelta("response_1", " Two", item_id="agent_2"),
            protocol.TextDelta("response_1", " canaries.", item_id="agent_2"),
            protocol.TextDelta("response_1", " Three.", item_id="agent_2", content_index=1),
            protocol.TextDone("response_1", " Two canaries.", item_id="agent_2"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "One canary. Two canaries. Three."))

    async def test_tr1_whole_text_corrects_the_pieces(
        self, flow: AgentFlow, connection: Connection
    ) -> None:
        """A whole text that differs from the pieces replaces them in the conversation."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "A cannery sings", item_id="agent_1"),
            protocol.TextDone("response_1", "A canary sings.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "A canary sings."))

    async def test_tr1_final_follows_all_deltas(
        self, output: OutputRecorder, connection: Connection
    ) -> None:
        """All deltas of an answer come before its one final, and join to its text."""
        await say(connection, text="One two canary", audio=bytes(960))
        await output.done("response_1")
        *deltas, final = output.agent_said()
        assert final.mode == "final"
        assert final.text == "One two canary"
        assert [delta.mode for delta in deltas] == ["delta"] * len(deltas)
        assert "".join(delta.text for delta in deltas) == "One two canary"

    async def test_tr1_exchanges_stay_apart_and_in_order(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """Two exchanges give four messages, in the order in which they were said."""
        facts.need("transcription")
        lines: list[Line] = []
        for number in ("1", "2"):
            await hears(connection, f"canary {number}?", f"user_{number}")
            await say(connection, f"response_{number}", text=f"canary {number}!", audio=bytes(9600))
            lines += [("user", f"canary {number}?"), ("assistant", f"canary {number}!")]
            await flow.reads(*lines)

    async def test_tr1_question_precedes_its_answer(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """A transcript that comes during the answer stands before it.

        The answer is one message.
        """
        facts.need("transcription", "speech_events")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "Yes,", item_id="agent_1"),
            protocol.UserTranscript("Is it", False, "user_1"),
            protocol.TextDelta("response_1", " a", item_id="agent_1"),
            protocol.UserTranscript("Is it a canary?", True, "user_1"),
            protocol.TextDelta("response_1", " canary.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("user", "Is it a canary?"), ("assistant", "Yes, a canary."))

    async def test_tr1_answer_waits_for_no_unrequested_transcript(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """With transcription off, the answer's text is emitted at once."""
        facts.need("speech_events", "transcription_optional")
        llm = make(transcription=False)
        await llm.connect()
        connection, output = await provider.connection(2), make.listen(llm)
        assert connection.config is not None
        assert not connection.config.transcription
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "A canary", item_id="agent_1"),
        )
        said = await output.first(RealtimeAgentTranscript)
        assert (said.mode, said.text) == ("delta", "A canary")

    async def test_tr1_answer_waits_for_no_failed_transcript(
        self, flow: AgentFlow, connection: Connection, facts: Facts, watchdog: Watchdog
    ) -> None:
        """After a failed transcription, which is logged, the answer's text is shown as it comes."""
        facts.need("transcription")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.UserTranscriptFailed("user_1", "audio_unintelligible"),
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "Pardon,", item_id="agent_1"),
        )
        await flow.conversation.changes.until(
            lambda: flow.lines == [("assistant", "Pardon,")], "transcript of the answer"
        )
        assert any("audio_unintelligible" in line for line in watchdog.log_lines)
        await connection.send(
            protocol.TextDelta("response_1", " canary?", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "Pardon, canary?"))

    async def test_tr1_interrupted_answer_is_completed(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """The text of an interrupted answer stays, completed, before the user's words."""
        await say(connection, text="As a canary I", audio=ramp(24000).tobytes(), status=None)
        await flow.conversation.changes.until(lambda: bool(flow.lines), "transcript as it comes")
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        lines = ("assistant", "As a canary I"), ("user", "Stop, canary.")
        await _is_answered(connection, flow, *lines)

    async def test_tr2_transcript_after_a_barge_in_arrives(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """The transcript after a barge-in arrives, with its speaker, without further audio."""
        facts.need("transcription")
        await say(connection, audio=ramp(24000).tobytes(), status=None)
        await flow.plays()
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await flow.turns.first(UserTurnEndedEvent)
        await _is_answered(connection, flow, ("user", "Stop, canary."))
        turns = flow.turns.of(UserTurnStartedEvent) + flow.turns.of(UserTurnEndedEvent)
        assert [turn.participant for turn in turns] == [ALICE, ALICE]

    async def test_tr2_late_transcript_after_a_barge_in_arrives(
        self, flow: AgentFlow, connection: Connection, facts: Facts, record: EventRecorder
    ) -> None:
        """A transcript that comes after the flow answered the barge-in is in the conversation."""
        facts.need("transcription")
        await say(connection, audio=ramp(24000).tobytes(), status=None)
        await is_interrupted(connection, facts)
        await flow.track.until(lambda: bool(flow.track.items), "flush of the track")
        await fence(connection, record)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await flow.turns.first(UserTurnEndedEvent)
        await _is_answered(connection, flow, ("user", "Stop, canary."))

    async def test_tr2_transcript_after_an_interrupt_arrives(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """The transcript of a turn is in the conversation though the app interrupted before."""
        facts.need("transcription")
        await flow.flow.interrupt()
        await hears(connection, "Am I heard, canary?")
        await _is_answered(connection, flow, ("user", "Am I heard, canary?"))

    async def test_tr2_transcript_needs_no_flow(
        self, output: OutputRecorder, connection: Connection, facts: Facts
    ) -> None:
        """The transcript after a barge-in is emitted where nobody answers the barge-in."""
        facts.need("transcription")
        await say(connection, audio=ramp(24000).tobytes(), status=None)
        await is_interrupted(connection, facts)
        await connection.send(protocol.UserTranscript("Stop, canary.", True, "user_2"))
        said = await output.first(RealtimeUserTranscript)
        assert said.participant == ALICE

    async def test_tr2_transcript_between_two_barge_ins_survives(
        self, make: Make, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A transcript that stands in the output between two announced barge-ins is emitted."""
        facts.need("transcription")
        sound = ramp(24000).tobytes()
        await say(connection, audio=sound, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=sound, status=None)
        await is_interrupted(connection, facts, "user_3")
        await fence(connection, record)
        output = make.listen(llm, answers=True)
        said = await output.first(RealtimeUserTranscript)
        assert said.text == "Stop, canary."

    async def test_tr2_answer_nobody_heard_is_not_shown(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """An answer interrupted before it was taken from the output emits only its Done."""
        facts.need("transcription")
        transport.needs_messages()
        sound = ramp(480_000).tobytes()
        await say(connection, audio=sound, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=sound, text="Unheard")
        await is_interrupted(connection, facts, "user_3")
        await fence(connection, record)
        output = make.listen(llm, answers=True)
        said = await output.first(RealtimeUserTranscript)
        assert said.text == "Stop, canary."
        await fence(connection, record)
        assert not output.agent_said(), "nobody heard that"
        assert [end.interrupted for end in output.dones("response_2")] == [True]
        assert not output.of(RealtimeAgentSpeechEnded)

    async def test_tr3_each_transcript_names_its_speaker(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Transcripts are attributed to the participant whose audio preceded them."""
        facts.need("transcription")
        await connection.wait_audio(1)
        await hears(connection, "I am the canary.", "user_1")
        await output.first(RealtimeUserTranscript)
        await speak(llm, transport, A_WORD, BOB)
        await hears(connection, "And I the canary's cat.", "user_2")
        wanted = [(ALICE, "I am the canary."), (BOB, "And I the canary's cat.")]
        await output.until(lambda: output.user_lines() == wanted, f"transcripts like {wanted}")

    async def test_tr3_committed_turns_name_their_speakers(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """With manual turns, transcripts are attributed to who spoke before each commit."""
        facts.need("manual_turns", "transcription", "ids")
        await llm.update_session(turn_detection=False)
        for number, speaker in ((1, ALICE), (2, BOB)):
            await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000), speaker)
            await llm.commit_audio(respond=False)
            await connection.wait_for(protocol.CommitAudio, number)
            await connection.send(protocol.AudioCommitted(f"user_{number}"))
            await fence(connection, record)
        for number in (1, 2):
            await connection.send(protocol.UserTranscript("A canary.", True, f"user_{number}"))
        wanted = [(ALICE, "A canary."), (BOB, "A canary.")]
        await output.until(lambda: output.user_lines() == wanted, f"transcripts like {wanted}")

    async def test_tr3_late_transcript_names_its_own_speaker(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """A transcript after the next speaker began is attributed to its own item's speaker."""
        facts.need("transcription", "speech_events", "ids")
        await connection.send(
            protocol.UserSpeechStarted("user_1"), protocol.UserSpeechStopped("user_1")
        )
        await fence(connection, record)
        await speak(llm, transport, A_WORD, BOB)
        await connection.send(
            protocol.AudioCommitted("user_1"),
            protocol.UserSpeechStarted("user_2"),
            protocol.UserTranscript("I am ", False, "user_1"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("I am the canary.", True, "user_1"),
            protocol.UserTranscript("And I the canary's cat.", True, "user_2"),
        )
        wanted = [(ALICE, "I am the canary."), (BOB, "And I the canary's cat.")]
        await output.until(lambda: output.user_lines() == wanted, f"transcripts like {wanted}")

    @pytest.mark.parametrize("named_by", ["its end", "its commit"])
    async def test_tr3_turn_that_is_named_late_is_one_turn(
        self, flow: AgentFlow, connection: Connection, facts: Facts, named_by: str
    ) -> None:
        """A turn whose start has another id, or none, is the one that a later message names."""
        facts.need("speech_events", "transcription", "ids")
        named = "user_1"
        await connection.send(protocol.UserSpeechStarted())
        if named_by == "its end":
            await connection.send(protocol.UserSpeechStopped(named))
        else:
            await connection.send(protocol.UserSpeechStopped(), protocol.AudioCommitted(named))
        await connection.send(
            protocol.UserSpeechStarted("user_2"),
            protocol.UserTranscript("One", True, named),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Two", True, "user_2"),
        )
        await _is_answered(connection, flow, ("user", "One"), ("user", "Two"))
        assert len(flow.turns.of(UserTurnStartedEvent)) == 2

    async def test_tr3_commit_of_silence_changes_no_turn_before(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """An item that is committed without speech is no part of the turn before it."""
        facts.need("speech_events", "transcription", "ids")
        await hears(connection, "I am the canary.")
        await say(connection, text="Yes.")
        await flow.reads(("user", "I am the canary."), ("assistant", "Yes."))
        await connection.send(
            protocol.AudioCommitted("user_2"), protocol.UserTranscript("Hm.", True, "user_2")
        )
        lines = ("user", "I am the canary."), ("assistant", "Yes."), ("user", "Hm.")
        await _is_answered(connection, flow, *lines)

    async def test_tr3_final_before_the_end_of_its_turn_is_of_that_turn(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """A turn that is transcribed before its end is told has one start, one end and one text."""
        facts.need("speech_events", "transcription", "ids")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserTranscript("A canary.", True, "user_1"),
            protocol.UserSpeechStopped("user_1"),
        )
        await flow.turns.first(UserTurnEndedEvent)
        await say(connection, text="Yes.")
        await flow.reads(("user", "A canary."), ("assistant", "Yes."))
        assert len(flow.turns.of(UserTurnStartedEvent)) == 1
        assert len(flow.turns.of(UserTurnEndedEvent)) == 1

    async def test_tr3_turn_belongs_to_who_began_it(
        self,
        llm: Realtime,
        flow: AgentFlow,
        connection: Connection,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Audio of another participant during a turn does not change whose turn it is."""
        facts.need("speech_events", "transcription")
        await connection.send(protocol.UserSpeechStarted())
        await flow.turns.first(UserTurnStartedEvent)
        await speak(llm, transport, A_WORD, BOB)
        await connection.send(
            protocol.UserSpeechStopped(), protocol.UserTranscript("Still me, canary.", True)
        )
        ended = await flow.turns.first(UserTurnEndedEvent)
        assert ended.participant == ALICE, "began by Alice, ended by Bob"
        await _is_answered(connection, flow, ("user", "Still me, canary."))
        assert flow.conversation.messages[0].user_id == ALICE.user_id

    async def test_tr3_simple_audio_response_names_the_speaker(
        self, llm: Realtime, output: OutputRecorder, connection: Connection, facts: Facts
    ) -> None:
        """Audio given to simple_audio_response directly has its participant's name."""
        facts.need("transcription")
        for pcm in A_WORD:
            await llm.simple_audio_response(pcm, BOB)
        await hears(connection, "I am the canary's cat.")
        said = await output.first(RealtimeUserTranscript)
        assert said.participant == BOB

    async def test_tr3_injected_prompt_takes_no_turn(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """A prompt given by the app does not change who the user's transcript is attributed to."""
        facts.need("transcription", "text", "speech_events")
        await connection.send(protocol.UserSpeechStarted(), protocol.UserSpeechStopped())
        await flow.turns.first(UserTurnEndedEvent)
        await say(connection, audio=bytes(96))  # the answer that was due to the user
        asks = flow.flow.simple_response("Greet the canary", AGENT, interrupt=False)
        async with asyncio.TaskGroup() as group:
            group.create_task(asks)
            request = await connection.wait_for(protocol.CreateResponse)
            await connection.send(protocol.UserTranscript("It is me, canary.", True))
            await say(connection, "response_2", text="Hello canary", request_id=request.request_id)
        await flow.reads(("user", "It is me, canary."), ("assistant", "Hello canary"))
        assert flow.conversation.messages[0].user_id == ALICE.user_id

    async def test_tr4_repeated_final_is_emitted_once(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A final transcript that is repeated leaves one text of the turn."""
        facts.need("transcription", "ids")
        await hears(connection, "One canary.")
        await connection.send(
            protocol.UserTranscript("One canary.", True, "user_1"),
            protocol.UserTranscript("One", False, "user_1"),
        )
        await fence(connection, record)
        await say(connection, text="Yes")
        wanted = [(ALICE, "One canary.")]
        await output.until(lambda: output.user_lines() == wanted, f"transcripts like {wanted}")
        await fence(connection, record)
        assert output.user_lines() == wanted

    async def test_tr4_final_repeated_after_the_answer_is_emitted_once(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A final transcript repeated after the answer began emits nothing more of the turn."""
        facts.need("transcription", "ids")
        await hears(connection, "One canary.")
        await say(connection, text="Yes", status=None)
        finals = [item for item in output.user_said() if item.mode == "final"]
        while not finals:
            await fence(connection, record)
            finals = [item for item in output.user_said() if item.mode == "final"]
        count = len(output.user_said())
        await connection.send(protocol.UserTranscript("One canary.", True, "user_1"))
        await fence(connection, record)
        await fence(connection, record)
        assert len(output.user_said()) == count

    async def test_tr4_repeated_whole_text_is_emitted_once(
        self, flow: AgentFlow, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A whole text or an end of a response that is sent twice gives one message."""
        facts.need("ids")
        again = protocol.TextDone("response_1", "One canary.", item_id="item_response_1")
        await say(connection, text="One canary.", audio=bytes(960), status=None)
        await connection.send(again, again, protocol.ResponseDone("response_1"), again)
        await connection.send(protocol.ResponseDone("response_1"))
        await fence(connection, record)
        await say(connection, "response_2", text="Another canary.")
        await flow.reads(("assistant", "One canary."), ("assistant", "Another canary."))

    async def test_tr4_white_space_between_pieces_is_emitted(
        self, output: OutputRecorder, connection: Connection
    ) -> None:
        """The deltas of a text are the text, though a piece of it is white space."""
        pieces = ("A", " ", "canary")
        await connection.send(
            protocol.ResponseStarted("response_1"),
            *(protocol.TextDelta("response_1", piece, item_id="agent_1") for piece in pieces),
            protocol.AudioDelta("response_1", bytes(960), "agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await output.done("response_1")
        deltas = [said.text for said in output.agent_said() if said.mode == "delta"]
        assert "".join(deltas) == "A canary"

    async def test_tr4_only_the_last_version_is_final(
        self, output: OutputRecorder, connection: Connection
    ) -> None:
        """Of two versions of one text, the last one alone is emitted as final."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDone("response_1", "A canary, perhaps.", item_id="agent_1"),
            protocol.AudioDelta("response_1", bytes(960), "agent_1"),
            protocol.TextDone("response_1", "A canary.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await output.done("response_1")
        finals = [said.text for said in output.agent_said() if said.mode == "final"]
        assert finals == ["A canary."]

    @pytest.mark.parametrize("nothing", ["", " ", "\n"])
    async def test_tr4_blank_transcripts_are_not_emitted(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        nothing: str,
    ) -> None:
        """Blank transcripts of either side emit nothing."""
        if facts.transcription:
            await hears(connection, nothing)
        await say(connection, text=nothing, audio=bytes(96))
        await output.done("response_1")
        await fence(connection, record)
        assert not output.user_said()
        assert not output.agent_said()

    async def test_tr4_control_markers_are_removed(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """The transcriber's markers are removed; a transcript of nothing else is not emitted."""
        facts.need("transcription", "control_markers")
        count = len(facts.control_markers)
        for number, marker in enumerate(facts.control_markers):
            await hears(connection, marker, f"noise_{number}")
            await hears(connection, f"{marker} My canary.", f"user_{number}")
        await fence(connection, record)
        assert not [said for said in output.user_said() if said.text.strip() != "My canary."]
        await output.until(
            lambda: [text for _, text in output.user_lines()] == ["My canary."] * count,
            f"{count} transcripts",
        )

    async def test_tr5_written_answers_are_emitted_as_text(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """With modalities="text" the answer's text is emitted as final, without audio."""
        facts.need("written_answers")
        llm = make(modalities="text")
        await llm.connect()
        writing = make.listen(llm)
        connection = await provider.connection(2)
        assert connection.config is not None
        assert connection.config.modalities == "text"
        await say(connection, text="A written canary", spoken=False)
        await writing.done("response_1")
        assert [said.mode for said in writing.agent_said()][-1] == "final"
        assert writing.agent_said()[-1].text == "A written canary"
        assert not writing.chunks()

    async def test_tr5_written_answer_in_a_spoken_session_is_shown(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """An answer that comes as text only in a spoken session is in the conversation."""
        facts.need("written_answers")
        await say(connection, text="A written canary", spoken=False)
        await say(connection, "response_2", text="A spoken canary", audio=bytes(960))
        await flow.reads(("assistant", "A written canary"), ("assistant", "A spoken canary"))

    @pytest.mark.parametrize(
        "finals",
        [
            ("What is", "What is the canary", "What is the canary in Oslo?"),
            ("Wreck a nice canary", "Recognise a canary"),
            ("A canary and a cat", "A canary"),
        ],
        ids=["longer", "corrected", "shorter"],
    )
    @pytest.mark.parametrize("pieces", [True, False], ids=["with pieces", "finals only"])
    async def test_tr6_last_final_of_a_turn_stands(
        self,
        flow: AgentFlow,
        connection: Connection,
        facts: Facts,
        finals: tuple[str, ...],
        pieces: bool,
    ) -> None:
        """Of several final transcripts of one turn, the last one is in the conversation."""
        facts.need("transcription")
        if pieces:
            facts.need("partial_transcripts")
        if not facts.speech_events and (pieces or not finals[-1].startswith(finals[0])):
            facts.need("ids")  # without either, it is the next turn
        for event in (
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.AudioCommitted("user_1"),
        ):
            await connection.say_if_supported(event)
        for text in finals:
            if pieces:
                await connection.send(protocol.UserTranscript(text[:4], False, "user_1"))
            await connection.send(protocol.UserTranscript(text, True, "user_1"))
        await say(connection, text="A canary answers")
        await flow.reads(("user", finals[-1]), ("assistant", "A canary answers"))

    async def test_tr6_each_turn_keeps_its_own_last_final(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """Finals of the next turn do not replace those of the turn before."""
        facts.need("transcription", "speech_events")
        for number in ("1", "2"):
            item_id = f"user_{number}"
            await connection.send(
                protocol.UserSpeechStarted(item_id),
                protocol.UserSpeechStopped(item_id),
                protocol.AudioCommitted(item_id),
                protocol.UserTranscript(f"canary {number}", True, item_id),
                protocol.UserTranscript(f"canary {number} please", True, item_id),
            )
        await flow.reads(("user", "canary 1 please"), ("user", "canary 2 please"), finished=False)
        await say(connection, text="Two canaries")
        await flow.reads(
            ("user", "canary 1 please"),
            ("user", "canary 2 please"),
            ("assistant", "Two canaries"),
        )

    async def test_tr6_unanswered_turn_is_completed(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """A turn that nobody answers is completed within a bound, with its last final."""
        facts.need("transcription")
        await hears(connection, "Is there a canary")
        await connection.send(protocol.UserTranscript("Is there a canary here?", True, "user_1"))
        await flow.reads(("user", "Is there a canary here?"))

    async def test_tr6_new_session_is_told_the_last_final(
        self,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A new session is told the last final transcript of a turn, once."""
        facts.need("transcription", "history")
        await hears(connection, "What is")
        await connection.send(
            protocol.UserTranscript("What is the canary", True, "user_1"),
            protocol.UserTranscript("What is the canary in Oslo?", True, "user_1"),
        )
        await say(connection, text="Yellow")
        await output.done("response_1")
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        told = [(message.role, message.text) for message in again.received(protocol.AddMessage)]
        assert told == [("user", "What is the canary in Oslo?"), ("assistant", "Yellow")]

    @pytest.mark.parametrize("by", ["the user", "the app"])
    @pytest.mark.parametrize("status", [None, "completed"], ids=["generating", "playing"])
    @pytest.mark.parametrize("stored", [True, False], ids=["with a flow", "without a flow"])
    async def test_tr7_new_session_is_told_no_more_than_was_heard(
        self,
        make: Make,
        llm: Realtime,
        watchdog: Watchdog,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        stored: bool,
        status: protocol.ResponseStatus | None,
        by: str,
    ) -> None:
        """After a cut, a new session is told the words heard, as a share of the audio.

        The agent's conversation keeps the text that was shown.
        """
        facts.need("history")
        words = " ".join(f"canary{number}" for number in range(200))
        flow: AgentFlow | None = None
        if stored:
            flow = await watchdog.ending.enter_async_context(AgentFlow(llm))
        else:
            make.listen(llm, answers=True)
        began = time.perf_counter()
        await say(
            connection, audio=[speech(10_000, facts.output_rate)] * 6, text=words, status=None
        )
        if status is not None:
            await connection.send(
                protocol.TextDone("response_1", words, item_id="item_response_1"),
                protocol.ResponseDone("response_1", status),
            )
        await fence(connection, record, spoken=False)
        await passes(0.1)
        if by == "the user":
            await is_interrupted(connection, facts)
        elif flow is not None:
            await flow.flow.interrupt()
        else:
            await llm.interrupt()
        await fence(connection, record, spoken=False)
        heard_s = time.perf_counter() - began
        if flow is not None:
            await flow.reads(("assistant", words), finished=False)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        told = " ".join(message.text for message in again.received(protocol.AddMessage))
        assert told.split() == words.split()[: len(told.split())], f"told: {told!r}"
        most = 200 * heard_s / 60 + 2
        assert len(told.split()) <= most, f"{len(told.split())} words, heard were {most:.0f}"

    async def test_tr7_words_heard_are_told(
        self,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """After a cut, a new session is told whole words that were heard, and not all of them."""
        facts.need("history")
        words = " ".join(f"canary{number}" for number in range(20))
        await say(connection, audio=speech(2000, facts.output_rate), text=words, status=None)
        await output.first(RealtimeAudioOutput)
        await passes(0.5 + transport.late_s)
        await is_interrupted(connection, facts)
        await fence(connection, record, spoken=False)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        told = " ".join(message.text for message in again.received(protocol.AddMessage))
        heard = told.split()
        assert 3 <= len(heard) < 20, f"told: {told!r}"
        assert heard == words.split()[: len(heard)], f"told: {told!r}"

    @pytest.mark.parametrize("heard", ["nothing", "a little", "another item"])
    async def test_tr7_text_before_its_speech_was_not_heard(
        self,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        heard: str,
    ) -> None:
        """Of a text of 200 words with 0.2 s of speech or none, 20 are told after a cut at most."""
        facts.need("history", "ids")
        await connection.send(protocol.ResponseStarted("response_1"))
        if heard != "nothing":
            item_id = "item_1" if heard == "a little" else "item_0"
            sound = speech(200, facts.output_rate)
            await connection.send(protocol.AudioDelta("response_1", sound, item_id))
            await output.first(RealtimeAudioOutput)
        words = " ".join(f"canary{number}" for number in range(200))
        await connection.send(protocol.TextDelta("response_1", words, item_id="item_1"))
        await fence(connection, record, spoken=False)
        await passes(0.25)
        await is_interrupted(connection, facts)
        await fence(connection, record, spoken=False)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        told = " ".join(message.text for message in again.received(protocol.AddMessage))
        assert len(told.split()) <= 20, f"told: {told!r}"

    @pytest.mark.parametrize("first", ["late", "early", "failed"])
    async def test_tr8_turns_are_shown_in_their_order(
        self, flow: AgentFlow, connection: Connection, facts: Facts, first: str
    ) -> None:
        """Of two turns before one answer, each waits for its own transcript."""
        facts.need("transcription", "speech_events", "ids")
        for item_id in ("user_1", "user_2"):
            await connection.send(
                protocol.UserSpeechStarted(item_id),
                protocol.UserSpeechStopped(item_id),
                protocol.AudioCommitted(item_id),
            )
        if first == "early":
            await connection.send(protocol.UserTranscript("One canary.", True, "user_1"))
        await say(connection, text="Two canaries.")
        if first == "failed":
            await connection.send(protocol.UserTranscriptFailed("user_1", "audio_unintelligible"))
        if first == "early":
            await passes(0.7)
        await connection.send(protocol.UserTranscript("Another canary.", True, "user_2"))
        if first == "late":
            await connection.send(protocol.UserTranscript("One canary.", True, "user_1"))
        lines = [("user", "One canary.")] if first != "failed" else []
        await flow.reads(*lines, ("user", "Another canary."), ("assistant", "Two canaries."))

    async def test_tr3_turns_are_named_in_their_order(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Two turns that are committed before either is named are those of their speakers."""
        facts.need("manual_turns", "transcription", "ids")
        await llm.update_session(turn_detection=False)
        for speaker in (ALICE, BOB):
            await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000), speaker)
            await llm.commit_audio(respond=False)
        await connection.wait_for(protocol.CommitAudio, 2)
        await connection.send(
            protocol.AudioCommitted("user_1"),
            protocol.AudioCommitted("user_2"),
            protocol.UserTranscript("I am the canary.", True, "user_1"),
            protocol.UserTranscript("And I its cat.", True, "user_2"),
        )
        wanted = [(ALICE, "I am the canary."), (BOB, "And I its cat.")]
        await output.until(lambda: output.user_lines() == wanted, f"transcripts like {wanted}")

    @pytest.mark.parametrize("when", ["after the answer", "in the next turn"])
    async def test_tr8_late_transcript_stands_before_its_answer(
        self, flow: AgentFlow, connection: Connection, facts: Facts, when: str, transport: Transport
    ) -> None:
        """A transcript that comes after its answer has ended stands before the answer."""
        facts.need("transcription", "speech_events", "ids")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.AudioCommitted("user_1"),
        )
        await say(connection, text="Yes, a canary.", audio=speech(60, facts.output_rate))
        await connection.spoken()
        await passes(0.1 + transport.late_s)  # the answer is heard
        if when == "in the next turn":
            await connection.send(protocol.UserSpeechStarted("user_2"))
        await connection.send(protocol.UserTranscript("Is it a canary?", True, "user_1"))
        if when == "after the answer":
            await connection.send(protocol.UserSpeechStarted("user_2"))
        await connection.send(
            protocol.UserSpeechStopped("user_2"),
            protocol.AudioCommitted("user_2"),
            protocol.UserTranscript("How nice.", True, "user_2"),
        )
        await say(connection, "response_2", text="Indeed.", audio=bytes(960))
        await flow.reads(
            ("user", "Is it a canary?"),
            ("assistant", "Yes, a canary."),
            ("user", "How nice."),
            ("assistant", "Indeed."),
        )

    async def test_tr8_interrupted_answer_to_a_late_question_is_kept(
        self, flow: AgentFlow, connection: Connection, facts: Facts, record: EventRecorder
    ) -> None:
        """An answer that was heard and interrupted before its question's transcript is kept."""
        facts.need("transcription", "speech_events", "ids")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.AudioCommitted("user_1"),
        )
        await say(
            connection,
            text="Yes, a canary.",
            audio=speech(2000, facts.output_rate),
            status=None,
        )
        await flow.plays()
        await passes(0.3)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserTranscript("Is it a canary?", True, "user_1"),
            protocol.UserSpeechStopped("user_2"),
            protocol.AudioCommitted("user_2"),
            protocol.UserTranscript("How nice.", True, "user_2"),
        )
        await say(connection, "response_2", text="Indeed.", audio=bytes(960))
        await flow.conversation.changes.until(
            lambda: flow.lines[-1:] == [("assistant", "Indeed.")] and not flow.unfinished,
            "the second answer",
        )
        assert [role for role, _ in flow.lines] == ["user", "assistant", "user", "assistant"]
        question, answer, remark, _ = (text for _, text in flow.lines)
        assert (question, remark) == ("Is it a canary?", "How nice.")
        assert answer
        assert "Yes, a canary.".startswith(answer.rstrip(" .…"))

    async def test_tr8_answer_waits_within_a_bound_for_the_transcript(
        self, flow: AgentFlow, connection: Connection, facts: Facts
    ) -> None:
        """An answer is shown within a bound where the transcript never comes."""
        facts.need("transcription", "speech_events")
        await connection.send(
            protocol.UserSpeechStarted("user_1"), protocol.UserSpeechStopped("user_1")
        )
        await say(connection, text="Yes, a canary.", audio=bytes(960))
        await flow.reads(("assistant", "Yes, a canary."))

    async def test_tr8_new_session_is_told_in_order(
        self,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A new session is told a question before its answer, however late its transcript."""
        facts.need("transcription", "speech_events", "history", "ids")
        await connection.send(
            protocol.UserSpeechStarted("user_1"),
            protocol.UserSpeechStopped("user_1"),
            protocol.AudioCommitted("user_1"),
        )
        await say(connection, text="Yes, a canary.")
        await passes(0.05)
        await connection.send(protocol.UserTranscript("Is it a canary?", True, "user_1"))
        await fence(connection, record)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        told = [(message.role, message.text) for message in again.received(protocol.AddMessage)]
        assert told == [("user", "Is it a canary?"), ("assistant", "Yes, a canary.")]

    @pytest.mark.parametrize("with_deltas", [True, False], ids=["in pieces", "whole"])
    @pytest.mark.parametrize("place", ["items", "parts"])
    async def test_tr9_separate_messages_are_separated(
        self,
        flow: AgentFlow,
        connection: Connection,
        facts: Facts,
        place: str,
        with_deltas: bool,
    ) -> None:
        """Messages and content parts of one response do not run into each other."""
        facts.need("ids")
        await connection.send(protocol.ResponseStarted("response_1"))
        for number, text in enumerate(("One canary.", "Two canaries.", "Three!")):
            item_id = f"agent_{number}" if place == "items" else "agent_0"
            where = (number, 0) if place == "items" else (0, number)
            if with_deltas:
                for piece in (text[:5], text[5:]):
                    await connection.send(
                        protocol.TextDelta("response_1", piece, True, item_id, *where)
                    )
            await connection.send(protocol.TextDone("response_1", text, True, item_id, *where))
        await connection.send(protocol.ResponseDone("response_1"))
        words = "One canary. Two canaries. Three!".split()
        await flow.conversation.changes.until(
            lambda: bool(flow.lines) and not flow.unfinished, "a message"
        )
        assert [text.split() for _, text in flow.lines] == [words]

    async def test_tr9_caller_gets_separate_messages_separated(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """Deltas and final of a request do not run messages into each other."""
        facts.need("ids", "text")
        asked = Asked(native(llm, "Count, canary"))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "One canary.", True, "agent_1", 0),
            protocol.TextDone("response_1", "One canary.", True, "agent_1", 0),
            protocol.TextDelta("response_1", "Two canaries.", True, "agent_2", 1),
            protocol.TextDone("response_1", "Two canaries.", True, "agent_2", 1),
            protocol.ResponseDone("response_1"),
        )
        last = await asked.final()
        assert last.text.split() == ["One", "canary.", "Two", "canaries."]

    async def test_tr9_caller_gets_the_texts_around_a_tool_separated(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """The texts before and after a tool call do not run into each other."""
        facts.need("text", "tools")
        asked = Asked(native(llm, "Count, canary"))
        request = await asked.request(connection, 1)
        call = protocol.ToolCall("response_1", "call_1", "no_such_tool", "{}")
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "Let me see.", item_id="agent_1"),
            call,
            protocol.ResponseDone("response_1"),
        )
        request_id = await continuation(connection, facts, 2)
        await say(connection, "response_2", text="One canary.", request_id=request_id)
        last = await asked.final()
        assert last.text.split() == "Let me see. One canary.".split()
        assert asked.text == last.text

    @pytest.mark.parametrize(
        ("said", "wanted"),
        [
            (
                ["A rather long first guess", ("Short.",), " And more words."],
                "Short. And more words.",
            ),
            (
                ["A cannery", ("A canary sings.",), " It is", " yellow."],
                "A canary sings. It is yellow.",
            ),
            (["Yes", ("Yes, a canary.",), " It sings."], "Yes, a canary. It sings."),
            (["One", ("Two",), ("Three",), " canaries."], "Three canaries."),
        ],
        ids=["shorter", "corrected", "longer", "twice"],
    )
    async def test_tr10_shown_text_and_what_follows_is_the_final_text(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        said: list[str | tuple[str]],
        wanted: str,
    ) -> None:
        """The text shown while an answer streams is its final text, also after corrections.

        Tuples are whole texts that replace what came before.
        """
        await connection.send(protocol.ResponseStarted("response_1"))
        for piece in said:
            match piece:
                case str():
                    delta = protocol.TextDelta("response_1", piece, item_id="agent_1")
                    await connection.send(delta)
                case (whole,):
                    await connection.send(protocol.TextDone("response_1", whole, item_id="agent_1"))
        await fence(connection, record)
        assert output.agent_lines() == [wanted]
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        assert output.agent_lines() == [wanted]
        assert output.agent_said()[-1].mode == "final"
        assert all(each.text for each in output.agent_said()), "an empty transcript"

    async def test_tr10_correction_through_the_flow(
        self, flow: AgentFlow, connection: Connection
    ) -> None:
        """The conversation shows a correction before the answer has ended."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.TextDelta("response_1", "A rather long first guess", item_id="agent_1"),
            protocol.TextDone("response_1", "A canary.", item_id="agent_1"),
        )
        await flow.reads(("assistant", "A canary."), finished=False)
        await connection.send(
            protocol.TextDelta("response_1", " And more words.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await flow.reads(("assistant", "A canary. And more words."))


async def _is_answered(connection: Connection, flow: AgentFlow, *lines: Line) -> None:
    """Let the provider answer, and wait until the conversation is these lines and the answer."""
    await say(connection, "response_9", text="I see, canary.")
    await flow.reads(*lines, ("assistant", "I see, canary."))
