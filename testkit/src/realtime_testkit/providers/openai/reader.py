"""What a client's messages mean, what they are acknowledged with, and why they are refused."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import msgspec

from realtime_testkit import protocol
from realtime_testkit.protocol import Command, MalformedFrame, Refused
from realtime_testkit.providers.codec import ResponseRequest, Turn

from . import audio, errors, schema
from .conversation import Conversation
from .frames import Frames, JSONObject
from .item_store import ItemStore, command_of
from .session import SessionState, refused
from .session_schema import Session

REQUEST_KEY = "vision_agents_request"
"""A name for a request in its metadata, where a client has no other use for the key."""

MAX_REMEMBERED = 4096
"""How many ids of messages are remembered."""

MAX_REQUESTS = 256
"""How many requests are remembered."""

MAX_APPEND = 15 * 1024 * 1024
"""Bytes of audio in one message, as documented."""

_NOT_OF_A_SESSION = ("conversation", "input", "metadata")


@dataclass(eq=False)
class Asked:
    """A response that was asked for."""

    settings: JSONObject
    out_of_band: bool = False
    event_id: str | None = None
    given: JSONObject = field(default_factory=dict)
    context: list[Turn] | None = None
    max_tokens: int | None = None

    def forget_what_was_given(self) -> None:
        """Keep only what is told of the request from now on."""
        self.given, self.context = {}, None


class Reader:
    """Reads the messages of one session."""

    def __init__(
        self, frames: Frames, session: SessionState, conversation: Conversation, plays: bool
    ) -> None:
        self.event_id: str | None = None
        self._frames = frames
        self._session = session
        self._conversation = conversation
        self._plays = plays
        self._items = ItemStore(frames, conversation)
        self._numbers = itertools.count(1)
        self._event_ids: OrderedDict[str, None] = OrderedDict()
        self._requests: OrderedDict[str, Asked] = OrderedDict()
        self._config: protocol.SessionConfig | None = None
        self._previous: protocol.SessionConfig | None = None
        self._message: schema.AnyMessage | None = None

    def read(self, frame: str | bytes) -> list[Command]:
        """Read a frame.

        Raises:
            MalformedFrame: it is refused.
        """
        self._message = self.event_id = None
        try:
            message = schema.client_decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise errors.unreadable(frame, error) from error
        self.event_id = message.event_id
        try:
            self._remember(message.event_id)
            command = self._command(message, frame)
        except MalformedFrame as error:
            raise self.named(error) from error
        self._message = message
        return [command]

    def read_offer(self, session: str) -> list[Command]:
        """Read the session that a call is offered with.

        Raises:
            MalformedFrame: it is none.
        """
        try:
            given = msgspec.json.decode(session, type=JSONObject)
            msgspec.convert(given, Session)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedFrame(str(error)) from error
        self._session.offer(given)
        if not given.keys() - {"type", "model"}:
            return []
        self._config = self._session.config
        return [protocol.Configure(self._config)]

    def take_back(self) -> None:
        """Forget the changes of the session that were read last."""
        self._session.take_back()
        self._config = self._previous

    def named(self, error: MalformedFrame) -> MalformedFrame:
        """An error with the id of the message that caused it."""
        return Refused(replace(error.fault, event_id=self.event_id))

    def acknowledge(self, command: Command) -> list[str | bytes]:
        """What the provider says at once to a command.

        Raises:
            Refused: it does not act on it.
        """
        message, self._message = self._message, None
        try:
            match message:
                case schema.BufferClear():
                    return [self._frames.frame("input_audio_buffer.cleared")]
                case schema.ItemCreate():
                    return self._items.create(message)
                case schema.ItemTruncate():
                    return self._items.truncate(message)
                case schema.ItemDelete(item_id=item_id):
                    return self._items.delete(item_id)
                case schema.ItemRetrieve(item_id=item_id):
                    return self._items.retrieve(item_id)
        except MalformedFrame as error:
            raise self.named(error) from error
        return []

    def request(self, command: protocol.CreateResponse) -> ResponseRequest:
        """What a response is asked for with."""
        asked = self._requests.get(command.request_id) or Asked(self._settings({}))
        instructions = asked.given.get("instructions")
        context = asked.context
        return ResponseRequest(
            self._session.with_changes(asked.given),
            self._conversation.turns() if context is None else context,
            asked.out_of_band,
            instructions if isinstance(instructions, str) else None,
            asked.max_tokens,
        )

    def take_request(self, request_id: str | None) -> Asked:
        """The request that a response answers; its settings are the session's without one."""
        asked = self._requests.get(request_id) if request_id is not None else None
        if asked is not None:
            asked.forget_what_was_given()
            return asked
        settings = self._settings({})
        if request_id is not None:
            settings["metadata"] = {REQUEST_KEY: request_id}
        return Asked(settings)

    def event_of(self, request_id: str | None) -> str | None:
        """The client's name for the message with a request."""
        asked = self._requests.get(request_id) if request_id is not None else None
        if asked is None:
            return request_id
        asked.forget_what_was_given()
        return asked.event_id

    def _remember(self, event_id: str | None) -> None:
        if event_id is None:
            return
        if event_id in self._event_ids:
            raise refused("invalid_value", f"the event_id {event_id!r} once more", "event_id")
        self._event_ids[event_id] = None
        if len(self._event_ids) > MAX_REMEMBERED:
            self._event_ids.popitem(last=False)

    def _command(self, message: schema.AnyMessage, frame: str | bytes) -> Command:
        match message:
            case schema.BufferAppend(audio=data):
                return protocol.AppendAudio(self._samples(data))
            case schema.BufferCommit():
                return protocol.CommitAudio()
            case schema.BufferClear():
                return protocol.ClearAudio()
            case schema.OutputClear():
                if not self._plays:
                    message_ = "output_audio_buffer.clear is for WebRTC and SIP sessions only."
                    raise refused("invalid_value", message_, "type")
                return protocol.ClearOutput()
            case schema.SessionUpdate():
                self._session.update(schema.object_in(frame, "session"))
                self._previous, self._config = self._config, self._session.config
                return protocol.Configure(self._config, self._previous)
            case schema.ItemCreate(item=item):
                return command_of(item)
            case schema.ItemRetrieve(item_id=item_id):
                return protocol.RetrieveItem(item_id)
            case schema.ItemTruncate(item_id=item_id, audio_end_ms=end, content_index=index):
                return protocol.TruncateItem(item_id, end, index)
            case schema.ItemDelete(item_id=item_id):
                return protocol.DeleteItem(item_id)
            case schema.ResponseCreate(response=params):
                return self._ask(params, schema.object_in(frame, "response"))
            case schema.ResponseCancel(response_id=response_id):
                return protocol.CancelResponse(response_id)

    def _samples(self, data: bytes) -> bytes:
        if len(data) > MAX_APPEND:
            raise refused("invalid_value", "audio of more than 15 MiB", "audio")
        samples = audio.decode(data, self._session.format("input"))
        if not samples or len(samples) % 2:
            raise refused("invalid_value", "audio that is not whole samples", "audio")
        return samples

    def _ask(
        self, params: schema.ResponseParams | None, options: JSONObject
    ) -> protocol.CreateResponse:
        params = params or schema.ResponseParams()
        given = {key: value for key, value in options.items() if key not in _NOT_OF_A_SESSION}
        self._session.with_changes(given)  # refuses what does not fit
        context: list[Turn] | None = None
        if params.input is not None:
            context = [turn for item in params.input if (turn := self._turn(item)) is not None]
        metadata = dict(params.metadata or {})
        request_id = metadata.pop(REQUEST_KEY, self.event_id or f"request_{next(self._numbers)}")
        settings = self._settings(given) | {"metadata": params.metadata}
        limit = params.max_output_tokens
        asked = Asked(
            settings,
            params.conversation == "none",
            self.event_id,
            given,
            context,
            limit if isinstance(limit, int) else None,
        )
        if asked.out_of_band:
            settings["conversation_id"] = None
        self._requests[request_id] = asked
        if len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
        said = {key: value for key, value in options.items() if key != "metadata"}
        if metadata:
            said["metadata"] = metadata
        return protocol.CreateResponse(request_id, said)

    def _turn(self, item: schema.AnyItem | schema.ItemReference) -> Turn | None:
        if isinstance(item, schema.ItemReference):
            what = "referencing"
            self._conversation.require(item.id, what, "item_reference_invalid_item_id")
            return self._conversation.turn(item.id)
        about: JSONObject = msgspec.to_builtins(item)
        return self._conversation.turn_of(about)

    def _settings(self, given: JSONObject) -> JSONObject:
        """What the resource of a response says of its settings."""
        public = self._session.public(given)
        output = public["audio"]
        assert isinstance(output, dict)
        spoken = {key: output["output"].get(key) for key in ("format", "voice")}
        return {
            "conversation_id": "conv_1",
            "output_modalities": public["output_modalities"],
            "max_output_tokens": public["max_output_tokens"],
            "audio": {"output": spoken},
            "metadata": None,
        }
