"""What comes from the other end of a WebRTC connection."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sound:
    """The next piece of the other end's voice: packed signed 16-bit mono."""

    data: bytes = field(repr=False)
    rate: int


class PeerGone(ConnectionError):
    """The other end is gone; ``hung_up`` if it said goodbye."""

    def __init__(self, reason: str, *, hung_up: bool = False) -> None:
        super().__init__(reason)
        self.hung_up = hung_up


Received = str | bytes | Sound
