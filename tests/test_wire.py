"""The reference wire is the public schema, read forgivingly by the plugin and strictly by the loopback.

The `openai` SDK, which others wrote, is the oracle. Its event models allow any field beside their
own and no rate but 24000 Hz: fields that a model does not declare are looked for here, and another
rate is excused.
"""

import asyncio
import base64
import importlib
import itertools
import json
import math
import random
from array import array
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest
from openai import AsyncOpenAI, BaseModel
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    InputAudioBufferCommittedEvent,
    InputAudioBufferSpeechStartedEvent,
    InputAudioBufferSpeechStoppedEvent,
    RealtimeClientEvent,
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeServerEvent,
    RealtimeSessionCreateRequest,
    ResponseAudioDeltaEvent,
    ResponseAudioTranscriptDeltaEvent,
    ResponseCreatedEvent,
    ResponseDoneEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseOutputItemDoneEvent,
    ResponseTextDeltaEvent,
    SessionCreatedEvent,
    SessionUpdatedEvent,
)
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from pydantic import TypeAdapter

from tests.generated import Plugin

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CLIENT: TypeAdapter[object] = TypeAdapter(RealtimeClientEvent)
SERVER: TypeAdapter[object] = TypeAdapter(RealtimeServerEvent)
SESSION: TypeAdapter[object] = TypeAdapter(RealtimeSessionCreateResponse)

EventT = TypeVar("EventT", bound=BaseModel)
DeltaT = TypeVar(
    "DeltaT",
    ResponseAudioDeltaEvent,
    ResponseAudioTranscriptDeltaEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseTextDeltaEvent,
)

JSONObject = dict[str, object]
Place = tuple[str | int, ...]
NOTHING = object()
CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)

WEATHER: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


@pytest.fixture(scope="module")
def acme(plugins: dict[str, Plugin]) -> Iterator[ModuleType]:
    plugin = plugins["default"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin.path))
        yield importlib.import_module(f"vision_agents.plugins.{plugin.slug}")


def undeclared(value: object, path: str = "") -> list[str]:
    """The fields that a validated model got and does not declare."""
    match value:
        case BaseModel():
            extra = [f"{path}.{name}" for name in value.model_extra or {}]
            declared = [(name, value.__dict__[name]) for name in type(value).model_fields]
            return extra + list(
                itertools.chain.from_iterable(
                    undeclared(part, f"{path}.{name}") for name, part in declared
                )
            )
        case list():
            parts = enumerate(value)
            return [found for i, part in parts for found in undeclared(part, f"{path}[{i}]")]
    return []


def with_the_one_rate(value: object) -> object:
    """A message as it would be with the only rate the models know."""
    match value:
        case {"type": "audio/pcm", "rate": int()}:
            return {"type": "audio/pcm", "rate": 24000}
        case dict():
            return {key: with_the_one_rate(part) for key, part in value.items()}
        case list():
            return [with_the_one_rate(part) for part in value]
    return value


def judge(frame: str | bytes, oracle: TypeAdapter[object]) -> None:
    """Fail unless a frame is an event of the schema, to the last field."""
    message = with_the_one_rate(json.loads(frame))
    assert isinstance(message, dict)
    if oracle is SERVER and message["type"] in ("session.created", "session.updated"):
        # The union's model is that of the session asked for; this is the one that was made.
        session = SESSION.validate_json(json.dumps(message["session"]), strict=True)
        assert undeclared(session, "session") == []
        message["session"] = {"type": "realtime"}
    event = oracle.validate_json(json.dumps(message), strict=True)
    assert undeclared(event, message["type"]) == []


def configurations(acme: ModuleType) -> Iterator["DataclassInstance"]:
    events = acme.events
    tools = (
        events.Tool("get_weather", "The weather somewhere.", WEATHER),
        events.Tool("ping", "", {}),
    )
    shapes: Mapping[str, tuple[object, ...]] = {
        "voice": (None, "marin"),
        "instructions": ("", "Be brief. \N{PARROT}"),
        "tools": ((), tools),
        "tool_choice": ("auto", "none", "required", "get_weather"),
        "modalities": ("audio", "text"),
        "turn_detection": (
            True,
            False,
            {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 300},
            {"type": "semantic_vad", "eagerness": "low", "interrupt_response": False},
        ),
        "transcription": (True, False),
        "input_rate": (24000, 16000),
        "output_rate": (24000, 48000),
        "options": ({}, {"max_output_tokens": 500, "audio": {"output": {"speed": 1.2}}}),
    }
    for values in itertools.product(*shapes.values()):
        yield events.SessionConfig("a-model", **dict(zip(shapes, values, strict=True)))


