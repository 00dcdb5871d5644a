"""{{ cookiecutter.plugin_name }}'s messages: typed, encoded and decoded, and nothing else.

This is the file to change for a provider with messages of its own. Until then it
speaks the OpenAI Realtime schema, its beta names included
(https://platform.openai.com/docs/api-reference/realtime).

What is sent is written as JSON where it is encoded. What is received is typed before
it, and read forgivingly: a field with a default may be missing or of any type. A codec
serves one connection and touches no socket.
"""

import functools
import itertools
import json
from collections.abc import Mapping
from typing import Annotated, TypeVar, get_args

import msgspec
from msgspec import Struct, field

from ._engine import session_events as events
from ._engine import session_types as commands
from ._engine.bounded import BoundedDict
from ._engine.errors import MalformedFrame
from ._engine.session_events import Event
from ._engine.session_types import (
    AddMessage,
    AudioFormat,
    Command,
    JSONObject,
    RequestForm,
)

TRAITS = commands.Traits()
"""How the provider behaves; see Traits for what can be stated."""

TRANSCRIPTION_MODEL: str | None = None
"""The model that transcribes the user's speech, unless the caller names one; None
leaves the choice to the provider."""

SERVER_TOOLS = frozenset({"web_search", "file_search", "code_interpreter"})
"""Tools the provider runs itself: their calls are not answered, unless the session
was configured with a tool of that name."""

CONTROL_MARKERS = ("<noise>", "<silence>", "[BLANK_AUDIO]")
"""What a transcriber writes for a sound that is no word."""

IDLE_CODES = ("response_cancel_not_active",)
"""Errors that say there was no response to cancel."""

HARMLESS_CODES = (*IDLE_CODES, "input_audio_buffer_commit_empty")
"""Errors that say there was nothing to do."""

BUSY_CODES = ("conversation_already_has_active_response",)
"""Errors that refuse a request because another response is active."""

MAX_TOOL_OUTPUT = 60_000
"""How much of a tool's result is sent, in characters; the bound of Vision Agents."""

MAX_CALLS = 256
"""How many calls of tools that were begun are remembered, the newest."""

MAX_ID = 1000
"""Longer ids, and names of tools, count as absent: they are kept after their response."""

_REQUEST_KEY = "vision_agents_request"  # in a request's metadata
{%- if cookiecutter.video == 'yes' %}
_JPEG = "data:image/jpeg;base64,"
{%- endif %}
_UPDATED_IN_PARTS = ("audio", "input", "output")  # of a session; the rest as a whole

StructT = TypeVar("StructT", bound=Struct)
Id = Annotated[str, msgspec.Meta(max_length=MAX_ID)]


class ServerMessage(Struct, tag_field="type"):
    """A message of the provider's; fields without a default are required."""


class ErrorDetail(Struct):
    type: str = ""
    code: str | None = None
    event_id: Id | None = None


class ErrorMessage(ServerMessage, tag="error"):
    error: ErrorDetail = field(default_factory=ErrorDetail)


class SessionCreated(ServerMessage, tag="session.created"):
    session: JSONObject = {}


class SessionUpdated(ServerMessage, tag="session.updated"):
    session: JSONObject = {}


class UserPart(ServerMessage):
    """A part of the user's turn; ``item_id`` is the message it becomes."""

    item_id: Id | None = None


class SpeechStarted(UserPart, tag="input_audio_buffer.speech_started"): ...


class SpeechStopped(UserPart, tag="input_audio_buffer.speech_stopped"): ...


class Committed(UserPart, tag="input_audio_buffer.committed"): ...


_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class TranscriptionDelta(UserPart, tag=f"{_TRANSCRIPTION}.delta"):
    delta: str = ""


class TranscriptionCompleted(UserPart, tag=f"{_TRANSCRIPTION}.completed"):
    transcript: str = ""


class TranscriptionFailed(UserPart, tag=f"{_TRANSCRIPTION}.failed"):
    error: ErrorDetail = field(default_factory=ErrorDetail)


