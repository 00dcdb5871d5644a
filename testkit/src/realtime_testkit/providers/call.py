"""A connection over WebRTC: messages in a channel, speech on a track each way."""

import asyncio
import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
from getstream.video.rtc.track_util import PcmData

from realtime_testkit import protocol
from realtime_testkit.protocol import UnsupportedEvent

from .connection import Connection
from .handshake import Handshake
from .peer import Peer
from .peer_events import PeerGone, Picture, Sound
from .voice import RATE

if TYPE_CHECKING:
    from .webrtc import WebRTCProvider

SILENCE_PEAK = 32
"""A track is never quite silent; what stays below this (of 32768) is not recorded."""

SILENCE_HEARD_S = 1.0
"""More silence than this at a time tells the echo nothing new."""

BETWEEN_S = 0.4
"""Silence between two answers where no message says which of them is played."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Speech:
    """What was played of one answer: packed samples, perhaps half of one at the end."""

    response_id: str
    rate: int
    data: bytes = b""

    @property
    def whole(self) -> bytes:
        """All whole samples."""
        return self.data[: len(self.data) // 2 * 2]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.whole) / 2 / self.rate

    def cut(self, seconds: float) -> None:
        """Take back the end of it, which was not played after all."""
        self.data = self.data[: max(0, len(self.whole) - round(seconds * self.rate) * 2)]


class CallConnection(Connection):
    """A call.

    ``commands`` holds what the client spoke as AppendAudio, without the silence, and what
    it showed as AppendImage.
    ``close_code`` is 1000 if the client hung up; None while open or if the call broke.
    """

    def __init__(self, provider: "WebRTCProvider", number: int, handshake: Handshake) -> None:
        super().__init__(provider, number, handshake)
        self._service = provider
        self._peer = Peer()
        self._speech: Speech | None = None
        self._ending: asyncio.Task[None] | None = None
        self._silence_s = 0.0
        self._silent_until = 0.0
        self._breaking: asyncio.Task[None] | None = None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the session as a provider does.

        There are no close codes here: a reason that is an error's code is reported
        before, and any other code than 1000 breaks the connection off.
        """
        reported = reason.isidentifier()
        if reported:
            await self._tell(protocol.Fault(reason))
        if code == 1000 or reported:
            await self._peer.close()
        else:
            await self._peer.break_off()

    def abort(self) -> None:
        """Break the connection, without a goodbye."""
        self._break_off(silently=False)

    def freeze(self) -> None:
        """Vanish from the network, as a machine without power does."""
        self._break_off(silently=True)

    def read_session(self, session: str) -> None:
        """Read the session that the call is offered with.

        Raises:
            MalformedFrame: it is not a session.
        """
        if session:
            model, commands = self._codec.read_offer(session)
            self.model = model or self.model
            self.commands.extend(commands)
        for command in self.commands:
            if isinstance(command, protocol.Configure):
                self.config = command.config
        if self._hears:
            self._peer.hears_at = self.effective_config.input_rate

    async def answer(self, sdp: str) -> str:
        """Take an offer, and describe this end.

        Raises:
            ValueError: it is not an offer.
        """
        return await self._peer.answer(sdp)

    async def run(self) -> None:
        """Serve the connection to its end."""
        close_code: int | None = None
        try:
            if not self._service.opens:
                await self._peer.keep_channel_shut()
            await self._peer.opened()
            await self._greet()
            while True:
                await self._receive()
        except PeerGone as gone:
            close_code = 1000 if gone.hung_up else None
        except ConnectionError as error:
            logger.debug("The client went while it was told something: %s", error)
        finally:
            await self._stop_ending()
            await self._peer.close()
            await self._end(close_code)

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a message to the letter, whatever it is.

        Raises:
            ConnectionError: the client is gone.
        """
        await self._peer.send(frame)

    async def spoken(self) -> None:
        """Wait until the responses that are done were played, and the client was told."""
        if self._ending is not None:
            await asyncio.wait([self._ending])

    async def _say(self, event: protocol.Event) -> None:
        match event:
            case protocol.AudioDelta():
                await self._speak(event)
                return
            case protocol.ResponseDone(response_id, "cancelled") if self._speaks(response_id):
                await self._clear()
            case protocol.Interrupted():
                await self._clear()
        await super()._say(event)
        match event:
            case protocol.ResponseDone(response_id) if self._speaks(response_id):
                self._ending = asyncio.create_task(self._speak_out())
            case protocol.UserSpeechStarted() if self._echo is not None:
                await self._clear()  # a script says by itself what is cut off

    async def _receive(self) -> None:
        item = await self._peer.receive()
        if isinstance(item, Picture):
            if self._hears:
                jpeg = await asyncio.to_thread(_jpeg, item.frame)
                await self._take(protocol.AppendImage(jpeg))
        elif not isinstance(item, Sound):
            await self._read(item)
        elif not self._service.drops_media and self._hears:
            await self._hear(item)

    @property
    def _hears(self) -> bool:
        return self.config is not None or self._codec.defaults is not None

    async def _hear(self, sound: Sound) -> None:
        command = protocol.AppendAudio(sound.data)
        samples = memoryview(sound.data).cast("h")
        if max(max(samples), -min(samples)) >= SILENCE_PEAK:
            self._silence_s = 0.0
            await self._take(command)
        elif self._silence_s < SILENCE_HEARD_S and self._echo is not None:
            self._silence_s += len(samples) / sound.rate
            await self._echo.hear(command)

    async def _take(self, command: protocol.Command) -> None:
        match command:
            case protocol.Configure(config):
                self._peer.hears_at = config.input_rate
            case protocol.ClearOutput():
                await self._clear()
        await super()._take(command)

    def _accepted(self, config: protocol.SessionConfig) -> protocol.SessionAccepted:
        return protocol.SessionAccepted()

    async def _speak(self, event: protocol.AudioDelta) -> None:
        if not self._speaks(event.response_id):
            if self._speech is not None and self._ending is None:
                self._ending = asyncio.create_task(self._speak_out())
            await self.spoken()
        speech = self._speech
        if speech is None:
            await asyncio.sleep(self._silent_until - asyncio.get_running_loop().time())
            rate = self.effective_config.output_rate
            speech = self._speech = Speech(event.response_id, rate)
            if self._service.recording_limit:
                self._service.spoken.append(speech)
            await super()._say(event)
            await self._tell(protocol.OutputStarted(event.response_id))
        else:
            await super()._say(event)
        before = len(speech.whole)
        speech.data += event.data
        data = speech.whole[before:]
        if not data:
            return
        pcm = PcmData.from_bytes(data, speech.rate)
        if not self._service.drops_media:
            await self._peer.speak(pcm)

    async def _speak_out(self) -> None:
        """Play the present response to its end."""
        try:
            # The last piece may be shorter than a packet: silence makes it whole.
            await self._peer.speak(PcmData.from_bytes(bytes(RATE // 50 * 2), RATE), final=True)
            await self._peer.voice.spoken()
            await self._fall_silent()
        except ConnectionError:
            logger.debug("The client is gone")
        finally:
            self._ending = None

    async def _clear(self) -> None:
        """Leave the rest of the present response unplayed."""
        await self._stop_ending()
        if self._speech is not None:
            self._speech.cut(await self._peer.voice.hush())
            await self._fall_silent(cleared=True)

    async def _fall_silent(self, *, cleared: bool = False) -> None:
        speech, self._speech = self._speech, None
        if speech is not None:
            told = await self._tell(protocol.OutputStopped(speech.response_id, cleared))
            if not told and not cleared:
                self._silent_until = asyncio.get_running_loop().time() + BETWEEN_S

    async def _tell(self, event: protocol.Event) -> bool:
        """Say an event about playing; returns whether the wire has a message for it."""
        try:
            await super()._say(event)
        except UnsupportedEvent:
            return False
        return True

    async def _stop_ending(self) -> None:
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.cancel()
            await asyncio.wait([ending])

    def _speaks(self, response_id: str) -> bool:
        return self._speech is not None and self._speech.response_id == response_id

    def _break_off(self, *, silently: bool) -> None:
        self._breaking = asyncio.create_task(self._broken_off(silently))

    async def _broken_off(self, silently: bool) -> None:
        await self._peer.break_off(silently=silently)
        if not silently:
            self._peer.abort()

    async def _wait_gone(self) -> None:
        await self.closed.wait()


def _jpeg(frame: av.VideoFrame) -> bytes:
    picture = io.BytesIO()
    frame.to_image().save(picture, "JPEG")
    return picture.getvalue()
