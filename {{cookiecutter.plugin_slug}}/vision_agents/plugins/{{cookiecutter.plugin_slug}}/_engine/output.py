"""What the agent is given, in order."""

import asyncio
import logging

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.agents.transcript import TranscriptMode
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentSpeechStarted,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
    RealtimeUserSpeechEnded,
    RealtimeUserSpeechStarted,
    RealtimeUserTranscript,
)
from vision_agents.core.observability import MetricsCollector
from vision_agents.core.utils.stream import Stream

MAX_ITEMS, MAX_BYTES = 20_000, 32 * 1024 * 1024
"""How much is queued where nobody reads, in items and in audio: the oldest is dropped."""

logger = logging.getLogger(__name__)

Item = (
    RealtimeAudioOutput
    | RealtimeAudioOutputDone
    | RealtimeUserTranscript
    | RealtimeAgentTranscript
    | RealtimeUserSpeechStarted
    | RealtimeUserSpeechEnded
    | RealtimeAgentSpeechStarted
    | RealtimeAgentSpeechEnded
)


class Output(Stream[Item]):
    """The stream that the agent's flow reads.

    The flow answers ``Done(interrupted=True)`` by awaiting `Realtime.interrupt`, before it
    takes the next item. What was queued after that Done belongs to what follows the
    barge-in and has to survive; `is_answered_by_caller` tells that call from others.
    """

    def __init__(self, metrics: MetricsCollector, provider: str) -> None:
        super().__init__()
        self._metrics = metrics
        self._provider = provider
        self._answering: asyncio.Task[object] | None = None
        self._bytes = 0
        self._dropped = False

    @property
    def is_answered_by_caller(self) -> bool:
        """The current task took the announcement of a barge-in and nothing since."""
        return self._answering is not None and self._answering is asyncio.current_task()

    async def get(self) -> Item:
        """Wait for the next item."""
        self._answering = None
        return await super().get()

    def get_nowait(self) -> Item:
        """Take the next item."""
        item = super().get_nowait()
        self._answering = None
        if isinstance(item, RealtimeAudioOutput):
            self._bytes -= item.data.samples.nbytes
        elif isinstance(item, RealtimeAudioOutputDone) and item.interrupted:
            self._answering = asyncio.current_task()
        return item

    def send_nowait(self, item: Item) -> None:
        """Queue an item; where nobody reads, in place of the oldest."""
        self._bytes = _size(item) + (self._bytes if self.size() else 0)
        super().send_nowait(item)
        while self.size() > MAX_ITEMS or (self._bytes > MAX_BYTES and self.size() > 1):
            if not self._dropped:
                logger.warning("Nobody reads the output: its oldest items are dropped")
            self._dropped = True
            self._bytes -= _size(super().get_nowait())

    def put_back(self, items: list[Item]) -> None:
        """Queue again what a `clear` removed."""
        for item in items:
            self.send_nowait(item)

    def unspoken(self) -> list[Item]:
        """What is queued of the user, and announcements of barge-ins."""
        users = (
            RealtimeUserTranscript | RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        )
        return [
            item
            for item in self.peek()
            if isinstance(item, users)
            or (isinstance(item, RealtimeAudioOutputDone) and item.interrupted)
        ]

    def audio(self, pcm: PcmData, response_id: str) -> None:
        """Give a piece of the agent's speech."""
        self.send_nowait(RealtimeAudioOutput(pcm, response_id))
        self._metrics.on_realtime_audio_output(
            byte_count=pcm.samples.nbytes,
            duration_ms=pcm.duration_ms,
            provider=self._provider,
        )

    def audio_done(self, response_id: str, *, interrupted: bool = False) -> None:
        """Tell the end of a response, which is regular or a barge-in."""
        self.send_nowait(RealtimeAudioOutputDone(interrupted, response_id))

    def agent_speech(
        self, response_id: str, *, ended: bool, interrupted: bool = False
    ) -> None:
        """Tell where the agent's speech starts and ends."""
        if ended:
            self.send_nowait(RealtimeAgentSpeechEnded(interrupted, response_id))
        else:
            self.send_nowait(RealtimeAgentSpeechStarted(response_id))

    def agent_text(self, text: str, mode: TranscriptMode) -> None:
        """Give text of the agent's, or the transcript of its speech."""
        self.send_nowait(RealtimeAgentTranscript(mode, text))
        self._metrics.on_realtime_agent_transcription(provider=self._provider)

    def user_speech(self, participant: Participant | None, *, ended: bool) -> None:
        """Tell where the user's speech starts and ends; not without a participant."""
        if participant is not None:
            kind = RealtimeUserSpeechEnded if ended else RealtimeUserSpeechStarted
            self.send_nowait(kind(participant))

    def user_text(
        self, participant: Participant | None, text: str, mode: TranscriptMode
    ) -> None:
        """Give a transcript of the user's speech; not without a participant."""
        if participant is not None:
            self.send_nowait(RealtimeUserTranscript(participant, mode, text))
            self._metrics.on_realtime_user_transcription(provider=self._provider)


def _size(item: Item) -> int:
    return item.data.samples.nbytes if isinstance(item, RealtimeAudioOutput) else 0
