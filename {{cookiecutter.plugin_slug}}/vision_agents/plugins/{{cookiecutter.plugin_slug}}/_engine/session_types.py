"""What a session is configured with, and the commands it is given.

The same for every provider: wire.py turns commands into the provider's messages.
Audio is packed and mono, in the format of the session's settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from msgspec import Struct
from vision_agents.core.llm.llm_types import ToolSchema

Role = Literal["system", "user", "assistant"]
Modality = Literal["audio", "text"]
JSONObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """An audio format, mono; ``rate`` in Hz."""

    rate: int
    encoding: Literal["pcm16", "pcmu", "pcma"] = "pcm16"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; ``parameters`` is its JSON schema."""

    name: str
    description: str = field(repr=False)
    parameters: Mapping[str, object] = field(repr=False)

    @classmethod
    def of(cls, schema: ToolSchema) -> Self:
        """Take a function as Vision Agents describes it."""
        parameters = schema.get("parameters_schema", {})
        return cls(schema["name"], schema.get("description", ""), parameters)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session is asked to be.

    Attributes:
        turn_detection: True for the provider's default, False for manual commits,
            a mapping for the provider's own settings.
        interrupts: the user's speech stops the provider's answer at once.
        transcription: transcribe the user's speech; a text names the model for it.
        input_rate: sample rate of the audio sent, Hz.
        output_rate: sample rate of the audio asked for, Hz.
        options: settings named as the provider names them; they win over all others.
    """

    model: str
    voice: str | None = None
    instructions: str = field(default="", repr=False)
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    modalities: Modality = "audio"
    turn_detection: bool | Mapping[str, object] = True
    interrupts: bool = True
    transcription: bool | str = True
    input_rate: int = 24000
    output_rate: int = 24000
    options: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a session is, as far as the plugin's behaviour depends on it.

    Attributes:
        detects_turns: the provider ends the user's turn by itself.
        creates_response: it answers that turn by itself.
        interrupts_response: speech of the user stops the agent.
        transcribes: it transcribes the user's speech.
    """

    input: AudioFormat
    output: AudioFormat
    detects_turns: bool = True
    creates_response: bool = True
    interrupts_response: bool = True
    transcribes: bool = True


@dataclass(frozen=True, slots=True)
class Traits:
    """How a provider behaves where providers differ; stated in wire.py.

    Attributes:
        greets_first: the configuration waits for the provider's greeting.
        acknowledges: it confirms the first configuration with SessionAccepted.
        acknowledges_updates: it confirms every later one.
        updatable: a session can be changed after it was configured.
        one_response_at_a_time: it refuses a request while a response is active.
        request_interrupts: a request interrupts the response before it.
        continues_after_tools: it goes on by itself after a tool's result.
        keep_alive_s: seconds of silence after which KeepAlive is sent; None for never.
    """

    greets_first: bool = False
    acknowledges: bool = True
    acknowledges_updates: bool = True
    updatable: bool = True
    one_response_at_a_time: bool = True
    request_interrupts: bool = False
    continues_after_tools: bool = False
    keep_alive_s: float | None = None


class Command(Struct, frozen=True):
    """What a session is told. Its repr shows nothing of what people said."""

    def __repr__(self) -> str:
        return type(self).__name__


class Configure(Command, frozen=True):
    """Configure the session, or with ``previous`` change what differs from it.

    Attributes:
        update_id: comes back in SessionAccepted or Fault, where the wire can say it.
        resume: handle of a lost session to continue.
    """

    config: SessionConfig
    previous: SessionConfig | None = None
    update_id: str | None = None
    resume: str | None = None


class AppendAudio(Command, frozen=True):
    """Audio from the user's microphone, in the session's input format."""

    data: bytes


class AppendImage(Command, frozen=True):
    """A picture of the user's camera or screen, JPEG."""

    data: bytes


class CommitAudio(Command, frozen=True):
    """End the user's turn, in a session without turn detection."""


class ClearOutput(Command, frozen=True):
    """Stop playing what was generated already (WebRTC)."""


class AddMessage(Command, frozen=True):
    """Add a message to the conversation; ``images`` are data or https URLs."""

    role: Role
    text: str
    images: tuple[str, ...] = ()


class AddToolResult(Command, frozen=True):
    """Answer a tool call with what the tool returned: text, or other data of JSON's."""

    call_id: str
    name: str
    output: object


class CreateResponse(Command, frozen=True):
    """Ask for a response; ``options`` go to the provider unchanged."""

    request_id: str
    options: Mapping[str, object] = {}


class CancelResponse(Command, frozen=True):
    """Stop generating a response; without an id, the one in progress."""

    response_id: str | None = None


class TruncateItem(Command, frozen=True):
    """Forget what was said after ``audio_end_ms`` of an item's audio."""

    item_id: str
    audio_end_ms: int
    content_index: int = 0


class DeleteItem(Command, frozen=True):
    """Remove an item from the provider's conversation."""

    item_id: str


class Pong(Command, frozen=True):
    """Answer a Ping."""

    token: str


class KeepAlive(Command, frozen=True):
    """Keep a silent session open."""


@dataclass(frozen=True, slots=True)
class RequestForm:
    """What the options of a native call mean, as wire.py reads them.

    Attributes:
        wants_answer: False for a message that calls for no response.
        out_of_band: the response is no part of the conversation.
        messages: what the options themselves add to the conversation.
    """

    wants_answer: bool = True
    out_of_band: bool = False
    messages: tuple[AddMessage, ...] = ()
