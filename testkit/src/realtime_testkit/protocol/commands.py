"""Commands: what a client says to a provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .settings import Role, SessionConfig


@dataclass(frozen=True, slots=True)
class Configure:
    """Configure the session.

    Attributes:
        previous: the configuration before this one, if there was one.
        resume: handle of a lost session to take up again.
    """

    config: SessionConfig
    previous: SessionConfig | None = None
    resume: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """Audio from the user's microphone."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """End the user's turn by hand, for a session without turn detection."""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Discard audio that was appended and not yet committed."""


@dataclass(frozen=True, slots=True)
class AppendImage:
    """A picture from the user's camera or screen, as JPEG."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AddMessage:
    """Add a message to the conversation the provider keeps.

    Attributes:
        images: data or https URLs.
    """

    role: Role
    text: str = field(repr=False)
    images: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class AddToolResult:
    """Answer a tool call with what the tool returned: text, or another JSON value."""

    call_id: str
    name: str
    output: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class AddToolCall:
    """Add a tool call of the past to the conversation the provider keeps."""

    call_id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApproveToolCall:
    """Allow or forbid a call that the provider asked for with a ToolCallApproval."""

    request_id: str
    approve: bool


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
    """Remove what was said after ``audio_end_ms`` of an item's audio."""

    item_id: str
    audio_end_ms: int
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Remove an item from the conversation the provider keeps."""

    item_id: str


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    """Ask for an item of the conversation the provider keeps."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ClearOutput:
    """Stop playing what was generated already; for wires that play it (WebRTC)."""


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer a Ping."""

    token: str = ""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Keep a connection open on which nothing else is sent."""


Command = (
    Configure
    | AppendAudio
    | AppendImage
    | CommitAudio
    | ClearAudio
    | AddMessage
    | AddToolResult
    | AddToolCall
    | ApproveToolCall
    | CreateResponse
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | RetrieveItem
    | ClearOutput
    | Pong
    | KeepAlive
)