def commands(acme: ModuleType) -> list["DataclassInstance"]:
    events = acme.events
    return [
        events.AppendAudio(bytes(range(256))),
        events.CommitAudio(),
        events.ClearAudio(),
        *(events.AddMessage(role, "Hello") for role in ("system", "user", "assistant")),
        *(events.AddToolResult("call_1", "ping", output) for output in ("pong", None, {"a": {1}})),
        events.CreateResponse("request_1"),
        events.CreateResponse(
            "request_2",
            {
                "instructions": "Be brief.",
                "metadata": {"topic": "weather"},
                "output_modalities": ["text"],
                "tool_choice": "none",
            },
        ),
        events.CancelResponse(),
        events.CancelResponse("response_1"),
        events.TruncateItem("item_1", 0),
        events.TruncateItem("item_1", 1500, 1),
        events.DeleteItem("item_1"),
    ]


def everything_said(acme: ModuleType) -> list["DataclassInstance"]:
    events = acme.events
    usage = events.Usage(12, 34, 46)
    said = [
        events.SessionOpened("session_1"),
        events.SessionAccepted(),
        events.SessionAccepted(16000),
        events.UserSpeechStarted("item_1"),
        events.UserSpeechStopped("item_1"),
        events.AudioCommitted("item_1"),
        events.UserTranscript("Hel", False, "item_1"),
        events.UserTranscript("Hello", True, "item_1"),
        events.UserTranscriptFailed("item_1", "audio_unintelligible"),
        events.ResponseStarted("response_0", None),
        events.ResponseDone("response_0"),
        events.ResponseStarted("response_1", "request_1"),
        events.AudioDelta("response_1", bytes(range(256)), "item_2"),
        events.TextDelta("response_1", "Good ", True, "item_2"),
        events.TextDone("response_1", "Good day", True, "item_2"),
        events.TextDelta("response_1", "Good ", False, "item_3", 1, 1),
        events.TextDone("response_1", "Good day", False, "item_3", 1, 1),
        events.ToolCall("response_1", "call_1", "get_weather", '{"city": "Oslo"}', "item_4"),
        events.ToolCall("response_1", "call_2", "ping", ""),
        events.ResponseDone("response_1", "completed", usage),
        events.ResponseStarted("response_2"),
        events.Interrupted("response_2"),
        events.Fault("response_cancel_not_active", None, True),
        events.Fault("conversation_already_has_active_response", "request_2"),
    ]
    for status, code in (
        ("cancelled", None),
        ("cancelled", "turn_detected"),
        ("incomplete", None),
        ("incomplete", "content_filter"),
        ("failed", "server_error"),
    ):
        said += [
            events.ResponseStarted(f"response_{code}"),
            events.TextDone(f"response_{code}", "Well", True, "item_5"),
            events.ResponseDone(f"response_{code}", status, code=code),
        ]
    return said


def golden(plugin: Plugin, side: str) -> Iterator[tuple[str, JSONObject]]:
    """The plugin's golden frames of one side, by their files' names."""
    for path in sorted((plugin.path / "tests" / "frames" / side).glob("*.json")):
        yield path.name, json.loads(path.read_text(encoding="utf-8"))


def places(value: object, path: Place = ()) -> Iterator[Place]:
    """The way to everything in a JSON value, but the value itself."""
    parts: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for key, part in parts:
        yield (*path, key)
        yield from places(part, (*path, key))


def at(value: Any, path: Place) -> Any:  # noqa: ANN401
    return reduce(getitem, path, value)


def changed(message: JSONObject, path: Place, to: object) -> JSONObject:
    """The message with something else at a place, or nothing there."""
    copy = deepcopy(message)
    if to is NOTHING:
        del at(copy, path[:-1])[path[-1]]
    else:
        at(copy, path[:-1])[path[-1]] = to
    return copy


class Connection(Protocol):
    """The embedded provider's end of a conversation."""

    violations: list[str]

    async def wait_for(self, kind: type[object]) -> object: ...


class Provider(Protocol):
    """The generated plugin's embedded provider."""

    url: str
    connections: list[Connection]
    holds: asyncio.Event


