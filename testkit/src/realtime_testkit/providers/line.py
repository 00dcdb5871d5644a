"""What an echo needs of the connection that it answers on."""

from typing import Protocol

from realtime_testkit import protocol
from realtime_testkit.protocol import SessionConfig

from .codec import ResponseRequest, TurnDetection


class Line(Protocol):
    """The connection that an echo answers on."""

    @property
    def effective_config(self) -> SessionConfig:
        """The configuration in force, or the provider's defaults."""

    @property
    def turn_detection(self) -> TurnDetection | None:
        """How the user's turns are detected."""

    async def say_if_supported(self, event: protocol.Event) -> None:
        """Say something, where the wire has a message for it.

        Raises:
            ConnectionError: the client is gone.
        """

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the session."""

    async def refuse(self, fault: protocol.Fault) -> None:
        """Refuse what the client said last."""

    def request(self, command: protocol.CreateResponse) -> ResponseRequest:
        """Read what a response is asked for with."""
