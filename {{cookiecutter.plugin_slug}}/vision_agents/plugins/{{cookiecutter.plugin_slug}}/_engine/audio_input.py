"""The users' audio on its way to the session."""

# C19: what was packed for the wire is handed on here.

import asyncio
import logging
from collections.abc import Awaitable, Iterable

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.observability import MetricsCollector

from .audio import Microphone, encode
from .bounded import BoundedDict
from .connection import Connection
from .errors import SessionError
from .session_types import AudioFormat

MAX_SPEAKERS = 32
"""How many speakers' microphones are kept, the newest."""

SILENCE_S = 0.1
"""How much silence goes out at a time where a microphone is muted within a turn."""

GAP_S = 0.2
"""A microphone that sends nothing for this long is muted."""

MAX_SILENCE_S = 10.0
"""How long silence goes out for a turn that the provider does not end."""

logger = logging.getLogger(__name__)


class AudioInput:
    """Sends the audio of all speakers, and silence where a turn has to be ended.

    A provider that detects turns counts audio, not time: without silence, the turn of a
    user who mutes the microphone has no end.
    """

    def __init__(
        self,
        connection: Connection,
        metrics: MetricsCollector,
        provider: str,
        form: AudioFormat,
        chunk_ms: int,
    ) -> None:
        self._connection = connection
        self._metrics = metrics
        self._provider = provider
        self._form = form
        self._chunk_ms = chunk_ms
        self._microphones: BoundedDict[str | None, Microphone] = BoundedDict(
            MAX_SPEAKERS
        )
        self._came_at = 0.0
        self._filling: asyncio.Task[None] | None = None

    def follow(self, form: AudioFormat) -> None:
        """Send in another format from here on."""
        if form != self._form:
            self._form = form
            self._microphones.clear()

    def take(self, speaker: str | None, pcm: PcmData) -> Awaitable[None]:
        """Send a speaker's next frame, of any rate, format and channel count."""
        microphone = self._microphones.get(speaker)
        if microphone is None:
            microphone = self._microphones[speaker] = Microphone(
                self._form, self._chunk_ms
            )
        self._came_at = asyncio.get_running_loop().time()
        return self._send(microphone.take(pcm))

    async def flush(self) -> None:
        """Send what the microphones still hold: the last of what was said."""
        for microphone in list(self._microphones.values()):
            await self._send(microphone.rest())

    def clear(self) -> None:
        """Forget what was not sent."""
        self._microphones.clear()

    def fill_gaps(self) -> None:
        """Send silence where the microphone is muted, until the turn ends."""
        self.end_turn()
        pcm = PcmData.from_bytes(
            bytes(round(self._form.rate * SILENCE_S) * 2), self._form.rate
        )
        self._filling = asyncio.create_task(self._fill(encode(pcm, self._form)))

    def end_turn(self) -> None:
        """Send no more silence: the turn ended."""
        if self._filling is not None:
            self._filling.cancel()
            self._filling = None

    async def _send(self, pieces: Iterable[bytes]) -> None:
        session = self._connection.session
        if session is None:
            return
        width = 2 if self._form.encoding == "pcm16" else 1
        for data in pieces:
            try:
                await session.send_audio(data)
            except SessionError:
                # The reader reports the loss, once; a frame of audio is not worth a second.
                return
            self._metrics.on_realtime_audio_input(
                byte_count=len(data),
                duration_ms=len(data) / width / self._form.rate * 1000,
                provider=self._provider,
            )

    async def _fill(self, silence: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._came_at = loop.time()
        try:
            while loop.time() - self._came_at < MAX_SILENCE_S:
                await asyncio.sleep(SILENCE_S)
                session = self._connection.session
                if session is not None and loop.time() - self._came_at > GAP_S:
                    if self._chunk_ms:
                        await self.flush()
                    await session.send_audio(silence)
        except SessionError as error:
            logger.debug("The session is gone: %s", error)
