"""MS: messages in all of Vision Agents' shapes, and the history told to the provider."""

import asyncio
import copy

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message

from realtime_testkit import protocol
from realtime_testkit.agent_flow import AgentFlow
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder
from realtime_testkit.scenarios import (
    ALICE,
    INSTRUCTIONS,
    WAIT_S,
    NativeCall,
    begun,
    fence,
    final,
    hears,
    is_interrupted,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import frames, speech, tone
from realtime_testkit.transport import Transport

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)

CUT = "As a canary I"
"""The text of an answer that is interrupted after it was heard."""

HEARD_S = 0.3
"""After so long a short answer was heard to its end."""

Line = tuple[protocol.Role, str]

SHAPES: dict[str, tuple[object, list[Line]]] = {
    "text": ("Sing, canary", [("user", "Sing, canary")]),
    "mapping": ({"role": "user", "content": "Sing, canary"}, [("user", "Sing, canary")]),
    "no role": ({"content": "Sing, canary"}, [("user", "Sing, canary")]),
    "assistant": ({"role": "assistant", "content": "I sing"}, [("assistant", "I sing")]),
    "system": ({"role": "system", "content": "Be a canary"}, [("system", "Be a canary")]),
    "developer": ({"role": "developer", "content": "Be a canary"}, [("system", "Be a canary")]),
    "unknown role": ({"role": "bird", "content": "Sing, canary"}, [("user", "Sing, canary")]),
    "message": (Message(content="I sing", role="assistant"), [("assistant", "I sing")]),
    "part": ({"type": "input_text", "text": "Sing, canary"}, [("user", "Sing, canary")]),
    "content parts": (
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "I "}, {"type": "text", "text": "sing"}],
        },
        [("assistant", "I sing")],
    ),
    "list": (
        [
            "Are you a canary?",
            {"role": "assistant", "content": "I am"},
            Message("Sing", role="user"),
        ],
        [("user", "Are you a canary?"), ("assistant", "I am"), ("user", "Sing")],
    ),
    "tuple": (("Sing,", "canary"), [("user", "Sing,"), ("user", "canary")]),
}


def _as_heard(lines: list[Line]) -> list[Line]:
    """Lines as they were told, with CUT for the words of it that were heard."""
    return [(role, CUT if text and CUT.startswith(text) else text) for role, text in lines]


def _told(connection: Connection) -> list[Line]:
    return [(message.role, message.text) for message in connection.received(protocol.AddMessage)]


async def _answered(
    llm: Realtime, connection: Connection, text: str, answer: str, number: int
) -> None:
    """Ask with a text and be answered; it is the session's request of that number."""
    asking = begun(final(llm.simple_response(text)))
    request = await connection.wait_for(protocol.CreateResponse, number)
    await say(connection, f"response_{number}", text=answer, request_id=request.request_id)
    await asking


