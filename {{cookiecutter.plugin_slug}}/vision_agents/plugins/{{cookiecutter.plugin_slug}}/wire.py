"""{{ cookiecutter.plugin_name }}'s messages: typed, encoded and decoded, and nothing else.

This is the file to change for a provider with messages of its own. Until then it
speaks the OpenAI Realtime schema, its beta names included
(https://platform.openai.com/docs/api-reference/realtime).

Both ends of the line are here: ClientCodec is the plugin's, ServerCodec that of the
embedded provider in loopback.py. What a codec writes stands in it as JSON; what it
reads is typed before it, forgivingly for the plugin and strictly for the provider.
A codec serves one connection, keeps only what later frames need, touches no socket.
"""

import functools
import itertools
import json
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct, field

from . import events
from .events import Command, Event, MalformedFrame

CAPABILITIES = ("audio", "text", "tools", "transcription", "turn_detection", "history"{% if cookiecutter.video == 'yes' %}, "video"{% endif %})
"""What the provider can do, told in the connected event."""

TRANSCRIPTION_MODEL = "{{ cookiecutter.default_model }}"
"""The model that transcribes the user's speech."""

ECHOES_METADATA = True
"""Whether the provider returns a request's metadata with its response. If not,
responses are matched to requests in the order they were asked for."""

SERVER_TOOLS = frozenset({"web_search", "file_search", "code_interpreter"})
"""Tools the provider runs itself: their calls are not answered, unless the session
was configured with a tool of that name."""

CONTROL_MARKERS = ("<noise>", "<silence>", "[BLANK_AUDIO]")
"""What a transcriber writes for a sound that is no word."""

HARMLESS_CODES = ("response_cancel_not_active", "input_audio_buffer_commit_empty")
"""Errors that say there was nothing left to do."""

MAX_TOOL_OUTPUT = 60_000
"""How much of a tool's result is sent, in characters; the house's own bound."""

_REQUEST_KEY = "request_id"  # in a request's metadata
{%- if cookiecutter.video == 'yes' %}
_JPEG = "data:image/jpeg;base64,"
{%- endif %}
_UPDATED_IN_PARTS = ("audio", "input", "output")  # of a session; the rest as a whole

JSONObject = dict[str, object]
Natural = Annotated[int, Meta(ge=0)]
StructT = TypeVar("StructT", bound=Struct)
_encode = msgspec.json.Encoder().encode


class ServerMessage(Struct, tag_field="type"):
    """What the provider says, as far as the plugin needs it.

    A field with a default may be missing or null or of any type, see `_read`; one
    without is what nothing can be done without.
    """


class ErrorDetail(Struct):
    type: str = ""
    code: str | None = None
    event_id: str | None = None


class ErrorMessage(ServerMessage, tag="error"):
    error: ErrorDetail = field(default_factory=ErrorDetail)


class SessionCreated(ServerMessage, tag="session.created"):
    session: JSONObject = {}


class SessionUpdated(ServerMessage, tag="session.updated"):
    session: JSONObject = {}


class UserPart(ServerMessage):
    """A part of the user's turn; ``item_id`` is the message it becomes."""

    item_id: str | None = None


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


class Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class StatusDetails(Struct):
    reason: str | None = None
    error: ErrorDetail = field(default_factory=ErrorDetail)


class Response(Struct):
    id: str | None = None
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

    response_id: str | None = None
    item_id: str | None = None
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
    id: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class OutputItemAdded(ResponsePart, tag="response.output_item.added"):
    item: OutputItem = field(default_factory=OutputItem)


class OutputItemDone(ResponsePart, tag="response.output_item.done"):
    item: OutputItem = field(default_factory=OutputItem)


class ArgumentsDone(ResponsePart, tag="response.function_call_arguments.done"):
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


