"""{{ cookiecutter.plugin_name }}'s messages: encoded and decoded, and nothing else.

This is the file to change for a provider with messages of its own. Until then it speaks
a small schema that is unlike OpenAI's in every way that the plugin has room for. A frame
of text holds one object with a key for each of its payloads; a frame of bytes is audio.
Only tool calls have ids: responses come one at a time, in the order in which they were
asked for, and begin with their first content. The provider does not say when the user
speaks, but that it was interrupted; it cannot be told to stop, to forget what was not
heard, or to change a session.

A codec serves one connection and touches no socket.
"""

import itertools
import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import get_args

import msgspec

from ._engine import session_events as events
from ._engine import session_types as commands
from ._engine.errors import MalformedFrame
from ._engine.session_events import Event
from ._engine.session_types import AudioFormat, Command, JSONObject, RequestForm

TRAITS = commands.Traits(
    acknowledges_updates=False,
    updatable=False,
    one_response_at_a_time=False,
)
"""How the provider behaves; see Traits for what can be stated."""

CONTROL_MARKERS = ("<noise>",)
"""What a transcriber writes for a sound that is no word."""

HARMLESS_CODES = frozenset({"nothing_to_end"})
"""Errors that say there was nothing to do."""

MAX_TOOL_OUTPUT = 60_000
"""How much of a tool's result is sent, in characters; the bound of Vision Agents."""

MAX_REQUESTS = 256
"""How many requests may wait for their response; the newest."""

MAX_USER_TEXT = 100_000
"""Characters kept of a transcript that has not ended."""

MAX_ID = 1000
"""Longer ids of calls, and names of tools, are refused: they are kept after their response."""

_ROLES: dict[commands.Role, str] = {
    "assistant": "model",
    "user": "user",
    "system": "system",
}
_OUTCOMES: dict[str, events.ResponseStatus] = {
    status.upper(): status for status in get_args(events.ResponseStatus)
}


def read_request(options: Mapping[str, object]) -> RequestForm:
    """Read what the options of a native call mean."""
    return RequestForm()


