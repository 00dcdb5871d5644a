"""What an echo hears: turns, their transcripts, and silence."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from realtime_testkit import protocol

from .codec import TurnDetection
from .echo_speech import words
from .line import Line
from .turn_detector import InputBuffer, TurnBegan, TurnEnded

MIN_COMMIT_MS = 100
"""A buffer with less audio counts as empty when a client commits it."""

Transcriber = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn of the user: what was understood, and the audio."""

    text: str
    audio: bytes = field(repr=False)


class EchoInput:
    """Hears the user, and tells the client what it hears."""

    def __init__(self, line: Line, transcribe: Transcriber) -> None:
        self._line = line
        self._transcribe = transcribe
        self._buffer = InputBuffer()
        self._numbers = itertools.count(1)
        self._item_id: str | None = None  # of the turn the user is in

    async def listen(
        self, data: bytes, detection: TurnDetection | None
    ) -> TurnBegan | Spoken | None:
        """Hear more audio; returns a turn that began or ended with it."""
        rate = self._line.effective_config.input_rate
        if detection is None:
            self._buffer.append(data, rate)
            return None
        say = self._line.say_if_supported
        change = self._buffer.detect(data, rate, detection)
        if isinstance(change, TurnBegan):
            self._item_id = self._new_id()
            await say(protocol.UserSpeechStarted(self._item_id, change.at_ms))
            return change
        if isinstance(change, TurnEnded):
            await say(protocol.UserSpeechStopped(self._item_id, change.at_ms))
            return await self._commit()
        return None

    async def commit_by_hand(self) -> Spoken | None:
        """Make the buffer an item, where it holds enough."""
        rate = self._line.effective_config.input_rate
        if self._buffer.size / 2 / rate * 1000 < MIN_COMMIT_MS:
            fault = protocol.Fault("input_audio_buffer_commit_empty", harmless=True)
            await self._line.refuse(fault)
            return None
        return await self._commit()

    async def commit_idle(self, idle_ms: int) -> None:
        """Make an item of the silence of a user who said nothing."""
        item_id, end = self._new_id(), int(self._buffer.written_ms)
        audio = self._buffer.take()
        say = self._line.say_if_supported
        await say(protocol.UserIdle(item_id, max(0, end - idle_ms), end))
        await say(protocol.AudioCommitted(item_id, "", audio))

    def clear(self) -> None:
        """Discard what was not committed."""
        self._buffer.clear()
        self._item_id = None

    async def _commit(self) -> Spoken:
        item_id, self._item_id = self._item_id or self._new_id(), None
        audio = self._buffer.take()
        config = self._line.effective_config
        text = self._transcribe(len(audio) / 2 / config.input_rate)
        say = self._line.say_if_supported
        await say(protocol.AudioCommitted(item_id, text, audio))
        if config.transcription:
            for piece in words(text):
                await say(protocol.UserTranscript(piece, False, item_id))
            await say(protocol.UserTranscript(text, True, item_id))
        return Spoken(text, audio)

    def _new_id(self) -> str:
        return f"item_user_{next(self._numbers)}"
