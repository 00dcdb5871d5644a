"""What a client says on the plain wire, read strictly."""

from typing import Literal

import msgspec

from realtime_testkit import protocol

ROLES: dict[Literal["user", "model", "system"], protocol.Role] = {
    "model": "assistant",
    "user": "user",
    "system": "system",
}


class Strict(
    msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True, kw_only=True
):
    """A part of what the client says, as strictly read as a provider would."""


class Part(Strict):
    """A piece of text."""

    text: str


class Turn(Strict):
    """What somebody said."""

    role: Literal["user", "model", "system"]
    parts: list[Part]


class Function(Strict):
    """A tool."""

    name: str
    description: str = ""
    parameters: dict[str, object] = {}


class Resumption(Strict):
    """The session to resume."""

    handle: str | None = None


class Setup(Strict):
    """The configuration."""

    model: str
    modality: Literal["AUDIO", "TEXT"]
    input_hertz: int
    output_hertz: int
    voice: str | None = None
    instructions: list[Part] = []
    functions: list[Function] = []
    calling: str = "AUTO"
    turn_detection: bool | dict[str, object] = True
    transcribes: bool = False
    session_resumption: Resumption | None = None
    temperature: float | None = None


class ClientContent(Strict):
    """What is said in text, and whether to answer it."""

    turns: list[Turn] = []
    turn_complete: bool = False
    generation: dict[str, object] = {}


class RealtimeInput(Strict):
    """What becomes of the audio that was sent; or a picture, in Base64."""

    picture: bytes | None = None
    ended: bool = False
    dropped: bool = False


class FunctionResponse(Strict):
    """The result of a tool."""

    id: str
    name: str
    response: dict[str, object]


class ToolResponse(Strict):
    """Results of tools."""

    function_responses: list[FunctionResponse]


class ClientMessage(Strict):
    """A message of the client."""

    setup: Setup | None = None
    client_content: ClientContent | None = None
    realtime_input: RealtimeInput | None = None
    tool_response: ToolResponse | None = None


client_decoder = msgspec.json.Decoder(ClientMessage)


def config_of(setup: Setup) -> protocol.SessionConfig:
    """A configuration in the words of the vocabulary."""
    return protocol.SessionConfig(
        model=setup.model,
        voice=setup.voice,
        instructions="".join(part.text for part in setup.instructions),
        tools=tuple(protocol.Tool(f.name, f.description, f.parameters) for f in setup.functions),
        tool_choice=setup.calling,
        modalities="text" if setup.modality == "TEXT" else "audio",
        turn_detection=setup.turn_detection,
        transcription=setup.transcribes,
        input_rate=setup.input_hertz,
        output_rate=setup.output_hertz,
        options=msgspec.to_builtins(setup),
    )
