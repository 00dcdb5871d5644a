"""Sends the provider what a video track shows: one track at a time, its newest frame."""

import asyncio
import io
import logging
from typing import Protocol, cast, runtime_checkable

import aiortc
import av
from av.video.reformatter import VideoReformatter
from vision_agents.core.utils.exceptions import log_task_exception
from vision_agents.core.utils.video_forwarder import VideoForwarder

from .connection import Connection
from .errors import SessionError
from .session import Session
from .session_types import AppendImage

MAX_SIDE = 1024
"""Larger frames are made smaller, to this many pixels on the longer side."""

JPEG_QUALITY = 80

logger = logging.getLogger(__name__)


@runtime_checkable
class ShowsVideo(Protocol):
    """A session with a video track, as over WebRTC; others are sent pictures."""

    def show(self, frame: av.VideoFrame | None) -> None:
        """Send a frame over the track; None drops one that was not sent yet."""


class VideoInput:
    """Watches a track; a frame that there is no time for is left out.

    Args:
        name: of the plugin.
        fps: frames a second, at most.
        connection: has the session, if there is one.
    """

    def __init__(self, name: str, fps: int, connection: Connection) -> None:
        self._name = name
        self._fps = fps
        self._connection = connection
        self._newest: av.VideoFrame | None = None
        self._came = asyncio.Event()
        self._forwarder: VideoForwarder | None = None
        self._sending: asyncio.Task[None] | None = None
        self._switching = asyncio.Lock()

    async def watch(
        self,
        track: aiortc.mediastreams.MediaStreamTrack,
        shared_forwarder: VideoForwarder | None = None,
    ) -> None:
        """Watch a track, and no longer the one before.

        Args:
            track: what to watch.
            shared_forwarder: reads the track already; None for one of our own.
        """
        async with self._switching:
            await self._unwatch()
            forwarder = shared_forwarder
            if forwarder is None:
                video = cast("aiortc.VideoStreamTrack", track)
                forwarder = VideoForwarder(video, max_buffer=1, fps=self._fps)
            fps = self._fps if forwarder.fps is None else min(self._fps, forwarder.fps)
            forwarder.add_frame_handler(self._take, fps=fps, name=self._name)
            self._forwarder = forwarder
            self._sending = asyncio.create_task(self._send_frames())
            self._sending.add_done_callback(log_task_exception("Sending video failed"))

    async def stop(self) -> None:
        """Watch nothing; once this returns no frame is sent any more."""
        async with self._switching:
            await self._unwatch()

    async def _unwatch(self) -> None:
        forwarder, self._forwarder = self._forwarder, None
        sending, self._sending = self._sending, None
        if forwarder is not None:
            await forwarder.remove_frame_handler(self._take)
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
        session = self._connection.session
        if session is not None and isinstance(session, ShowsVideo):
            session.show(None)
        self._newest = None
        self._came.clear()

    def _take(self, frame: av.VideoFrame) -> None:
        self._newest = frame
        self._came.set()

    async def _send_frames(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            frame, session = self._newest, self._connection.session
            self._newest = None
            if frame is None or session is None:
                continue
            try:
                await _send(frame, session)
            except SessionError as error:
                if logger.isEnabledFor(logging.DEBUG):
                    logger.debug("A frame was not sent: %s", error)
            except (av.FFmpegError, OSError, ValueError):
                logger.exception("A frame could not be converted")


async def _send(frame: av.VideoFrame, session: Session) -> None:
    # Converting takes milliseconds, so not in the event loop.
    if isinstance(session, ShowsVideo):
        session.show(await asyncio.to_thread(to_picture, frame))
    else:
        await session.send(AppendImage(await asyncio.to_thread(to_jpeg, frame)))


def to_jpeg(frame: av.VideoFrame) -> bytes:
    """Convert a frame to a JPEG file."""
    jpeg = io.BytesIO()
    _resized(frame, "rgb24").to_image().save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return jpeg.getvalue()


def to_picture(frame: av.VideoFrame) -> av.VideoFrame:
    """Convert a frame for a track: a copy, because the track gives it a time of its own."""
    picture = _resized(frame, "yuv420p")
    return av.VideoFrame.from_ndarray(
        picture.to_ndarray(format="yuv420p"), format="yuv420p"
    )


def _resized(frame: av.VideoFrame, form: str) -> av.VideoFrame:
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    # Both sides even, as video codecs want them.
    width, height = (
        max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height)
    )
    # Others may hold the frame, too: its own reformatter is not for several threads.
    return VideoReformatter().reformat(frame, width=width, height=height, format=form)