class TokenDetails(Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_token_details: TokenDetails = field(default_factory=TokenDetails)
    output_token_details: TokenDetails = field(default_factory=TokenDetails)


class StatusDetails(Struct):
    reason: str | None = None
    error: ErrorDetail = field(default_factory=ErrorDetail)


class Response(Struct):
    id: Id | None = None
    status: events.ResponseStatus = "completed"
    status_details: StatusDetails = field(default_factory=StatusDetails)
    metadata: JSONObject = {}
    usage: Usage = field(default_factory=Usage)


class ResponseCreated(ServerMessage, tag="response.created"):
    response: JSONObject


class ResponseDone(ServerMessage, tag="response.done"):
    response: JSONObject = {}


class ResponsePart(ServerMessage, kw_only=True):
    """A part of a response: of the newest one, where the id is missing."""

    response_id: Id | None = None
    item_id: Id | None = None
    output_index: int = 0
    content_index: int = 0


class AudioDelta(ResponsePart, tag="response.output_audio.delta"):
    delta: bytes


class BetaAudioDelta(AudioDelta, tag="response.audio.delta"): ...
{%- if cookiecutter.transport == 'webrtc' %}


class OutputStarted(ResponsePart, tag="output_audio_buffer.started"): ...


class OutputStopped(ResponsePart, tag="output_audio_buffer.stopped"): ...


class OutputCleared(ResponsePart, tag="output_audio_buffer.cleared"): ...
{%- endif %}


class TranscriptDelta(ResponsePart, tag="response.output_audio_transcript.delta"):
    delta: str


class TranscriptDone(ResponsePart, tag="response.output_audio_transcript.done"):
    transcript: str = ""


class TextDelta(ResponsePart, tag="response.output_text.delta"):
    delta: str


class TextDone(ResponsePart, tag="response.output_text.done"):
    text: str = ""


class OutputItem(Struct):
    type: str | None = None
    id: Id | None = None
    status: str | None = None
    call_id: Id | None = None
    name: Id | None = None
    arguments: str | None = None


class OutputItemAdded(ResponsePart, tag="response.output_item.added"):
    item: OutputItem = field(default_factory=OutputItem)


class OutputItemDone(ResponsePart, tag="response.output_item.done"):
    item: OutputItem = field(default_factory=OutputItem)


class ArgumentsDone(ResponsePart, tag="response.function_call_arguments.done"):
    call_id: Id | None = None
    name: Id | None = None
    arguments: str | None = None


FromServer = (
    AudioDelta | BetaAudioDelta | TranscriptDelta | TranscriptDone | TextDelta | TextDone
    | SessionCreated | SessionUpdated | ErrorMessage | SpeechStarted | SpeechStopped | Committed
    | TranscriptionDelta | TranscriptionCompleted | TranscriptionFailed | ResponseCreated
    | ResponseDone | OutputItemAdded | OutputItemDone | ArgumentsDone
{%- if cookiecutter.transport == 'webrtc' %}
    | OutputStarted | OutputStopped | OutputCleared
{%- endif %}
)  # fmt: skip
_server_decoder: msgspec.json.Decoder[FromServer] = msgspec.json.Decoder(FromServer)
_server_messages: dict[str, type[ServerMessage]] = {
    **{kind.__struct_config__.tag: kind for kind in get_args(FromServer)},
    "response.audio_transcript.delta": TranscriptDelta,
    "response.audio_transcript.done": TranscriptDone,
    "response.text.delta": TextDelta,
    "response.text.done": TextDone,
}


def read_request(options: Mapping[str, object]) -> RequestForm:
    """Read what the options of a native call mean."""
    messages: list[AddMessage] = []
    items = options.get("input")
    for item in items if isinstance(items, list) else []:
        match item:
            case {
                "role": "user" | "assistant" | "system" as role,
                "content": list(content),
            }:
                texts = [part.get("text") for part in content if isinstance(part, dict)]
                text = "".join(each for each in texts if isinstance(each, str))
                messages.append(AddMessage(role, text))
    return RequestForm(
        out_of_band=options.get("conversation") == "none", messages=tuple(messages)
    )


class Codec:
    """The plugin's end of a connection: commands to frames, frames to events."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tools: set[str] = set()
        self._defaults: JSONObject = {}  # the session as it was before it was configured
        self._asked: commands.SessionSettings | None = None
        self._response_id = ""
        self._calls: BoundedDict[str, OutputItem] = BoundedDict(MAX_CALLS)

    def settings(self, config: commands.SessionConfig) -> commands.SessionSettings:
        """Read what a configuration asks for.

        Raises:
            ValueError: it asks for a format that cannot be sent or played.
        """
        rates = AudioFormat(config.input_rate), AudioFormat(config.output_rate)
        return _settings(
            _session(config), commands.SessionSettings(*rates), strict=True
        )

    def encode(self, command: Command) -> list[str | bytes]:
        """Write a command as the provider's messages."""
        match command:
            case commands.AppendAudio(data):
                return [_frame("input_audio_buffer.append", audio=data)]
{%- if cookiecutter.video == 'yes' %}
            case commands.AppendImage(data):
                picture = f"{_JPEG}{msgspec.to_builtins(data)}"
                return [self._item(_message(AddMessage("user", "", (picture,))))]
{%- endif %}
            case commands.CommitAudio():
                return [self._frame("input_audio_buffer.commit")]
{%- if cookiecutter.transport == 'webrtc' %}
            case commands.ClearOutput():
                return [self._frame("output_audio_buffer.clear")]
{%- endif %}
            case commands.Configure(config, previous, update_id):
                self._tools = {tool.name for tool in config.tools}
                self._asked = self.settings(config)
                session = _session(config)
                if previous is not None:
                    changes = _changes(session, _session(previous), self._defaults)
                    session = {"type": "realtime"} | changes
                event_id = update_id or f"event_{next(self._numbers)}"
                return [_frame("session.update", event_id=event_id, session=session)]
            case AddMessage():
                return [self._item(_message(command))]
            case commands.AddToolResult(call_id, output=result):
                item: JSONObject = {"type": "function_call_output", "call_id": call_id}
                return [self._item(item | {"output": _tool_output(result)})]
            case commands.CreateResponse(request_id, options):
                given = options.get("metadata")
                metadata = dict(given) if isinstance(given, Mapping) else {}
                response = {
                    **options,
                    "metadata": metadata | {_REQUEST_KEY: request_id},
                }
                return [
                    _frame("response.create", event_id=request_id, response=response)
                ]
            case commands.CancelResponse(response_id):
                return [self._frame("response.cancel", response_id=response_id)]
            case commands.TruncateItem(item_id, audio_end_ms, content_index):
                end = {"content_index": content_index, "audio_end_ms": audio_end_ms}
                return [
                    self._frame("conversation.item.truncate", item_id=item_id, **end)
                ]
            case commands.DeleteItem(item_id):
                return [self._frame("conversation.item.delete", item_id=item_id)]
        return []  # nothing to say: the schema has neither pings nor keep-alives

    def decode(self, frame: str | bytes) -> list[Event]:
        """Read a frame; a message of an unknown type is no event.

        Raises:
            MalformedFrame: it is not a message, or a required field is missing.
        """
        message = _read(frame)
        match message:
            case AudioDelta(delta=data, item_id=item_id):
                return [events.AudioDelta(self._response_of(message), data, item_id)]
            case TranscriptDelta(delta=text) | TextDelta(delta=text):
                return [events.TextDelta(*self._text(message, text))]
            case TranscriptDone(transcript=text) | TextDone(text=text):
                return [events.TextDone(*self._text(message, text))]
{%- if cookiecutter.transport == 'webrtc' %}
            case OutputStarted():
                return [events.OutputStarted(self._response_of(message))]
            case OutputStopped() | OutputCleared():
                cleared = isinstance(message, OutputCleared)
                return [events.OutputStopped(self._response_of(message), cleared)]
{%- endif %}
            case SessionCreated(session=session):
                self._defaults = session
                return [events.SessionOpened()]
            case SessionUpdated(session=session):
                stated = _settings(session, self._asked) if self._asked else None
                return [events.SessionAccepted(stated)]
            case SpeechStarted(item_id=item_id):
                return [events.UserSpeechStarted(item_id)]
            case SpeechStopped(item_id=item_id):
                return [events.UserSpeechStopped(item_id)]
            case Committed(item_id=item_id):
                return [events.AudioCommitted(item_id)]
            case TranscriptionDelta(delta=text, item_id=item_id):
                return [events.UserTranscript(_without_markers(text), False, item_id)]
            case TranscriptionCompleted(transcript=text, item_id=item_id):
                return [events.UserTranscript(_without_markers(text), True, item_id)]
            case TranscriptionFailed(error=error, item_id=item_id):
                return [
                    events.UserTranscriptFailed(
                        item_id, error.code or error.type or None
                    )
                ]
            case ResponseCreated():
                response = _fit(message.response, Response)
                if not response.id:
                    raise MalformedFrame("a response without an id")
                self._response_id = response.id
                request_id = response.metadata.get(_REQUEST_KEY)
                asked = request_id if isinstance(request_id, str) else None
                return [events.ResponseStarted(response.id, asked)]
            case OutputItemAdded(item=item):
                if item.type == "function_call" and item.id is not None:
                    self._calls[item.id] = item
            case ArgumentsDone(item_id=item_id, arguments=str(arguments)):
                begun = self._calls.get(item_id or "", OutputItem())
                begun.arguments = arguments
                call_id, name = (
                    begun.call_id or message.call_id,
                    begun.name or message.name,
                )
                # Arguments that were cut off are no object or empty: the item's end tells.
                if item_id not in self._calls or _is_whole(arguments):
                    return self._call(message, item_id, call_id, name, arguments)
            case OutputItemDone(item=item):
                begun = self._calls.pop(item.id or "", item)
                if (
                    "function_call" in (item.type, begun.type)
                    and item.status != "incomplete"
                ):
                    call_id, name = (
                        item.call_id or begun.call_id,
                        item.name or begun.name,
                    )
                    arguments = item.arguments or begun.arguments or ""
                    return self._call(message, item.id, call_id, name, arguments)
            case ResponseDone():
                return [self._done(message.response)]
            case ErrorMessage(error=error):
                code = error.code or error.type or "unknown"
                busy, idle = code in BUSY_CODES, code in IDLE_CODES
                return [
                    events.Fault(
                        code, error.event_id, code in HARMLESS_CODES, busy, idle
                    )
                ]
        return []

    def _frame(self, kind: str, **fields: object) -> str:
        return _frame(kind, event_id=f"event_{next(self._numbers)}", **fields)

    def _item(self, item: JSONObject) -> str:
        return self._frame("conversation.item.create", item=item)

    def _response_of(self, part: ResponsePart) -> str:
        return part.response_id or self._response_id

    def _text(
        self, part: ResponsePart, text: str
    ) -> tuple[str, str, bool, str | None, int, int]:
        spoken = isinstance(part, TranscriptDelta | TranscriptDone)
        place = (part.item_id, part.output_index, part.content_index)
        return (self._response_of(part), text, spoken, *place)

    def _call(
        self,
        part: ResponsePart,
        item_id: str | None,
        call_id: str | None,
        name: str | None,
        arguments: str,
    ) -> list[Event]:
        if not call_id or not name:
            raise MalformedFrame("a tool call without its id or name")
        if name in SERVER_TOOLS - self._tools:
            return []
        return [
            events.ToolCall(self._response_of(part), call_id, name, arguments, item_id)
        ]

    def _done(self, original: JSONObject) -> Event:
        response = _fit(original, Response)
        details, usage = response.status_details, response.usage
        taken, given = usage.input_token_details, usage.output_token_details
        return events.ResponseDone(
            response.id or self._response_id,
            response.status,
            events.Usage(
                usage.input_tokens,
                usage.output_tokens,
                usage.total_tokens,
                taken.cached_tokens,
                taken.audio_tokens,
                given.audio_tokens,
            ),
            details.error.code or details.error.type or details.reason,
            original,
        )


def _read(frame: str | bytes) -> ServerMessage | None:
    """Read a message; None if it is of an unknown type."""
    try:
        return _server_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # of an unknown type, or there is something to forgive
    try:
        # json takes what some providers write and msgspec does not: NaN, half an emoji.
        data = json.loads(frame)
    except (ValueError, RecursionError):
        raise MalformedFrame("a frame that is not JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise MalformedFrame("a frame that is not an object with a type")
    kind = _server_messages.get(data["type"])
    return None if kind is None else _fit(data, kind)


def _fit(data: JSONObject, kind: type[StructT]) -> StructT:
    """Read an object; what does not fit a field with a default counts as absent."""
    fitting: JSONObject = {}
    for part in _fields(kind):
        value, wanted = data.get(part.name), part.type
        nested = isinstance(wanted, type) and issubclass(wanted, Struct)
        if isinstance(value, str):
            value = _encodable(value)
        try:
            if nested and isinstance(value, dict):
                fitting[part.name] = _fit(value, wanted)
            else:
                fitting[part.name] = msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            if part.required:
                tag = kind.__struct_config__.tag
                raise MalformedFrame(f"{tag} without a usable {part.name}") from None
    return kind(**fitting)


_fields = functools.cache(msgspec.structs.fields)  # as slow as reading ten frames


def _session(config: commands.SessionConfig) -> JSONObject:
    """Write a configuration as the provider's session."""
    detection: JSONObject | None = None
    if isinstance(config.turn_detection, Mapping):
        detection = dict(config.turn_detection)
    elif config.turn_detection:
        detection = {"type": "server_vad"}
    if detection is not None and not config.interrupts:
        detection = {"interrupt_response": False} | detection
    transcription: JSONObject | None = None
    if config.transcription:
        named = config.transcription if isinstance(config.transcription, str) else None
        model = named or TRANSCRIPTION_MODEL
        transcription = {"model": model} if model else {}
    choice: object = config.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "name": choice}
    tools = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        for tool in config.tools
    ]
{%- if cookiecutter.transport == 'webrtc' %}
    given: JSONObject = {}
    output: JSONObject = {}
{%- else %}
    given: JSONObject = {"format": {"type": "audio/pcm", "rate": config.input_rate}}
    output: JSONObject = {"format": {"type": "audio/pcm", "rate": config.output_rate}}
{%- endif %}
    if config.voice is not None:
        output["voice"] = config.voice
    session: JSONObject = {
        "type": "realtime",
        "model": config.model,
        "instructions": config.instructions,
        "output_modalities": [config.modalities],
        "audio": {
            "input": {
                **given,
                "transcription": transcription,
                "turn_detection": detection,
            },
            "output": output,
        },
        "tools": tools,
        "tool_choice": choice,
    }
    merged = _merge(session, config.options)
    if isinstance(more := config.options.get("tools"), list):
        merged["tools"] = [*tools, *more]
    return merged


