"""Events: what a provider says to a client."""

from dataclasses import dataclass, field

from .settings import ResponseStatus


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The provider greets a new connection, with its rates (Hz) if it dictates them."""

    session_id: str | None = None
    input_rate: int | None = None
    output_rate: int | None = None


@dataclass(frozen=True, slots=True)
class SessionAccepted:
    """The provider took the configuration, with its rates (Hz) if it names them."""

    input_rate: int | None = None
    output_rate: int | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """The provider asks for a Pong with the same token."""

    token: str = ""


@dataclass(frozen=True, slots=True)
class Resumable:
    """The session can be resumed with ``handle``; with None it cannot be resumed."""

    handle: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserSpeechStarted:
    """The provider detected speech.

    Attributes:
        item_id: the message this will become.
        audio_ms: where it begins in all audio of the session.
    """

    item_id: str | None = None
    audio_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UserSpeechStopped:
    """The provider detected the end of the user's turn, at ``audio_ms`` of all audio."""

    item_id: str | None = None
    audio_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UserIdle:
    """The user said nothing for as long as the session allows: from one time to another."""

    item_id: str | None = None
    start_ms: int = 0
    end_ms: int = 0


@dataclass(frozen=True, slots=True)
class AudioCommitted:
    """The user's audio became an item of the conversation.

    Attributes:
        understood: what the model makes of it, which is not told.
        data: the audio, to be retrieved.
    """

    item_id: str | None = None
    understood: str = field(default="", repr=False)
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class UserTranscript:
    """What the user said: a piece of it, or with ``final`` all of it."""

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
    """A response began; ``request_id`` if it answers a CreateResponse."""

    response_id: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutputStarted:
    """Playing of a response's speech began; for wires that play it (WebRTC)."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputStopped:
    """All of a response's speech was played, or with ``cleared`` the rest was discarded."""

    response_id: str
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """The next piece of a response's speech, split at any byte."""

    response_id: str
    data: bytes = field(repr=False)
    item_id: str | None = None


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
    """The whole text of one content part; it replaces the deltas, unless it is empty."""

    response_id: str
    text: str = field(repr=False)
    spoken: bool = True
    item_id: str | None = None
    output_index: int = 0
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool; said once its arguments are complete."""

    response_id: str
    call_id: str
    name: str
    arguments: str = field(repr=False)
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class ServerToolCall:
    """The provider called a tool by itself; ``output`` is None if that failed."""

    response_id: str
    call_id: str
    server: str
    name: str
    arguments: str = field(repr=False)
    output: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallApproval:
    """The provider asks whether it may call a tool by itself."""

    response_id: str
    request_id: str
    server: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolCallCancelled:
    """The provider no longer wants the result of a call."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The provider stopped a response because the user spoke."""

    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a response used."""

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
        request_id: the CreateResponse it is about, if the provider says so.
        harmless: nothing went wrong, as when there was nothing left to cancel.
        message: an explanation for people.
        param: the field of the client's message that is at fault.
        event_id: the client's own name for that message.
    """

    code: str
    request_id: str | None = None
    harmless: bool = False
    message: str = ""
    param: str | None = None
    event_id: str | None = None


Event = (
    SessionOpened
    | SessionAccepted
    | Resumable
    | UserSpeechStarted
    | UserSpeechStopped
    | UserIdle
    | AudioCommitted
    | UserTranscript
    | UserTranscriptFailed
    | ResponseStarted
    | AudioDelta
    | TextDelta
    | TextDone
    | ToolCall
    | ServerToolCall
    | ToolCallApproval
    | ToolCallCancelled
    | Interrupted
    | ResponseDone
    | Fault
    | Ping
    | OutputStarted
    | OutputStopped
)
