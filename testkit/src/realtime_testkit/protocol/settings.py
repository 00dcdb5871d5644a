"""What a session is configured with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
Modality = Literal["audio", "text"]
ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]
Encoding = Literal["pcm16", "pcmu", "pcma"]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio is carried on a wire; ``rate`` in Hz."""

    encoding: Encoding = "pcm16"
    rate: int = 24000


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call.

    Attributes:
        parameters: its JSON schema.
        server: the label of the server that the provider calls it on, by itself.
        needs_approval: the provider asks before it does.
    """

    name: str
    description: str = field(repr=False)
    parameters: Mapping[str, object] = field(repr=False)
    server: str | None = None
    needs_approval: bool = False


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Everything a session is configured with.

    Attributes:
        turn_detection: True for the provider's default, False for manual commits,
            a mapping for the provider's own settings.
        transcription: whether the user's speech is transcribed, or by which model.
        input_rate: sample rate of the audio sent, Hz.
        output_rate: sample rate of the audio asked for, Hz.
        options: all settings in the provider's own words.
        server_tools: tools that the provider calls by itself.
    """

    model: str
    voice: str | None = None
    instructions: str = field(default="", repr=False)
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    modalities: Modality = "audio"
    turn_detection: bool | Mapping[str, object] = True
    transcription: bool | str = True
    input_rate: int = 24000
    output_rate: int = 24000
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    server_tools: tuple[Tool, ...] = ()
