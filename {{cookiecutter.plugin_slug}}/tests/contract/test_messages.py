"""MS: messages of any shape the house uses, and what the provider remembers of them."""

import asyncio
import copy

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from .calling import Call
from .kit import (
    ALICE,
    INSTRUCTIONS,
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
    tone,
)
from .making import Make

A_WORD = frames(tone(300, 0.02, 48000), 48000)

Line = tuple[events.Role, str]

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


def _told(connection: loopback.Connection) -> list[Line]:
    return [(message.role, message.text) for message in connection.received(events.AddMessage)]


class TestMessages:
    @pytest.mark.parametrize("shape", SHAPES)
    async def test_ms1_shapes(
        self, llm: Realtime, connection: loopback.Connection, shape: str
    ) -> None:
        """A message that another plugin of the house takes is refused or mangled here."""
        given, lines = SHAPES[shape]
        before = copy.deepcopy(given)
        asking = asyncio.create_task(final(native(llm, given)))
        request = await connection.wait_for(events.CreateResponse)
        assert _told(connection) == lines
        await say(connection, text="La", request_id=request.request_id)
        await asking
        assert given == before, "the caller's message was edited"

    @pytest.mark.parametrize("shape", SHAPES)
    async def test_ms1_house_messages(self, llm: Realtime, shape: str) -> None:
        """The pattern's own helper gives something else than the house's messages."""
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
    async def test_ms1_no_text_in_it(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder, nothing: object
    ) -> None:
        """A message without text is sent as the words "None", or nobody is told."""
        with pytest.raises(ValueError, match="text"):
            await final(native(llm, nothing))
        await fence(connection, record)
        assert len(connection.commands) == 1
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_ms2_what_both_sides_said(
        self,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """After a reconnect the agent has forgotten who it is and what was said."""
        facts.need("history", "transcription")
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "Are you a canary?")
        await say(connection, text="I am.", audio=bytes(96))
        await fence(connection, record)
        asking = asyncio.create_task(final(native(llm, "Then sing.")))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, "response_2", text="La la canary", request_id=request.request_id)
        await asking
        lines: list[Line] = [
            ("user", "Are you a canary?"),
            ("assistant", "I am."),
            ("user", "Then sing."),
            ("assistant", "La la canary"),
            ("assistant", "As a canary I"),
        ]
        await say(connection, "response_3", text="As a canary I", audio=bytes(96), status=None)
        await is_interrupted(connection, facts)
        await fence(connection, record)
        for number in (2, 3):
            connection.abort()
            connection = await provider.connection(number)
            await connection.wait_for(events.AddMessage, len(lines))
            await fence(connection, record)
            assert _told(connection) == lines
            assert connection.config is not None
            assert connection.config.instructions == INSTRUCTIONS
            assert not connection.received(events.CreateResponse)

    async def test_ms2_the_agents_conversation(
        self,
        call: Call,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """After a reconnect everything was said twice, or what the app added is missing."""
        facts.need("history", "transcription")
        await call.notes.send_message("assistant", "agent", "Welcome, canary.")
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "Are you a canary?")
        await say(connection, text=" I am. ", audio=bytes(96))
        await call.notes.changes.until(
            lambda: len(call.lines) == 3 and not call.unfinished, "the exchange"
        )
        asking = asyncio.create_task(final(native(llm, "Then sing.")))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        await asking
        await call.notes.changes.until(lambda: len(call.lines) == 4, "the second answer")
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(events.AddMessage, 5)
        await fence(again, record)
        assert [(role, text.strip()) for role, text in _told(again)] == [
            ("assistant", "Welcome, canary."),
            ("user", "Are you a canary?"),
            ("assistant", "I am."),
            ("user", "Then sing."),
            ("assistant", "La la"),
        ]

    async def test_ms2_an_interrupted_answer(
        self,
        call: Call,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """After a reconnect the agent has said more than it said, or nothing, or twice."""
        facts.need("history", "transcription")
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        await say(
            connection, audio=speech(10_000, facts.output_rate), text="As a canary I", status=None
        )
        await call.track.until(lambda: bool(call.audible()), "speech on the track")
        await is_interrupted(connection, facts)
        await connection.send(
            events.TextDelta("response_1", " LATE", item_id="item_response_1"),
            events.ResponseDone("response_1", "cancelled"),
            events.UserSpeechStopped("user_2"),
            events.UserTranscript("Stop, canary.", True, "user_2"),
        )
        await call.reads(("assistant", "As a canary I"), ("user", "Stop, canary."))
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(events.AddMessage, 2)
        await fence(again, record)
        assert _told(again) == [("assistant", "As a canary I"), ("user", "Stop, canary.")]

    async def test_ms2_said_again(
        self,
        call: Call,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """Whoever says the same thing twice has said it once."""
        facts.need("history", "text")
        for number in (1, 2):
            asking = asyncio.create_task(final(llm.simple_response("Again, canary")))
            request = await connection.wait_for(events.CreateResponse, number)
            await say(connection, f"response_{number}", text="La", request_id=request.request_id)
            await asking
            await call.reads(*[("assistant", "La")] * number)
        connection.abort()
        again = await provider.connection(2)
        await again.wait_for(events.AddMessage, 4)
        await fence(again, record)
        assert _told(again) == [("user", "Again, canary"), ("assistant", "La")] * 2

    async def test_ms2_a_long_conversation(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """After an hour the agent knows how the call began, and not what it is about."""
        facts.need("history")
        llm = make()
        lines = [Message(f"canary {number}", role="user") for number in range(1000)]
        llm.set_conversation(InMemoryConversation("", lines))
        await llm.connect()
        connection = await provider.connection()
        await connection.wait_for(events.AddMessage)
        await fence(connection, make.record(llm))
        told = [text for _, text in _told(connection)]
        assert told == [f"canary {number}" for number in range(1000 - len(told), 1000)]
        assert 20 <= len(told) < 1000, f"told {len(told)} messages"

    async def test_ms2_before_anything_else(
        self,
        make: Make,
        provider: loopback.Provider,
        facts: Facts,
    ) -> None:
        """On a new connection the provider answers before it knows what it is about."""
        facts.need("history")
        llm = make()
        conversation = InMemoryConversation("", [])
        await conversation.send_message("user", "alice", "I have a canary.")
        llm.set_conversation(conversation)
        await llm.connect()
        connection = await provider.connection()
        await connection.wait_for(events.AddMessage)
        await fence(connection, make.record(llm))
        assert _told(connection) == [("user", "I have a canary.")]
        provider.refuse = 503
        connection.abort()
        await provider.wait_handshakes(2)
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        provider.refuse = None
        again = await provider.connection(2)
        request = await again.wait_for(events.CreateResponse)
        assert _told(again) == [("user", "I have a canary."), ("user", "Sing, canary")]
        await say(again, text="La", request_id=request.request_id)
        await asking