class Codec:
    """The plugin's end of a connection: commands to frames, frames to events."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._session_id = ""
        self._requests: deque[str] = deque(maxlen=MAX_REQUESTS)
        self._response_id: str | None = None
        self._interrupted = False
        self._user_text = ""

    def settings(self, config: commands.SessionConfig) -> commands.SessionSettings:
        """Read what a configuration asks for.

        Raises:
            ValueError: it asks for a sample rate that cannot be sent or played, or for
                something that the provider decides by itself.
        """
        if not config.interrupts:
            raise ValueError(
                "interrupt_after_s must be 0: the provider itself decides what interrupts"
            )
        if config.transcription not in (True, False):
            raise ValueError(
                f"transcription={config.transcription!r} must be True or False: the "
                "provider chooses the model"
            )
        setup = _setup(config)
        detects = setup["turnDetection"] is not False
        return commands.SessionSettings(
            _format(setup, "inputHertz"),
            _format(setup, "outputHertz"),
            detects_turns=detects,
            creates_response=detects,
            transcribes=setup["transcribes"] is True,
        )

    def encode(self, command: Command) -> list[str | bytes]:
        """Write a command as the provider's messages; some have none."""
        match command:
            case commands.AppendAudio(data):
                return [data]
            case commands.Configure(config, None, _, resume):
                resumption = {} if resume is None else {"handle": resume}
                return [
                    _frame(setup=_setup(config) | {"sessionResumption": resumption})
                ]
            case commands.AppendImage(data):
                return [_frame(realtimeInput={"picture": data})]
            case commands.CommitAudio():
                return [_frame(realtimeInput={"ended": True})]
            case commands.AddMessage(role, text) if text:
                turn = {"role": _ROLES[role], "parts": [{"text": text}]}
                return [_frame(clientContent={"turns": [turn]})]
            case commands.AddToolResult(call_id, name, output):
                answer = {
                    "id": call_id,
                    "name": name,
                    "response": {"output": _bounded(output)},
                }
                return [_frame(toolResponse={"functionResponses": [answer]})]
            case commands.CreateResponse(request_id, options):
                generation = {"generation": options} if options else {}
                frame = _frame(clientContent={"turnComplete": True, **generation})
                self._requests.append(request_id)
                return [frame]
        return []

    def decode(self, frame: str | bytes) -> list[Event]:
        """Read a frame; a payload of an unknown name is no event.

        Raises:
            MalformedFrame: it is not a message, or a payload of it is none.
        """
        if isinstance(frame, bytes):
            return list(self._speech(frame))
        try:
            message = msgspec.json.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedFrame("a frame that is not JSON") from None
        if not isinstance(message, dict) or not message:
            raise MalformedFrame("a frame without a payload")
        for name in ("serverContent", "toolCall"):
            if not isinstance(message.get(name, {}), dict):
                raise MalformedFrame(f"{name} that is not an object")
        return list(self._read(message))

    def _read(self, message: JSONObject) -> Iterator[Event]:
        content = _payload(message, "serverContent")
        if "setupComplete" in message:
            session_id = _text(_payload(message, "setupComplete"), "sessionId")
            self._session_id = session_id or self._session_id
            yield events.SessionAccepted()
        if "sessionResumptionUpdate" in message:
            update = _payload(message, "sessionResumptionUpdate")
            resumable = update.get("resumable") is True
            yield events.Resumable(
                _text(update, "newHandle") or None if resumable else None
            )
        if "error" in message:
            code = _text(_payload(message, "error"), "code") or "unknown"
            yield events.Fault(code, harmless=code in HARMLESS_CODES)
        if "turnRefused" in message:
            code = _text(_payload(message, "turnRefused"), "code") or "unknown"
            yield events.Fault(
                code, self._requests.popleft() if self._requests else None
            )
        yield from self._heard(_payload(content, "inputTranscription"))
        if content.get("interrupted") is True:
            # The requests that were not answered yet are dropped with it.
            self._requests.clear()
            ends = content.get("turnComplete") is True
            self._interrupted = self._response_id is not None or ends
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
        """Begin a response with whatever comes of it first."""
        if self._response_id is None:
            self._response_id = f"{self._session_id}_response_{next(self._numbers)}"
            request_id = self._requests.popleft() if self._requests else None
            yield events.ResponseStarted(self._response_id, request_id)

    def _speech(self, data: bytes) -> Iterator[Event]:
        yield from self._begin()
        yield events.AudioDelta(self._id, data, self._item_id)

    def _heard(self, transcription: JSONObject) -> Iterator[Event]:
        piece = _text(transcription, "text")
        for marker in CONTROL_MARKERS:
            piece = piece.replace(marker, "")
        self._user_text = (self._user_text + piece)[:MAX_USER_TEXT]
        if transcription.get("finished") is True:
            yield events.UserTranscript(self._user_text, True)
            self._user_text = ""
        elif piece:
            yield events.UserTranscript(piece)

    def _written(self, content: JSONObject) -> Iterator[Event]:
        if "modelTurn" in content:
            yield from self._begin()
        parts = _objects(_payload(content, "modelTurn"), "parts")
        pieces = [(_text(part, "text"), False) for part in parts]
        pieces.append((_text(_payload(content, "outputTranscription"), "text"), True))
        for text, spoken in pieces:
            if text:
                yield from self._begin()
                yield events.TextDelta(self._id, text, spoken, self._item_id)

    def _called(self, tool_call: JSONObject) -> Iterator[Event]:
        for call in _objects(tool_call, "functionCalls"):
            call_id, name = _text(call, "id"), _text(call, "name")
            if not 0 < len(call_id) <= MAX_ID or not 0 < len(name) <= MAX_ID:
                raise MalformedFrame("a tool call without a usable id or name")
            yield from self._begin()
            arguments = msgspec.json.encode(call.get("args") or {}).decode()
            yield events.ToolCall(self._id, call_id, name, arguments, self._item_id)

    def _done(self, message: JSONObject, content: JSONObject) -> Event:
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


def _setup(config: commands.SessionConfig) -> JSONObject:
    """Write a configuration as the provider's setup."""
    functions = [
        {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        for tool in config.tools
    ]
    setup: JSONObject = {
        "model": config.model,
        "modality": config.modalities.upper(),
        "inputHertz": config.input_rate,
        "outputHertz": config.output_rate,
        "instructions": [{"text": config.instructions}] if config.instructions else [],
        "functions": functions,
        "calling": config.tool_choice,
        "turnDetection": config.turn_detection,
        "transcribes": bool(config.transcription),
    }
    if config.voice is not None:
        setup["voice"] = config.voice
    setup |= config.options
    if isinstance(more := config.options.get("functions"), list):
        setup["functions"] = [*functions, *more]
    return setup


def _format(setup: JSONObject, name: str) -> AudioFormat:
    rate = setup[name]
    if not isinstance(rate, int) or not 8000 <= rate <= 48000:
        raise ValueError(f"{name}={rate!r} cannot be used: it must be 8000 to 48000 Hz")
    return AudioFormat(rate)


def _frame(**payloads: object) -> str:
    try:
        return msgspec.json.encode(payloads).decode()
    except UnicodeEncodeError:
        # Halves of surrogate pairs, which UTF-8 has no bytes for.
        text = json.dumps(payloads, ensure_ascii=False)
        return text.encode(errors="replace").decode()


def _payload(message: Mapping[str, object], name: str) -> JSONObject:
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


def _objects(payload: Mapping[str, object], name: str) -> list[JSONObject]:
    return [value for value in _list(payload, name) if isinstance(value, dict)]


def _bounded(value: object) -> object:
    """Return what a tool returned, cut to a bound."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= MAX_TOOL_OUTPUT:
        return value
    return f"{text[:MAX_TOOL_OUTPUT]}… (cut: {len(text)} characters)"
