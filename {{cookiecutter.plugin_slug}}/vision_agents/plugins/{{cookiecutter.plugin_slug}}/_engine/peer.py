"""The plugin's end of a WebRTC connection: a channel for messages, and audio each way."""

import asyncio
import logging
import re
from collections.abc import Sequence

from aioice.ice import logger as ice_logger
from aioice.turn import logger as turn_logger
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamTrack
from getstream.video.rtc.track_util import PcmData

from .errors import TransportFailure
from .protocols import Frame
from .tracks import AudioSender, Sound, VideoSender, sounds

MAX_UNREAD = 4000
"""Messages and pieces of audio that may wait to be read."""

DEFAULT_MESSAGE_BYTES = 64 * 1024
"""The longest message for a peer that does not say (RFC 8841)."""

GOODBYE_S = 0.25
"""How long after the channel closed the connection is closed, too, if that is a regular end."""

SETTLE_S = 0.3
"""How long to wait, before closing, for the connection to be established or to fail."""

CLOSE_TIMEOUT_S = 0.5
"""How long the peer may take to close the channel before it is cut off."""

logger = logging.getLogger(__name__)
_closing: set[asyncio.Task[None]] = set()


class Peer:
    """A connection, from its offer to its close.

    Args:
        ice_servers: STUN and TURN servers to use; without, none is asked.
        video: offer a track for video.

    Attributes:
        audio: what is sent.
        video: the same, if it was offered.
        max_message_bytes: the longest message that the peer takes.
    """

    def __init__(
        self, ice_servers: Sequence[RTCIceServer] = (), *, video: bool = False
    ) -> None:
        self.max_message_bytes = DEFAULT_MESSAGE_BYTES
        for library_logger in (ice_logger, turn_logger):
            library_logger.addFilter(_without_addresses)
        self._connection = RTCPeerConnection(
            RTCConfiguration(list(ice_servers), RTCBundlePolicy.MAX_BUNDLE)
        )
        self._channel: RTCDataChannel | None = None
        self.audio = AudioSender()
        self.video = VideoSender() if video else None
        self._inbox: asyncio.Queue[Frame | Sound | TransportFailure] = asyncio.Queue()
        self._gone: TransportFailure | None = None
        self._opened = asyncio.Event()
        self._settled = asyncio.Event()
        self._parted = asyncio.Event()
        self._drained = asyncio.Event()
        self._goodbye: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathering: asyncio.Task[None] | None = None
        self._shutting: asyncio.Task[None] | None = None
        self._connection.on("track", self._on_track)
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.addTrack(self.audio.track)
        if self.video is not None:
            self._connection.addTransceiver(self.video, direction="sendonly")

    async def close(self) -> None:
        """Close and release everything; a peer that does not answer is cut off."""
        try:
            if self._gone is None and (channel := self._open_channel()):
                # What was sent before has arrived once the peer closes it, too.
                channel.close()
                await asyncio.wait_for(self._parted.wait(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.debug("The peer did not close the channel")
        finally:
            self.abort()
        if self._shutting is not None:
            await asyncio.wait([self._shutting], timeout=CLOSE_TIMEOUT_S)

    def send_nowait(self, frame: Frame) -> bool:
        """Audio has its track, and messages take their turn: nothing is sent at once."""
        return False

    async def offer(self, channel: str) -> str:
        """Describe this end, for the peer to answer; opens a channel of that label.

        Raises:
            TransportFailure: there is no way out of this machine.
        """
        self._listen_to(self._connection.createDataChannel(channel))
        offer = await self._connection.createOffer()
        # Asks ICE servers, and must not be cut off in that: see _settle.
        gathering = self._connection.setLocalDescription(offer)
        self._gathering = asyncio.create_task(gathering)
        try:
            await asyncio.shield(self._gathering)
        except OSError as error:
            raise TransportFailure(f"ICE: {type(error).__name__}") from None
        described = self._connection.localDescription.sdp
        if "a=candidate:" not in described:
            raise TransportFailure("no network interface but loopback")
        return described

    async def accept(self, answer: str) -> None:
        """Take the peer's answer, and wait until the channel is open.

        Raises:
            TransportFailure: it is no answer, or the peer cannot be reached.
        """
        usable = True
        try:
            description = RTCSessionDescription(answer, "answer")
            await self._connection.setRemoteDescription(description)
        except Exception as error:  # noqa: BLE001 - the library reads before it checks: any may come
            logger.debug("The answer cannot be used: %s", type(error).__name__)
            usable = False
        if not usable:
            raise TransportFailure("the answer is no session description", usable=False)
        stated = re.search(r"(?m)^a=max-message-size:(\d{1,12})\s*$", answer)
        if stated:
            self.max_message_bytes = int(stated[1]) or 2**31
        await self._opened.wait()
        self._still_there()

    async def receive(self) -> Frame:
        """Wait for the next message; audio before it is dropped.

        Raises:
            TransportFailure: nothing comes any more.
        """
        while isinstance(item := await self.receive_any(), Sound):
            continue
        return item

    async def receive_any(self) -> Frame | Sound:
        """Wait for the next message or piece of audio, in the order in which they came.

        Raises:
            TransportFailure: nothing comes any more.
        """
        if self._inbox.empty():
            self._still_there()
        item = await self._inbox.get()
        if isinstance(item, TransportFailure):
            raise item
        return item

    async def send(self, frame: Frame) -> None:
        """Send a message; returns once it is on its way.

        Raises:
            TransportFailure: the connection is gone.
        """
        self._still_there()
        channel = self._open_channel()
        if channel is None:
            raise TransportFailure("the channel is not open")
        channel.send(frame)
        while channel.bufferedAmount:
            self._drained.clear()
            await self._drained.wait()
            self._still_there()

    async def send_audio(self, pcm: PcmData) -> None:
        """Send audio of any rate over the track, in real time.

        Raises:
            TransportFailure: the connection is gone.
        """
        self._still_there()
        await self.audio.send(pcm)

    def abort(self) -> None:
        """Release everything, at once and in the background."""
        if self._shutting is None:
            self._end(TransportFailure("closed"))
            self._shutting = asyncio.create_task(self._shut())
            _closing.add(self._shutting)
            self._shutting.add_done_callback(_closing.discard)

    def _still_there(self) -> None:
        if self._gone is not None:
            raise TransportFailure(self._gone.reason, code=self._gone.code)

    def _open_channel(self) -> RTCDataChannel | None:
        channel = self._channel
        return channel if channel and channel.readyState == "open" else None

    def _listen_to(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("open", self._on_open)
        channel.on("message", self._put)
        channel.on("bufferedamountlow", self._drained.set)
        channel.on("close", self._on_channel_closed)

    def _put(self, item: Frame | Sound) -> None:
        if self._inbox.qsize() < MAX_UNREAD:
            self._inbox.put_nowait(item)
        elif not isinstance(item, Sound):
            self._end(TransportFailure("the peer sends faster than it is read"))

    def _on_open(self) -> None:
        self._opened.set()
        self._settled.set()

    def _on_channel_closed(self) -> None:
        self._parted.set()
        if self._gone is None:
            lost = TransportFailure("the channel is lost")
            loop = asyncio.get_running_loop()
            self._goodbye = loop.call_later(GOODBYE_S, self._end, lost)

    def _on_state(self) -> None:
        state, sctp = self._connection.connectionState, self._connection.sctp
        # Where nothing came for too long, this end closes the connection.
        silent = sctp is not None and sctp.transport.transport.state == "failed"
        if state in ("failed", "closed"):
            self._settled.set()
            lost = state == "failed" or silent
            reason = "the connection failed" if lost else "the peer closed it"
            self._end(TransportFailure(reason, code=None if lost else 1000))

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            task = asyncio.create_task(self._hear(track))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hear(self, track: MediaStreamTrack) -> None:
        async for sound in sounds(track):
            self._put(sound)

    def _end(self, gone: TransportFailure) -> None:
        if self._gone is None:
            self._gone = gone
            if self._goodbye is not None:
                self._goodbye.cancel()
            # Senders learn of it before the reader: it may send again elsewhere.
            for waiting in (self._drained, self._opened, self._parted):
                waiting.set()
            self._inbox.put_nowait(gone)

    async def _shut(self) -> None:
        await asyncio.sleep(0)  # a close that was just sent is on its way first
        if self._goodbye is not None:
            self._goodbye.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        try:
            await self._settle()
            # A task of the library's own: it joins its decoder's thread, for microseconds.
            await asyncio.create_task(self._connection.close())
        except ConnectionError as error:
            logger.debug("The connection was gone before it was closed: %s", error)
        finally:
            self.audio.stop()
            if self.video is not None:
                self.video.stop()
            if tasks:
                await asyncio.wait(tasks)

    async def _settle(self) -> None:
        """Let the connection be established or fail, for a moment.

        Closed in the middle of that, the libraries leave tasks behind that never end. They
        give an ICE server that does not answer 5 s.
        """
        if self._gathering is not None:
            await asyncio.wait([self._gathering])
        if self._connection.remoteDescription is not None:
            try:
                await asyncio.wait_for(self._settled.wait(), SETTLE_S)
            except TimeoutError:
                logger.debug("The connection was neither established nor failed")


def _without_addresses(record: logging.LogRecord) -> bool:
    """Have aioice log candidates, which are addresses, at DEBUG only: it logs them at INFO."""
    return record.levelno != logging.INFO or ice_logger.isEnabledFor(logging.DEBUG)
