"""The plugin's side of the OpenAI wire: valid by the published schema, and tolerant of what it reads.

The schema is that of the `openai` SDK, with unknown fields forbidden, as the testkit's own tests
have it.
"""

import importlib
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from types import ModuleType
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import asdict

from testkit.tests.providers.published import CLIENT, SERVER, faults
from tests.generated import Plugin

JSONObject = dict[str, object]
Place = tuple[str | int, ...]
NOTHING = object()

WEATHER: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


@dataclass(frozen=True)
class Wire:
    """The modules of the default plugin's wire."""

    wire: ModuleType
    commands: ModuleType
    events: ModuleType
    errors: ModuleType


@pytest.fixture(scope="module")
def acme(plugins: dict[str, Plugin]) -> Iterator[Wire]:
    plugin = plugins["default"]
    package = f"vision_agents.plugins.{plugin.slug}"
    names = ("wire", "_engine.session_types", "_engine.session_events", "_engine.errors")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin.path))
        yield Wire(*(importlib.import_module(f"{package}.{name}") for name in names))


def configurations(acme: Wire) -> Iterator[object]:
    tools = (
        acme.commands.Tool("get_weather", "The weather somewhere.", WEATHER),
        acme.commands.Tool("ping", "", {}),
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
        "transcription": (True, False, "a-model"),
        "input_rate": (24000, 16000),
        "output_rate": (24000, 48000),
        "options": ({}, {"max_output_tokens": 500, "audio": {"output": {"speed": 1.2}}}),
    }
    for values in itertools.product(*shapes.values()):
        config = acme.commands.SessionConfig("a-model", **dict(zip(shapes, values, strict=True)))
        if config.tools or config.tool_choice != "get_weather":  # else there is no such tool
            yield config


def commands(acme: Wire) -> list[object]:
    kinds = acme.commands
    return [
        kinds.AppendAudio(bytes(range(256))),
        kinds.AppendImage(b"\xff\xd8\xff"),
        kinds.CommitAudio(),
        *(kinds.AddMessage(role, "Hello") for role in ("system", "user", "assistant")),
        kinds.AddMessage("user", "Look.", ("data:image/png;base64,AAAA",)),
        *(kinds.AddToolResult("call_1", "ping", output) for output in ("pong", None, {"a": [1]})),
        kinds.AddToolResult("call_1", "ping", "half an emoji \ud83d"),
        kinds.AddToolResult("call_1", "ping", "long" * 100_000),
        kinds.CreateResponse("request_1"),
        kinds.CreateResponse(
            "request_2",
            {
                "instructions": "Be brief.",
                "metadata": {"topic": "weather"},
                "output_modalities": ["text"],
                "tool_choice": "none",
            },
        ),
        kinds.CancelResponse(),
        kinds.CancelResponse("response_1"),
        kinds.TruncateItem("item_1", 0),
        kinds.TruncateItem("item_1", 1500, 1),
        kinds.DeleteItem("item_1"),
        kinds.Pong("ping_1"),
        kinds.KeepAlive(),
    ]


def golden(plugin: Plugin, side: str) -> Iterator[tuple[str, JSONObject]]:
    """The plugin's frames of one side, by their files' names."""
    for path in sorted((plugin.path / "tests" / "frames" / side).glob("*.json")):
        yield path.name, json.loads(path.read_text(encoding="utf-8"))


def places(value: object, path: Place = ()) -> Iterator[Place]:
    """The path of every value inside a JSON value."""
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
    """The message with another value at a path, or with none."""
    copy = deepcopy(message)
    if to is NOTHING:
        del at(copy, path[:-1])[path[-1]]
    else:
        at(copy, path[:-1])[path[-1]] = to
    return copy


class TestGoldenFrames:
    def test_frames_are_of_the_published_schema(self, plugins: dict[str, Plugin]) -> None:
        for name, message in golden(plugins["default"], "server"):
            if "-beta" not in name and "-unheard-of" not in name:
                assert faults(json.dumps(message), SERVER) == [], name
        for name, message in golden(plugins["default"], "client"):
            assert faults(json.dumps(message), CLIENT) == [], name


class TestEncode:
    def test_every_configuration_is_valid(self, acme: Wire) -> None:
        codec = acme.wire.Codec()
        for config in configurations(acme):
            for frame in codec.encode(acme.commands.Configure(config)):
                assert faults(frame, CLIENT) == []

    def test_every_change_of_a_configuration_is_valid(self, acme: Wire) -> None:
        codec = acme.wire.Codec()
        every = list(configurations(acme))
        # A step that shares no factor with the number of shapes pairs unlike ones.
        for old, new in zip(every, every[389:] + every[:389], strict=True):
            for frame in codec.encode(acme.commands.Configure(new, old)):
                assert faults(frame, CLIENT) == []

    def test_every_command_is_valid(self, acme: Wire) -> None:
        """Each is encoded as valid messages; what the schema has no message for, as none."""
        codec = acme.wire.Codec()
        for command in commands(acme):
            frames = codec.encode(command)
            # Nothing sends pictures without video.
            silent = acme.commands.Pong | acme.commands.KeepAlive | acme.commands.AppendImage
            assert bool(frames) != isinstance(command, silent)
            for frame in frames:
                assert faults(frame, CLIENT) == []
                assert len(frame.encode()) < 2 * acme.wire.MAX_TOOL_OUTPUT

    def test_event_ids_are_unique_and_audio_has_none(self, acme: Wire) -> None:
        codec, seen = acme.wire.Codec(), set()
        for command in commands(acme) + commands(acme)[:8]:
            for frame in codec.encode(command):
                event_id = json.loads(frame).get("event_id")
                assert event_id not in seen
                if isinstance(command, acme.commands.AppendAudio):
                    assert event_id is None
                else:
                    seen.add(event_id)
        assert None not in seen


