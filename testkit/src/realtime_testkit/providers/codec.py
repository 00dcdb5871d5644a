"""What a provider's side of a wire has to offer: frames to commands, events to frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from realtime_testkit.protocol import Command, CreateResponse, Event, SessionConfig

Speaker = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said last in a conversation."""

    speaker: Speaker
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """What a CreateResponse asks for.

    Attributes:
        config: the session's configuration, with what differs for this response.
        context: what to answer; None for what was said in the conversation.
        out_of_band: it is no part of the conversation, and may run beside others.
        instructions: for this response alone.
        max_tokens: it ends incomplete after so many.
    """

    config: SessionConfig
    context: Sequence[Turn] | None = None
    out_of_band: bool = False
    instructions: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How the provider detects the user's turns, and what it does about them.

    Attributes:
        threshold: how loud speech is, as a share of full scale.
        prefix_ms: how much audio before the detected speech belongs to it.
        silence_ms: how much silence ends a turn.
        create_response: answer a turn.
        interrupt_response: cancel the present response when a turn begins.
        idle_ms: after so much silence, respond anyway.
    """

    threshold: float = 0.018
    prefix_ms: int = 300
    silence_ms: int = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_ms: int | None = None


class Codec(Protocol):
    """The provider's end of one connection, without any I/O.

    Attributes:
        names: ids of responses by the names that a client invents for them, where the
            wire carries no ids.
        model: what the handshake asked for.
        defaults: the configuration before the client sent one; None if it must send one.
        cause: the client's own name for the message read last.
    """

    names: dict[str, str]
    model: str
    defaults: SessionConfig | None
    cause: str | None

    def encode(self, event: Event) -> list[str | bytes]:
        """Say an event: the frames that the provider sends around it.

        Raises:
            UnsupportedEvent: this wire has no message for it.
        """

    def decode(self, frame: str | bytes) -> list[Command]:
        """Read a frame as strictly as the provider does.

        Raises:
            MalformedFrame: it is not a message, or the provider answers it with an error.
        """

    def acknowledge(self, command: Command) -> list[str | bytes]:
        """Say what the provider says at once to a command, before it acts on it.

        Raises:
            Refused: the provider does not act on it.
        """

    def take_back(self) -> None:
        """Forget the configuration that was read last: the provider refuses it."""

    def request(self, command: CreateResponse, config: SessionConfig) -> ResponseRequest:
        """Read what a response is asked for with."""

    def turn_detection(self, config: SessionConfig) -> TurnDetection | None:
        """Read how turns are detected; None where the client commits them by hand."""

    def read_offer(self, session: str) -> tuple[str | None, list[Command]]:
        """Read the session that a WebRTC call is offered with.

        Returns:
            The model it names, if any, and the commands it implies.

        Raises:
            MalformedFrame: it is not a session.
        """


class WireCodec:
    """A base for codecs, with sensible answers to all but `encode` and `decode`."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.model = ""
        self.defaults: SessionConfig | None = None
        self.cause: str | None = None

    def acknowledge(self, command: Command) -> list[str | bytes]:
        """See `Codec.acknowledge`."""
        return []

    def take_back(self) -> None:
        """See `Codec.take_back`; for wires whose configurations are whole."""

    def request(self, command: CreateResponse, config: SessionConfig) -> ResponseRequest:
        """See `Codec.request`."""
        return ResponseRequest(config)

    def turn_detection(self, config: SessionConfig) -> TurnDetection | None:
        """See `Codec.turn_detection`; settings with the names of `TurnDetection` are obeyed."""
        if config.turn_detection is False:
            return None
        given = config.turn_detection if isinstance(config.turn_detection, Mapping) else {}
        silence_ms = given.get("silence_ms", given.get("silence_duration_ms"))
        return TurnDetection(silence_ms=silence_ms if isinstance(silence_ms, int) else 500)

    def read_offer(self, session: str) -> tuple[str | None, list[Command]]:
        """See `Codec.read_offer`."""
        return None, []