class TestTheOracle:
    """It has to be able to say no."""

    @pytest.mark.parametrize(
        "message",
        [
            {"type": "input_audio_buffer.append"},
            {"type": "input_audio_buffer.append", "audio": 5},
            {"type": "input_audio_buffer.append", "audio": "", "rate": 24000},
            {"type": "response.make"},
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"input": {"turn_detection": {}}}},
            },
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "input_text", "text": "Hello"}],
                },
            },
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "tools": [{"type": "function", "name": "ping", "strict": True}],
                },
            },
        ],
    )
    def test_refuses(self, message: dict[str, object]) -> None:
        with pytest.raises((ValueError, AssertionError)):
            judge(json.dumps(message), CLIENT)

    def test_refuses_a_server_event_with_a_field_too_many(self) -> None:
        with pytest.raises(AssertionError):
            judge('{"type":"input_audio_buffer.cleared","event_id":"event_1","id":"1"}', SERVER)


class TestTheGoldenFrames:
    def test_are_the_schemas(self, plugins: dict[str, Plugin]) -> None:
        for name, message in golden(plugins["default"], "server"):
            if "-beta" not in name and "-unheard-of" not in name:
                judge(json.dumps(message), SERVER)
        for _, message in golden(plugins["default"], "client"):
            judge(json.dumps(message), CLIENT)


class TestWhatThePluginSays:
    def test_every_configuration(self, acme: ModuleType) -> None:
        codec = acme.wire.ClientCodec()
        for config in configurations(acme):
            for frame in codec.encode(acme.events.Configure(config)):
                judge(frame, CLIENT)

    def test_every_change_of_a_configuration(self, acme: ModuleType) -> None:
        codec = acme.wire.ClientCodec()
        every = list(configurations(acme))
        # A step that shares no factor with the number of shapes pairs unlike ones.
        for step in (1, 389):
            for old, new in zip(every, every[step:] + every[:step], strict=True):
                for frame in codec.encode(acme.events.Configure(new, old)):
                    judge(frame, CLIENT)

    def test_every_command(self, acme: ModuleType) -> None:
        codec = acme.wire.ClientCodec()
        for command in commands(acme):
            for frame in codec.encode(command):
                judge(frame, CLIENT)

    def test_event_ids(self, acme: ModuleType) -> None:
        codec, seen = acme.wire.ClientCodec(), set()
        for command in commands(acme) + commands(acme)[:8]:
            for frame in codec.encode(command):
                event_id = json.loads(frame).get("event_id")
                assert event_id not in seen
                if isinstance(command, acme.events.AppendAudio):
                    assert event_id is None
                else:
                    seen.add(event_id)
        assert None not in seen

    @pytest.mark.parametrize(
        "output",
        [
            "words",
            "half an emoji \ud83d",
            "long" * 100_000,
            None,
            10**400,
            float("nan"),
            b"\xff",
            {"when": datetime(2026, 1, 31, tzinfo=UTC), "where": {1, 2}},
            {(1, 2): object()},
            [[...]],
            CIRCLE,
        ],
        ids=lambda output: type(output).__name__,
    )
    def test_whatever_a_tool_returns(self, acme: ModuleType, output: object) -> None:
        command = acme.events.AddToolResult("call_1", "ping", output)
        (frame,) = acme.wire.ClientCodec().encode(command)
        judge(frame, CLIENT)
        assert frame.encode()
        assert len(json.loads(frame)["item"]["output"]) <= acme.wire.MAX_TOOL_OUTPUT + 1

    def test_the_loopback_reads_what_was_meant(self, acme: ModuleType) -> None:
        plugin, provider = acme.wire.ClientCodec(), acme.wire.ServerCodec()
        for command in commands(acme):
            read = [c for frame in plugin.encode(command) for c in provider.decode(frame)]
            if isinstance(command, acme.events.AddToolResult):
                assert [result.call_id for result in read] == ["call_1"]
            else:
                assert read == [command]

    def test_the_loopback_ends_up_with_the_configuration(self, acme: ModuleType) -> None:
        plugin, provider = acme.wire.ClientCodec(), acme.wire.ServerCodec()
        every = list(configurations(acme))
        every = [every[i * 389 % len(every)] for i in range(len(every))]
        before = None
        for config in every:
            (frame,) = plugin.encode(acme.events.Configure(config, before))
            (read,) = provider.decode(frame)
            wanted = replace(config, options=read.config.options)
            if '"voice"' not in frame:  # none was asked for, and no message takes one back
                wanted = replace(wanted, voice=read.config.voice)
            assert read.config == wanted
            before = config


