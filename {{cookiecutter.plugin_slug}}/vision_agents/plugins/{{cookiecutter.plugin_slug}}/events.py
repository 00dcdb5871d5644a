"""What a realtime session is told (commands) and what it says (events).

The vocabulary of the field, the same for every provider. wire.py turns it into
the provider's messages and back; the other rooms know nothing else. Audio in
here is always packed little-endian signed 16-bit mono. Not edited for a provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant"]
Modality = Literal["audio", "text"]
ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; ``parameters`` is its JSON schema."""

    name: str
    description: str = field(repr=False)
    parameters: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Everything a session is configured with.

    Attributes:
        turn_detection: True for the provider's default, False for manual commits,
            a mapping for the provider's own settings.
        input_rate: sample rate of the audio sent, Hz.
        output_rate: sample rate of the audio asked for, Hz.
        options: settings in the provider's own words; they win over all others.
    """

    model: str
    voice: str | None = None
    instructions: str = field(default="", repr=False)
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    modalities: Modality = "audio"
    turn_detection: bool | Mapping[str, object] = True
    transcription: bool = True
    input_rate: int = 24000
    output_rate: int = 24000
    options: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Configure:
    """Configure the session.

    Attributes:
        previous: say only what differs from this.
        resume: handle of a lost session to take up again.
    """

    config: SessionConfig
    previous: SessionConfig | None = None
    resume: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """Audio from the user's microphone."""

    data: bytes = field(repr=False)
{%- if cookiecutter.video == 'yes' %}


@dataclass(frozen=True, slots=True)
class AppendImage:
    """What the user's camera or screen shows, as JPEG."""

    data: bytes = field(repr=False)
{%- endif %}


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """End the user's turn by hand, for a session without turn detection."""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Forget audio that was appended and not yet committed."""
{%- if cookiecutter.transport == 'webrtc' %}


@dataclass(frozen=True, slots=True)
class ClearOutput:
    """Stop to speak what was generated already."""
{%- endif %}


@dataclass(frozen=True, slots=True)
class AddMessage:
    """Add a message to the conversation the provider keeps."""

    role: Role
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AddToolResult:
    """Answer a tool call with what the tool returned: text, or other data of JSON's."""

    call_id: str
    name: str
    output: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """Ask for a response; ``options`` go to the provider unchanged."""

    request_id: str
    options: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop generating; without an id, whatever is in progress."""

    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Forget what was said after ``audio_end_ms`` of an item's audio."""

    item_id: str
    audio_end_ms: int
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item from the conversation the provider keeps."""

    item_id: str


Command = (
    Configure
    | AppendAudio
{%- if cookiecutter.video == 'yes' %}
    | AppendImage
{%- endif %}
    | CommitAudio
    | ClearAudio
{%- if cookiecutter.transport == 'webrtc' %}
    | ClearOutput
{%- endif %}
    | AddMessage
    | AddToolResult
    | CreateResponse
    | CancelResponse
    | TruncateItem
    | DeleteItem
)


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The provider greets a new connection."""

    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionAccepted:
    """The provider took the configuration; ``output_rate`` (Hz) if it named one."""

    output_rate: int | None = None


@dataclass(frozen=True, slots=True)
class Resumable:
    """The session as it is now can be taken up again by ``handle``; by None it cannot."""

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
class AudioDelta:
    """The next piece of a response's speech, split at any byte."""

    response_id: str
    data: bytes = field(repr=False)
    item_id: str | None = None
{%- if cookiecutter.transport == 'webrtc' %}


@dataclass(frozen=True, slots=True)
class OutputStarted:
    """What is heard from here on is a response's speech."""

    response_id: str


@dataclass(frozen=True, slots=True)
class OutputStopped:
    """All of a response's speech was sent, or with ``cleared`` the rest never will be."""

    response_id: str
    cleared: bool = False
{%- endif %}


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

    def parse(self) -> dict[str, object]:
        """Read the arguments.

        Raises:
            ValueError: they are not a JSON object.
        """
        try:
            return msgspec.json.decode(self.arguments or "{}", type=dict[str, object])
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError("the arguments are not a JSON object") from error


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
    """Tokens a response cost."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


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
    """

    code: str
    request_id: str | None = None
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """A frame that could not be read; ``reason`` holds none of its content."""

    reason: str


Event = (
    SessionOpened
    | SessionAccepted
    | Resumable
    | UserSpeechStarted
    | UserSpeechStopped
    | AudioCommitted
    | UserTranscript
    | UserTranscriptFailed
    | ResponseStarted
    | AudioDelta
{%- if cookiecutter.transport == 'webrtc' %}
    | OutputStarted
    | OutputStopped
{%- endif %}
    | TextDelta
    | TextDone
    | ToolCall
    | ToolCallCancelled
    | Interrupted
    | ResponseDone
    | Fault
    | Malformed
)


class MalformedFrame(ValueError):
    """A frame that is no message of the provider's."""


class Unsayable(ValueError):
    """The provider has no words for an event, so it never says it."""


class SessionError(ConnectionError):
    """A session could not be opened, or was lost.

    Attributes:
        code: WebSocket close code, HTTP status or the provider's error code.
        temporary: trying again may help.
    """

    def __init__(
        self, reason: str, *, code: int | str | None = None, temporary: bool = False
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.temporary = temporary


class ProviderError(RuntimeError):
    """The provider reported an error; ``code`` is its own name for it."""

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(f"{reason}: {code}")
        self.code = code


class ResponseError(ProviderError):
    """A response failed. The session stays usable."""
