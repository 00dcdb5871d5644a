"""TR: what both sides said is written down, once, in order, by name."""

import asyncio

import pytest
from vision_agents.core.agents.events import UserTurnEndedEvent, UserTurnStartedEvent
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentTranscript,
    RealtimeUserTranscript,
)
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from .calling import AGENT, Call, Line
from .kit import (
    ALICE,
    BOB,
    Ear,
    Facts,
    Recorder,
    fence,
    frames,
    hears,
    is_interrupted,
    needs_messages,
    ramp,
    say,
    speak,
    tone,
)
from .making import Make

A_WORD = frames(tone(300, 0.02, 48000), 48000)


@pytest.fixture(autouse=True)
async def _alice_speaks(llm: Realtime) -> None:
    await speak(llm, A_WORD, ALICE)


class TestTranscripts:
    async def test_tr1_user_turn(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The user's sentence is chopped up, doubled, or never marked as finished."""
        facts.need("transcription")
        await connection.send(
            events.UserSpeechStarted("user_1"),
            events.UserSpeechStopped("user_1"),
            events.UserTranscript("I like ", False, "user_1"),
            events.UserTranscript("canaries", False, "user_1"),
        )
        await call.notes.changes.until(
            lambda: call.lines == [("user", "I like canaries")], "transcript as it comes"
        )
        assert call.unfinished, "complete before the provider said so"
        await connection.send(events.UserTranscript("I like canaries.", True, "user_1"))
        await call.reads(("user", "I like canaries."))

    async def test_tr1_user_turn_told_in_pieces_only(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The user's message stays unfinished where the provider's last word is empty."""
        facts.need("transcription")
        lines: list[Line] = []
        for whose in ("my ", "your "):
            await connection.send(
                events.UserSpeechStarted(),
                events.UserSpeechStopped(),
                events.UserTranscript(whose, False),
                events.UserTranscript("canary", False),
                events.UserTranscript("", True),
            )
            lines.append(("user", f"{whose}canary"))
            await call.reads(*lines)

    async def test_tr1_agent_turn(self, call: Call, connection: loopback.Connection) -> None:
        """The agent's sentence is chopped up, repeats itself, or is never finished."""
        await say(connection, text="A canary sings", audio=bytes(960), status=None)
        await call.notes.changes.until(
            lambda: call.lines == [("assistant", "A canary sings")], "transcript as it comes"
        )
        assert call.unfinished, "complete before the provider said so"
        await connection.send(
            events.TextDelta("response_1", ".", item_id="item_response_1"),
            events.TextDone("response_1", "A canary sings.", item_id="item_response_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "A canary sings."))

    async def test_tr1_agent_turn_without_pieces(
        self, call: Call, connection: loopback.Connection
    ) -> None:
        """An answer the provider transcribes in one go is missing from the conversation."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDone("response_1", "All at once, canary.", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "All at once, canary."))

    async def test_tr1_agent_turn_without_an_end(
        self, call: Call, connection: loopback.Connection
    ) -> None:
        """The message stays unfinished where the provider does not repeat the whole text."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "Just pieces,", item_id="agent_1"),
            events.TextDelta("response_1", " canary.", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "Just pieces, canary."))

    async def test_tr1_agent_turn_with_an_empty_end(
        self, call: Call, connection: loopback.Connection
    ) -> None:
        """The answer vanishes where the provider's last word is empty."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "Just pieces, canary.", item_id="agent_1"),
            events.TextDone("response_1", "", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "Just pieces, canary."))

    async def test_tr1_agent_turn_of_two_messages(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """Of an answer in parts only the last part is written down."""
        facts.need("ids")
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "One canary.", item_id="agent_1"),
            events.TextDone("response_1", "One canary.", item_id="agent_1"),
            events.TextDelta("response_1", " Two", item_id="agent_2"),
            events.TextDelta("response_1", " canaries.", item_id="agent_2"),
            events.TextDelta("response_1", " Three.", item_id="agent_2", content_index=1),
            events.TextDone("response_1", " Two canaries.", item_id="agent_2"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "One canary. Two canaries. Three."))

    async def test_tr1_agent_turn_is_corrected(
        self, call: Call, connection: loopback.Connection
    ) -> None:
        """The transcript keeps the mistake its last word corrects, or has both."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "A cannery sings", item_id="agent_1"),
            events.TextDone("response_1", "A canary sings.", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "A canary sings."))

    async def test_tr1_final_comes_last(self, ear: Ear, connection: loopback.Connection) -> None:
        """Whoever shows the transcript closes the line while words are still to come."""
        await say(connection, text="One two canary", audio=bytes(960))
        await ear.done("response_1")
        *deltas, final = ear.agent_said()
        assert final.mode == "final"
        assert final.text == "One two canary"
        assert [delta.mode for delta in deltas] == ["delta"] * len(deltas)
        assert "".join(delta.text for delta in deltas) == "One two canary"

    async def test_tr1_turn_after_turn(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The second exchange is written into the first, or lost."""
        facts.need("transcription")
        lines: list[Line] = []
        for number in ("1", "2"):
            await hears(connection, f"canary {number}?", f"user_{number}")
            await say(connection, f"response_{number}", text=f"canary {number}!", audio=bytes(9600))
            lines += [("user", f"canary {number}?"), ("assistant", f"canary {number}!")]
            await call.reads(*lines)

    async def test_tr1_late_user_transcript(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The agent answers before the user asked, or its message is cut in two."""
        facts.need("transcription", "speech_events")
        await connection.send(
            events.UserSpeechStarted("user_1"),
            events.UserSpeechStopped("user_1"),
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "Yes,", item_id="agent_1"),
            events.UserTranscript("Is it", False, "user_1"),
            events.TextDelta("response_1", " a", item_id="agent_1"),
            events.UserTranscript("Is it a canary?", True, "user_1"),
            events.TextDelta("response_1", " canary.", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("user", "Is it a canary?"), ("assistant", "Yes, a canary."))

    async def test_tr1_without_transcription(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """What the agent says waits for a transcript that nobody asked for."""
        facts.need("speech_events")
        llm = make(transcription=False)
        await llm.connect()
        connection, ear = await provider.connection(2), make.listen(llm)
        assert connection.config is not None
        assert not connection.config.transcription
        await connection.send(
            events.UserSpeechStarted("user_1"),
            events.UserSpeechStopped("user_1"),
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "A canary", item_id="agent_1"),
        )
        said = await ear.first(RealtimeAgentTranscript)
        assert (said.mode, said.text) == ("delta", "A canary")

    async def test_tr1_no_user_transcript(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """What the agent says waits for a transcript that failed."""
        facts.need("transcription")
        await connection.send(
            events.UserSpeechStarted("user_1"),
            events.UserSpeechStopped("user_1"),
            events.UserTranscriptFailed("user_1", "audio_unintelligible"),
            events.ResponseStarted("response_1"),
            events.TextDelta("response_1", "Pardon,", item_id="agent_1"),
        )
        await call.notes.changes.until(
            lambda: call.lines == [("assistant", "Pardon,")], "transcript of the answer"
        )
        await connection.send(
            events.TextDelta("response_1", " canary?", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await call.reads(("assistant", "Pardon, canary?"))

    async def test_tr1_interrupted_answer(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """An answer cut short vanishes from the conversation, or is never finished."""
        await say(connection, text="As a canary I", audio=ramp(24000).tobytes(), status=None)
        await call.notes.changes.until(lambda: bool(call.lines), "transcript as it comes")
        await is_interrupted(connection, facts)
        await connection.send(events.UserTranscript("Stop, canary.", True, "user_2"))
        await call.reads(("assistant", "As a canary I"), ("user", "Stop, canary."))

    async def test_tr2_after_a_barge_in(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """What the user said to interrupt the agent is lost, if they say no more."""
        facts.need("transcription")
        await say(connection, audio=ramp(24000).tobytes(), status=None)
        await call.track.until(lambda: bool(call.audible()), "speech on the track")
        await is_interrupted(connection, facts)
        await connection.send(
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await call.reads(("user", "Stop, canary."))
        await call.turns.first(UserTurnEndedEvent)
        turns = call.turns.of(UserTurnStartedEvent) + call.turns.of(UserTurnEndedEvent)
        assert [turn.participant for turn in turns] == [ALICE, ALICE]

    async def test_tr2_long_after_a_barge_in(
        self, call: Call, connection: loopback.Connection, facts: Facts, record: Recorder
    ) -> None:
        """The same, where the transcript takes its time."""
        facts.need("transcription")
        await say(connection, audio=ramp(24000).tobytes(), status=None)
        await is_interrupted(connection, facts)
        await call.track.until(lambda: bool(call.track.items), "flush of the track")
        await fence(connection, record)
        await connection.send(
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await call.reads(("user", "Stop, canary."))
        await call.turns.first(UserTurnEndedEvent)

    async def test_tr2_after_the_app_interrupts(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """What the user said just before the app interrupts is lost."""
        facts.need("transcription")
        await call.flow.interrupt()
        await hears(connection, "Am I heard, canary?")
        await call.reads(("user", "Am I heard, canary?"))

    async def test_tr2_without_a_flow(
        self, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """What must outlive a barge-in waits for ever where nobody answers it."""
        facts.need("transcription")
        await say(connection, audio=ramp(24000).tobytes(), status=None)
        await is_interrupted(connection, facts)
        await connection.send(events.UserTranscript("Stop, canary.", True, "user_2"))
        said = await ear.first(RealtimeUserTranscript)
        assert said.participant == ALICE

    async def test_tr2_between_two_barge_ins(
        self,
        make: Make,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The user interrupts twice in a row, and what they said first is lost."""
        facts.need("transcription")
        sound = ramp(24000).tobytes()
        await say(connection, audio=sound, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=sound, status=None)
        await is_interrupted(connection, facts, "user_3")
        await fence(connection, record)
        ear = make.listen(llm, answers=True)
        said = await ear.first(RealtimeUserTranscript)
        assert said.text == "Stop, canary."

    async def test_tr2_an_answer_nobody_heard(
        self,
        make: Make,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The user interrupts twice in a row, and reads what the agent never said."""
        facts.need("transcription")
        needs_messages()
        sound = ramp(24000).tobytes()
        await say(connection, audio=sound, status=None)
        await is_interrupted(connection, facts)
        await connection.send(
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await say(connection, "response_2", audio=sound, text="Unheard")
        await is_interrupted(connection, facts, "user_3")
        await fence(connection, record)
        ear = make.listen(llm, answers=True)
        said = await ear.first(RealtimeUserTranscript)
        assert said.text == "Stop, canary."
        await fence(connection, record)
        assert not ear.agent_said(), "nobody heard that"
        assert [end.interrupted for end in ear.dones("response_2")] == [True]
        assert not ear.of(RealtimeAgentSpeechEnded)

    async def test_tr3_two_speakers(
        self, llm: Realtime, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A user's words stand under somebody else's name."""
        facts.need("transcription")
        await connection.wait_audio(1)
        await hears(connection, "I am the canary.", "user_1")
        await ear.first(RealtimeUserTranscript)
        await speak(llm, A_WORD, BOB)
        await hears(connection, "And I the canary's cat.", "user_2")
        await ear.first(RealtimeUserTranscript, 2)
        by = [(said.participant, said.text) for said in ear.user_said()]
        assert by == [(ALICE, "I am the canary."), (BOB, "And I the canary's cat.")]

    async def test_tr3_turns_ended_by_hand(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """With push-to-talk, the first to speak is taken for the second."""
        facts.need("manual_turns", "transcription", "ids")
        await llm.update_session(turn_detection=False)
        for number, speaker in ((1, ALICE), (2, BOB)):
            await speak(llm, frames(tone(300, 0.2, 48000), 48000), speaker)
            await llm.commit_audio(respond=False)
            await connection.wait_for(events.CommitAudio, number)
            await connection.send(events.AudioCommitted(f"user_{number}"))
            await fence(connection, record)
        for number in (1, 2):
            await connection.send(events.UserTranscript("A canary.", True, f"user_{number}"))
        await ear.first(RealtimeUserTranscript, 2)
        assert [said.participant for said in ear.user_said()] == [ALICE, BOB]

    async def test_tr3_transcript_behind_the_next_speaker(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """A transcript that comes late is taken for the next speaker's."""
        facts.need("transcription", "speech_events", "ids")
        await connection.send(
            events.UserSpeechStarted("user_1"), events.UserSpeechStopped("user_1")
        )
        await fence(connection, record)
        await speak(llm, A_WORD, BOB)
        await connection.send(
            events.AudioCommitted("user_1"),
            events.UserSpeechStarted("user_2"),
            events.UserTranscript("I am ", False, "user_1"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("I am the canary.", True, "user_1"),
            events.UserTranscript("And I the canary's cat.", True, "user_2"),
        )
        await ear.first(RealtimeUserTranscript, 3)
        by = [(said.participant, said.text) for said in ear.user_said()]
        assert by == [
            (ALICE, "I am "),
            (ALICE, "I am the canary."),
            (BOB, "And I the canary's cat."),
        ]

    async def test_tr3_turn_belongs_to_who_began_it(
        self, llm: Realtime, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A cough of somebody else takes the turn away from who is speaking."""
        facts.need("speech_events", "transcription")
        await connection.send(events.UserSpeechStarted())
        await call.turns.first(UserTurnStartedEvent)
        await speak(llm, A_WORD, BOB)
        await connection.send(
            events.UserSpeechStopped(), events.UserTranscript("Still me, canary.", True)
        )
        ended = await call.turns.first(UserTurnEndedEvent)
        assert ended.participant == ALICE, "began by Alice, ended by Bob"
        await call.reads(("user", "Still me, canary."))
        assert [each.user_id for each in call.notes.messages] == [ALICE.user_id]

    async def test_tr3_without_the_call(
        self, llm: Realtime, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """Audio given to simple_audio_response has no speaker: its words are dropped."""
        facts.need("transcription")
        for pcm in A_WORD:
            await llm.simple_audio_response(pcm, BOB)
        await hears(connection, "I am the canary's cat.")
        said = await ear.first(RealtimeUserTranscript)
        assert said.participant == BOB

    async def test_tr3_text_is_no_voice(
        self, call: Call, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A prompt the app injects takes the words out of the mouth of who speaks."""
        facts.need("transcription", "text", "speech_events")
        await connection.send(events.UserSpeechStarted(), events.UserSpeechStopped())
        await call.turns.first(UserTurnEndedEvent)
        asks = call.flow.simple_response("Greet the canary", AGENT, interrupt=False)
        async with asyncio.TaskGroup() as group:
            group.create_task(asks)
            request = await connection.wait_for(events.CreateResponse)
            await connection.send(events.UserTranscript("It is me, canary.", True))
            await say(connection, text="Hello canary", request_id=request.request_id)
        await call.reads(("user", "It is me, canary."), ("assistant", "Hello canary"))
        assert call.notes.messages[0].user_id == ALICE.user_id

    async def test_tr4_one_end_of_the_users_turn(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The user's words are there twice where the provider says twice that they end."""
        facts.need("transcription", "ids")
        await hears(connection, "One canary.")
        await connection.send(
            events.UserTranscript("One canary.", True, "user_1"),
            events.UserTranscript("One", False, "user_1"),
        )
        await fence(connection, record)
        assert [said.text for said in ear.user_said()] == ["One canary."]

    async def test_tr4_one_end_of_the_agents_turn(
        self, call: Call, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The agent's words are there twice where the provider says them twice."""
        facts.need("ids")
        again = events.TextDone("response_1", "One canary.", item_id="item_response_1")
        await say(connection, text="One canary.", audio=bytes(960), status=None)
        await connection.send(again, again, events.ResponseDone("response_1"), again)
        await connection.send(events.ResponseDone("response_1"))
        await fence(connection, record)
        await say(connection, "response_2", text="Another canary.")
        await call.reads(("assistant", "One canary."), ("assistant", "Another canary."))

    async def test_tr4_speculation_and_result(
        self, ear: Ear, connection: loopback.Connection
    ) -> None:
        """The agent's answer is there as first guessed and as said."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.TextDone("response_1", "A canary, perhaps.", item_id="agent_1"),
            events.AudioDelta("response_1", bytes(960), "agent_1"),
            events.TextDone("response_1", "A canary.", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await ear.done("response_1")
        finals = [said.text for said in ear.agent_said() if said.mode == "final"]
        assert finals == ["A canary."]

    @pytest.mark.parametrize("nothing", ["", " ", "\n"])
    async def test_tr4_nothing_said(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        nothing: str,
    ) -> None:
        """Empty messages fill the conversation whenever somebody coughs."""
        if facts.transcription:
            await hears(connection, nothing)
        await say(connection, text=nothing, audio=bytes(96))
        await ear.done("response_1")
        await fence(connection, record)
        assert not ear.user_said()
        assert not ear.agent_said()

    async def test_tr4_control_markers(
        self, ear: Ear, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The transcriber's notes on noise stand in the conversation as if spoken."""
        facts.need("transcription", "control_markers")
        for number, marker in enumerate(facts.control_markers):
            await hears(connection, marker, f"noise_{number}")
            await hears(connection, f"{marker} My canary.", f"user_{number}")
        await fence(connection, record)
        said = [each.text for each in ear.user_said()]
        assert said == ["My canary."] * len(facts.control_markers)

    async def test_tr5_written_answers(self, make: Make, provider: loopback.Provider) -> None:
        """An agent asked to write instead of speak says nothing at all."""
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

    async def test_tr5_a_written_answer_in_between(
        self, call: Call, connection: loopback.Connection
    ) -> None:
        """In a spoken conversation, an answer that comes as text only is dropped."""
        await say(connection, text="A written canary", spoken=False)
        await say(connection, "response_2", text="A spoken canary", audio=bytes(960))
        await call.reads(("assistant", "A written canary"), ("assistant", "A spoken canary"))
