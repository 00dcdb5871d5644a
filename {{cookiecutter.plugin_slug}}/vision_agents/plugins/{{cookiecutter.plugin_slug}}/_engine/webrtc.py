"""One session over WebRTC: messages in a channel, audio over a track each way."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import av
import msgspec
from getstream.video.rtc.track_util import PcmData

from .errors import SessionError, TransportFailure
from .peer import Peer
from .playout import TAIL_S, Playout, is_quiet
from .protocols import Classify, Codec, Frame
from .session import Session
from .session_events import Event
from .session_types import (
    AddMessage,
    AddToolResult,
    AudioFormat,
    CancelResponse,
    ClearOutput,
    Command,
    CommitAudio,
    SessionSettings,
    Traits,
)
from .tracks import RATE, Sound

LAG_S = 0.2
"""Once that much audio waits to be sent, silence is left out until it does not: after a
stall it would be late for the rest of the call."""

TRACK = AudioFormat(RATE)
"""The format of both tracks, whatever the provider says of others."""

_CUT = "… (cut)"


class WebRTCSession(Session):
    """A session whose audio goes over tracks; see Session."""

    def __init__(
        self,
        peer: Peer,
        codec: Codec,
        traits: Traits,
        classify: Classify,
        *,
        send_timeout_s: float,
        secrets: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            peer,
            codec,
            traits,
            classify,
            send_timeout_s=send_timeout_s,
            secrets=secrets,
        )
        self._peer = peer
        self._playout = Playout()
        self._stated = SessionSettings(TRACK, TRACK)

    @property
    def settings(self) -> SessionSettings:
        """The behaviour in force, and the format of the tracks."""
        return self._stated

    @settings.setter
    def settings(self, stated: SessionSettings) -> None:
        self._stated = replace(stated, input=TRACK, output=TRACK)

    async def send(self, *commands: Command) -> None:
        """Send commands in order; see Session.send.

        A commit waits for the audio before it, and a message that is longer than the
        provider takes is split or cut where that is possible.
        """
        if any(isinstance(command, CommitAudio) for command in commands):
            await asyncio.sleep(self._peer.audio.unsent_s + TAIL_S)
        await super().send(*commands)

    async def send_audio(
        self, data: bytes
    ) -> None:  # C19: packed, as for other sessions
        """Send audio over the track, in real time; silence that would be late is left out.

        Raises:
            SessionError: the connection is lost.
        """
        if self._peer.audio.unsent_s > LAG_S and is_quiet(data):
            return
        try:
            await self._peer.send_audio(PcmData.from_bytes(data, RATE))
            return
        except TransportFailure:
            pass
        raise SessionError("the connection is lost", temporary=True)

    def show(self, frame: av.VideoFrame | None) -> None:
        """Send a frame over the video track; None drops one that was not sent yet."""
        if self._peer.video is not None:
            self._peer.video.show(frame)

    def _encode(self, command: Command) -> Sequence[Frame]:
        frames = list(super()._encode(command))
        speaking = self._playout.speaking
        if (
            isinstance(command, CancelResponse)
            and speaking is not None
            and command.response_id in (None, speaking)
        ):
            # What was generated already is not played either.
            frames += super()._encode(ClearOutput())
        longest = max((_size(frame) for frame in frames), default=0)
        if longest <= self._peer.max_message_bytes:
            return frames
        match command:
            case AddMessage(role, text, images) if len(text) > 1:
                half = len(text) // 2
                first = self._encode(AddMessage(role, text[:half], images))
                return [*first, *self._encode(AddMessage(role, text[half:]))]
            case AddToolResult(call_id, name, output):
                text = (
                    output
                    if isinstance(output, str)
                    else msgspec.json.encode(output).decode()
                )
                kept = text.removesuffix(_CUT)[: len(text) * 2 // 3]
                if kept:
                    return self._encode(AddToolResult(call_id, name, kept + _CUT))
        raise ValueError(
            f"{type(command).__name__} makes a message of {longest} bytes, and the provider "
            f"takes {self._peer.max_message_bytes}"
        )

    async def _receive(self) -> list[Event]:
        now = asyncio.get_running_loop().time()
        deadline = self._playout.deadline
        if deadline is not None and deadline <= now:
            return self._playout.expire()
        failure: TransportFailure | None = None
        try:
            async with asyncio.timeout_at(deadline):
                item = await self._peer.receive_any()
        except TimeoutError:
            return self._playout.expire()
        except TransportFailure as ended:
            failure = ended
        if failure is not None:
            if held := self._playout.expire():
                return held  # the failure comes again
            raise self._lost(failure)
        now = asyncio.get_running_loop().time()
        if isinstance(item, Sound):
            return self._playout.hear(item, now)
        return [
            out
            for event in await self._read(item)
            for out in self._playout.take(event, now)
        ]


def _size(frame: Frame) -> int:
    return len(frame) if isinstance(frame, bytes) else len(frame.encode())