class Messages(Contract):
    """Tests of MS1 and MS2."""

    @pytest.mark.parametrize("shape", SHAPES)
    async def test_ms1_message_shapes_are_sent(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        shape: str,
        native: NativeCall,
    ) -> None:
        """Each shape of a message reaches the provider with its roles and texts, and is not edited."""
        given, lines = SHAPES[shape]
        if [role for role, _ in lines] != ["user"]:
            facts.need("history")
        before = copy.deepcopy(given)
        asking = begun(final(native(llm, given)))
        request = await connection.wait_for(protocol.CreateResponse)
        assert _told(connection) == lines
        await say(connection, text="La", request_id=request.request_id)
        await asking
        assert given == before, "the caller's message was edited"

    @pytest.mark.parametrize("shape", SHAPES)
    async def test_ms1_normalize_message_gives_messages(self, llm: Realtime, shape: str) -> None:
        """_normalize_message() gives Vision Agents' messages with roles, texts and the original."""
        given, lines = SHAPES[shape]
        messages = llm._normalize_message(given)
        assert all(isinstance(message, Message) for message in messages)
        assert [(message.role, message.content) for message in messages] == lines
        if shape in ("text", "mapping", "part"):
            assert messages[0].original is given

    @pytest.mark.parametrize(
        "nothing",
        [7, None, {"type": "input_image"}, {"role": "user", "content": 7}],
        ids=["number", "none", "picture", "content"],
    )
    async def test_ms1_message_without_text_raises(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        nothing: object,
        native: NativeCall,
    ) -> None:
        """A message without text raises ValueError, sends nothing, and the next request works."""
        with pytest.raises(ValueError, match="text"):
            await final(native(llm, nothing))
        await fence(connection, record)
        assert len(connection.commands) == 1
        asking = begun(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_ms2_new_session_is_told_the_conversation(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
        transport: Transport,
    ) -> None:
        """After each drop the session is told its instructions and what both sides said.

        In order, and without a request.
        """
        facts.need("history", "transcription")
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "Are you a canary?")
        await say(connection, text="I am.", audio=bytes(96))
        await fence(connection, record)
        asking = begun(final(native(llm, "Then sing.")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La la canary", request_id=request.request_id)
        await asking
        lines: list[Line] = [
            ("user", "Are you a canary?"),
            ("assistant", "I am."),
            ("user", "Then sing."),
            ("assistant", "La la canary"),
            ("assistant", CUT),
        ]
        await say(connection, "response_3", text="As a canary I", audio=bytes(96), status=None)
        await fence(connection, record)
        await passes(HEARD_S + transport.late_s)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        for number in (2, 3):
            connection.abort()
            connection = await provider.connection(number)
            await connection.wait_for(protocol.AddMessage, len(lines))
            await fence(connection, record)
            assert _as_heard(_told(connection)) == lines
            assert connection.config is not None
            assert connection.config.instructions == INSTRUCTIONS
            assert not connection.received(protocol.CreateResponse)

    async def test_ms2_agents_conversation_is_told_once(
        self,
        flow: AgentFlow,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
        transport: Transport,
    ) -> None:
        """After a drop the agent's conversation and the prompt are told, each line once."""
        facts.need("history", "transcription")
        await flow.conversation.send_message("assistant", "agent", "Welcome, canary.")
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "Are you a canary?")
        await say(connection, text=" I am. ", audio=bytes(96))
        await flow.conversation.changes.until(
            lambda: len(flow.lines) == 3 and not flow.unfinished, "the exchange"
        )
        asking = begun(final(native(llm, "Then sing.")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        await asking
        await flow.conversation.changes.until(lambda: len(flow.lines) == 4, "the second answer")
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage, 5)
        await fence(again, record)
        assert [(role, text.strip()) for role, text in _told(again)] == [
            ("assistant", "Welcome, canary."),
            ("user", "Are you a canary?"),
            ("assistant", "I am."),
            ("user", "Then sing."),
            ("assistant", "La la"),
        ]

    async def test_ms2_interrupted_answer_is_told_as_heard(
        self,
        flow: AgentFlow,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """After a drop the session is told an interrupted answer without the text that came late."""
        facts.need("history", "transcription")
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        sound = speech(100, facts.output_rate)
        await say(connection, audio=sound, text="As a canary I", status=None)
        await flow.track.until(lambda: bool(flow.audible()), "speech on the track")
        await passes(HEARD_S + transport.late_s)
        await is_interrupted(connection, facts)
        await connection.send(
            protocol.TextDelta("response_1", " LATE", item_id="item_response_1"),
            protocol.ResponseDone("response_1", "cancelled"),
            protocol.UserSpeechStopped("user_2"),
            protocol.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await flow.reads(("assistant", "As a canary I"), ("user", "Stop, canary."))
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage, 2)
        await fence(again, record)
        told = _as_heard(_told(again))
        assert told == [("assistant", CUT), ("user", "Stop, canary.")]

    async def test_ms2_answers_whose_ids_come_again_are_told(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """Answers of two sessions that have the same id are both told to a third session."""
        facts.need("history")
        lines: list[Line] = []
        for number in (1, 2):
            lines.append(("assistant", f"Canary {number}"))
            await say(connection, text=f"Canary {number}")
            await fence(connection, record)
            connection.abort()
            connection = await provider.connection(number + 1)
            await record.up(number + 1)
        await fence(connection, record)
        assert _told(connection) == lines

    async def test_ms2_repeated_lines_are_told_each_time(
        self,
        flow: AgentFlow,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """Lines that were said twice are told twice."""
        facts.need("history", "text")
        for number in (1, 2):
            await _answered(llm, connection, "Again, canary", "La", number)
            await flow.reads(*[("assistant", "La")] * number)
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage, 4)
        await fence(again, record)
        assert _told(again) == [("user", "Again, canary"), ("assistant", "La")] * 2

    async def test_ms2_long_conversation_is_cut_at_its_beginning(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Of a thousand messages the newest are told, in order, at least twenty."""
        facts.need("history")
        llm = make(client=make.client(send_timeout_s=5.0))
        lines = [Message(f"canary {number}", role="user") for number in range(1000)]
        llm.set_conversation(InMemoryConversation("", lines))
        await llm.connect()
        connection = await provider.connection()
        async with asyncio.timeout(WAIT_S):
            while ("user", "canary 999") not in _told(connection):
                await passes(0.01)
        await fence(connection, make.record(llm))
        told = [text for _, text in _told(connection)]
        assert told == [f"canary {number}" for number in range(1000 - len(told), 1000)]
        assert 20 <= len(told) < 1000, f"told {len(told)} messages"

    async def test_ms2_message_that_cannot_be_told_ends_no_call(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Beside a picture of 300 kB, which some transports cannot carry, the rest is told."""
        facts.need("history", "images")
        picture = f"data:image/jpeg;base64,{'A' * 300_000}"
        shown = {"role": "user", "content": [{"type": "input_image", "image_url": picture}]}
        llm = make()
        messages = [
            Message("I have a canary.", role="user"),
            Message("", role="user", original=shown),
            Message("What does it eat?", role="user"),
        ]
        llm.set_conversation(InMemoryConversation("", messages))
        await llm.connect()
        connection = await provider.connection()
        async with asyncio.timeout(WAIT_S):
            while ("user", "What does it eat?") not in _told(connection):
                await passes(0.01)
        assert ("user", "I have a canary.") in _told(connection)
        assert llm.connected

    async def test_ms2_history_is_told_before_the_first_request(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """A conversation set before connect(), and after a drop, is told before a request is sent."""
        facts.need("history")
        llm = make()
        conversation = InMemoryConversation("", [])
        await conversation.send_message("user", "alice", "I have a canary.")
        llm.set_conversation(conversation)
        await llm.connect()
        connection = await provider.connection()
        await connection.wait_for(protocol.AddMessage)
        await fence(connection, make.record(llm))
        assert _told(connection) == [("user", "I have a canary.")]
        provider.refuse = 503
        connection.abort()
        await provider.wait_handshakes(2)
        asking = begun(final(native(llm, "Sing, canary")))
        provider.refuse = None
        again = await provider.connection(2)
        request = await again.wait_for(protocol.CreateResponse)
        assert _told(again) == [("user", "I have a canary."), ("user", "Sing, canary")]
        await say(again, text="La", request_id=request.request_id)
        await asking

    async def test_ms3_trimmed_messages_are_deleted_and_not_told_again(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        flow: AgentFlow,
        facts: Facts,
    ) -> None:
        """All but the newest answers are deleted at the provider, and no later session has them."""
        facts.need("history", "text")
        for number in (1, 2, 3):
            text, answer = f"Canary {number}", f"Canary song {number}"
            await _answered(llm, connection, text, answer, number)
            await flow.reads(*[("assistant", f"Canary song {n + 1}") for n in range(number)])
        await llm.trim_history(3)
        await fence(connection, record)
        deleted = [command.item_id for command in connection.received(protocol.DeleteItem)]
        assert deleted == (["item_response_1"] if facts.ids else [])
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage, 3)
        await fence(again, record)
        kept = ("assistant", "Canary song 2"), ("user", "Canary 3"), ("assistant", "Canary song 3")
        assert _told(again) == list(kept)

    async def test_ms3_spoken_turns_are_deleted(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """What the user said is deleted at the provider as the answers are."""
        facts.need("history", "transcription", "ids")
        await hears(connection, "Are you a canary?")
        await say(connection, text="I am.")
        await fence(connection, record)
        await llm.trim_history(0)
        await connection.wait_for(protocol.DeleteItem, 2)
        deleted = [command.item_id for command in connection.received(protocol.DeleteItem)]
        assert deleted == ["user_1", "item_response_1"]

    async def test_ms3_all_can_be_forgotten(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """After everything was forgotten a new session is told only what was said since."""
        facts.need("history", "text")
        conversation = InMemoryConversation("", [Message("I have a canary.", role="user")])
        llm.set_conversation(conversation)
        await connection.wait_for(protocol.AddMessage)
        await llm.trim_history(0)
        await _answered(llm, connection, "Sing, canary", "La", 1)
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(protocol.AddMessage, 2)
        await fence(again, record)
        assert _told(again) == [("user", "Sing, canary"), ("assistant", "La")]

    async def test_ms3_impossible_number_is_refused(self, llm: Realtime) -> None:
        """A negative number of messages is a ValueError that names the argument."""
        with pytest.raises(ValueError, match="keep=-1"):
            await llm.trim_history(-1)