def _settings(
    session: JSONObject, asked: commands.SessionSettings, *, strict: bool = False
) -> commands.SessionSettings:
    """Read the behaviour and the formats of a session; what it does not state is as asked."""
    audio = session.get("audio")
    given, output = (
        part
        if isinstance(audio, dict) and isinstance(part := audio.get(name), dict)
        else {}
        for name in ("input", "output")
    )
    detection = given.get("turn_detection", {})
    stated = detection if isinstance(detection, dict) else {}
    return commands.SessionSettings(
        _format(given.get("format"), asked.input, strict=strict),
        _format(output.get("format"), asked.output, strict=strict),
        detects_turns=detection is not None
        if "turn_detection" in given
        else asked.detects_turns,
        creates_response=stated.get("create_response", asked.creates_response)
        is not False,
        interrupts_response=stated.get("interrupt_response", asked.interrupts_response)
        is not False,
        transcribes=given.get("transcription", asked.transcribes or None) is not None,
    )


def _format(stated: object, asked: AudioFormat, *, strict: bool) -> AudioFormat:
    match stated:
        case {"type": "audio/pcmu"}:
            return AudioFormat(8000, "pcmu")
        case {"type": "audio/pcma"}:
            return AudioFormat(8000, "pcma")
        case {"type": "audio/pcm", "rate": int(rate)} if 8000 <= rate <= 48000:
            return AudioFormat(rate)
    if strict and stated is not None and stated != {"type": "audio/pcm"}:
        raise ValueError(
            f"an audio format of {stated!r} cannot be used: it must be audio/pcm with a rate "
            "of 8000 to 48000 Hz, audio/pcmu or audio/pcma"
        )
    return asked


