"""The events that come out of a session: what wire.py makes of the provider's messages."""

from typing import Literal

import msgspec
from msgspec import Struct

from .session_types import AudioFormat, JSONObject, SessionSettings

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]


class Event(Struct, frozen=True):
    """What a session tells. Its repr shows nothing of what people said."""

    def __repr__(self) -> str:
        return type(self).__name__


class SessionOpened(Event, frozen=True):
    """The provider greets a new connection; formats it dictates."""

    input: AudioFormat | None = None
    output: AudioFormat | None = None


class SessionAccepted(Event, frozen=True):
    """A configuration is in force; ``settings`` where the provider stated them."""

    settings: SessionSettings | None = None
    update_id: str | None = None


class Resumable(Event, frozen=True):
    """The session as it is now can be continued by ``handle``; with None it cannot."""

    handle: str | None


class UserSpeechStarted(Event, frozen=True):
    """The provider hears the user; ``item_id`` is the message this will become."""

    item_id: str | None = None


class UserSpeechStopped(Event, frozen=True):
    """The provider heard the end of the user's turn."""

    item_id: str | None = None


class AudioCommitted(Event, frozen=True):
    """The user's audio became an item of the conversation."""

    item_id: str | None = None


class UserTranscript(Event, frozen=True):
    """What the user said: the next piece of it, or with ``final`` all of it so far."""

    text: str
    final: bool = False
    item_id: str | None = None


class UserTranscriptFailed(Event, frozen=True):
    """The user's audio could not be transcribed."""

    item_id: str | None = None
    code: str | None = None


class ResponseStarted(Event, frozen=True):
    """A response began; ``request_id`` if the provider says which request it answers."""

    response_id: str
    request_id: str | None = None


class AudioDelta(Event, frozen=True):
    """The next piece of a response's speech, split at any byte."""

    response_id: str
    data: bytes
    item_id: str | None = None


class OutputStarted(Event, frozen=True):
    """The provider's track carries a response's speech from here on (WebRTC)."""

    response_id: str


class OutputStopped(Event, frozen=True):
    """All of a response's speech was sent, or with ``cleared`` the rest is dropped (WebRTC)."""

    response_id: str
    cleared: bool = False


class TextDelta(Event, frozen=True):
    """The next piece of a response's text, or of the transcript of its speech."""

    response_id: str
    text: str
    spoken: bool = True
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0


class TextDone(Event, frozen=True):
    """The text so far of one content part; it replaces the deltas, unless it is empty."""

    response_id: str
    text: str
    spoken: bool = True
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0


class ToolCall(Event, frozen=True):
    """The model calls a tool; sent once its arguments are complete."""

    response_id: str
    call_id: str
    name: str
    arguments: str
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


class ToolCallCancelled(Event, frozen=True):
    """The provider no longer wants the result of a call."""

    call_id: str


class Interrupted(Event, frozen=True):
    """The provider stopped a response because the user spoke, or a request came."""

    response_id: str | None = None


class Usage(Struct, frozen=True):
    """Tokens that a response cost; None where the provider does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None


class ResponseDone(Event, frozen=True):
    """A response ended; nothing more of it follows.

    Attributes:
        code: why, where the status is not "completed".
        original: the provider's own account of the response.
    """

    response_id: str
    status: ResponseStatus = "completed"
    usage: Usage = Usage()
    code: str | None = None
    original: object = None


class Fault(Event, frozen=True):
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


class Malformed(Event, frozen=True):
    """A frame that could not be read; ``reason`` holds none of its content."""

    reason: str


class Ping(Event, frozen=True):
    """The provider asks whether the client is there; answered with Pong."""

    token: str
