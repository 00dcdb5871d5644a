"""A scripted provider says whatever a test says, with all frames around it."""

import pytest
from realtime_testkit import protocol
from realtime_testkit.protocol import UnsupportedEvent
from realtime_testkit.providers import Connection
from realtime_testkit.providers.openai import Provider
from realtime_testkit.providers.openai.reader import REQUEST_KEY

from .conversing import Client

EVENTS: list[list[protocol.Event]] = [
    [
        protocol.UserSpeechStarted("u"),
        protocol.UserSpeechStopped("u"),
        protocol.AudioCommitted("u"),
    ],
    [protocol.UserSpeechStarted(), protocol.UserSpeechStopped(), protocol.AudioCommitted()],
    [protocol.AudioCommitted("u"), protocol.AudioCommitted("u")],
    [protocol.UserTranscript("Hel"), protocol.UserTranscript("Hello", True)],
    [protocol.UserTranscript("unknown", True, "nowhere")],
    [protocol.UserTranscriptFailed("u", "audio_unintelligible"), protocol.UserTranscriptFailed()],
    [protocol.UserIdle("u", 100, 5100)],
    [
        protocol.ResponseStarted("r"),
        protocol.AudioDelta("r", b"\1\2\3"),
        protocol.ResponseDone("r"),
    ],
    [protocol.AudioDelta("never begun", b"\1\2", "i"), protocol.ResponseDone("never begun")],
    [protocol.ResponseDone("r", "cancelled", code="turn_detected")],
    [protocol.ResponseDone("r", "failed", code="server_error")],
    [protocol.ResponseDone("r", "failed")],
    [protocol.ResponseDone("r", "incomplete", code="content_filter")],
    [protocol.ResponseDone("r", usage=protocol.Usage(3, 4, 7, 1, 2, 3))],
    [protocol.TextDelta("r", "Hel", False), protocol.TextDone("r", "Hello", False)],
    [
        protocol.TextDelta("r", "a", False, "i", 0, 0),
        protocol.TextDelta("r", "b", False, "i", 0, 1),
    ],
    [protocol.TextDelta("r", "a", True, "i"), protocol.TextDelta("r", "b", False, "i")],
    [protocol.TextDone("r", "twice", True, "i"), protocol.TextDone("r", "twice", True, "i")],
    [protocol.TextDelta("r", "a", True, "i", 1), protocol.TextDelta("r", "b", True, "j", 0)],
    [protocol.TextDelta("r", "a", True, "i"), protocol.ToolCall("r", "c", "f", '{"a":1}')],
    [protocol.ToolCall("r", "c", "f", ""), protocol.ToolCall("r", "c", "f", "{}")],
    [protocol.ToolCall("r", "c", "f", "{}"), protocol.TextDelta("r", "late", True, "i")],
    [protocol.ServerToolCall("r", "c", "files", "find", "{}", "found")],
    [protocol.ServerToolCall("r", "c", "files", "find", "{}")],
    [protocol.ToolCallApproval("r", "q", "files", "find", "{}")],
    [protocol.ResponseStarted("r"), protocol.TextDelta("r", "x"), protocol.Interrupted()],
    [protocol.ResponseStarted("r"), protocol.ResponseStarted("s"), protocol.Interrupted("r")],
    [protocol.Interrupted()],
    [protocol.Fault("some_code"), protocol.Fault("other", "request", message="Why", param="x")],
    [protocol.SessionAccepted(), protocol.SessionAccepted(output_rate=16000)],
    [protocol.OutputStarted("r"), protocol.OutputStopped("r"), protocol.OutputStopped("r", True)],
]


@pytest.fixture
def connection(listener: Client, script: Provider) -> Connection:
    assert listener.heard
    return script.connections[0]


@pytest.mark.parametrize("said", EVENTS, ids=lambda said: "-".join(type(e).__name__ for e in said))
async def test_every_event_is_valid_for_the_models_of_the_sdk(
    connection: Connection, listener: Client, said: list[protocol.Event]
) -> None:
    """The fixture validates every frame that was sent, with unknown fields forbidden."""
    await connection.send(*said)
    await connection.send(protocol.Fault("the_end"))
    while (await listener.until("error"))["error"]["code"] != "the_end":
        pass


@pytest.mark.parametrize(
    "event", [protocol.Ping("x"), protocol.Resumable("x"), protocol.ToolCallCancelled("x")]
)
async def test_what_the_wire_has_no_message_for_is_unsupported(
    connection: Connection, event: protocol.Event
) -> None:
    with pytest.raises(UnsupportedEvent):
        await connection.send(event)


async def test_two_responses_at_once(connection: Connection, listener: Client) -> None:
    """What is said of each keeps its own items, and each ends by itself."""
    for name in ("a", "b"):
        await connection.send(protocol.ResponseStarted(name))
    for name in ("b", "a", "b"):
        await connection.send(protocol.TextDelta(name, name, True, f"item_{name}"))
    for name in ("a", "b"):
        await connection.send(protocol.ResponseDone(name))
    outputs = [
        (await listener.until("response.done"))["response"]["output"][0]["content"][0]["transcript"]
        for _ in range(2)
    ]
    assert outputs == ["a", "bb"]


async def test_a_script_is_not_answered_for(connection: Connection, listener: Client) -> None:
    """Items are acknowledged; requests, cancels and commits wait for the script."""
    await listener.ask("Hello")
    await listener.say("response.create")
    await listener.say("response.cancel")
    await listener.say("input_audio_buffer.commit")
    await listener.say("input_audio_buffer.clear")
    await listener.until("input_audio_buffer.cleared")
    assert listener.kinds() == [
        "session.created",
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.cleared",
    ]
    assert len(connection.received(protocol.CreateResponse)) == 2


async def test_truncation_beyond_the_audio_is_refused_and_noted(
    connection: Connection, listener: Client
) -> None:
    await connection.send(protocol.AudioDelta("r", bytes(4800), "i"))  # 100 ms
    place = {"item_id": "i", "content_index": 0}
    await listener.say("conversation.item.truncate", **place, audio_end_ms=100)
    await listener.until("conversation.item.truncated")
    await listener.say("conversation.item.truncate", **place, audio_end_ms=101)
    await listener.refused("invalid_value")
    assert len(connection.violations) == 1


async def test_a_request_is_answered_with_its_metadata(
    connection: Connection, listener: Client
) -> None:
    metadata = {REQUEST_KEY: "mine", "more": "words"}
    await listener.say("response.create", response={"metadata": metadata})
    create = await connection.wait_for(protocol.CreateResponse)
    assert create.request_id == "mine"
    await connection.send(protocol.ResponseStarted("r", "mine"))
    started = await listener.until("response.created")
    assert started["response"]["metadata"] == metadata
