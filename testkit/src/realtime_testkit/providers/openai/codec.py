"""The provider's side of the OpenAI Realtime API: events to frames, frames to commands."""

import time
from collections import OrderedDict
from typing import ClassVar

from realtime_testkit import protocol
from realtime_testkit.protocol import Command, Event, SessionConfig, Tool, UnsupportedEvent
from realtime_testkit.providers.codec import ResponseRequest, TurnDetection, WireCodec

from . import audio, errors
from .conversation import Conversation
from .frames import Frames
from .output_items import Response
from .reader import Reader
from .responses import ResponseWriter
from .session import SessionState
from .tool_items import ToolWriter
from .user_items import UserItems

SESSION_S = 3600
"""How long a session lasts at most, as documented."""


class Codec(WireCodec):
    """One session of the API: what was said in it, and how it is said.

    Attributes:
        default_rate: of ``audio/pcm`` that names no rate.
        plays: the provider plays the speech itself, in calls.
    """

    default_rate: ClassVar[int] = 24000
    plays: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._frames = Frames()
        self._session = SessionState(self.default_rate)
        self._conversation = Conversation()
        self._writer = ResponseWriter(self._frames, self._conversation)
        self._tools = ToolWriter(self._frames, self._conversation, self._writer)
        self._users = UserItems(self._frames, self._conversation)
        self._reader = Reader(self._frames, self._session, self._conversation, self.plays)
        self._servers: set[str] = set()
        self._responses: OrderedDict[str, Response] = OrderedDict()
        self.defaults: SessionConfig | None = self._session.config

    def take_back(self) -> None:
        """See `Codec.take_back`."""
        self._reader.take_back()

    def encode(self, event: Event) -> list[str | bytes]:
        """See `Codec.encode`; ids that an event does not have are made up."""
        match event:
            case protocol.SessionOpened(session_id):
                return self._open(session_id)
            case protocol.SessionAccepted(output_rate=output_rate):
                return [self._session_frame("session.updated", output_rate), *self._list_tools()]
            case (
                protocol.UserSpeechStarted()
                | protocol.UserSpeechStopped()
                | protocol.UserIdle()
                | protocol.AudioCommitted()
                | protocol.UserTranscript()
                | protocol.UserTranscriptFailed()
            ):
                return self._users.encode(event)
            case protocol.ResponseStarted(response_id, request_id):
                response = self._begin(response_id, request_id)
                return self._writer.begin(response)
            case protocol.AudioDelta():
                return self._audio(event)
            case protocol.TextDelta() | protocol.TextDone():
                return self._text(event)
            case protocol.ToolCall(response_id):
                return self._tools.call(self._response(response_id), event)
            case protocol.ServerToolCall(response_id):
                return self._tools.server_call(self._response(response_id), event)
            case protocol.ToolCallApproval(response_id):
                return self._tools.approval(self._response(response_id), event)
            case protocol.Interrupted(response_id):
                newest = response_id or next(reversed(self._responses), None)
                if newest is None:
                    return []
                return self._done(protocol.ResponseDone(newest, "cancelled", code="turn_detected"))
            case protocol.ResponseDone():
                return self._done(event)
            case protocol.Fault():
                return [self._fault(event)]
            case protocol.OutputStarted(response_id):
                kind = "output_audio_buffer.started"
                return [self._frames.frame(kind, response_id=response_id)]
            case protocol.OutputStopped(response_id, cleared):
                kind = f"output_audio_buffer.{'cleared' if cleared else 'stopped'}"
                return [self._frames.frame(kind, response_id=response_id)]
        raise UnsupportedEvent(f"no message for {type(event).__name__}")

    def decode(self, frame: str | bytes) -> list[Command]:
        """See `Codec.decode`."""
        self.cause = None
        commands = self._reader.read(frame)
        self.cause = self._reader.event_id
        return commands

    def acknowledge(self, command: Command) -> list[str | bytes]:
        """See `Codec.acknowledge`."""
        if isinstance(command, protocol.AppendAudio):
            self._users.heard(command.data, self._session.config.input_rate)
        return self._reader.acknowledge(command)

    def request(self, command: protocol.CreateResponse, config: SessionConfig) -> ResponseRequest:
        """See `Codec.request`."""
        return self._reader.request(command)

    def turn_detection(self, config: SessionConfig) -> TurnDetection | None:
        """See `Codec.turn_detection`."""
        return self._session.turn_detection()

    def read_offer(self, session: str) -> tuple[str | None, list[Command]]:
        """See `Codec.read_offer`."""
        commands = self._reader.read_offer(session)
        model = self._session.object["model"]
        return model if isinstance(model, str) and model else None, commands

    def _open(self, session_id: str | None) -> list[str | bytes]:
        about = self._session.object
        about["id"] = session_id or "session"
        about["model"] = about["model"] or self.model
        about["expires_at"] = int(time.time()) + SESSION_S
        return [self._session_frame("session.created", None)]

    def _list_tools(self) -> list[str | bytes]:
        """The tools of each MCP server that is new to the session, listed."""
        sent: list[str | bytes] = []
        servers: dict[str, list[Tool]] = {}
        for tool in self._session.config.server_tools:
            servers.setdefault(tool.server or "", []).append(tool)
        for label in servers.keys() - self._servers:
            self._servers.add(label)
            sent += self._tools.list_tools(label, servers[label])
        return sent

    def _session_frame(self, kind: str, output_rate: int | None) -> str:
        self._session.names_rate(output_rate)
        return self._frames.frame(kind, session=self._session.public({}))

    def _begin(self, response_id: str, request_id: str | None) -> Response:
        asked = self._reader.take_request(request_id)
        response = Response(response_id, asked.settings, asked.out_of_band)
        self._responses[response_id] = response
        return response

    def _response(self, response_id: str) -> Response:
        """A response; one that was never said to begin is taken as if it had been."""
        response = self._responses.get(response_id)
        return response if response is not None else self._begin(response_id, None)

    def _audio(self, event: protocol.AudioDelta) -> list[str | bytes]:
        response = self._response(event.response_id)
        item_id = event.item_id or f"item_{event.response_id}"
        item, part, sent = self._writer.part(response, item_id, (0, 0), True)
        self._session.spoke = True
        format, data = self._session.format("output"), event.data
        item.entry.audio_ms += len(data) / 2 / format.rate * 1000
        if self.plays:
            return sent
        if format.encoding != "pcm16":
            data = part.odd + data
            whole = len(data) // 2 * 2
            data, part.odd = audio.encode(data[:whole], format), data[whole:]
        return [*sent, self._writer.audio(response, item, part, data)]

    def _text(self, event: protocol.TextDelta | protocol.TextDone) -> list[str | bytes]:
        response = self._response(event.response_id)
        item_id = event.item_id or f"item_{event.response_id}"
        place = (event.output_index, event.content_index)
        item, part, sent = self._writer.part(response, item_id, place, event.spoken)
        if isinstance(event, protocol.TextDelta):
            part.text += event.text
            return [*sent, self._writer.delta(response, item, part, event.text)]
        part.text = event.text
        return sent + self._writer.close_text(response, item, part, again=True)

    def _done(self, done: protocol.ResponseDone) -> list[str | bytes]:
        response = self._response(done.response_id)
        sent = self._writer.end(response, done)
        del self._responses[done.response_id]
        return sent

    def _fault(self, fault: protocol.Fault) -> str:
        event_id = fault.event_id or self._reader.event_of(fault.request_id)
        return self._frames.error(
            fault.code,
            fault.message or errors.message_of(fault.code),
            kind=errors.kind_of(fault.code),
            param=fault.param,
            event_id=event_id,
        )


class WebRTCCodec(Codec):
    """The same in the channel of a call, where speech is on tracks at 48 kHz."""

    default_rate: ClassVar[int] = 48000
    plays: ClassVar[bool] = True
