"""The provider's real frames, in tests/frames, against wire.py; see its README.md."""

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import events, wire

from .accounting import Page

FRAMES = Path(__file__).parents[1] / "frames"
SERVER = sorted((FRAMES / "server").iterdir())
CLIENT = sorted((FRAMES / "client").iterdir())

CONFIG = events.SessionConfig(
    model="a-model",
    voice="a-voice",
    instructions="Be brief.",
    tools=(
        events.Tool(
            "get_weather",
            "The weather in a city.",
            {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        ),
    ),
)
BY_HAND = dataclasses.replace(
    CONFIG,
    tool_choice="get_weather",
    turn_detection=False,
    transcription=False,
)
CHANGED = dataclasses.replace(
    CONFIG,
    instructions="Be kind.",
    tools=(),
    turn_detection=False,
)

COMMANDS: dict[str, events.Command] = {
    "Configure": events.Configure(CONFIG),
    "Configure-manual": events.Configure(BY_HAND),
    "Configure-change": events.Configure(CHANGED, previous=CONFIG),
    "Configure-resume": events.Configure(CONFIG, resume="handle_1"),
    "AppendAudio": events.AppendAudio(bytes(960)),
{%- if cookiecutter.video == 'yes' %}
    "AppendImage": events.AppendImage(b"a JPEG"),
{%- endif %}
    "CommitAudio": events.CommitAudio(),
    "ClearAudio": events.ClearAudio(),
{%- if cookiecutter.transport == 'webrtc' %}
    "ClearOutput": events.ClearOutput(),
{%- endif %}
    "AddMessage-system": events.AddMessage("system", "The caller is on a boat."),
    "AddMessage-user": events.AddMessage("user", "When is high water?"),
    "AddMessage-assistant": events.AddMessage("assistant", "At ten."),
    "AddToolResult": events.AddToolResult("call_1", "get_weather", {"wind": 7}),
    "CreateResponse": events.CreateResponse("request_1"),
    "CreateResponse-with-options": events.CreateResponse(
        "request_1", {"instructions": "Speak slowly.", "max_output_tokens": 200}
    ),
    "CancelResponse": events.CancelResponse("response_1"),
    "TruncateItem": events.TruncateItem("item_1", 640),
    "DeleteItem": events.DeleteItem("item_1"),
}

EVENTS = {kind.__name__ for kind in get_args(events.Event)} - {"Malformed"}

CLAIMS = {
    "audio": {"AppendAudio", "AudioDelta", "ResponseDone"},
    "text": {"AddMessage", "CreateResponse", "TextDelta"},
    "tools": {"Configure", "ToolCall", "AddToolResult"},
    "transcription": {"Configure", "UserTranscript"},
{%- if cookiecutter.video == 'yes' %}
    "video": {"AppendImage"},
{%- endif %}
    "history": {"AddMessage"},
}
"""The frames that a capability is nothing without."""

BREAKS = {
    "SessionOpened": "LC1",
    "SessionAccepted": "LC1",
    "UserSpeechStarted": "TN5",
    "UserSpeechStopped": "TN5",
    "AudioCommitted": "TR3",
    "UserTranscript": "TR1",
    "UserTranscriptFailed": "TR1",
    "ResponseStarted": "AO3",
    "AudioDelta": "AO2",
    "TextDelta": "TR1",
    "TextDone": "TR1",
    "ToolCall": "TL2",
    "ToolCallCancelled": "TL5",
    "Interrupted": "TN1",
    "ResponseDone": "AO3",
    "Fault": "RB3",
    "ignored": "RB2",
    "Configure": "SE1",
    "AppendAudio": "AI1",
    "CommitAudio": "SE5",
    "ClearAudio": "AI3",
    "AddMessage": "TX1",
    "AddToolResult": "TL3",
    "CreateResponse": "TX1",
    "CancelResponse": "TN3",
    "TruncateItem": "TN6",
    "DeleteItem": "TN6",
}
"""The contract that is not met where a frame is read or written wrongly; SE4 for any other."""

OWN_WORDS = ("original", "status")
"""Fields that are not the provider's to the letter."""

JSON = (".json", ".jsonl")


class TestFrames:
    """The provider's own words, read and written."""

    @pytest.mark.parametrize("path", SERVER, ids=lambda path: path.name)
    def test_server_frame(self, path: Path, request: pytest.FixtureRequest) -> None:
        """Else something the provider says is not heard, or is heard without its ids."""
        with _told(request, path):
            self.is_read(path)

    @pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.name)
    def test_client_frame(self, path: Path, request: pytest.FixtureRequest) -> None:
        """Else the provider refuses what the plugin says, or leaves a part of it unread."""
        with _told(request, path):
            self.is_written(path)

    def is_read(self, path: Path) -> None:
        """A server's frame is the event its name says."""
        wanted = [kind for kind in _kinds(path) if kind != "ignored"]
        unknown = ", ".join(set(wanted) - EVENTS)
        assert not unknown, f"{path.name}: events.py has no {unknown}"
        codec = wire.ClientCodec()
        read: list[events.Event] = []
        for frame in _frames(path):
            try:
                read = codec.decode(frame)
            except events.MalformedFrame as malformed:
                pytest.fail(f"{path.name}: ClientCodec.decode refuses it: {malformed}")
        kinds = [type(event).__name__ for event in read]
        assert kinds == wanted, f"{path.name}: ClientCodec.decode makes {kinds} of it"
        lost = [what for event in read for what in _lost(event, path)]
        assert not lost, "\n".join([f"{path.name}: ClientCodec.decode loses", *lost])

    def is_written(self, path: Path) -> None:
        """A client's frame is what the command its name says becomes."""
        name, wanted = path.name.partition(".")[0], _frames(path)
        assert name in COMMANDS, f"{path.name}: the commands are {', '.join(COMMANDS)}"
        codec, command = wire.ClientCodec(), COMMANDS[name]
        sent, again = codec.encode(command), codec.encode(command)
        count = f"{len(sent)} frames of it, not {len(wanted)}"
        assert len(sent) == len(wanted), f"{path.name}: ClientCodec.encode makes {count}"
        wrong: list[str] = []
        for ours, theirs in zip(sent, wanted, strict=True):
            if path.suffix in JSON:
                said = json.loads(ours)
                # Neither of the command nor new each time: the provider's own word.
                same = _words(said).intersection(*(_words(json.loads(f)) for f in again))
                own = {word for word in same if re.fullmatch(r"[A-Za-z][\w./-]{,63}", word)}
                constants = own - _words(dataclasses.asdict(command))
                wrong += sorted(_differences(said, json.loads(theirs), constants))
            elif isinstance(ours, str):
                wrong.append("  it is text, not bytes")
        assert not wrong, "\n".join([f"{path.name}: what ClientCodec.encode makes", *wrong])

    def test_there_are_frames(self) -> None:
        """Else nothing shows that wire.py speaks as the provider does."""
        there = {kind for path in SERVER + CLIENT for kind in _kinds(path)}
        for claim in CLAIMS.keys() & set(wire.CAPABILITIES):
            missing = ", ".join(sorted(CLAIMS[claim] - there))
            assert not missing, f"wire.CAPABILITIES says {claim}: add frames of {missing}"
        commands = {name.partition("-")[0] for name in COMMANDS}
        missing = ", ".join(sorted((EVENTS | commands) - there))
        if missing:
            pytest.skip(f"no frames of {missing}: add them where the provider has them")


