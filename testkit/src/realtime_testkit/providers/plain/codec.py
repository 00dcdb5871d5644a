"""A small wire, unlike OpenAI's in every way that a plugin has to allow.

A frame of text holds one object with a key for each of its payloads; a frame of bytes is
audio. Only tool calls have ids: responses come one at a time, in the order they were asked
for, and begin with their first content. The provider says nothing before the setup and
nothing when the user speaks, but that it was interrupted; it cannot be told to stop, to
remove what was not heard, or to change a session.
"""

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from realtime_testkit import protocol
from realtime_testkit.protocol import Command, Event, MalformedFrame, Refused, UnsupportedEvent
from realtime_testkit.providers.codec import WireCodec

from .messages import ROLES, ClientMessage, client_decoder, config_of

MAX_REQUESTS = 20
"""How many turns may wait to be answered."""

MAX_OPEN_CALLS = 1000
"""How many calls may wait for their results."""


class Codec(WireCodec):
    """The provider's end of a connection: events to frames, frames to commands.

    Attributes:
        names: ids of responses by the names that the other end makes up for them.
        plays: speech is played on a track instead of sent in frames.
    """

    plays: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
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
        self._calls: OrderedDict[str, None] = OrderedDict()

    def encode(self, event: Event) -> list[str | bytes]:
        """Say an event in the provider's words; nothing where it is not told at all.

        Raises:
            UnsupportedEvent: this wire has no message for it.
        """
        match event:
            case protocol.UserSpeechStopped() | protocol.AudioCommitted():
                return []
            case protocol.SessionOpened(session_id):
                self._session_id = session_id or ""
                return []
            case protocol.SessionAccepted():
                return [_frame(setupComplete={"sessionId": self._session_id})]
            case protocol.Resumable(handle) if self._resumes or not self._set_up:
                update: dict[str, object] = {"resumable": handle is not None}
                if handle is not None:
                    update["newHandle"] = handle
                return [_frame(sessionResumptionUpdate=update)]
            case protocol.UserSpeechStarted():
                return self._interrupt() if self._speaks or self._requests else []
            case protocol.Interrupted():
                return self._interrupt()
            case protocol.UserTranscript(text, final):
                return self._hear(text, final)
            case protocol.ResponseStarted(response_id, request_id):
                return self._start(response_id, request_id)
            case protocol.AudioDelta(response_id, data):
                if self.plays and response_id == self._response_id:
                    return self._open()
                self._begin(response_id)
                return [data]
            case protocol.TextDelta() | protocol.TextDone():
                return self._write(event)
            case protocol.ToolCall(response_id, call_id, name, arguments):
                self._begin(response_id)
                self._calls[call_id] = None
                if len(self._calls) > MAX_OPEN_CALLS:
                    self._calls.popitem(last=False)
                call = {"id": call_id, "name": name, "args": _arguments(arguments)}
                return [_frame(toolCall={"functionCalls": [call]})]
            case protocol.ToolCallCancelled(call_id):
                return [_frame(toolCallCancellation={"ids": [call_id]})]
            case protocol.ResponseDone():
                return self._complete(event)
            case protocol.Fault(code, None):
                return [_frame(error={"code": code})]
            case protocol.Fault(code, request_id) if request_id in list(self._requests)[:1]:
                self._requests.popleft()
                return [*self._open(), _frame(turnRefused={"code": code})]
        raise UnsupportedEvent(f"no message for {type(event).__name__}")

    def decode(self, frame: str | bytes) -> list[Command]:
        """Read a frame as strictly as a provider would.

        Raises:
            MalformedFrame: it is no message, or has a field too many or of a wrong type.
        """
        if isinstance(frame, bytes):
            return [protocol.AppendAudio(frame)]
        try:
            message = client_decoder.decode(frame)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from error
        return list(self._read(message))

    def acknowledge(self, command: Command) -> list[str | bytes]:
        """See `Codec.acknowledge`: a result has to be that of an open call."""
        if isinstance(command, protocol.AddToolResult):
            if command.call_id not in self._calls:
                message = f"a result for {command.call_id}, which is no open call"
                raise Refused(protocol.Fault("unknown_call", message=message))
            del self._calls[command.call_id]
        return []

    def _read(self, message: ClientMessage) -> Iterator[Command]:
        if message.setup is not None:
            if self._set_up:
                raise MalformedFrame("a session is set up once")
            self._set_up = True
            resumption = message.setup.session_resumption
            self._resumes = resumption is not None
            handle = resumption.handle if resumption is not None else None
            yield protocol.Configure(config_of(message.setup), resume=handle)
        if message.realtime_input is not None:
            if message.realtime_input.picture is not None:
                yield protocol.AppendImage(message.realtime_input.picture)
            if message.realtime_input.dropped:
                yield protocol.ClearAudio()
            if message.realtime_input.ended:
                yield protocol.CommitAudio()
        if message.tool_response is not None:
            for answer in message.tool_response.function_responses:
                yield protocol.AddToolResult(answer.id, answer.name, answer.response.get("output"))
        if message.client_content is not None:
            for turn in message.client_content.turns:
                text = "".join(part.text for part in turn.parts)
                yield protocol.AddMessage(ROLES[turn.role], text)
            if message.client_content.turn_complete:
                yield self._ask(message.client_content.generation)

    def _ask(self, options: dict[str, object]) -> Command:
        if len(self._requests) >= MAX_REQUESTS:
            why = f"more than {MAX_REQUESTS} turns wait to be answered"
            raise Refused(protocol.Fault("too_many_turns", message=why))
        request_id = f"request_{next(self._asked)}"
        self._requests.append(request_id)
        return protocol.CreateResponse(request_id, options)

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
            raise UnsupportedEvent("a piece of a transcript cannot be taken back")
        piece, self._heard = text[len(self._heard) :], ""
        return [_content(inputTranscription={"text": piece, "finished": True})]

    def _start(self, response_id: str, request_id: str | None) -> list[str | bytes]:
        asked = self._requests[0] if self._requests else None
        if asked != request_id:
            raise UnsupportedEvent(f"{asked} is answered next, not {request_id}")
        frames: list[str | bytes] = []
        if self._response_id is not None:
            frames = self._complete(protocol.ResponseDone(self._response_id))
        if asked is not None:
            self._requests.popleft()
        self._response_id, self._begun = response_id, False
        self._speaks = True
        self._said.clear()
        return frames

    def _begin(self, response_id: str) -> None:
        if self._response_id is None and not self._requests:
            self._start(response_id, None)
        if response_id != self._response_id:
            raise UnsupportedEvent(f"one response at a time, and not {response_id}")
        if not self._begun:
            self._begun = True
            self.names[_response_name(self._session_id, len(self.names) + 1)] = response_id

    def _open(self) -> list[str | bytes]:
        """Have a response begin that has nothing to say yet."""
        if self._response_id is None or self._begun:
            return []
        self._begin(self._response_id)
        return [_content(modelTurn={})]

    def _write(self, event: protocol.TextDelta | protocol.TextDone) -> list[str | bytes]:
        part = (event.item_id, event.content_index)
        said, text = self._said.get(part, ""), event.text
        if isinstance(event, protocol.TextDone):
            if not text.startswith(said):
                raise UnsupportedEvent("a piece of a text cannot be taken back")
            text = text[len(said) :]
        self._said[part] = said + text
        if not text:
            return []
        self._begin(event.response_id)
        if event.spoken:
            return [_content(outputTranscription={"text": text})]
        return [_content(modelTurn={"parts": [{"text": text}]})]

    def _complete(self, event: protocol.ResponseDone) -> list[str | bytes]:
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


class WebRTCCodec(Codec):
    """The same in the channel of a call, where speech is on tracks."""

    plays: ClassVar[bool] = True

    def read_offer(self, session: str) -> tuple[str | None, list[Command]]:
        """See `Codec.read_offer`; it names the model, and the rest is in the setup."""
        try:
            model = msgspec.json.decode(session, type=dict[str, object]).get("model")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from error
        return model if isinstance(model, str) else None, []


def _response_name(session_id: str, number: int) -> str:
    """The made-up name of a response; unlike those of any other session."""
    return f"{session_id}_response_{number}"


def _frame(**payloads: object) -> str:
    return msgspec.json.encode(payloads).decode()


def _content(**payloads: object) -> str:
    return _frame(serverContent=payloads)


def _arguments(text: str) -> object:
    """The object of a call's arguments; text where they are none, to say what is wrong."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
