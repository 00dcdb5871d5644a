"""Frames from the provider's documentation, in frames/, read and written by the plugin's codec.

A frame that is read or written wrongly makes the contract to do that depends on it.
"""

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Never, cast, get_args

import pytest

from realtime_testkit import protocol
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.subject import Subject

from .base import Contract

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CONFIG = protocol.SessionConfig(
    model="a-model",
    voice="a-voice",
    instructions="Be brief.",
    tools=(
        protocol.Tool(
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
    CONFIG, tool_choice="get_weather", turn_detection=False, transcription=False
)
CHANGED = dataclasses.replace(CONFIG, instructions="Be kind.", tools=(), turn_detection=False)

COMMANDS: dict[str, protocol.Command] = {
    "Configure": protocol.Configure(CONFIG),
    "Configure-manual": protocol.Configure(BY_HAND),
    "Configure-change": protocol.Configure(CHANGED, previous=CONFIG),
    "Configure-resume": protocol.Configure(CONFIG, resume="handle_1"),
    "AppendAudio": protocol.AppendAudio(bytes(960)),
    "AppendImage": protocol.AppendImage(b"a JPEG"),
    "CommitAudio": protocol.CommitAudio(),
    "ClearOutput": protocol.ClearOutput(),
    "AddMessage-system": protocol.AddMessage("system", "The caller is on a boat."),
    "AddMessage-user": protocol.AddMessage("user", "When is high water?"),
    "AddMessage-assistant": protocol.AddMessage("assistant", "At ten."),
    "AddToolResult": protocol.AddToolResult("call_1", "get_weather", {"wind": 7}),
    "CreateResponse": protocol.CreateResponse("request_1"),
    "CreateResponse-with-options": protocol.CreateResponse(
        "request_1", {"instructions": "Speak slowly.", "max_output_tokens": 200}
    ),
    "CancelResponse": protocol.CancelResponse("response_1"),
    "TruncateItem": protocol.TruncateItem("item_1", 640),
    "DeleteItem": protocol.DeleteItem("item_1"),
    "Pong": protocol.Pong("token_1"),
    "KeepAlive": protocol.KeepAlive(),
}
"""What the plugin is told to send, by the name of a file in frames/client."""

EVENTS: dict[str, protocol.Event] = {
    type(event).__name__: event
    for event in (
        protocol.SessionOpened("session_1"),
        protocol.SessionAccepted(),
        protocol.Ping("token_1"),
        protocol.Resumable("handle_1"),
        protocol.UserSpeechStarted("item_1"),
        protocol.UserSpeechStopped("item_1"),
        protocol.AudioCommitted("item_1"),
        protocol.UserTranscript("Yes.", True, "item_1"),
        protocol.UserTranscriptFailed("item_1", "audio_unintelligible"),
        protocol.ResponseStarted("response_1"),
        protocol.OutputStarted("response_1"),
        protocol.OutputStopped("response_1"),
        protocol.AudioDelta("response_1", bytes(960), "item_2"),
        protocol.TextDelta("response_1", "Yes.", True, "item_2"),
        protocol.TextDone("response_1", "Yes.", True, "item_2"),
        protocol.ToolCall("response_1", "call_1", "get_weather", "{}"),
        protocol.ToolCallCancelled("call_1"),
        protocol.Interrupted("response_1"),
        protocol.ResponseDone("response_1"),
        protocol.Fault("server_error"),
    )
}
"""An example of each event, to see whether the provider's wire has a message for it."""

CONTRACTS = {
    "SessionOpened": "LC1",
    "SessionAccepted": "LC1",
    "Ping": "CN2",
    "Resumable": "CN9",
    "UserSpeechStarted": "TN5",
    "UserSpeechStopped": "TN5",
    "AudioCommitted": "TR3",
    "UserTranscript": "TR1",
    "UserTranscriptFailed": "TR1",
    "ResponseStarted": "AO3",
    "OutputStarted": "AO3",
    "OutputStopped": "AO3",
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
    "AppendImage": "VD1",
    "CommitAudio": "SE5",
    "ClearOutput": "TN1",
    "AddMessage": "TX1",
    "AddToolResult": "TL3",
    "CreateResponse": "TX1",
    "CancelResponse": "TN3",
    "TruncateItem": "TN6",
    "DeleteItem": "TN6",
    "Pong": "CN2",
    "KeepAlive": "CN2",
}
"""The contract that depends on a frame; SE4 for any other."""

NEEDED = {
    "text": {"AddMessage", "CreateResponse", "TextDelta"},
    "tools": {"Configure", "ToolCall", "AddToolResult"},
    "transcription": {"Configure", "UserTranscript"},
    "history": {"AddMessage"},
    "video": {"AppendImage"},
    "pings": {"Ping", "Pong"},
}
"""The frames without which a fact cannot be true, where the wire has them at all."""

ALWAYS = {"AppendAudio", "AudioDelta", "ResponseDone"}
OWN_WORDS = ("original", "status")
"""Fields that are not the provider's to the letter."""

JSON = (".json", ".jsonl")


class Frames(Contract):
    """Tests of the codec, and of contract.toml against the provider's double."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test a file, in the frames/ beside the test module."""
        side = {"test_server_frame": "server", "test_client_frame": "client"}
        name = side.get(metafunc.function.__name__)
        if name is None:
            return
        folder = metafunc.definition.path.parent / "frames" / name
        paths = sorted(folder.iterdir()) if folder.exists() else []
        marked = [
            pytest.param(path, id=path.name, marks=pytest.mark.contract(_contract_of(path)))
            for path in paths
        ]
        metafunc.parametrize("path", marked)

    def test_server_frame(self, path: Path, subject: Subject) -> None:
        """The codec reads the events in a server's frame that its file's name says."""
        if subject.codec is None:
            excuse("the subject has no codec")
        wanted = [kind for kind in _kinds(path) if kind != "ignored"]
        known = {kind.__name__ for kind in get_args(protocol.Event)}
        unknown = ", ".join(set(wanted) - known)
        assert not unknown, f"{path.name}: there is no event {unknown}"
        codec = subject.codec()
        read: list[object] = []
        for frame in _frames(path):
            try:
                read += codec.decode(frame)
            except ValueError as malformed:
                pytest.fail(f"{path.name}: decode() refuses it: {malformed}")
        kinds = [type(event).__name__ for event in read]
        assert kinds == wanted, f"{path.name}: decode() reads {kinds}"
        lost = [what for event in read for what in _lost(event, path)]
        assert not lost, "\n".join([f"{path.name}: decode() loses", *lost])

    def test_client_frame(self, path: Path, subject: Subject) -> None:
        """The codec writes the command in a client's file name as the frame in the file."""
        if subject.codec is None:
            excuse("the subject has no codec")
        names, wanted = path.name.partition(".")[0].split("+"), _frames(path)
        unknown = ", ".join(set(names) - COMMANDS.keys())
        assert not unknown, f"{path.name}: {unknown} is none of {', '.join(COMMANDS)}"
        commands = [COMMANDS[name] for name in names]
        sent, again = _encoded(subject, commands, times=2)
        count = f"{len(sent)} frames of it, not {len(wanted)}"
        assert len(sent) == len(wanted), f"{path.name}: encode() makes {count}"
        words = {word for command in commands for word in _words(dataclasses.asdict(command))}
        wrong: list[str] = []
        for ours, theirs in zip(sent, wanted, strict=True):
            if path.suffix in JSON:
                said = json.loads(ours)
                # Words that are neither the command's nor new each time are the protocol's.
                same = _words(said).intersection(*(_words(json.loads(f)) for f in again))
                own = {word for word in same if re.fullmatch(r"[A-Za-z][\w./-]{,63}", word)}
                wrong += sorted(_differences(said, json.loads(theirs), own - words))
            elif isinstance(ours, str):
                wrong.append("  it is text, not bytes")
        assert not wrong, "\n".join([f"{path.name}: encode() differs", *wrong])

    def test_needed_frames_exist(self, subject: Subject, facts: Facts) -> None:
        """There is a frame for each message that the facts in contract.toml depend on."""
        if subject.codec is None:
            excuse("the subject has no codec")
        folder = subject.folder / "frames"
        present = {kind for path in folder.glob("*/*") for kind in _kinds(path)}
        true = [fact for fact in NEEDED if vars(facts)[fact]]
        needed = ALWAYS.union(*(NEEDED[fact] for fact in true))
        missing = {name for name in needed - present if _has_message(subject, name)}
        assert not missing, f"add frames of {', '.join(sorted(missing))}"
        names = EVENTS.keys() | {name.partition("-")[0] for name in COMMANDS}
        missing = {name for name in names - present if _has_message(subject, name)}
        if missing:
            pytest.skip(f"no frames of {', '.join(sorted(missing))}: add them")

    @pytest.mark.parametrize(
        ("fact", "event"),
        [
            ("tools", "ToolCall"),
            ("transcription", "UserTranscript"),
            ("speech_starts", "UserSpeechStarted"),
            ("speech_stops", "UserSpeechStopped"),
            ("tells_the_end", "ResponseDone"),
            ("cancels_tool_calls", "ToolCallCancelled"),
            ("resumes", "Resumable"),
            ("pings", "Ping"),
        ],
    )
    def test_fact_agrees_with_the_double(
        self, subject: Subject, facts: Facts, fact: str, event: str
    ) -> None:
        """The provider's double has a message for an event exactly if the fact is true."""
        said = "has a message" if _is_sent(subject, event) else "has no message"
        where = subject.page.line(fact)
        assert _is_sent(subject, event) == vars(facts)[fact], (
            f"{where}: {fact} = {str(vars(facts)[fact]).lower()}, and the double {said} for {event}"
        )


def _contract_of(path: Path) -> str:
    return CONTRACTS.get(_kinds(path)[0], "SE4")


def _kinds(path: Path) -> list[str]:
    """What a file's name says it is: "AudioDelta-beta+TextDone.json" is two events."""
    return [part.partition("-")[0] for part in path.name.partition(".")[0].split("+")]


def _frames(path: Path) -> list[str | bytes]:
    """What is in a file, as it arrives: JSON as text, everything else as bytes."""
    if path.suffix not in JSON:
        return [path.read_bytes()]
    text = path.read_text(encoding="utf-8")
    return [*text.strip().split("\n")] if path.suffix == ".jsonl" else [text]


def _is_sent(subject: Subject, event: str) -> bool:
    """Whether the double has a message for an event, if need be within a response."""
    codec = subject.provider.codec()
    try:
        return bool(codec.encode(EVENTS[event]))
    except protocol.UnsupportedEvent:
        pass
    try:
        for frame in _encoded(subject, [COMMANDS["Configure"]], times=1)[0]:
            codec.decode(frame)
        codec.encode(EVENTS["ResponseStarted"])
        return bool(codec.encode(EVENTS[event]))
    except protocol.UnsupportedEvent:
        return False


def _has_message(subject: Subject, name: str) -> bool:
    """Whether the wire has a message of its own for an event or a command."""
    if name in EVENTS:
        return _is_sent(subject, name)
    examples = [command for key, command in COMMANDS.items() if key.partition("-")[0] == name]
    try:
        return any(_encoded(subject, [command], times=1)[0] for command in examples)
    except (ValueError, TypeError, KeyError):
        return False


def _encoded(
    subject: Subject, commands: Sequence[protocol.Command], *, times: int
) -> list[list[str | bytes]]:
    """The frames that one codec of the plugin makes of commands, so many times."""
    if subject.codec is None:
        return [[]] * times
    codec, types = subject.codec(), subject.classes
    made = [_translated(command, types) for command in commands]
    # The codec takes the plugin's own classes, which have no name here.
    return [
        [frame for command in made for frame in codec.encode(cast("Never", command))]
        for _ in range(times)
    ]


def _translated(command: protocol.Command, types: Mapping[str, Callable[..., object]]) -> object:
    """A command as an instance of the plugin's class of the same name.

    Raises:
        KeyError: the plugin has no such class.
    """
    kind = types[type(command).__name__]
    match command:
        case protocol.Configure(config, previous, resume):
            before = None if previous is None else _configuration(previous, types)
            return kind(_configuration(config, types), before, resume=resume)
    return kind(**_given(command))


def _configuration(
    config: protocol.SessionConfig, types: Mapping[str, Callable[..., object]]
) -> object:
    tools = tuple(types["Tool"](**_given(tool)) for tool in config.tools)
    return types["SessionConfig"](**_given(config) | {"tools": tools})


def _given(value: "DataclassInstance") -> dict[str, object]:
    """The fields that differ from their defaults: a plugin need not know the others."""
    given: dict[str, object] = dataclasses.asdict(value)
    for each in dataclasses.fields(value):
        default = each.default_factory() if callable(each.default_factory) else each.default
        if given[each.name] == default:
            del given[each.name]
    return given


def _fields(value: object) -> dict[str, object]:
    """The fields of a dataclass, a Struct, or whatever can be matched by position."""
    names: tuple[str, ...] = getattr(type(value), "__match_args__", ())
    return {name: getattr(value, name) for name in names}


def _lost(event: object, path: Path) -> Iterator[str]:
    """Say what the event should have been told by the frame and was not."""
    said: list[tuple[str, object]] = []
    if path.suffix in JSON:
        leaves = [leaf for frame in _frames(path) for leaf in _leaves(json.loads(frame))]
        said = [(where, value) for where, value in leaves if value is not None]
    fields = {k: v for k, v in _fields(event).items() if k not in OWN_WORDS}
    for name, value in _leaves(fields):
        given = [word for where, word in said if where.endswith(name)]
        if isinstance(value, bytes) and not _is_carried(value, [word for _, word in said]):
            yield f"  {name[1:]}: other bytes than the frame's"
        elif given and not any(_same(value, word) for word in given):
            yield f"  {name[1:]}: {given[-1]!r} became {value!r}"
        elif value in ("", b"") and name != "_arguments":
            yield f"  {name[1:]}: it is empty"
        elif name == "_text" and said and value not in [word for _, word in said]:
            yield f"  text: {value!r} is nowhere in the frame"


def _same(value: object, word: object) -> bool:
    """Whether a value is what a frame says, be it as a number, as text or in Base64."""
    if isinstance(value, bytes):
        return value in _decoded(word)
    if isinstance(value, bool) or isinstance(word, bool):
        return value is word
    return value == word or (isinstance(value, str | int) and str(value) == str(word))


def _is_carried(value: bytes, words: Sequence[object]) -> bool:
    """Whether bytes are in a frame; true where it carries none of that length."""
    carried = [each for word in words for each in _decoded(word) if len(each) == len(value)]
    return not carried or value in carried


def _decoded(word: object) -> list[bytes]:
    if not isinstance(word, str) or not word:
        return []
    try:
        return [base64.b64decode(word, validate=True)]
    except (binascii.Error, ValueError):
        return []


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield what is in a value, with the names that lead to it: ("_response_id", "resp_1")."""
    match value:
        case dict():
            for key, part in value.items():
                snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
                yield from _leaves(part, f"{path}_{snake}")
        case list() | tuple():
            for part in value:
                yield from _leaves(part, path)
        case _ if fields := _fields(value):
            yield from _leaves(fields, path)
        case _:
            yield path, value


def _words(value: object) -> set[str]:
    return {leaf for _, leaf in _leaves(value) if isinstance(leaf, str)}


def _differences(
    sent: object, wanted: object, constants: set[str], path: str = ""
) -> Iterator[str]:
    """Say where a JSON value is of another shape than it should be, or has another constant."""
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
        case _ if not _fits(_json_type(sent), _json_type(wanted)):
            yield f"  {path}: is {_json_type(sent)}, should be {_json_type(wanted)}"


def _fits(sent: str, wanted: str) -> bool:
    """Whether a JSON type serves as another: an integer is a number too."""
    return sent == wanted or (sent, wanted) == ("an integer", "a number")


def _json_type(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
    return "null"