class TestDecode:
    REQUIRED: Mapping[str, set[Place]] = {
        "AudioDelta": {("delta",)},
        "TextDelta": {("delta",)},
        "ResponseStarted": {("response",), ("response", "id")},
        "ToolCall": {("item", "call_id"), ("item", "name"), ("call_id",), ("name",)},
    }
    # These fields decide whether there is an event at all.
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
    def test_anything_may_stand_in_an_optional_field(
        self, acme: Wire, plugins: dict[str, Plugin], other: object
    ) -> None:
        """The same events are read, with at most one field that differs."""
        for name, message in golden(plugins["default"], "server"):
            whole = acme.wire.Codec().decode(json.dumps(message).encode())
            kind = name.partition(".")[0].partition("-")[0]
            for path in places(message):
                if path == ("type",):
                    continue
                frame = json.dumps(changed(message, path, other)).encode()
                try:
                    read = acme.wire.Codec().decode(frame)
                except acme.errors.MalformedFrame:
                    assert path in self.REQUIRED.get(kind, ()), (name, path)
                    continue
                if path in self.REQUIRED.get(kind, ()) or path in self.DECISIVE.get(kind, ()):
                    continue
                assert [type(event) for event in read] == [type(event) for event in whole]
                if not isinstance(at(message, path), dict | list):
                    self.only_one_differs(read, whole)

    def only_one_differs(self, read: list[Struct], whole: list[Struct]) -> None:
        for event, before in zip(read, whole, strict=True):
            fields, originals = asdict(event), asdict(before)
            others = {name for name in originals if fields[name] != originals[name]}
            assert len(others - {"original", "harmless", "busy", "idle"}) <= 1

    def test_broken_required_field_is_refused_without_its_content(
        self, acme: Wire, plugins: dict[str, Plugin]
    ) -> None:
        secret = "canary-in-the-frame"
        refused = 0
        for name, message in golden(plugins["default"], "server"):
            for path in self.REQUIRED.get(name.partition(".")[0].partition("-")[0], ()):
                if path not in places(message):
                    continue
                for broken in (NOTHING, None, [secret], {secret: secret}):
                    frame = changed({**message, "note": secret}, path, broken)
                    with pytest.raises(acme.errors.MalformedFrame) as error:
                        acme.wire.Codec().decode(json.dumps(frame).encode())
                    assert secret not in str(error.value)
                    assert error.value.__cause__ is None
                    refused += 1
        assert refused > 30

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
    def test_what_is_no_message_is_malformed(self, acme: Wire, frame: bytes) -> None:
        with pytest.raises(acme.errors.MalformedFrame):
            acme.wire.Codec().decode(frame)

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
    def test_what_only_some_writers_of_json_write_is_read(self, acme: Wire, frame: bytes) -> None:
        (done,) = acme.wire.Codec().decode(frame)
        assert (done.response_id, done.status) == ("r", "completed")

    def test_half_an_emoji_is_replaced(self, acme: Wire) -> None:
        frame = b'{"type": "response.output_text.delta", "response_id": "r", "delta": "hm \\ud83d"}'
        (delta,) = acme.wire.Codec().decode(frame)
        assert delta.text == "hm ?"

    def test_any_bytes_are_read_or_malformed(self, acme: Wire, plugins: dict[str, Plugin]) -> None:
        chance = random.Random(2)
        for _, message in golden(plugins["default"], "server"):
            frame = json.dumps(message).encode()
            for _ in range(200):
                broken = bytearray(frame)
                for _ in range(chance.randint(1, 4)):
                    broken[chance.randrange(len(broken))] = chance.randrange(256)
                if chance.random() < 0.3:
                    del broken[chance.randrange(len(broken)) :]
                with suppress(acme.errors.MalformedFrame):
                    acme.wire.Codec().decode(bytes(broken))

    @pytest.mark.parametrize(
        ("stated", "transcribes"), [({}, True), ({"transcription": None}, False)]
    )
    def test_acknowledgement_says_whether_speech_is_transcribed(
        self, acme: Wire, stated: JSONObject, transcribes: bool
    ) -> None:
        """What an acknowledgement leaves out is as it was asked for."""
        codec = acme.wire.Codec()
        codec.encode(acme.commands.Configure(acme.commands.SessionConfig("a-model")))
        session = {"type": "realtime", "audio": {"input": stated}}
        frame = json.dumps({"type": "session.updated", "session": session})
        (accepted,) = codec.decode(frame)
        assert accepted.settings.transcribes is transcribes

    def test_call_that_was_cut_off_is_no_call(self, acme: Wire) -> None:
        item = '{"type": "function_call", "call_id": "c", "name": "n", "status": "incomplete"}'
        frame = f'{{"type": "response.output_item.done", "response_id": "r", "item": {item}}}'
        assert acme.wire.Codec().decode(frame) == []

    def test_tool_that_the_provider_runs_is_no_call_unless_configured(self, acme: Wire) -> None:
        item = '{"type": "function_call", "call_id": "c", "name": "web_search", "id": "item_1"}'
        frame = f'{{"type": "response.output_item.done", "response_id": "r", "item": {item}}}'
        codec = acme.wire.Codec()
        assert codec.decode(frame) == []
        tool = acme.commands.Tool("web_search", "", {})
        config = acme.commands.SessionConfig("a-model", tools=(tool,))
        codec.encode(acme.commands.Configure(config))
        assert codec.decode(frame) == [acme.events.ToolCall("r", "c", "web_search", "", "item_1")]
