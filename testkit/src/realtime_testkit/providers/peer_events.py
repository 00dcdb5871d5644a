"""What comes from the other end of a WebRTC connection."""

from dataclasses import dataclass, field

import av


@dataclass(frozen=True, slots=True)
class Sound:
    """The next piece of the other end's voice: packed signed 16-bit mono."""

    data: bytes = field(repr=False)
    rate: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The next frame of the other end's video."""

    frame: av.VideoFrame = field(repr=False)


class PeerGone(ConnectionError):
    """The other end is gone; ``hung_up`` if it said goodbye."""

    def __init__(self, reason: str, *, hung_up: bool = False) -> None:
        super().__init__(reason)
        self.hung_up = hung_up


Received = str | bytes | Sound | Picture