def _frames(path: Path) -> list[str | bytes]:
    """What is in a file, as it arrives: JSON as text, all else as bytes."""
    if path.suffix not in JSON:
        return [path.read_bytes()]
    text = path.read_text(encoding="utf-8")
    return [*text.strip().split("\n")] if path.suffix == ".jsonl" else [text]


@contextmanager
def _told(request: pytest.FixtureRequest, path: Path) -> Iterator[None]:
    """Tell the account which contract a frame that fails breaks."""
    try:
        yield
    except (AssertionError, pytest.fail.Exception):
        contract = BREAKS.get(_kinds(path)[0], "SE4")
        if contract not in Page().waivers:
            request.node.user_properties.append(("broke", contract))
        raise


def _kinds(path: Path) -> list[str]:
    """What a file's name says it is, without its number and ending."""
    return path.name.partition(".")[0].partition("-")[0].split("+")


def _lost(event: events.Event, path: Path) -> Iterator[str]:
    """What the event should have been told by the frame and was not."""
    said: list[tuple[str, object]] = []
    if path.suffix in JSON:
        leaves = [leaf for frame in _frames(path) for leaf in _leaves(json.loads(frame))]
        said = [(where, value) for where, value in leaves if value is not None]
    fields = {k: v for k, v in dataclasses.asdict(event).items() if k not in OWN_WORDS}
    for name, value in _leaves(fields):
        given = [word for where, word in said if where.endswith(name)]
        if given and value not in given:
            yield f"  {name[1:]}: {given[-1]!r} became {value!r}"
        elif value in ("", b"") and name != "_arguments":
            yield f"  {name[1:]}: it is empty"
        elif name == "_text" and said and value not in dict(said).values():
            yield f"  text: {value!r} is nowhere in the frame"


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """What is in a value, with the names that lead to it: ("_response_id", "resp_1")."""
    match value:
        case dict():
            for key, part in value.items():
                snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
                yield from _leaves(part, f"{path}_{snake}")
        case list():
            for part in value:
                yield from _leaves(part, path)
        case _:
            yield path, value


def _words(value: object) -> set[str]:
    return {leaf for _, leaf in _leaves(value) if isinstance(leaf, str)}


def _differences(
    sent: object, wanted: object, constants: set[str], path: str = ""
) -> Iterator[str]:
    """Where a JSON value is of another shape than it should be, or says another constant."""
    match sent, wanted:
        case dict(), dict():
            for key in wanted.keys() - sent.keys():
                yield f"  {path}.{key}: is missing"
            for key in sent.keys() - wanted.keys():
                yield f"  {path}.{key}: is one too many"
            for key in sent.keys() & wanted.keys():
                yield from _differences(sent[key], wanted[key], constants, f"{path}.{key}")
        case list(), list() if wanted:
            for index, part in enumerate(sent):
                pattern = wanted[min(index, len(wanted) - 1)]
                yield from _differences(part, pattern, constants, f"{path}[{index}]")
        case str(), str() if sent in constants and sent != wanted:
            yield f"  {path}: is {sent!r}, should be {wanted!r}"
        case _ if _json_type(sent) != _json_type(wanted):
            yield f"  {path}: is {_json_type(sent)}, should be {_json_type(wanted)}"


def _json_type(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
    return "null"
