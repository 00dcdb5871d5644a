"""What one end of a WebRTC connection says on its track, at the pace of speech."""

import asyncio

from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import PcmData

RATE = 48000
"""Sample rate of a voice in Opus, Hz."""

PAUSE_S = 0.06
"""What is not followed by more for so long is the end of what was said."""


class Voice:
    """An audio track, and what waits to be said on it.

    Args:
        max_unsaid_s: what is said faster than it is played waits; beyond this the oldest
            is dropped.

    Attributes:
        track: to be added to the connection.
    """

    def __init__(self, max_unsaid_s: float) -> None:
        self.track = AudioStreamTrack(
            RATE, channels=2, audio_buffer_size_ms=int(max_unsaid_s * 1000)
        )
        self._spoken_at = 0.0
        self._pause: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def unsaid_s(self) -> float:
        """How long it takes to play what waits."""
        return max(0.0, self._spoken_at - asyncio.get_running_loop().time())

    async def speak(self, pcm: PcmData, *, final: bool = False) -> None:
        """Say something.

        Args:
            pcm: what to say.
            final: nothing follows that has to join on to it.
        """
        # In both channels of the codec: it would make one into two 3 dB softer.
        await self.track.write(pcm.resample(pcm.sample_rate, target_channels=2), final)
        if self._pause is not None:
            self._pause.cancel()
        loop = asyncio.get_running_loop()
        self._pause = None if final else loop.call_later(PAUSE_S, self._on_pause)
        self._spoken_at = max(loop.time(), self._spoken_at) + pcm.duration

    async def hush(self) -> float:
        """Forget what was not said yet; returns how much that was, in seconds."""
        unsaid_s = self.unsaid_s
        self._spoken_at = 0.0
        await self.track.flush()
        return unsaid_s

    async def spoken(self) -> None:
        """Wait until all that was to be said by now is."""
        await asyncio.sleep(self.unsaid_s)

    def stop(self) -> None:
        """Say nothing more."""
        if self._pause is not None:
            self._pause.cancel()
        if self._ending is not None:
            self._ending.cancel()
        self.track.stop()

    def _on_pause(self) -> None:
        # What is left of a packet would begin the next words.
        self._ending = asyncio.create_task(
            self.track.write(PcmData.from_bytes(b"", RATE), final=True)
        )
