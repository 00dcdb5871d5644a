"""A second provider's messages, unlike the reference's in every way the plugin allows.

A frame of text holds one object with a key for each of its payloads; a frame of bytes is
audio. Only tool calls have ids: responses come one at a time, in the order they were asked
for, and begin with their first content. The provider says nothing before the setup and
nothing when the user speaks, but that it was interrupted; it cannot be told to stop, to
forget what was not heard, or to change a session.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import msgspec

from . import events
from .events import Command, Event, MalformedFrame

CAPABILITIES = (
    "audio", "text", "tools", "transcription", "turn_detection", "history", "resumption"
)  # fmt: skip
"""What the provider can do, told in the connected event."""

CONTROL_MARKERS = ("<noise>",)
"""What a transcriber writes for a sound that is no word."""

HARMLESS_CODES = frozenset({"nothing_to_end"})
"""Errors that say there was nothing left to do."""

_MAX_TOOL_OUTPUT = 60_000  # characters; the house's own bound for a tool's result
_ROLES: dict[events.Role, str] = {"assistant": "model", "user": "user", "system": "system"}
_OUTCOMES: dict[str, events.ResponseStatus] = {
    status.upper(): status for status in get_args(events.ResponseStatus)
}


class Strict(
    msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True, kw_only=True
):
    """A part of what the client says, as strictly read as a provider would."""


class Part(Strict):
    text: str


class Turn(Strict):
    role: Literal["user", "model", "system"]
    parts: list[Part]


class Function(Strict):
    name: str
    description: str = ""
    parameters: dict[str, object] = {}


class Resumption(Strict):
    handle: str | None = None


class Setup(Strict):
    model: str
    modality: Literal["AUDIO", "TEXT"]
    input_hertz: int
    output_hertz: int
    voice: str | None = None
    instructions: list[Part] = []
    functions: list[Function] = []
    calling: str = "AUTO"
    turn_detection: bool | dict[str, object] = True
    transcribes: bool = False
    session_resumption: Resumption | None = None
    temperature: float | None = None


class ClientContent(Strict):
    turns: list[Turn] = []
    turn_complete: bool = False
    generation: dict[str, object] = {}


class RealtimeInput(Strict):
    ended: bool = False
    dropped: bool = False


class FunctionResponse(Strict):
    id: str
    name: str
    response: dict[str, object]


class ToolResponse(Strict):
    function_responses: list[FunctionResponse]


class ClientMessage(Strict):
    setup: Setup | None = None
    client_content: ClientContent | None = None
    realtime_input: RealtimeInput | None = None
    tool_response: ToolResponse | None = None


_client_decoder = msgspec.json.Decoder(ClientMessage)


class ClientCodec:
    """The plugin's end of a connection: commands to frames, frames to events."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._session_id = ""
        self._requests: deque[str] = deque()
        self._response_id: str | None = None
        self._interrupted = False
        self._user_text = ""

    def encode(self, command: Command) -> list[str | bytes]:
        """Say a command in the provider's words; one it has no words for is not said."""
        match command:
            case events.AppendAudio(data):
                return [data]
            case events.Configure(config, None, resume):
                resumption = {} if resume is None else {"handle": resume}
                return [_frame(setup=_setup(config) | {"sessionResumption": resumption})]
            case events.CommitAudio():
                return [_frame(realtimeInput={"ended": True})]
            case events.ClearAudio():
                return [_frame(realtimeInput={"dropped": True})]
            case events.AddMessage(role, text):
                turn = {"role": _ROLES[role], "parts": [{"text": text}]}
                return [_frame(clientContent={"turns": [turn]})]
            case events.AddToolResult(call_id, name, output):
                answer = {"id": call_id, "name": name, "response": {"output": _bounded(output)}}
                return [_frame(toolResponse={"functionResponses": [answer]})]
            case events.CreateResponse(request_id, options):
                self._requests.append(request_id)
                content: dict[str, object] = {"turnComplete": True}
                return [
                    _frame(clientContent=content | ({"generation": options} if options else {}))
                ]
        return []

    def decode(self, frame: str | bytes) -> list[Event]:
        """Read a frame; a payload of an unknown name is no event.

        Raises:
            MalformedFrame: it is no message, or a payload of it is none.
        """
        if isinstance(frame, bytes):
            return list(self._speech(frame))
        try:
            message = msgspec.json.decode(frame)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedFrame("a frame that is not JSON") from error
        if not isinstance(message, dict) or not message:
            raise MalformedFrame("a frame without payload")
        for name in ("serverContent", "toolCall"):
            if not isinstance(message.get(name, {}), dict):
                raise MalformedFrame(f"{name} that is no object")
        return list(self._read(message))

    def _read(self, message: dict[str, object]) -> Iterator[Event]:
        content = _payload(message, "serverContent")
        if "setupComplete" in message:
            session_id = _text(_payload(message, "setupComplete"), "sessionId")
            self._session_id = session_id or self._session_id
            yield events.SessionAccepted()
        if "sessionResumptionUpdate" in message:
            update = _payload(message, "sessionResumptionUpdate")
            resumable = update.get("resumable") is True
            yield events.Resumable(_text(update, "newHandle") or None if resumable else None)
        if "error" in message:
            code = _text(_payload(message, "error"), "code") or "unknown"
            yield events.Fault(code, harmless=code in HARMLESS_CODES)
        if "turnRefused" in message:
            code = _text(_payload(message, "turnRefused"), "code") or "unknown"
            yield events.Fault(code, self._requests.popleft() if self._requests else None)
        yield from self._heard(_payload(content, "inputTranscription"))
        if content.get("interrupted") is True:
            # The turns that were not answered yet are dropped with it.
            self._requests.clear()
            self._interrupted = self._response_id is not None
            yield events.Interrupted(self._response_id)
        yield from self._written(content)
        yield from self._called(_payload(message, "toolCall"))
        for call_id in _list(_payload(message, "toolCallCancellation"), "ids"):
            if isinstance(call_id, str):
                yield events.ToolCallCancelled(call_id)
        if content.get("turnComplete") is True:
            yield from self._begin()
            yield self._done(message, content)

    def _begin(self) -> Iterator[Event]:
        """A response begins with whatever comes of it first."""
        if self._response_id is None:
            self._response_id = _response_name(self._session_id, next(self._numbers))
            request_id = self._requests.popleft() if self._requests else None
            yield events.ResponseStarted(self._response_id, request_id)

    def _speech(self, data: bytes) -> Iterator[Event]:
        yield from self._begin()
        yield events.AudioDelta(self._id, data, self._item_id)

    def _heard(self, transcription: dict[str, object]) -> Iterator[Event]:
        piece = _text(transcription, "text")
        for marker in CONTROL_MARKERS:
            piece = piece.replace(marker, "")
        self._user_text += piece
        if transcription.get("finished") is True:
            yield events.UserTranscript(self._user_text, True)
            self._user_text = ""
        elif piece:
            yield events.UserTranscript(piece)

    def _written(self, content: dict[str, object]) -> Iterator[Event]:
        if "modelTurn" in content:
            yield from self._begin()
        parts = _objects(_payload(content, "modelTurn"), "parts")
        pieces = [(_text(part, "text"), False) for part in parts]
        pieces.append((_text(_payload(content, "outputTranscription"), "text"), True))
        for text, spoken in pieces:
            if text:
                yield from self._begin()
                yield events.TextDelta(self._id, text, spoken, self._item_id)

    def _called(self, tool_call: dict[str, object]) -> Iterator[Event]:
        for call in _objects(tool_call, "functionCalls"):
            call_id, name = _text(call, "id"), _text(call, "name")
            if not call_id or not name:
                raise MalformedFrame("a tool call without id or name")
            yield from self._begin()
            arguments = msgspec.json.encode(call.get("args") or {}).decode()
            yield events.ToolCall(self._id, call_id, name, arguments, self._item_id)

    def _done(self, message: dict[str, object], content: dict[str, object]) -> Event:
        status = _OUTCOMES.get(_text(content, "outcome"), "completed")
        if self._interrupted:
            status = "cancelled"
        tokens = _payload(message, "usageMetadata")
        done = events.ResponseDone(
            self._id,
            status,
            events.Usage(
                _count(tokens, "promptTokenCount"),
                _count(tokens, "responseTokenCount"),
                _count(tokens, "totalTokenCount"),
            ),
            _text(content, "code") or None,
            message,
        )
        self._response_id = None
        self._interrupted = False
        return done

    @property
    def _id(self) -> str:
        return self._response_id or ""

    @property
    def _item_id(self) -> str:
        return f"item_{self._id}"


