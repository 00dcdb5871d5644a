"""The events that come out of a session: what wire.py makes of the provider's messages."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from .session_types import AudioFormat, JSONObject, SessionSettings

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The provider greets a new connection; formats it dictates."""

    session_id: str | None = None
    input: AudioFormat | None = None
    output: AudioFormat | None = None


@dataclass(frozen=True, slots=True)
class SessionAccepted:
    """A configuration is in force; ``settings`` where the provider stated them."""

    settings: SessionSettings | None = None
    update_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resumable:
    """The session as it is now can be continued by ``handle``; with None it cannot."""

    handle: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserSpeechStarted:
    """The provider hears the user; ``item_id`` is the message this will become."""

    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class UserSpeechStopped:
    """The provider heard the end of the user's turn."""

    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class AudioCommitted:
    """The user's audio became an item of the conversation."""

    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class UserTranscript:
    """What the user said: the next piece of it, or with ``final`` all of it so far."""

    text: str = field(repr=False)
    final: bool = False
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class UserTranscriptFailed:
    """The user's audio could not be transcribed."""

    item_id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """A response began; ``request_id`` if the provider says which request it answers."""

    response_id: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """The next piece of a response's speech, split at any byte."""

    response_id: str
    data: bytes = field(repr=False)
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutputStarted:
    """The provider's track carries a response's speech from here on (WebRTC)."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputStopped:
    """All of a response's speech was sent, or with ``cleared`` the rest is dropped (WebRTC)."""

    response_id: str
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of a response's text, or of the transcript of its speech."""

    response_id: str
    text: str = field(repr=False)
    spoken: bool = True
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class TextDone:
    """The text so far of one content part; it replaces the deltas, unless it is empty."""

    response_id: str
    text: str = field(repr=False)
    spoken: bool = True
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool; sent once its arguments are complete."""

    response_id: str
    call_id: str
    name: str
    arguments: str = field(repr=False)
    item_id: str | None = None

    def parse(self) -> JSONObject:
        """Read the arguments.

        Raises:
            ValueError: they are not a JSON object.
        """
        try:
            return msgspec.json.decode(self.arguments or "{}", type=JSONObject)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError("the arguments are not a JSON object") from error


@dataclass(frozen=True, slots=True)
class ToolCallCancelled:
    """The provider no longer wants the result of a call."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The provider stopped a response because the user spoke, or a request came."""

    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a response cost; None where the provider does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """A response ended; nothing more of it follows.

    Attributes:
        code: why, where the status is not "completed".
        original: the provider's own account of the response.
    """

    response_id: str
    status: ResponseStatus = "completed"
    usage: Usage = Usage()
    code: str | None = None
    original: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """The provider reports an error.

    Attributes:
        request_id: the CreateResponse or Configure it is about, if the provider says so.
        harmless: nothing went wrong, as when there was nothing left to cancel.
        busy: a request was refused because a response is active; it is repeated later.
        idle: no response is active, so there was nothing to cancel.
    """

    code: str
    request_id: str | None = None
    harmless: bool = False
    busy: bool = False
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame that could not be read; ``reason`` holds none of its content."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """The provider asks whether the client is there; answered with Pong."""

    token: str = field(repr=False)


Event = (
    SessionOpened | SessionAccepted | Resumable | UserSpeechStarted | UserSpeechStopped
    | AudioCommitted | UserTranscript | UserTranscriptFailed | ResponseStarted | AudioDelta
    | OutputStarted | OutputStopped | TextDelta | TextDone | ToolCall | ToolCallCancelled
    | Interrupted | ResponseDone | Fault | Malformed | Ping
)  # fmt: skip