class TestWhatTheLoopbackSays:
    def test_every_event(self, acme: ModuleType) -> None:
        codec = acme.wire.ServerCodec()
        for event in everything_said(acme):
            for frame in codec.encode(event):
                judge(frame, SERVER)

    def test_every_event_in_a_session_of_other_rates(self, acme: ModuleType) -> None:
        client, codec = acme.wire.ClientCodec(), acme.wire.ServerCodec()
        config = acme.events.SessionConfig("a-model", input_rate=8000, output_rate=48000)
        for frame in client.encode(acme.events.Configure(config)):
            codec.decode(frame)
        for event in everything_said(acme):
            for frame in codec.encode(event):
                judge(frame, SERVER)

    def test_the_plugin_reads_what_was_meant(self, acme: ModuleType) -> None:
        plugin, provider, events = acme.wire.ClientCodec(), acme.wire.ServerCodec(), acme.events
        for event in everything_said(acme):
            read = [e for frame in provider.encode(event) for e in plugin.decode(frame)]
            match event:
                case events.SessionAccepted() | events.Interrupted():
                    assert len(read) == 1
                case events.ToolCall():
                    wanted = asdict(event) | {"item_id": read[0].item_id}
                    assert [asdict(call) for call in read] == [wanted] * 2
                case events.ResponseDone():
                    (done,) = read
                    assert done.original["id"] == event.response_id
                    assert (done.status, done.usage) == (event.status, event.usage)
                    assert event.code in (None, done.code)
                case _:
                    assert read == [event]


