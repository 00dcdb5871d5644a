"""VD: video is ignored by a provider without it, and sent at the rate asked for by one with it."""

import asyncio
import fractions
import io
import time
from collections.abc import Iterator

import aiortc
import av
import numpy as np
import pytest
from aiortc import VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from PIL import Image
from vision_agents.core.utils.video_forwarder import VideoForwarder

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import WAIT_S, EventRecorder, OutputRecorder
from realtime_testkit.scenarios import converse, speak
from realtime_testkit.signals import frames, tone
from realtime_testkit.transport import Transport

from .base import Contract

SEEN = protocol.AppendImage


class Camera(aiortc.VideoStreamTrack):
    """A track of one shade of grey, 30 times a second or as often as `fps` says."""

    def __init__(self, grey: int = 40, width: int = 64, height: int = 48, *, fps: int = 30) -> None:
        super().__init__()
        self.shown = 0
        self._fps = fps
        self._size = height, width
        self._frame = self._painted(grey)
        self._next = time.monotonic()

    def show(self, grey: int) -> None:
        """Show another shade from now on."""
        self._frame = self._painted(grey)

    async def recv(self) -> av.VideoFrame:
        """Return the next frame when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        self._next += 1 / self._fps
        await asyncio.sleep(self._next - time.monotonic())
        self.shown += 1
        self._frame.pts = self.shown * 3000
        self._frame.time_base = fractions.Fraction(1, 90000)
        return self._frame

    def _painted(self, grey: int) -> av.VideoFrame:
        picture = np.full((*self._size, 3), grey, np.uint8)
        return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")


class Video(Contract):
    """Video of the call on its way to the provider."""

    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        """A camera that is switched off at the end."""
        camera = Camera()
        yield camera
        camera.stop()

    async def test_vd3_video_is_accepted_on_every_session(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """Watching a track raises nothing on any session, and audio gets through meanwhile.

        The capability is announced.
        """
        capabilities = record.connected[0].capabilities or []
        assert ("video" in capabilities) == facts.video
        track = VideoStreamTrack()
        forwarder = VideoForwarder(track, fps=30)
        try:
            for number in (1, 2):
                connection = await provider.connection(number)
                await record.up(number)
                await llm.watch_video_track(track)
                await llm.watch_video_track(track, shared_forwarder=forwarder)
                await converse(llm, output, connection)
                if not facts.video:
                    assert not forwarder.frame_handlers, "frames are taken and thrown away"
                await llm.stop_watching_video_track()
                await llm.stop_watching_video_track()
                connection.abort()
        finally:
            await forwarder.stop()
            track.stop()
        assert not record.errors

    async def test_vd3_watching_before_connect_raises_nothing(self, make: Make) -> None:
        """Watching and unwatching a track before connect() raises nothing."""
        llm = make()
        track = VideoStreamTrack()
        await llm.watch_video_track(track)
        await llm.stop_watching_video_track()
        await llm.close()
        track.stop()

    async def test_vd1_frames_come_at_fps(
        self, make: Make, provider: Provider, camera: Camera, facts: Facts
    ) -> None:
        """A shared 30 fps forwarder gives the provider frames at the fps argument."""
        facts.need("video")
        llm = make(fps=5)
        await llm.connect()
        connection = await provider.connection()
        shared = VideoForwarder(camera, fps=30)
        start = time.monotonic()
        await llm.watch_video_track(camera, shared_forwarder=shared)
        await connection.wait_for(SEEN)
        first = time.monotonic()
        await connection.wait_for(SEEN, 6)
        sixth = time.monotonic()
        assert sixth - start > 0.8, f"6 frames at fps=5 came within {sixth - start:.2f} s"
        assert sixth - first < 3.5, f"5 more frames at fps=5 took {sixth - first:.2f} s"

    async def test_vd1_slow_forwarder_is_enough(
        self, make: Make, provider: Provider, camera: Camera, facts: Facts
    ) -> None:
        """A shared forwarder slower than fps still gives frames."""
        facts.need("video")
        llm = make(fps=30)
        await llm.connect()
        connection = await provider.connection()
        await llm.watch_video_track(camera, shared_forwarder=VideoForwarder(camera, fps=10))
        await connection.wait_for(SEEN, 2)

    async def test_vd1_switch_leaves_one_handler(
        self, make: Make, provider: Provider, camera: Camera, facts: Facts
    ) -> None:
        """After a switch of tracks, frames of the new one alone are sent, by one handler."""
        facts.need("video")
        llm = make(fps=10)
        await llm.connect()
        connection = await provider.connection()
        screen = Camera(grey=200)
        first, second = VideoForwarder(camera, fps=30), VideoForwarder(screen, fps=30)
        await llm.watch_video_track(camera, shared_forwarder=first)
        await _seen(connection, 40)
        await llm.watch_video_track(screen, shared_forwarder=second)
        await llm.watch_video_track(screen, shared_forwarder=second)
        assert (len(first.frame_handlers), len(second.frame_handlers)) == (0, 1)
        seen = await _seen(connection, 200)
        await connection.wait_for(SEEN, seen + 3)
        greys = [_grey(image) for image in connection.received(SEEN)[seen - 1 :]]
        assert all(abs(grey - 200) < 15 for grey in greys), greys
        screen.stop()

    async def test_vd2_no_frame_of_the_track_before_follows_a_switch(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Once watch_video_track() returned, no frame of the track before is sent.

        Frames of it come faster than they are converted, so that one always waits.
        """
        facts.need("video")
        transport.needs_messages()
        before = await asyncio.to_thread(Camera, 40, 4096, 3072, fps=200)
        after = Camera(grey=200)
        llm = make(fps=200)
        await llm.connect()
        connection = await provider.connection()
        await llm.watch_video_track(before)
        await connection.wait_for(SEEN, 2)
        await llm.watch_video_track(after)
        await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000))
        await connection.wait_audio(1)
        commands = connection.commands
        switched = commands.index(connection.received(protocol.AppendAudio)[0])
        await _seen(connection, 200)
        await llm.stop_watching_video_track()
        before.stop()
        after.stop()
        later = [_grey(each) for each in commands[switched:] if isinstance(each, SEEN)]
        assert all(abs(grey - 200) < 15 for grey in later), later

    async def test_vd2_no_frame_after_stop(
        self, llm: Realtime, connection: Connection, camera: Camera, facts: Facts
    ) -> None:
        """No frame is sent after stop_watching_video_track(), and watching again works."""
        facts.need("video")
        shared = VideoForwarder(camera, fps=30)
        await llm.watch_video_track(camera, shared_forwarder=shared)
        await connection.wait_for(SEEN)
        await llm.stop_watching_video_track()
        assert shared.frame_handlers == []
        camera.show(200)
        await _shown(camera, 15)
        assert all(_grey(image) < 100 for image in connection.received(SEEN))
        await llm.watch_video_track(camera, shared_forwarder=shared)
        await _seen(connection, 200)

    async def test_vd2_no_frame_is_read_after_close(
        self, make: Make, provider: Provider, camera: Camera, facts: Facts
    ) -> None:
        """The track is not read after close()."""
        facts.need("video")
        llm = make(fps=30)
        await llm.connect()
        await llm.watch_video_track(camera)
        await (await provider.connection()).wait_for(SEEN)
        await llm.close()
        await asyncio.sleep(0)
        shown = camera.shown
        await asyncio.sleep(0.15)
        assert camera.shown <= shown + 1

    async def test_vd2_frames_resume_after_a_loss_and_a_reopen(
        self, make: Make, provider: Provider, camera: Camera, facts: Facts
    ) -> None:
        """Frames are sent again after a reconnect, and after close() and connect()."""
        facts.need("video")
        llm = make(fps=30)
        shared = VideoForwarder(camera, fps=30)
        await llm.connect()
        await llm.watch_video_track(camera, shared_forwarder=shared)
        first = await provider.connection(1)
        await first.wait_for(SEEN)
        first.abort()
        await (await provider.connection(2)).wait_for(SEEN)
        await llm.close()
        await llm.connect()
        await llm.watch_video_track(camera, shared_forwarder=shared)
        await (await provider.connection(3)).wait_for(SEEN)

    @pytest.mark.parametrize("size", [(4096, 3072)], ids=["12 megapixels"])
    async def test_vd2_conversion_runs_off_the_loop(
        self, make: Make, provider: Provider, facts: Facts, size: tuple[int, int]
    ) -> None:
        """The event loop does not stand still while a large frame is converted."""
        facts.need("video")
        camera = await asyncio.to_thread(Camera, 40, *size)
        started = time.monotonic()
        await asyncio.to_thread((await camera.recv()).to_image)
        takes = time.monotonic() - started
        llm = make(fps=30)
        await llm.connect()
        connection = await provider.connection()
        gaps = [0.0]
        ticking = asyncio.create_task(_measure(gaps))
        await llm.watch_video_track(camera)
        await connection.wait_for(SEEN, 2)
        ticking.cancel()
        await asyncio.wait([ticking])
        await llm.stop_watching_video_track()
        camera.stop()
        longest = max(gaps)
        assert longest < max(takes / 2, 0.05), f"stood still for {longest * 1000:.0f} ms"

    async def test_vd2_newest_frame_is_sent(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A change of the picture reaches the provider within a second."""
        facts.need("video")
        camera = Camera(40, 1280, 960)
        llm = make(fps=30)
        await llm.connect()
        connection = await provider.connection()
        await llm.watch_video_track(camera)
        await connection.wait_for(SEEN, 3)
        camera.show(200)
        started = time.monotonic()
        await _seen(connection, 200)
        late = time.monotonic() - started
        camera.stop()
        await llm.stop_watching_video_track()
        assert late < 1.0, f"seen {late:.2f} s later"

    async def test_vd3_track_watched_before_connect_is_sent(
        self, make: Make, provider: Provider, camera: Camera, facts: Facts
    ) -> None:
        """A track watched before connect() is sent once connected, without an error event."""
        facts.need("video")
        llm = make(fps=30)
        record = make.record(llm)
        await llm.stop_watching_video_track()
        await llm.watch_video_track(camera)
        await _shown(camera, 3)
        await llm.connect()
        connection = await provider.connection()
        await connection.wait_for(SEEN)
        await llm.stop_watching_video_track()
        await llm.stop_watching_video_track()
        await record.settled()
        assert record.errors == []


async def _measure(gaps: list[float]) -> None:
    """Add how long each turn of the event loop takes."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - last)
        last = now


async def _shown(camera: Camera, count: int) -> None:
    """Give the camera time to show that many frames."""
    if camera.readyState == "live":
        await asyncio.sleep(count / 30 + 0.1)


async def _seen(connection: Connection, grey: int) -> int:
    """Wait until a shade is seen; returns the number of the image."""
    count = len(connection.received(SEEN))
    async with asyncio.timeout(WAIT_S):
        while True:
            count += 1
            if abs(_grey(await connection.wait_for(SEEN, count)) - grey) < 15:
                return count


def _grey(image: protocol.AppendImage) -> float:
    with Image.open(io.BytesIO(image.data), formats=["JPEG"]) as picture:
        return float(np.asarray(picture).mean())
