"""Audio formats, and one speaker's microphone."""

# C19: packed bytes come from the wire here, and go to it.

from typing import Literal

import av
from getstream.video.rtc.track_util import AudioFormatType, FrameResampler, PcmData

from .session_types import AudioFormat


def decode(data: bytes, form: AudioFormat) -> PcmData:
    """Read the provider's audio."""
    if form.encoding == "pcm16":
        return PcmData.from_bytes(data, form.rate)
    return PcmData.from_g711(data, form.rate, mapping=_law(form))


def encode(pcm: PcmData, form: AudioFormat) -> bytes:
    """Write 16-bit mono audio of the format's rate for the provider."""
    if form.encoding == "pcm16":
        return pcm.to_bytes()
    return pcm.g711_bytes(form.rate, mapping=_law(form))


def _law(form: AudioFormat) -> Literal["mulaw", "alaw"]:
    return "mulaw" if form.encoding == "pcmu" else "alaw"


class Microphone:
    """One speaker's audio, in the format that the session takes.

    The resampler remembers the samples before. Most of its cost is per call, so what
    goes out in one piece is collected first.
    """

    def __init__(self, form: AudioFormat, chunk_ms: int) -> None:
        self._target = form
        self._resampler = FrameResampler(form.rate, "mono", "s16", 0)
        self._chunk_ms = chunk_ms
        self._pieces: list[bytes] = []
        self._pieces_ms = 0.0
        self._form: tuple[int, AudioFormatType, int] = (form.rate, "s16", 1)

    def take(self, pcm: PcmData) -> list[bytes]:
        """Take the next frame of the call; returns what can be sent now."""
        if not self._chunk_ms:
            return self._packed(self._resampler.resample(pcm))
        form = (pcm.sample_rate, pcm.format, pcm.channels)
        frames = [] if form == self._form else self._collected()
        self._form = form
        self._pieces.append(pcm.to_bytes())
        self._pieces_ms += pcm.duration_ms
        due = self._pieces_ms >= self._chunk_ms
        return self._packed(frames + self._collected() if due else frames)

    def rest(self) -> list[bytes]:
        """Return all that is left: the end of what was said."""
        return self._packed(self._collected() + self._resampler.flush())

    def _collected(self) -> list[av.AudioFrame]:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._pieces_ms = 0.0
        return self._resampler.resample(PcmData.from_bytes(data, *self._form))

    def _packed(self, frames: list[av.AudioFrame]) -> list[bytes]:
        # The planes of finished s16 mono frames are padded beyond their samples.
        pieces = [
            bytes(memoryview(frame.planes[0])[: frame.samples * 2]) for frame in frames
        ]
        if self._target.encoding == "pcm16":
            return pieces
        rate = self._target.rate
        return [
            encode(PcmData.from_bytes(piece, rate), self._target) for piece in pieces
        ]
