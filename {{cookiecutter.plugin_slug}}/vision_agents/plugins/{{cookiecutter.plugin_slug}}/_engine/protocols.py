"""What a plugin's own files implement for the engine."""

from collections.abc import Sequence
from typing import Protocol

from .errors import SessionError
from .session_events import Event
from .session_types import Command, SessionConfig, SessionSettings

Frame = str | bytes


class Codec(Protocol):
    """The plugin's end of one connection: commands to frames, frames to events."""

    def encode(self, command: Command) -> Sequence[Frame]:
        """Write a command as the provider's messages."""

    def decode(self, frame: Frame) -> list[Event]:
        """Read a frame; a message of an unknown type is no event.

        Raises:
            MalformedFrame: it is not a message.
        """

    def settings(self, config: SessionConfig) -> SessionSettings:
        """Read what a configuration asks for.

        Raises:
            ValueError: it asks for a format that the plugin cannot send or play.
        """


class Classify(Protocol):
    """Judges a closed connection or a reported error."""

    def __call__(
        self, code: int | str | None, reason: str, *, configuring: bool = False
    ) -> SessionError | None:
        """Return what it means for the session; None where the session goes on.

        Args:
            code: WebSocket close code, HTTP status or error code; None where the
                connection broke.
            reason: the provider's close reason.
            configuring: the session was not accepted yet.
        """


class Transport(Protocol):
    """A connection that carries frames; its failures are TransportFailure."""

    async def close(self) -> None:
        """Close, within a bound."""

    def send_nowait(self, frame: Frame) -> bool:
        """Send a frame if it need not wait; returns whether it was sent.

        For audio, whose cost this halves; a transport may always return False.
        """

    async def send(self, frame: Frame) -> None:
        """Send a frame."""

    async def receive(self) -> Frame:
        """Wait for the next frame."""

    def abort(self) -> None:
        """Drop the connection at once."""