def _merge(base: JSONObject, over: Mapping[str, object]) -> JSONObject:
    """Return ``base`` with ``over`` laid on it, neither edited."""
    merged = {**base, **over}
    for key in _UPDATED_IN_PARTS:
        below, above = base.get(key), over.get(key)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = _merge(below, above)
    return merged


def _changes(new: JSONObject, old: JSONObject, defaults: JSONObject) -> JSONObject:
    """Return what ``new`` says that ``old`` did not, and the defaults of what it takes back."""
    changed = {k: v for k, v in new.items() if k not in old or v != old[k]}
    changed |= {k: defaults.get(k) for k in old if k not in new}
    for key in _UPDATED_IN_PARTS:
        now, before, default = changed.get(key), old.get(key), defaults.get(key)
        if isinstance(now, dict) and isinstance(before, dict):
            changed[key] = _changes(
                now, before, default if isinstance(default, dict) else {}
            )
    return changed


def _message(message: AddMessage) -> JSONObject:
    kind = "output_text" if message.role == "assistant" else "input_text"
    content = [{"type": kind, "text": message.text}] if message.text else []
    content += [{"type": "input_image", "image_url": image} for image in message.images]
    return {"type": "message", "role": message.role, "content": content}


def _tool_output(value: object) -> str:
    """Return what a tool returned as text that the model can read, cut to a bound."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) > MAX_TOOL_OUTPUT:
        text = f"{text[:MAX_TOOL_OUTPUT]}… (cut: {len(text)} characters)"
    return text


def _is_whole(arguments: str) -> bool:
    try:
        return bool(msgspec.json.decode(arguments, type=JSONObject))
    except (msgspec.DecodeError, RecursionError):
        return False


def _without_markers(text: str) -> str:
    for marker in CONTROL_MARKERS:
        text = text.replace(marker, "")
    return text


def _encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which UTF-8 has no bytes for."""
    return text.encode(errors="replace").decode()


def _frame(kind: str, **fields: object) -> str:
    """Write a message, without those of its fields that are None."""
    message = {"type": kind} | {
        key: value for key, value in fields.items() if value is not None
    }
    try:
        return msgspec.json.encode(message).decode()
    except UnicodeEncodeError:
        return _encodable(json.dumps(message, ensure_ascii=False))
