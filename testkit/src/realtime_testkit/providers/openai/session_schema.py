"""What a session and a response of the OpenAI Realtime API are configured with."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from realtime_testkit.protocol import Modality

JSONObject = dict[str, object]
Name = Annotated[str, Meta(min_length=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Duration = Annotated[int, Meta(ge=0)]


class Strict(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An object that has no fields but its own."""


class PcmFormat(Strict, tag_field="type", tag="audio/pcm"):
    """Signed 16-bit samples. The API knows 24000 Hz alone; this provider takes others, too."""

    rate: Annotated[int, Meta(ge=8000, le=48000)] | None = None


class PcmuFormat(Strict, tag_field="type", tag="audio/pcmu"):
    """G.711 mu-law at 8000 Hz."""


class PcmaFormat(Strict, tag_field="type", tag="audio/pcma"):
    """G.711 A-law at 8000 Hz."""


Format = PcmFormat | PcmuFormat | PcmaFormat


class Transcription(Strict):
    """How the user's speech is transcribed; the model may be left to the provider."""

    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    keywords: list[str] | None = None
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class ServerVad(Strict, tag_field="type", tag="server_vad"):
    """Turns detected by silence."""

    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | None = None
    prefix_padding_ms: Duration | None = None
    silence_duration_ms: Duration | None = None
    threshold: Share | None = None


class SemanticVad(Strict, tag_field="type", tag="semantic_vad"):
    """Turns detected by what was said."""

    create_response: bool | None = None
    interrupt_response: bool | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None


class NoiseReduction(Strict):
    """Noise reduction of the input."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class AudioInput(Strict):
    """The input's settings."""

    format: Format | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET


class CustomVoice(Strict):
    """A voice of the client's own."""

    id: str


class AudioOutput(Strict):
    """The output's settings."""

    format: Format | None = None
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | None = None
    voice: Name | CustomVoice | None = None


class ResponseAudio(Strict):
    """The audio settings of a response."""

    output: AudioOutput | None = None


class SessionAudio(Strict):
    """The audio settings of a session."""

    input: AudioInput | None = None
    output: AudioOutput | None = None


class FunctionTool(Strict, tag_field="type", tag="function"):
    """A function of the client's."""

    name: Name
    description: str | None = None
    parameters: JSONObject | None = None


class ToolFilter(Strict):
    """Some tools of a server."""

    read_only: bool | None = None
    tool_names: list[str] | None = None


class ApprovalFilter(Strict):
    """Which calls have to be approved."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None


class McpTool(Strict, tag_field="type", tag="mcp"):
    """The tools of an MCP server, which the provider calls by itself."""

    server_label: Name
    allowed_callers: list[Literal["direct", "programmatic"]] | None = None
    allowed_tools: list[str] | ToolFilter | None = None
    authorization: str | None = None
    connector_id: str | None = None
    defer_loading: bool | None = None
    headers: dict[str, str] | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    server_description: str | None = None
    server_url: str | None = None
    tunnel_id: str | None = None

    def __post_init__(self) -> None:
        if self.server_url is None and self.connector_id is None and self.tunnel_id is None:
            raise ValueError("one of server_url, connector_id, or tunnel_id must be provided")

    @property
    def names(self) -> list[str]:
        """The tools it is allowed to offer."""
        if isinstance(self.allowed_tools, ToolFilter):
            return self.allowed_tools.tool_names or []
        return self.allowed_tools or []

    def needs_approval(self, name: str) -> bool:
        """Whether a call of a tool has to be approved; by default, all have."""
        required = self.require_approval
        if isinstance(required, ApprovalFilter):
            never = required.never
            return never is None or name not in (never.tool_names or [])
        return required != "never"


AnyTool = FunctionTool | McpTool


class FunctionChoice(Strict, tag_field="type", tag="function"):
    """One function is to be called."""

    name: str


class McpChoice(Strict, tag_field="type", tag="mcp"):
    """A tool of a server is to be called."""

    server_label: str
    name: str | None = None


class Generation(Strict):
    """What a session and a response are both configured with."""

    instructions: str | None = None
    output_modalities: Annotated[list[Modality], Meta(min_length=1, max_length=1)] | None = None
    tools: list[AnyTool] | None = None
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice | McpChoice | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"] | None = None
    parallel_tool_calls: bool | None = None
    prompt: JSONObject | None = None
    reasoning: JSONObject | None = None


class Session(Generation, kw_only=True):
    """A session, or what changes of it."""

    type: Literal["realtime"]
    model: str | None = None
    audio: SessionAudio | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None
    tracing: Literal["auto"] | JSONObject | None = None
    truncation: Literal["auto", "disabled"] | JSONObject | None = None
