"""One end of a WebRTC connection: a channel for messages, and an audio track each way."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

import av
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from getstream.video.rtc.track_util import FrameResampler, PcmData

from .peer_events import PeerGone, Picture, Received, Sound
from .sdp import take
from .voice import Voice

GOODBYE_S = 0.25
"""How long after the channel closed its peer's goodbye may come. Without one, the
connection broke."""

SETTLE_S = 0.3
"""How long to wait, before closing, for the connection to come about or fail."""

CLOSE_TIMEOUT_S = 0.5
"""How long the other end may take to see the channel close before it is cut off."""

MAX_MESSAGE = 65_536
"""Bytes of the longest message that is taken, as aiortc's descriptions state."""

MAX_WAITING = 20_000
"""How many messages and pieces of sound may wait to be received."""

logger = logging.getLogger(__name__)
_closing: set[asyncio.Task[None]] = set()


class Peer:
    """One end, from its offer or answer to its close.

    Args:
        ice_servers: STUN and TURN servers to find a way with; without, none is asked.
        max_unsaid_s: what is said faster than it is spoken waits to be spoken; beyond
            this the oldest is dropped.

    Attributes:
        voice: what this end says.
        hears_at: sample rate to hear the other end at, Hz; None for its track's own.
    """

    def __init__(
        self, ice_servers: Sequence[RTCIceServer] = (), *, max_unsaid_s: float = 600.0
    ) -> None:
        self.hears_at: int | None = None
        self._connection = RTCPeerConnection(
            RTCConfiguration(list(ice_servers), RTCBundlePolicy.MAX_BUNDLE)
        )
        self._channel: RTCDataChannel | None = None
        self.voice = Voice(max_unsaid_s)
        self._inbox: asyncio.Queue[Received | PeerGone] = asyncio.Queue()
        self._gone: PeerGone | None = None
        self._opened = asyncio.Event()
        self._settled = asyncio.Event()
        self._parted = asyncio.Event()
        self._drained = asyncio.Event()
        self._goodbye: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathering: asyncio.Task[None] | None = None
        self._shutting: asyncio.Task[None] | None = None
        self._connection.on("track", self._on_track)
        self._connection.on("datachannel", self._on_channel)
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.addTrack(self.voice.track)

    async def close(self) -> None:
        """Say goodbye and release everything; whoever does not answer is cut off."""
        channel = self._channel
        try:
            if self._gone is None and channel is not None and channel.readyState == "open":
                # What was sent before has arrived once the other end closes it, too.
                channel.close()
                await asyncio.wait_for(self._parted.wait(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            logger.debug("The other end did not answer the goodbye")
        finally:
            self.abort()
        if self._shutting is not None:
            await asyncio.wait([self._shutting], timeout=CLOSE_TIMEOUT_S)

    def abort(self) -> None:
        """Release everything, at once and in the background."""
        if self._shutting is None:
            self._end(PeerGone("closed"))
            self._shutting = asyncio.create_task(self._shut())
            _closing.add(self._shutting)
            self._shutting.add_done_callback(_closing.discard)

    async def offer(self, channel: str) -> str:
        """Open a channel of that label and describe this end, for the other to answer.

        Raises:
            ConnectionError: there is no way out of this machine.
        """
        self._on_channel(self._connection.createDataChannel(channel))
        return await self._describe(await self._connection.createOffer())

    async def accept(self, answer: str) -> None:
        """Take the other end's answer, and wait until the channel is open.

        Raises:
            ValueError: it is none.
            PeerGone: the other end cannot be reached.
        """
        await take(self._connection, answer, "answer")
        await self.opened()

    async def answer(self, offer: str) -> str:
        """Take the other end's offer, and describe this one.

        Raises:
            ValueError: it is none.
            ConnectionError: there is no way out of this machine.
        """
        await take(self._connection, offer, "offer")
        return await self._describe(await self._connection.createAnswer())

    async def opened(self) -> None:
        """Wait until the channel is open.

        Raises:
            PeerGone: the other end cannot be reached.
        """
        await self._opened.wait()
        self._still_there()

    async def receive(self) -> Received:
        """Wait for what comes next; what is said and what is heard come as they came.

        Raises:
            PeerGone: nothing comes any more.
        """
        if self._inbox.empty():
            self._still_there()
        received = await self._inbox.get()
        if isinstance(received, PeerGone):
            raise received
        return received

    async def send(self, message: str | bytes) -> None:
        """Send a message; returns once it is on its way.

        Raises:
            PeerGone: there is nobody to send it to.
        """
        self._still_there()
        channel = self._channel
        if channel is None or channel.readyState != "open":
            raise PeerGone("the channel is not open")
        channel.send(message)
        while channel.bufferedAmount:
            self._drained.clear()
            await self._drained.wait()
            self._still_there()

    async def speak(self, pcm: PcmData, *, final: bool = False) -> None:
        """Say something; see `Voice.speak`.

        Raises:
            PeerGone: the other end is gone.
        """
        self._still_there()
        await self.voice.speak(pcm, final=final)

    async def break_off(self, *, silently: bool = False) -> None:
        """Fail as a machine does: without a goodbye; silently, without any sign at all."""
        self._end(PeerGone("broken off"))
        sctp = self._connection.sctp
        if sctp is not None:
            if not silently:
                await sctp.stop()
            await sctp.transport.transport.stop()

    async def keep_channel_shut(self) -> None:
        """Never open the channel, whatever the other end tries."""
        if self._connection.sctp is not None:
            await self._connection.sctp.stop()

    def _still_there(self) -> None:
        if self._gone is not None:
            raise PeerGone(str(self._gone), hung_up=self._gone.hung_up)

    async def _describe(self, description: RTCSessionDescription) -> str:
        # Asks ICE servers, and must not be cut off in that: see _settle.
        gathering = self._connection.setLocalDescription(description)
        self._gathering = asyncio.create_task(gathering)
        await asyncio.shield(self._gathering)
        described = self._connection.localDescription.sdp
        if "a=candidate:" not in described:
            raise ConnectionError("no network interface but loopback, which ICE leaves out")
        return described

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            logger.debug("A second channel is not listened to: %s", channel.label)
            return
        self._channel = channel
        channel.on("open", self._on_open)
        channel.on("message", self._arrive)
        channel.on("bufferedamountlow", self._drained.set)
        channel.on("close", self._on_channel_closed)
        if channel.readyState == "open":
            self._on_open()

    def _arrive(self, item: Received) -> None:
        # There is no way to make the other end wait: who floods is cut off.
        if not isinstance(item, Sound | Picture) and _size(item) > MAX_MESSAGE:
            # Others close the channel, too, where a message is longer than they stated.
            self._end(PeerGone(f"a message of {_size(item)} bytes"))
        elif self._inbox.qsize() < MAX_WAITING:
            self._inbox.put_nowait(item)
        else:
            self._end(PeerGone("too much arrived at once"))

    def _on_open(self) -> None:
        self._opened.set()
        self._settled.set()

    def _on_channel_closed(self) -> None:
        self._parted.set()
        if self._gone is None:
            self._goodbye = asyncio.get_running_loop().call_later(
                GOODBYE_S, self._end, PeerGone("the channel is lost")
            )

    def _on_state(self) -> None:
        sctp, state = self._connection.sctp, self._connection.connectionState
        if state == "closed" and sctp is not None and sctp.transport.transport.state == "failed":
            state = "failed"  # nothing came for too long: closed by this end, not by the other
        match state:
            case "failed":
                self._settled.set()
                self._end(PeerGone("the connection failed"))
            case "closed":
                self._settled.set()
                self._end(PeerGone("the other end hung up", hung_up=True))

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._start(self._listen(track))
        elif track.kind == "video":
            self._start(self._watch(track))

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, track: MediaStreamTrack) -> None:
        mono: FrameResampler | None = None
        rate = 0
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not isinstance(frame, av.AudioFrame):
                continue
            wanted = self.hears_at or frame.sample_rate
            if mono is None or wanted != rate:
                rate = wanted
                mono = FrameResampler(rate, "mono", "s16", 0)
            for part in mono.resample(PcmData.from_av_frame(frame)):
                self._arrive(Sound(_packed(part), rate))

    async def _watch(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.VideoFrame):
                self._arrive(Picture(frame))

    def _end(self, gone: PeerGone) -> None:
        if self._gone is None:
            self._gone = gone
            if self._goodbye is not None:
                self._goodbye.cancel()
            # Whoever sends hears of it before whoever receives: it may send again elsewhere.
            for waiting in (self._drained, self._opened, self._parted):
                waiting.set()
            self._inbox.put_nowait(gone)

    async def _shut(self) -> None:
        await asyncio.sleep(0)  # a goodbye that was just said is on its way first
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if self._goodbye is not None:
            self._goodbye.cancel()
        try:
            await self._settle()
            # A task of the library's own: it joins its decoder's thread, for microseconds.
            await asyncio.create_task(self._connection.close())
        except ConnectionError as error:
            logger.debug("The connection was gone before it was closed: %s", error)
        finally:
            self.voice.stop()
            if tasks:
                await asyncio.wait(tasks)

    async def _settle(self) -> None:
        """Let the connection come about or fail, for a moment.

        Closed in the middle of that, the libraries leave tasks behind that never end. They
        give an ICE server that does not answer 5 s.
        """
        if self._gathering is not None:
            await asyncio.wait([self._gathering])
        if self._connection.remoteDescription is not None:
            try:
                await asyncio.wait_for(self._settled.wait(), SETTLE_S)
            except TimeoutError:
                logger.debug("The connection neither came about nor failed")


def _packed(frame: av.AudioFrame) -> bytes:
    """The bytes of a finished s16 mono frame; its plane is padded beyond them."""
    return bytes(memoryview(frame.planes[0])[: frame.samples * 2])


def _size(message: str | bytes) -> int:
    return len(message) if isinstance(message, bytes) else len(message.encode())
