"""VD: a provider without eyes takes the video calm, one with eyes takes it sparingly."""

from aiortc import VideoStreamTrack
from vision_agents.core.utils.video_forwarder import VideoForwarder
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, loopback

from .kit import Ear, Facts, Recorder, converse
from .making import Make


class TestVideo:
    async def test_vd3_video_is_taken_at_any_time(
        self, llm: Realtime, ear: Ear, provider: loopback.Provider, record: Recorder, facts: Facts
    ) -> None:
        """A caller who switches the camera on ends the call."""
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
                await converse(llm, ear, connection)
                if not facts.video:
                    assert not forwarder.frame_handlers, "frames are taken and thrown away"
                await llm.stop_watching_video_track()
                await llm.stop_watching_video_track()
                connection.abort()
        finally:
            await forwarder.stop()
            track.stop()
        assert not record.errors

    async def test_vd3_video_needs_no_session(self, make: Make) -> None:
        """An agent that joins a call with a camera on fails before it begins."""
        llm = make()
        track = VideoStreamTrack()
        await llm.watch_video_track(track)
        await llm.stop_watching_video_track()
        await llm.close()
        track.stop()
