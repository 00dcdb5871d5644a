"""Turns detected by loudness, in the time of the audio itself."""

from dataclasses import dataclass

from .codec import TurnDetection

VOICE_MS = 40.0
"""So much voice starts a turn."""

MAX_S = 600
"""The longest turn that is kept; what came before is dropped."""


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """The user began to speak, at a time from the start of all audio."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user stopped."""

    at_ms: int


class InputBuffer:
    """The audio that was appended and not yet committed.

    Attributes:
        written_ms: how much was appended in all.
        in_turn: the user speaks.
        silent_ms: how long nothing was heard.
    """

    def __init__(self) -> None:
        self.written_ms = 0.0
        self.in_turn = False
        self.silent_ms = 0.0
        self._voice_ms = 0.0
        self._audio = bytearray()

    @property
    def size(self) -> int:
        """How many bytes are in it."""
        return len(self._audio)

    def append(self, data: bytes, rate: int) -> None:
        """Append audio that no turns are detected in."""
        self._audio += data
        self.written_ms += len(data) / 2 / rate * 1000
        del self._audio[: -MAX_S * rate * 2]

    def detect(
        self, data: bytes, rate: int, detection: TurnDetection
    ) -> TurnBegan | TurnEnded | None:
        """Append audio, and tell what it changes."""
        self.append(data, rate)
        samples = memoryview(data).cast("h")
        piece_ms = len(samples) / rate * 1000
        if max(max(samples), -min(samples)) > detection.threshold * 32768:
            self._voice_ms += piece_ms
            self.silent_ms = 0.0
        else:
            self.silent_ms += piece_ms
            if not self.in_turn:
                self._voice_ms = 0.0
        prefix = int(rate * detection.prefix_ms / 1000) * 2
        if not self.in_turn and self._voice_ms >= VOICE_MS:
            self.in_turn = True
            kept = max(len(data), int(self._voice_ms * rate / 1000) * 2) + prefix
            del self._audio[:-kept]
            return TurnBegan(int(self.written_ms - len(self._audio) / 2 / rate * 1000))
        if self.in_turn and self.silent_ms >= detection.silence_ms:
            return TurnEnded(int(self.written_ms))
        if not self.in_turn:
            voiced = int(self._voice_ms * rate / 1000) * 2
            del self._audio[: -(prefix + voiced + len(data))]
        return None

    def take(self) -> bytes:
        """Take the audio out; the turn is over."""
        audio = bytes(self._audio)
        self.clear()
        return audio

    def clear(self) -> None:
        """Discard the audio; the turn is over."""
        self._audio.clear()
        self.in_turn = False
        self._voice_ms = self.silent_ms = 0.0