class ServerCodec:
    """The provider's end of a connection: events to frames, frames to commands.

    Attributes:
        names: ids of responses by the names that the other end makes up for them.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._session_id = ""
        self._set_up = False
        self._resumes = False  # the client asked to be told how
        self._requests: deque[str] = deque()
        self._asked = itertools.count(1)
        self._response_id: str | None = None
        self._begun = False  # something of the response was said
        self._cut = ""  # the response that was interrupted before
        self._speaks = False  # something was said since the user last spoke
        self._said: dict[tuple[str | None, int], str] = {}
        self._heard = ""

    def encode(self, event: Event) -> list[str | bytes]:
        """Say an event in the provider's words; nothing where it is not told at all.

        Raises:
            Unsayable: these words have no message for it.
        """
        match event:
            case events.UserSpeechStopped() | events.AudioCommitted():
                return []
            case events.SessionOpened(session_id):
                self._session_id = session_id or ""
                return []
            case events.SessionAccepted():
                return [_frame(setupComplete={"sessionId": self._session_id})]
            case events.Resumable(handle) if self._resumes:
                update: dict[str, object] = {"resumable": handle is not None}
                if handle is not None:
                    update["newHandle"] = handle
                return [_frame(sessionResumptionUpdate=update)]
            case events.UserSpeechStarted():
                return self._interrupt() if self._speaks or self._requests else []
            case events.Interrupted():
                return self._interrupt()
            case events.UserTranscript(text, final):
                return self._hear(text, final)
            case events.ResponseStarted(response_id, request_id):
                return self._start(response_id, request_id)
            case events.AudioDelta(response_id, data):
                self._begin(response_id)
                return [data]
            case events.TextDelta() | events.TextDone():
                return self._write(event)
            case events.ToolCall(response_id, call_id, name, arguments):
                self._begin(response_id)
                call = {"id": call_id, "name": name, "args": _arguments(arguments)}
                return [_frame(toolCall={"functionCalls": [call]})]
            case events.ToolCallCancelled(call_id):
                return [_frame(toolCallCancellation={"ids": [call_id]})]
            case events.ResponseDone():
                return self._complete(event)
            case events.Fault(code, None):
                return [_frame(error={"code": code})]
            case events.Fault(code, request_id) if request_id in list(self._requests)[:1]:
                self._requests.popleft()
                return [*self._open(), _frame(turnRefused={"code": code})]
        raise events.Unsayable(f"no message for {type(event).__name__}")

    def decode(self, frame: str | bytes) -> list[Command]:
        """Read a frame as strictly as a provider would.

        Raises:
            MalformedFrame: it is no message, or has a field too many or of a wrong type.
        """
        if isinstance(frame, bytes):
            return [events.AppendAudio(frame)]
        try:
            message = _client_decoder.decode(frame)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from error
        return list(self._read(message))

    def _read(self, message: ClientMessage) -> Iterator[Command]:
        if message.setup is not None:
            if self._set_up:
                raise MalformedFrame("a session is set up once")
            self._set_up = True
            resumption = message.setup.session_resumption
            self._resumes = resumption is not None
            handle = resumption.handle if resumption is not None else None
            yield events.Configure(_config(message.setup), resume=handle)
        if message.realtime_input is not None:
            if message.realtime_input.dropped:
                yield events.ClearAudio()
            if message.realtime_input.ended:
                yield events.CommitAudio()
        if message.tool_response is not None:
            for answer in message.tool_response.function_responses:
                yield events.AddToolResult(answer.id, answer.name, answer.response.get("output"))
        if message.client_content is not None:
            for turn in message.client_content.turns:
                role = next(role for role, name in _ROLES.items() if name == turn.role)
                yield events.AddMessage(role, "".join(part.text for part in turn.parts))
            if message.client_content.turn_complete:
                request_id = f"request_{next(self._asked)}"
                self._requests.append(request_id)
                yield events.CreateResponse(request_id, message.client_content.generation)

    def _interrupt(self) -> list[str | bytes]:
        self._requests.clear()
        self._speaks = False
        if self._response_id is not None:
            self._cut = self._response_id
            if not self._begun:
                self._response_id = None
        return [_content(interrupted=True)]

    def _hear(self, text: str, final: bool) -> list[str | bytes]:
        if not final:
            self._heard += text
            return [_content(inputTranscription={"text": text})]
        if text and not text.startswith(self._heard):
            raise events.Unsayable("a piece of a transcript cannot be taken back")
        piece, self._heard = text[len(self._heard) :], ""
        return [_content(inputTranscription={"text": piece, "finished": True})]

    def _start(self, response_id: str, request_id: str | None) -> list[str | bytes]:
        asked = self._requests[0] if self._requests else None
        if asked != request_id:
            raise events.Unsayable(f"{asked} is answered next, not {request_id}")
        frames: list[str | bytes] = []
        if self._response_id is not None:
            frames = self._complete(events.ResponseDone(self._response_id))
        if asked is not None:
            self._requests.popleft()
        self._response_id, self._begun = response_id, False
        self._speaks = True
        self._said.clear()
        return frames

    def _begin(self, response_id: str) -> None:
        if response_id != self._response_id:
            raise events.Unsayable(f"one response at a time, and not {response_id}")
        if not self._begun:
            self._begun = True
            self.names[_response_name(self._session_id, len(self.names) + 1)] = response_id

    def _open(self) -> list[str | bytes]:
        """Have a response begin that has nothing to say yet."""
        if self._response_id is None or self._begun:
            return []
        self._begin(self._response_id)
        return [_content(modelTurn={})]

    def _write(self, event: events.TextDelta | events.TextDone) -> list[str | bytes]:
        part = (event.item_id, event.content_index)
        said, text = self._said.get(part, ""), event.text
        if isinstance(event, events.TextDone):
            if not text.startswith(said):
                raise events.Unsayable("a piece of a text cannot be taken back")
            text = text[len(said) :]
        self._said[part] = said + text
        if not text:
            return []
        self._begin(event.response_id)
        if event.spoken:
            return [_content(outputTranscription={"text": text})]
        return [_content(modelTurn={"parts": [{"text": text}]})]

    def _complete(self, event: events.ResponseDone) -> list[str | bytes]:
        if self._response_id is None:
            if event.response_id == self._cut:
                return []
            self._start(event.response_id, None)
        self._begin(event.response_id)
        self._response_id = None
        content: dict[str, object] = {"turnComplete": True}
        if event.response_id != self._cut:
            if event.status == "cancelled":
                self._requests.clear()
                content["interrupted"] = True
            elif event.status != "completed":
                content["outcome"] = event.status.upper()
            if event.code is not None:
                content["code"] = event.code
        usage = {
            "promptTokenCount": event.usage.input_tokens,
            "responseTokenCount": event.usage.output_tokens,
            "totalTokenCount": event.usage.total_tokens,
        }
        return [_frame(serverContent=content, usageMetadata=usage)]


def _response_name(session_id: str, number: int) -> str:
    """The made-up name of a response; unlike those of any other session."""
    return f"{session_id}_response_{number}"


def _frame(**payloads: object) -> str:
    return msgspec.json.encode(payloads).decode()


def _content(**payloads: object) -> str:
    return _frame(serverContent=payloads)


def _payload(message: dict[str, object], name: str) -> dict[str, object]:
    payload = message.get(name)
    return payload if isinstance(payload, dict) else {}


def _text(payload: Mapping[str, object], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""


def _count(payload: Mapping[str, object], name: str) -> int | None:
    value = payload.get(name)
    return value if isinstance(value, int) else None


def _list(payload: Mapping[str, object], name: str) -> list[object]:
    value = payload.get(name)
    return value if isinstance(value, list) else []


def _objects(payload: Mapping[str, object], name: str) -> list[dict[str, object]]:
    return [value for value in _list(payload, name) if isinstance(value, dict)]


def _arguments(text: str) -> object:
    """The object of a call's arguments; text where they are none, to say what is wrong."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _bounded(value: object) -> object:
    """What a tool returned, cut to a bound."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= _MAX_TOOL_OUTPUT else text[:_MAX_TOOL_OUTPUT] + "…"


def _setup(config: events.SessionConfig) -> dict[str, object]:
    """The session as the provider words it."""
    setup: dict[str, object] = {
        "model": config.model,
        "modality": config.modalities.upper(),
        "inputHertz": config.input_rate,
        "outputHertz": config.output_rate,
        "instructions": [{"text": config.instructions}] if config.instructions else [],
        "functions": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in config.tools
        ],
        "calling": config.tool_choice,
        "turnDetection": config.turn_detection,
        "transcribes": config.transcription,
    }
    if config.voice is not None:
        setup["voice"] = config.voice
    return setup | dict(config.options)


def _config(setup: Setup) -> events.SessionConfig:
    """What `_setup` worded, read back."""
    return events.SessionConfig(
        model=setup.model,
        voice=setup.voice,
        instructions="".join(part.text for part in setup.instructions),
        tools=tuple(events.Tool(f.name, f.description, f.parameters) for f in setup.functions),
        tool_choice=setup.calling,
        modalities="text" if setup.modality == "TEXT" else "audio",
        turn_detection=setup.turn_detection,
        transcription=setup.transcribes,
        input_rate=setup.input_hertz,
        output_rate=setup.output_hertz,
        options=msgspec.to_builtins(setup),
    )