FromServer = (
    AudioDelta | BetaAudioDelta | TranscriptDelta | TranscriptDone | TextDelta
    | TextDone | SessionCreated | SessionUpdated | ErrorMessage | SpeechStarted
    | SpeechStopped | Committed | TranscriptionDelta | TranscriptionCompleted
    | TranscriptionFailed | ResponseCreated | ResponseDone | OutputItemAdded
    | OutputItemDone | ArgumentsDone
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


class Strict(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the plugin says, read as strictly as a provider may."""


class ClientMessage(Strict, tag_field="type", kw_only=True):
    event_id: str | None = None


class AudioFormat(Strict):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Annotated[int, Meta(ge=8000, le=48000)] = {% if cookiecutter.transport == 'webrtc' %}48000{% else %}24000{% endif %}


class Transcription(Strict):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    keywords: list[str] | None = None
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class TurnDetection(Strict, tag_field="type"):
    create_response: bool | None = None
    interrupt_response: bool | None = None


class ServerVad(TurnDetection, tag="server_vad"):
    idle_timeout_ms: int | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    threshold: float | None = None


class SemanticVad(TurnDetection, tag="semantic_vad"):
    eagerness: Literal["low", "medium", "high", "auto"] | None = None


class AudioInput(Strict):
    format: AudioFormat = field(default_factory=AudioFormat)
    noise_reduction: JSONObject | None = None
    transcription: Transcription | None = None
    turn_detection: ServerVad | SemanticVad | None = field(default_factory=ServerVad)


class AudioOutput(Strict):
    format: AudioFormat = field(default_factory=AudioFormat)
    speed: float | None = None
    voice: str | dict[str, str] | None = None


class ResponseAudio(Strict):
    output: AudioOutput = field(default_factory=AudioOutput)


class SessionAudio(ResponseAudio):
    input: AudioInput = field(default_factory=AudioInput)


class FunctionTool(Strict):
    type: Literal["function"]
    name: str
    description: str = ""
    parameters: JSONObject = {}


class ToolChoice(Strict):
    type: Literal["function", "mcp"]
    name: str | None = None
    server_label: str | None = None


class Generation(Strict):
    """What a session and a single response are both configured with."""

    instructions: str | None = None
    output_modalities: tuple[events.Modality] = ("audio",)
    tools: list[FunctionTool] = []
    tool_choice: Literal["auto", "none", "required"] | ToolChoice = "auto"
    max_output_tokens: int | Literal["inf"] | None = None
    parallel_tool_calls: bool | None = None
    prompt: JSONObject | None = None
    reasoning: JSONObject | None = None


class Session(Generation, kw_only=True):
    type: Literal["realtime"]
    model: str = ""
    audio: SessionAudio = field(default_factory=SessionAudio)
    include: list[str] | None = None
    tracing: Literal["auto"] | JSONObject | None = None
    truncation: Literal["auto", "disabled"] | JSONObject | None = None


class ContentPart(Strict):
    type: Literal[
        "input_text",
        "input_audio",
        "input_image",
        "output_text",
        "output_audio",
    ]
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None


class Item(Strict, tag_field="type", kw_only=True):
    id: str | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class MessageItem(Item, tag="message"):
    role: events.Role
    content: list[ContentPart]

    def __post_init__(self) -> None:
        side = "output_" if self.role == "assistant" else "input_"
        if not all(part.type.startswith(side) for part in self.content):
            raise ValueError(f"the content of role {self.role} is {side}...")


class FunctionCallItem(Item, tag="function_call"):
    name: str
    arguments: str
    call_id: str | None = None


class FunctionCallOutputItem(Item, tag="function_call_output"):
    call_id: str
    output: str


AnyItem = MessageItem | FunctionCallItem | FunctionCallOutputItem


class ResponseParams(Generation):
    audio: ResponseAudio | None = None
    conversation: str | None = None
    input: list[AnyItem] | None = None
    metadata: dict[str, str] = {}


class SessionUpdate(ClientMessage, tag="session.update"):
    session: Session


class BufferAppend(ClientMessage, tag="input_audio_buffer.append"):
    audio: bytes


class BufferCommit(ClientMessage, tag="input_audio_buffer.commit"): ...


class BufferClear(ClientMessage, tag="input_audio_buffer.clear"): ...
{%- if cookiecutter.transport == 'webrtc' %}


class OutputClear(ClientMessage, tag="output_audio_buffer.clear"): ...


class Call(Strict):
    sdp: str
    session: msgspec.Raw = msgspec.Raw()
{%- endif %}


class ItemCreate(ClientMessage, tag="conversation.item.create"):
    item: AnyItem
    previous_item_id: str | None = None


class ItemTruncate(ClientMessage, tag="conversation.item.truncate"):
    item_id: str
    content_index: Natural
    audio_end_ms: Natural


class ItemDelete(ClientMessage, tag="conversation.item.delete"):
    item_id: str


class ResponseCreate(ClientMessage, tag="response.create"):
    response: ResponseParams = field(default_factory=ResponseParams)


class ResponseCancel(ClientMessage, tag="response.cancel"):
    response_id: str | None = None


_client_decoder = msgspec.json.Decoder(
    SessionUpdate | BufferAppend | BufferCommit | BufferClear | ItemCreate
    | ItemTruncate | ItemDelete | ResponseCreate | ResponseCancel{% if cookiecutter.transport == 'webrtc' %} | OutputClear{% endif %}
)  # fmt: skip


class ClientCodec:
    """The plugin's end of a connection: commands to frames, frames to events."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._tools: set[str] = set()
        self._requests: list[str] = []
        self._response_id = ""
        self._calls: dict[str, OutputItem] = {}

    def encode(self, command: Command) -> list[str | bytes]:
        """Say a command in the provider's words."""
        match command:
            case events.AppendAudio(data):
                return [_encode({"type": "input_audio_buffer.append", "audio": data}).decode()]
{%- if cookiecutter.video == 'yes' %}
            case events.AppendImage(data):
                picture = f"{_JPEG}{msgspec.to_builtins(data)}"
                content = [{"type": "input_image", "image_url": picture}]
                item = {"type": "message", "role": "user", "content": content}
                return [self._frame("conversation.item.create", item=item)]
{%- endif %}
            case events.CommitAudio():
                return [self._frame("input_audio_buffer.commit")]
            case events.ClearAudio():
                return [self._frame("input_audio_buffer.clear")]
{%- if cookiecutter.transport == 'webrtc' %}
            case events.ClearOutput():
                return [self._frame("output_audio_buffer.clear")]
{%- endif %}
            case events.Configure(config, previous):
                self._tools = {tool.name for tool in config.tools}
                session = _session(config)
                if previous is not None:
                    changes = _changes(session, _session(previous))
                    session = {"type": "realtime"} | changes
                return [self._frame("session.update", session=session)]
            case events.AddMessage(role, text):
                kind = "output_text" if role == "assistant" else "input_text"
                content = [{"type": kind, "text": _encodable(text)}]
                item = {"type": "message", "role": role, "content": content}
                return [self._frame("conversation.item.create", item=item)]
            case events.AddToolResult(call_id, output=result):
                item = {"type": "function_call_output", "call_id": call_id}
                item["output"] = _tool_output(result)
                return [self._frame("conversation.item.create", item=item)]
            case events.CreateResponse(request_id, options):
                if not ECHOES_METADATA:
                    self._requests.append(request_id)
                given = options.get("metadata")
                metadata = dict(given) if isinstance(given, Mapping) else {}
                metadata[_REQUEST_KEY] = request_id
                response = {**options, "metadata": metadata}
                kind = "response.create"
                return [_frame(kind, event_id=request_id, response=response)]
            case events.CancelResponse(response_id):
                return [self._frame("response.cancel", response_id=response_id)]
            case events.TruncateItem(item_id, audio_end_ms, content_index):
                return [
                    self._frame(
                        "conversation.item.truncate",
                        item_id=item_id,
                        content_index=content_index,
                        audio_end_ms=audio_end_ms,
                    )
                ]
            case events.DeleteItem(item_id):
                return [self._frame("conversation.item.delete", item_id=item_id)]

    def decode(self, frame: str | bytes) -> list[Event]:
        """Read a frame; a message of an unknown type is no event.

        Raises:
            MalformedFrame: it is no message, or lacks what it cannot do without.
        """
        message = _read(frame)
        match message:
            case AudioDelta(delta=data, item_id=item_id):
                return [events.AudioDelta(self._response_of(message), data, item_id)]
{%- if cookiecutter.transport == 'webrtc' %}
            case OutputStarted():
                return [events.OutputStarted(self._response_of(message))]
            case OutputStopped() | OutputCleared():
                cleared = isinstance(message, OutputCleared)
                return [events.OutputStopped(self._response_of(message), cleared)]
{%- endif %}
            case TranscriptDelta(delta=text) | TextDelta(delta=text):
                return [self._text(events.TextDelta, message, text)]
            case TranscriptDone(transcript=text) | TextDone(text=text):
                return [self._text(events.TextDone, message, text)]
            case SessionCreated(session={"id": str(session_id)}):
                return [events.SessionOpened(session_id)]
            case SessionCreated():
                return [events.SessionOpened()]
            case SessionUpdated(session=session):
                return [events.SessionAccepted(_output_rate(session))]
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
                code = error.code or error.type or None
                return [events.UserTranscriptFailed(item_id, code)]
            case ResponseCreated():
                response = _fit(message.response, Response)
                if not response.id:
                    raise MalformedFrame("a response without an id")
                self._response_id = response.id
                return [events.ResponseStarted(response.id, self._request_of(response))]
            case OutputItemAdded(item=item):
                if item.type == "function_call" and item.id is not None:
                    self._calls[item.id] = item
            case ArgumentsDone(item_id=item_id, arguments=str(arguments)):
                # Some name the call in its item only, and some have no items.
                call = self._calls.get(item_id or "", message)
                call_id, name = call.call_id or message.call_id, call.name or message.name
                return self._call(message, item_id, call_id, name, arguments)
            case OutputItemDone(item=item):
                self._calls.pop(item.id or "", None)
                # An incomplete call was cancelled in the middle of its arguments.
                if item.type == "function_call" and item.status != "incomplete":
                    call_id, arguments = item.call_id, item.arguments or ""
                    return self._call(message, item.id, call_id, item.name, arguments)
            case ResponseDone():
                return [self._done(message.response)]
            case ErrorMessage(error=error):
                if error.event_id in self._requests:
                    self._requests.remove(error.event_id)
                code = error.code or error.type or "unknown"
                return [events.Fault(code, error.event_id, code in HARMLESS_CODES)]
        return []

    def _frame(self, kind: str, **fields: object) -> str:
        return _frame(kind, event_id=f"event_{next(self._numbers)}", **fields)

    def _response_of(self, part: ResponsePart) -> str:
        return part.response_id or self._response_id

    def _request_of(self, response: Response) -> str | None:
        if self._requests:
            return self._requests.pop(0)
        request_id = response.metadata.get(_REQUEST_KEY)
        return request_id if isinstance(request_id, str) else None

    def _text(
        self,
        kind: type[events.TextDelta] | type[events.TextDone],
        part: ResponsePart,
        text: str,
    ) -> Event:
        return kind(
            self._response_of(part),
            text,
            isinstance(part, TranscriptDelta | TranscriptDone),
            part.item_id,
            part.output_index,
            part.content_index,
        )

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
        response_id = self._response_of(part)
        return [events.ToolCall(response_id, call_id, name, arguments, item_id)]

    def _done(self, original: JSONObject) -> Event:
        response = _fit(original, Response)
        details, usage = response.status_details, response.usage
        return events.ResponseDone(
            response.id or self._response_id,
            response.status,
            events.Usage(usage.input_tokens, usage.output_tokens, usage.total_tokens),
            details.error.code or details.error.type or details.reason,
            original,
        )


class ServerCodec:
    """The provider's end of a connection: events to frames, frames to commands.

    Attributes:
        names: ids of responses by the names that the other end makes up for them,
            where the wire carries no ids.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._event_ids: set[str] = set()
        self._session_id: str | None = None
        self._session: JSONObject = {"type": "realtime"}
        self._config: events.SessionConfig | None = None
        # Both by response; the metadata by request until its response starts.
        self._metadata: dict[str, object] = {}
        self._output: dict[str, list[JSONObject]] = {}

    def encode(self, event: Event) -> list[str | bytes]:
        """Say an event in the provider's words; an id it has not is left out.

        Raises:
            Unsayable: these words have no message for it.
        """
        match event:
            case events.SessionOpened(session_id):
                self._session_id = session_id
                return [self._session_frame("session.created")]
            case events.SessionAccepted(output_rate):
                if output_rate is not None:
                    audio = {"format": {"type": "audio/pcm", "rate": output_rate}}
                    self._session = _merge(self._session, {"audio": {"output": audio}})
                return [self._session_frame("session.updated")]
            case events.UserSpeechStarted(item_id):
                kind = "input_audio_buffer.speech_started"
                return [self._frame(kind, item_id=item_id, audio_start_ms=0)]
            case events.UserSpeechStopped(item_id):
                kind = "input_audio_buffer.speech_stopped"
                return [self._frame(kind, item_id=item_id, audio_end_ms=0)]
            case events.AudioCommitted(item_id):
                return [self._frame("input_audio_buffer.committed", item_id=item_id)]
            case events.UserTranscript(text, False, item_id):
                return [self._transcription("delta", item_id, delta=text)]
            case events.UserTranscript(text, True, item_id):
                said = {"transcript": text, "usage": {"type": "duration", "seconds": 0}}
                return [self._transcription("completed", item_id, **said)]
            case events.UserTranscriptFailed(item_id, code):
                error = {"type": "transcription_error", "code": code}
                return [self._transcription("failed", item_id, error=error)]
            case events.ResponseStarted(response_id, request_id):
                if request_id is not None:
                    asked = {_REQUEST_KEY: request_id}
                    self._metadata[response_id] = self._metadata.pop(request_id, asked)
                response = self._response(response_id, "in_progress")
                return [self._frame("response.created", response=response)]
            case events.AudioDelta(response_id, data, item_id):
                part = _part(response_id, item_id)
                return [self._frame("response.output_audio.delta", **part, delta=data)]
{%- if cookiecutter.transport == 'webrtc' %}
            case events.OutputStarted(response_id):
                return [self._frame("output_audio_buffer.started", response_id=response_id)]
            case events.OutputStopped(response_id, cleared):
                kind = f"output_audio_buffer.{'cleared' if cleared else 'stopped'}"
                return [self._frame(kind, response_id=response_id)]
{%- endif %}
            case events.TextDelta() | events.TextDone():
                return self._text(event)
            case events.ToolCall():
                return self._call(event)
            case events.Interrupted(response_id):
                newest = response_id or next(reversed(self._output), "")
                done = events.ResponseDone(newest, "cancelled", code="turn_detected")
                return self._done(done)
            case events.ResponseDone():
                return self._done(event)
            case events.Fault(code, request_id):
                fault = {"type": "invalid_request_error", "code": code}
                fault["message"] = f"The provider says: {code}"
                if request_id is not None:
                    fault["event_id"] = request_id
                return [self._frame("error", error=fault)]
        raise events.Unsayable(f"no message for {type(event).__name__}")

    def decode(self, frame: str | bytes) -> list[Command]:
        """Read a frame as strictly as a provider may.

        Raises:
            MalformedFrame: it is no message, has a field too many or of a wrong type,
                or an event id that was used before.
        """
        try:
            message = _client_decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from error
        if message.event_id is not None:
            if message.event_id in self._event_ids:
                raise MalformedFrame(f"the event_id {message.event_id!r} once more")
            self._event_ids.add(message.event_id)
        match message:
            case BufferAppend(audio=data):
                if not data or len(data) % 2:
                    raise MalformedFrame("audio that is not whole samples")
                return [events.AppendAudio(data)]
            case BufferCommit():
                return [events.CommitAudio()]
            case BufferClear():
                return [events.ClearAudio()]
{%- if cookiecutter.transport == 'webrtc' %}
            case OutputClear():
                return [events.ClearOutput()]
{%- endif %}
            case SessionUpdate():
                self._session = _merge(self._session, _object_in(frame, "session"))
                previous, self._config = self._config, _config(self._session)
                return [events.Configure(self._config, previous)]
{%- if cookiecutter.video == 'yes' %}
            case ItemCreate(item=MessageItem(content=[ContentPart(image_url=str(picture))])):
                return [events.AppendImage(_jpeg(picture))]
{%- endif %}
            case ItemCreate(item=MessageItem(role=role, content=content)):
                text = "".join(part.text or part.transcript or "" for part in content)
                return [events.AddMessage(role, text)]
            case ItemCreate(item=FunctionCallOutputItem() as item):
                return [events.AddToolResult(item.call_id, "", item.output)]
            case ItemTruncate(item_id=item_id, audio_end_ms=end, content_index=index):
                return [events.TruncateItem(item_id, end, index)]
            case ItemDelete(item_id=item_id):
                return [events.DeleteItem(item_id)]
            case ResponseCreate(event_id=event_id, response=params):
                options, metadata = _object_in(frame, "response"), {**params.metadata}
                request_id = metadata.pop(_REQUEST_KEY, event_id or "")
                self._metadata[request_id] = options.pop("metadata", None)
                if metadata:
                    options["metadata"] = metadata
                return [events.CreateResponse(request_id, options)]
            case ResponseCancel(response_id=response_id):
                return [events.CancelResponse(response_id)]
        return []
{%- if cookiecutter.transport == 'webrtc' %}

    def read_offer(self, session: str) -> tuple[str, list[Command]]:
        """Read the session a call is offered with.

        Returns:
            The model, and a Configure if it says more than that.

        Raises:
            MalformedFrame: it is no session.
        """
        try:
            given = msgspec.json.decode(session, type=JSONObject)
            typed = msgspec.convert(given, Session)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from error
        self._session = given
        if not given.keys() - {"type", "model"}:
            return typed.model, []
        self._config = _config(given)
        return typed.model, [events.Configure(self._config)]
{%- endif %}

    def _frame(self, kind: str, **fields: object) -> str:
        return _frame(kind, event_id=f"event_{next(self._numbers)}", **fields)

    def _session_frame(self, kind: str) -> str:
        about = {"object": "realtime.session", "id": self._session_id}
        return self._frame(kind, session=self._session | about)

    def _transcription(self, kind: str, item_id: str | None, **said: object) -> str:
        kind = f"{_TRANSCRIPTION}.{kind}"
        return self._frame(kind, item_id=item_id, content_index=0, **said)

    def _response(self, response_id: str, status: str) -> JSONObject:
        return {
            "object": "realtime.response",
            "id": response_id,
            "status": status,
            "output": self._output.setdefault(response_id, []),
            "metadata": self._metadata.get(response_id),
        }

    def _text(self, event: events.TextDelta | events.TextDone) -> list[str | bytes]:
        response_id, item_id, text = event.response_id, event.item_id, event.text
        part = _part(response_id, item_id, event.output_index, event.content_index)
        kind = "output_audio_transcript" if event.spoken else "output_text"
        if isinstance(event, events.TextDelta):
            return [self._frame(f"response.{kind}.delta", **part, delta=text)]
        said = {"transcript" if event.spoken else "text": text}
        frames: list[str | bytes] = []
        if event.spoken:
            frames.append(self._frame("response.output_audio.done", **part))
        frames.append(self._frame(f"response.{kind}.done", **part, **said))
        content = {"type": "output_audio" if event.spoken else "output_text", **said}
        item = {"type": "message", "id": item_id, "role": "assistant"}
        output = self._output.setdefault(response_id, [])
        output.append({**item, "status": "completed", "content": [content]})
        return frames

    def _call(self, call: events.ToolCall) -> list[str | bytes]:
        output = self._output.setdefault(call.response_id, [])
        item_id, arguments = call.item_id or f"item_{call.call_id}", call.arguments
        ids = {"id": item_id, "call_id": call.call_id, "name": call.name}
        item = {"type": "function_call", **ids, "arguments": ""}
        begun = {**item, "status": "in_progress"}
        whole = {**item, "status": "completed", "arguments": arguments}
        place = {"response_id": call.response_id, "output_index": len(output)}
        part = {**place, "item_id": item_id, "call_id": call.call_id}
        kind, half = "response.function_call_arguments", len(arguments) // 2
        output.append({**whole})
        return [
            self._frame("response.output_item.added", **place, item=begun),
            self._frame(f"{kind}.delta", **part, delta=arguments[:half]),
            self._frame(f"{kind}.delta", **part, delta=arguments[half:]),
            self._frame(f"{kind}.done", **part, name=call.name, arguments=arguments),
            self._frame("response.output_item.done", **place, item=whole),
        ]

    def _done(self, done: events.ResponseDone) -> list[str | bytes]:
        status, code = done.status, done.code
        details: JSONObject = {"type": status}
        if status == "failed":
            details["error"] = {"type": "server_error", "code": code}
        elif status == "cancelled":
            details["reason"] = code or "client_cancelled"
        elif status == "incomplete":
            details["reason"] = code or "max_output_tokens"
        usage = msgspec.to_builtins(done.usage)
        ended = {"status_details": details, "usage": usage}
        response = self._response(done.response_id, status) | ended
        del self._output[done.response_id]
        self._metadata.pop(done.response_id, None)
        limit = {"name": "requests", "limit": 1000, "remaining": 999}
        return [
            self._frame("response.done", response=response),
            self._frame("rate_limits.updated", rate_limits=[limit]),
        ]


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


def _output_rate(session: JSONObject) -> int | None:
    match session:
        case {"audio": {"output": {"format": {"rate": int(rate)}}}}:
            return rate if 8000 <= rate <= 48000 else None
    return None


def _without_markers(text: str) -> str:
    for marker in CONTROL_MARKERS:
        text = text.replace(marker, "")
    return text


def _encodable(text: str) -> str:
    """A text without halves of surrogate pairs, which UTF-8 has no bytes for."""
    return text.encode(errors="replace").decode()


def _tool_output(value: object) -> str:
    """What a tool returned as text the model can read, cut to a bound."""
    text = value if isinstance(value, str) else _encode(value).decode()
    if len(text) > MAX_TOOL_OUTPUT:
        text = text[:MAX_TOOL_OUTPUT] + "…"
    return text
{%- if cookiecutter.transport == 'webrtc' %}


def offered(config: events.SessionConfig) -> str:
    """The session a call is offered with; the rest is told once its channel is open."""
    return _encode({"type": "realtime", "model": config.model}).decode()


def read_call(body: bytes) -> tuple[str, str]:
    """The offer and the session in a call made as one JSON object.

    Raises:
        MalformedFrame: it is none.
    """
    try:
        call = msgspec.json.decode(body, type=Call)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedFrame(str(error)) from error
    return call.sdp, bytes(call.session).decode()
{%- endif %}


def _session(config: events.SessionConfig) -> JSONObject:
    """The session as the provider words it."""
    detection: JSONObject | None = None
    if isinstance(config.turn_detection, Mapping):
        detection = dict(config.turn_detection)
    elif config.turn_detection:
        detection = {"type": "server_vad"}
    transcription = {"model": TRANSCRIPTION_MODEL} if config.transcription else None
    choice: object = config.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "name": choice}
{%- if cookiecutter.transport == 'webrtc' %}
    output: JSONObject = {}
{%- else %}
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
{%- if cookiecutter.transport == 'websocket' %}
                "format": {"type": "audio/pcm", "rate": config.input_rate},
{%- endif %}
                "transcription": transcription,
                "turn_detection": detection,
            },
            "output": output,
        },
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            }
            for tool in config.tools
        ],
        "tool_choice": choice,
    }
    return _merge(session, config.options)


def _config(session: JSONObject) -> events.SessionConfig:
    """What `_session` worded, read back."""
    typed = msgspec.convert(session, Session)
    given, asked = typed.audio.input, typed.audio.output
    tools, choice = typed.tools, typed.tool_choice
    detection = given.turn_detection
    known = [None, *(tool.name for tool in tools)]
    if isinstance(choice, ToolChoice) and choice.name not in known:
        raise MalformedFrame(f"tool_choice names {choice.name!r}, which is no tool")
    return events.SessionConfig(
        model=typed.model,
        voice=asked.voice if isinstance(asked.voice, str) else None,
        instructions=typed.instructions or "",
        tools=tuple(events.Tool(t.name, t.description, t.parameters) for t in tools),
        tool_choice=choice if isinstance(choice, str) else choice.name or "",
        modalities=typed.output_modalities[0],
        turn_detection=(
            msgspec.to_builtins(detection)
            if detection not in (None, ServerVad())
            else detection is not None
        ),
        transcription=given.transcription is not None,
        input_rate=given.format.rate,
        output_rate=asked.format.rate,
        options=session,
    )


def _merge(base: JSONObject, over: Mapping[str, object]) -> JSONObject:
    """``base`` with ``over`` laid on it, neither edited."""
    merged = {**base, **over}
    for key in _UPDATED_IN_PARTS:
        below, above = base.get(key), over.get(key)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = _merge(below, above)
    return merged


def _changes(new: JSONObject, old: JSONObject) -> JSONObject:
    """What ``new`` says that ``old`` did not."""
    changed = {k: v for k, v in new.items() if k not in old or v != old[k]}
    for key in _UPDATED_IN_PARTS:
        now, before = changed.get(key), old.get(key)
        if isinstance(now, dict) and isinstance(before, dict):
            changed[key] = _changes(now, before)
    return changed


def _frame(kind: str, **fields: object) -> str:
    """A message as it goes out, without those of its fields that are None."""
    said = {key: value for key, value in fields.items() if value is not None}
    return _encode({"type": kind} | said).decode()
{%- if cookiecutter.video == 'yes' %}


def _jpeg(url: str) -> bytes:
    """The JPEG in a data URL."""
    try:
        return msgspec.convert(url.removeprefix(_JPEG), bytes)
    except msgspec.ValidationError as error:
        raise MalformedFrame("an image that is no JPEG in a data URL") from error
{%- endif %}


def _object_in(frame: str | bytes, key: str) -> JSONObject:
    value = msgspec.json.decode(frame, type=JSONObject).get(key)
    return value if isinstance(value, dict) else {}


def _part(
    response_id: str, item_id: str | None, output_index: int = 0, content_index: int = 0
) -> JSONObject:
    return {
        "response_id": response_id,
        "item_id": item_id,
        "output_index": output_index,
        "content_index": content_index,
    }
