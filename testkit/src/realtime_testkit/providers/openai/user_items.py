"""The user's side of a conversation: turns detected, audio committed, transcripts."""

import itertools
from base64 import b64encode

from realtime_testkit import protocol

from .conversation import Conversation, Entry
from .errors import kind_of, message_of
from .frames import Frames, JSONObject

_TRANSCRIPTION = "conversation.item.input_audio_transcription"

UserEvent = (
    protocol.UserSpeechStarted
    | protocol.UserSpeechStopped
    | protocol.UserIdle
    | protocol.AudioCommitted
    | protocol.UserTranscript
    | protocol.UserTranscriptFailed
)


class UserItems:
    """Writes the frames about what the user says."""

    def __init__(self, frames: Frames, conversation: Conversation) -> None:
        self._frames = frames
        self._conversation = conversation
        self._numbers = itertools.count(1)
        self._present: str | None = None
        self._heard_ms = 0.0

    def heard(self, data: bytes, rate: int) -> None:
        """Count audio that was appended."""
        self._heard_ms += len(data) / 2 / rate * 1000

    def encode(self, event: UserEvent) -> list[str | bytes]:
        """The frames for an event about the user."""
        item_id = self._item_id(event)
        match event:
            case protocol.UserSpeechStarted(audio_ms=audio_ms):
                start = self._at(audio_ms)
                kind = "input_audio_buffer.speech_started"
                return [self._frames.frame(kind, item_id=item_id, audio_start_ms=start)]
            case protocol.UserSpeechStopped(audio_ms=audio_ms):
                end = self._at(audio_ms)
                kind = "input_audio_buffer.speech_stopped"
                return [self._frames.frame(kind, item_id=item_id, audio_end_ms=end)]
            case protocol.UserIdle(start_ms=start, end_ms=end):
                span: JSONObject = {"audio_start_ms": start, "audio_end_ms": end}
                kind = "input_audio_buffer.timeout_triggered"
                return [self._frames.frame(kind, item_id=item_id, **span)]
            case protocol.AudioCommitted():
                return self._commit(item_id, event)
            case protocol.UserTranscript(text, False):
                return [self._about(item_id, "delta", delta=text)]
            case protocol.UserTranscript(text):
                self._transcribe(item_id, text)
                usage: JSONObject = {"type": "duration", "seconds": 1}
                return [self._about(item_id, "completed", transcript=text, usage=usage)]
            case protocol.UserTranscriptFailed(code=code):
                code = code or "transcription_error"
                error = {
                    "type": kind_of(code),
                    "code": code,
                    "message": message_of(code),
                    "param": None,
                }
                return [self._about(item_id, "failed", error=error)]

    def _item_id(self, event: UserEvent) -> str:
        if event.item_id is not None:
            self._present = event.item_id
        elif self._present is None or isinstance(event, protocol.UserSpeechStarted):
            self._present = f"item_user_made_{next(self._numbers)}"
        return self._present

    def _at(self, audio_ms: int | None) -> int:
        return int(self._heard_ms) if audio_ms is None else audio_ms

    def _commit(self, item_id: str, event: protocol.AudioCommitted) -> list[str | bytes]:
        part: JSONObject = {"type": "input_audio", "transcript": None}
        item: JSONObject = {
            "id": item_id,
            "type": "message",
            "object": "realtime.item",
            "status": "completed",
            "role": "user",
            "content": [part],
        }
        if item_id in self._conversation:  # a script commits it once more
            previous = self._conversation.before(item_id)
        else:
            entry = Entry(item, audio=b64encode(event.data), understood=event.understood)
            previous = self._conversation.add(item_id, entry)
        place: JSONObject = {"previous_item_id": previous}
        return [
            self._frames.frame("input_audio_buffer.committed", item_id=item_id, **place),
            self._frames.frame("conversation.item.added", item=item, **place),
            self._frames.frame("conversation.item.done", item=item, **place),
        ]

    def _transcribe(self, item_id: str, text: str) -> None:
        entry = self._conversation.get(item_id)
        if entry is not None:
            entry.item["content"] = [{"type": "input_audio", "transcript": text}]

    def _about(self, item_id: str, kind: str, **said: object) -> str:
        kind = f"{_TRANSCRIPTION}.{kind}"
        return self._frames.frame(kind, item_id=item_id, content_index=0, **said)
