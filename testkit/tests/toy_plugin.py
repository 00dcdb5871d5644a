"""A plugin that keeps hardly any contract, to see what the suite says of it.

Its connect() fails at once, or as TOY says: it waits for ever, stands still, or leaves a task.
"""

import asyncio
import os
from collections.abc import AsyncIterator

from aiortc import MediaStreamTrack
from getstream.video.rtc.track_util import PcmData
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm import realtime
from vision_agents.core.llm.llm import LLMResponseFinal
from vision_agents.core.utils.video_forwarder import VideoForwarder

__all__ = ["Client", "Realtime", "ToyError"]


class ToyError(ConnectionError):
    """The one error of this plugin."""


class Client:
    """Knows an address, and does nothing with it."""

    def __init__(
        self,
        api_key: str,
        base_url: str,
        *,
        connect_timeout_s: float,
        send_timeout_s: float,
        reconnect_delay_s: float,
        reconnect_max_delay_s: float,
        reconnect_attempts: int,
    ) -> None:
        self.base_url = base_url


class Realtime(realtime.Realtime):
    """Is constructed, and that is all."""

    provider_name = "toy_plugin"

    def __init__(
        self,
        *,
        client: Client | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        fps: int = 1,
    ) -> None:
        if client is None and not (api_key or os.environ.get("TOY_API_KEY")):
            raise ValueError("pass api_key, set TOY_API_KEY or pass client")
        super().__init__(fps=fps)
        self.client = client or base_url
        self.tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Fail, as TOY says."""
        match os.environ.get("TOY"):
            case "hangs":
                await asyncio.Event().wait()
            case "freezes":
                while True:
                    os.environ.get("TOY")
            case "leaks":
                self.tasks.append(asyncio.create_task(asyncio.sleep(3600)))
        raise ToyError("there is no provider")

    async def close(self) -> None:
        """Do nothing."""

    async def watch_video_track(
        self, track: MediaStreamTrack, shared_forwarder: VideoForwarder | None = None
    ) -> None:
        """Do nothing."""

    async def simple_audio_response(
        self, pcm: PcmData, participant: Participant | None = None
    ) -> None:
        """Do nothing."""

    async def simple_response(
        self, text: str, participant: Participant | None = None
    ) -> AsyncIterator[LLMResponseFinal]:
        """Fail."""
        if not self.connected:
            raise ToyError("there is no provider")
        yield LLMResponseFinal(original=None, text=text)