class Listener:
    """The SDK's end of a conversation; every event is judged as it comes."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.heard: list[RealtimeServerEvent] = []

    async def until(self, kind: type[EventT]) -> EventT:
        """The next event of a kind."""
        async with asyncio.timeout(10):
            while True:
                frame = await self.connection.recv_bytes()
                judge(frame, SERVER)
                event = self.connection.parse_event(frame)
                assert event.type != "error", event
                self.heard.append(event)
                if isinstance(event, kind):
                    return event

    def deltas(self, kind: type[DeltaT]) -> list[str]:
        """All deltas of a kind so far."""
        return [event.delta for event in self.heard if isinstance(event, kind)]


class TestThePluginForgives:
    REQUIRED: Mapping[str, set[Place]] = {
        "AudioDelta": {("delta",)},
        "TextDelta": {("delta",)},
        "ResponseStarted": {("response",), ("response", "id")},
        "ToolCall": {("item", "call_id"), ("item", "name"), ("call_id",), ("name",)},
    }
    # What these say is whether there is an event at all.
    DECISIVE: Mapping[str, set[Place]] = {
        "ToolCall": {("item",), ("item", "type"), ("arguments",)},
        "TextDone": {("transcript",), ("text",)},
        "ignored": {("item", "status")},
    }

    @pytest.mark.parametrize(
        "other",
        [NOTHING, None, "words", 7, 0.5, True, [], {}, [{}], {"id": 7}, 10**400, float("nan")],
        ids=lambda other: "nothing" if other is NOTHING else str(other)[:8],
    )
    def test_whatever_stands_in_an_optional_field(
        self, acme: ModuleType, plugins: dict[str, Plugin], other: object
    ) -> None:
        for name, message in golden(plugins["default"], "server"):
            whole = acme.wire.ClientCodec().decode(json.dumps(message).encode())
            kind = name.partition(".")[0].partition("-")[0]
            for path in places(message):
                if path == ("type",):
                    continue
                frame = json.dumps(changed(message, path, other)).encode()
                try:
                    read = acme.wire.ClientCodec().decode(frame)
                except acme.events.MalformedFrame:
                    assert path in self.REQUIRED.get(kind, ()), (name, path)
                    continue
                if path in self.REQUIRED.get(kind, ()) or path in self.DECISIVE.get(kind, ()):
                    continue
                assert [type(event) for event in read] == [type(event) for event in whole]
                if not isinstance(at(message, path), dict | list):
                    self.only_one_differs(read, whole)

    def only_one_differs(
        self, read: list["DataclassInstance"], whole: list["DataclassInstance"]
    ) -> None:
        for event, before in zip(read, whole, strict=True):
            fields, originals = asdict(event), asdict(before)
            others = [name for name in originals if fields[name] != originals[name]]
            assert len(set(others) - {"original", "harmless"}) <= 1

    def test_a_broken_required_field_without_telling_what_was_in_it(
        self, acme: ModuleType, plugins: dict[str, Plugin]
    ) -> None:
        secret = "canary-in-the-frame"
        refused = 0
        for name, message in golden(plugins["default"], "server"):
            for path in self.REQUIRED.get(name.partition(".")[0].partition("-")[0], ()):
                if path not in places(message):
                    continue
                for broken in (NOTHING, None, [secret], {secret: secret}):
                    frame = changed({**message, "note": secret}, path, broken)
                    with pytest.raises(acme.events.MalformedFrame) as error:
                        acme.wire.ClientCodec().decode(json.dumps(frame).encode())
                    assert secret not in str(error.value)
                    assert error.value.__cause__ is None
                    refused += 1
        assert refused > 40

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b'"error"',
            b"\xff\xfe\x00",
            b'{"type": null}',
            b'{"type": {"a": "error"}}',
            b'{"type": "error"',
            b'{"type": "response.output_audio.delta", "delta": "not base64!"}',
            b'{"type": "unheard.of", "x": ' + b"[" * 100_000,
            b'{"type": "unheard.of", garbage}',
        ],
        ids=lambda frame: frame[:24],
    )
    def test_what_is_no_message_costs_that_frame_only(self, acme: ModuleType, frame: bytes) -> None:
        with pytest.raises(acme.events.MalformedFrame):
            acme.wire.ClientCodec().decode(frame)

    @pytest.mark.parametrize(
        "frame",
        [
            b'{"type": "response.done", "response": {"id": "r", "x": "\\ud83d"}}',
            b'{"type": "response.done", "response": {"id": "r", "x": NaN}}',
            b'{"type": "response.done", "response": {"id": "r", "x": 1e999}}',
            b'{"type": "response.done", "response": {"id": "r"}, "x": "\\ud83d"}',
            b'{"type": "response.done", "response": {"id": "r"}, "x": -Infinity}',
            b'{"x": 1, "response": {"id": "r"}, "type": "response.done"}',
        ],
    )
    def test_what_only_some_writers_of_json_write(self, acme: ModuleType, frame: bytes) -> None:
        (done,) = acme.wire.ClientCodec().decode(frame)
        assert (done.response_id, done.status) == ("r", "completed")

    def test_half_an_emoji(self, acme: ModuleType) -> None:
        frame = b'{"type": "response.output_text.delta", "response_id": "r", "delta": "hm \\ud83d"}'
        (delta,) = acme.wire.ClientCodec().decode(frame)
        assert delta.text == "hm ?"

    def test_any_bytes(self, acme: ModuleType, plugins: dict[str, Plugin]) -> None:
        chance = random.Random(2)
        for _, message in golden(plugins["default"], "server"):
            frame = json.dumps(message).encode()
            for _ in range(200):
                broken = bytearray(frame)
                for _ in range(chance.randint(1, 4)):
                    broken[chance.randrange(len(broken))] = chance.randrange(256)
                if chance.random() < 0.3:
                    del broken[chance.randrange(len(broken)) :]
                with suppress(acme.events.MalformedFrame):
                    acme.wire.ClientCodec().decode(bytes(broken))

    def test_a_provider_that_returns_no_metadata(
        self, acme: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(acme.wire, "ECHOES_METADATA", False)
        codec = acme.wire.ClientCodec()
        for number in range(3):
            codec.encode(acme.events.CreateResponse(f"request_{number}"))
        codec.decode('{"type": "error", "error": {"code": "no", "event_id": "request_1"}}')
        started = [
            codec.decode(f'{{"type": "response.created", "response": {{"id": "r{number}"}}}}')
            for number in range(3)
        ]
        assert [event.request_id for (event,) in started] == ["request_0", "request_2", None]

    def test_a_tool_the_provider_runs_itself(self, acme: ModuleType) -> None:
        events, codec = acme.events, acme.wire.ClientCodec()
        call = events.ToolCall("r", "call_1", "web_search", "{}", "item_1")
        frames = acme.wire.ServerCodec().encode(call)
        assert [codec.decode(frame) for frame in frames] == [[]] * 5
        ours = events.Tool("web_search", "", {})
        codec.encode(events.Configure(events.SessionConfig("a-model", tools=(ours,))))
        assert [codec.decode(frame) for frame in frames][-1] == [call]

    def test_a_call_cut_off_is_no_call(self, acme: ModuleType) -> None:
        item = '{"type": "function_call", "call_id": "c", "name": "n", "status": "incomplete"}'
        frame = f'{{"type": "response.output_item.done", "response_id": "r", "item": {item}}}'
        assert acme.wire.ClientCodec().decode(frame) == []

    def test_audio_is_one_decode(self, acme: ModuleType, plugins: dict[str, Plugin]) -> None:
        decode = acme.wire._server_decoder.decode
        found = [m for name, m in golden(plugins["default"], "server") if "AudioDelta" in name]
        assert len(found) == 2
        for message in found:
            assert decode(json.dumps(message)).delta == message["delta"]


class TestTheLoopbackIsStrict:
    FREE = ("metadata", "parameters", "properties", "city")

    def frames(self, plugins: dict[str, Plugin]) -> Iterator[JSONObject]:
        for _, message in golden(plugins["default"], "client"):
            yield message

    def test_takes_the_golden_frames(self, acme: ModuleType, plugins: dict[str, Plugin]) -> None:
        for message in self.frames(plugins):
            assert len(acme.wire.ServerCodec().decode(json.dumps(message))) == 1

    def test_refuses_a_field_too_many_anywhere(
        self, acme: ModuleType, plugins: dict[str, Plugin]
    ) -> None:
        for message in self.frames(plugins):
            for path in [(), *places(message)]:
                if isinstance(at(message, path), dict) and not set(path) & set(self.FREE):
                    frame = json.dumps(changed(message, (*path, "note"), 1))
                    with pytest.raises(acme.events.MalformedFrame):
                        acme.wire.ServerCodec().decode(frame)

    def test_refuses_a_field_of_another_type_anywhere(
        self, acme: ModuleType, plugins: dict[str, Plugin]
    ) -> None:
        for message in self.frames(plugins):
            for path in places(message):
                if not set(path[:-1]) & set(self.FREE):
                    frame = json.dumps(changed(message, path, [[1.5]]))
                    with pytest.raises(acme.events.MalformedFrame):
                        acme.wire.ServerCodec().decode(frame)

    def test_refuses_an_event_id_used_before(self, acme: ModuleType) -> None:
        codec = acme.wire.ServerCodec()
        codec.decode('{"type": "input_audio_buffer.commit", "event_id": "event_1"}')
        codec.decode('{"type": "input_audio_buffer.commit"}')
        with pytest.raises(acme.events.MalformedFrame, match="event_1"):
            codec.decode('{"type": "input_audio_buffer.clear", "event_id": "event_1"}')

    @pytest.mark.parametrize(
        "frame",
        [
            '{"type": "input_audio_buffer.append", "audio": ""}',
            '{"type": "input_audio_buffer.append", "audio": "AAAA"}',
            '{"type": "session.update", "session": {"instructions": "No type."}}',
            '{"type": "session.update", "session": {"type": "realtime", "output_modalities": []}}',
            '{"type": "conversation.item.truncate", "item_id": "i", "content_index": 0,'
            ' "audio_end_ms": -1}',
            '{"type": "session.update", "session": {"type": "realtime", "audio": {"output":'
            ' {"format": {"type": "audio/pcm", "rate": 0}}}}}',
            '{"type": "conversation.item.create", "item": {"type": "message", "role": "assistant",'
            ' "content": [{"type": "input_text", "text": "Hello"}]}}',
        ],
    )
    def test_refuses_what_a_provider_would(self, acme: ModuleType, frame: str) -> None:
        with pytest.raises(acme.events.MalformedFrame):
            acme.wire.ServerCodec().decode(frame)


class TestTheSdkTalksToTheLoopback:
    @pytest.fixture
    async def provider(self, acme: ModuleType) -> AsyncIterator[Provider]:
        async with acme.loopback.Provider(transcribe=lambda seconds: "a tone") as provider:
            yield provider
            assert [connection.violations for connection in provider.connections] == [[]]

    @pytest.fixture
    async def sdk(self, provider: Provider) -> AsyncIterator[Listener]:
        client = AsyncOpenAI(
            api_key="any", websocket_base_url=provider.url.removesuffix("/realtime")
        )
        async with client, client.realtime.connect(model="a-model") as connection:
            listener = Listener(connection)
            await listener.until(SessionCreatedEvent)
            await connection.session.update(
                session={
                    "type": "realtime",
                    "instructions": "Be a parrot.",
                    "audio": {"input": {"transcription": {"model": "a-model"}}},
                    "tools": [{"type": "function", "name": "get_weather", "parameters": WEATHER}],
                }
            )
            updated = await listener.until(SessionUpdatedEvent)
            assert isinstance(updated.session, RealtimeSessionCreateRequest)
            assert updated.session.instructions == "Be a parrot."
            yield listener

    async def ask(self, sdk: Listener, text: str) -> None:
        await sdk.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )
        await sdk.connection.response.create()

    async def test_a_text_turn(self, sdk: Listener) -> None:
        await sdk.connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"]}
        )
        await sdk.until(SessionUpdatedEvent)
        await self.ask(sdk, "Hello")
        created = await sdk.until(ResponseCreatedEvent)
        done = await sdk.until(ResponseDoneEvent)
        assert "".join(sdk.deltas(ResponseTextDeltaEvent)) == "You said: Hello"
        assert done.response.id == created.response.id
        assert done.response.status == "completed"
        (message,) = done.response.output or []
        assert isinstance(message, RealtimeConversationItemAssistantMessage)
        assert message.content[0].text == "You said: Hello"
        assert done.response.usage is not None
        assert done.response.usage.total_tokens

    async def test_an_audio_turn_and_a_truncation(
        self, sdk: Listener, provider: Provider, acme: ModuleType
    ) -> None:
        tone = array("h", (int(8000 * math.sin(i / 10)) for i in range(24000)))
        for start in range(0, 2 * len(tone), 2400):
            piece = (tone.tobytes() + bytes(48000))[start * 2 : start * 2 + 4800]
            await sdk.connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        started = await sdk.until(InputAudioBufferSpeechStartedEvent)
        await sdk.until(InputAudioBufferSpeechStoppedEvent)
        committed = await sdk.until(InputAudioBufferCommittedEvent)
        heard = await sdk.until(ConversationItemInputAudioTranscriptionCompletedEvent)
        assert started.item_id == committed.item_id == heard.item_id
        assert heard.transcript == "a tone"
        delta = await sdk.until(ResponseAudioDeltaEvent)
        await sdk.until(ResponseDoneEvent)
        assert "".join(sdk.deltas(ResponseAudioTranscriptDeltaEvent)) == "You said: a tone"
        spoken = b"".join(map(base64.b64decode, sdk.deltas(ResponseAudioDeltaEvent)))
        assert tone[1000:9000].tobytes() in spoken
        await sdk.connection.conversation.item.truncate(
            item_id=delta.item_id, content_index=0, audio_end_ms=100
        )
        (connection,) = provider.connections
        truncated = await connection.wait_for(acme.events.TruncateItem)
        assert truncated == acme.events.TruncateItem(delta.item_id, 100)

    async def test_a_tool_call_and_its_result(self, sdk: Listener) -> None:
        await self.ask(sdk, 'Call get_weather with {"city": "Oslo"}')
        call = await sdk.until(ResponseFunctionCallArgumentsDoneEvent)
        assert "".join(sdk.deltas(ResponseFunctionCallArgumentsDeltaEvent)) == call.arguments
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Oslo"})
        done = await sdk.until(ResponseOutputItemDoneEvent)
        assert isinstance(done.item, RealtimeConversationItemFunctionCall)
        assert (done.item.call_id, done.item.arguments) == (call.call_id, call.arguments)
        await sdk.until(ResponseDoneEvent)
        await sdk.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        )
        await sdk.connection.response.create()
        await sdk.until(ResponseDoneEvent)
        assert "rain" in "".join(sdk.deltas(ResponseAudioTranscriptDeltaEvent))

    async def test_a_cancelled_response(self, sdk: Listener, provider: Provider) -> None:
        provider.holds.clear()
        await self.ask(sdk, "Hello")
        created = await sdk.until(ResponseCreatedEvent)
        assert created.response.id is not None
        await sdk.connection.response.cancel(response_id=created.response.id)
        done = await sdk.until(ResponseDoneEvent)
        assert done.response.status == "cancelled"
        assert done.response.status_details is not None
        assert done.response.status_details.reason == "client_cancelled"
