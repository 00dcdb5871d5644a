"""The audio and video that a WebRTC connection carries."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import av
from aiortc.mediastreams import (
    VIDEO_CLOCK_RATE,
    VIDEO_TIME_BASE,
    MediaStreamError,
    MediaStreamTrack,
)
from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import FrameResampler, PcmData

RATE = 48000
"""Sample rate of both audio tracks, Hz."""

MAX_UNSENT_S = 10.0
"""Audio that comes faster than real time waits; beyond this the oldest is dropped."""

PAUSE_S = 0.06
"""Audio that is not followed by more for so long has ended."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of the peer's audio: packed signed 16-bit mono at `RATE`."""

    data: bytes = field(repr=False)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.data) / 2 / RATE


class AudioSender:
    """Sends audio of any rate over a track, in real time."""

    def __init__(self) -> None:
        self.track = AudioStreamTrack(
            RATE, channels=2, audio_buffer_size_ms=int(MAX_UNSENT_S * 1000)
        )
        self._sent_at = 0.0  # when all of it is sent, in the loop's time
        self._pause: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def unsent_s(self) -> float:
        """How long it takes to send the audio that waits."""
        return max(0.0, self._sent_at - asyncio.get_running_loop().time())

    async def send(self, pcm: PcmData) -> None:
        """Send audio after all that waits."""
        # In both channels of the codec: it would make one into two 3 dB softer.
        await self.track.write(pcm.resample(pcm.sample_rate, target_channels=2))
        if self._pause is not None:
            self._pause.cancel()
        loop = asyncio.get_running_loop()
        self._pause = loop.call_later(PAUSE_S, self._end)
        self._sent_at = max(loop.time(), self._sent_at) + pcm.duration

    def stop(self) -> None:
        """Send nothing any more."""
        if self._pause is not None:
            self._pause.cancel()
        self.track.stop()

    def _end(self) -> None:
        # What is left of a packet would begin the next words.
        silence = PcmData.from_bytes(b"", RATE)
        self._ending = asyncio.create_task(self.track.write(silence, final=True))


class VideoSender(MediaStreamTrack):
    """A track that sends the frames that it is given, and nothing in between."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._newest: av.VideoFrame | None = None
        self._came = asyncio.Event()
        self._started_at: float | None = None

    def show(self, frame: av.VideoFrame | None) -> None:
        """Send a frame next, in place of one that was not sent yet; None sends nothing."""
        self._newest = frame
        self._came.set()

    async def recv(self) -> av.VideoFrame:
        """Wait for the next frame to send."""
        while self._newest is None:
            self._came.clear()
            await self._came.wait()
        frame, self._newest = self._newest, None
        now = asyncio.get_running_loop().time()
        if self._started_at is None:
            self._started_at = now
        frame.pts = round((now - self._started_at) * VIDEO_CLOCK_RATE)
        frame.time_base = VIDEO_TIME_BASE
        return frame


async def sounds(  # C19: packed, as from a wire
    track: MediaStreamTrack,
) -> AsyncIterator[Sound]:
    """Yield the audio of a track until it ends."""
    mono = FrameResampler(RATE, "mono", "s16", 0)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if isinstance(frame, av.AudioFrame):
            for part in mono.resample(PcmData.from_av_frame(frame)):
                # The bytes of a finished s16 mono frame; its plane is padded beyond them.
                yield Sound(bytes(memoryview(part.planes[0])[: part.samples * 2]))
