"""What is measured: the generated plugin, the shipped ones, and the floor under them all.

The shipped plugins are as they are installed, but for where they dial: xAI's address is a
constant of its module, and the SDK under Gemini's insists on wss://. Both are set here.
"""

import base64
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Protocol

from cookiecutter.main import cookiecutter
from getstream.video.rtc.track_util import FrameResampler, PcmData
from google import genai
from google.genai.types import HttpOptions
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.realtime import Realtime, RealtimeAudioOutput
from vision_agents.plugins import gemini, qwen, xai
from vision_agents.plugins.xai import xai_realtime
from websockets.asyncio.client import ClientConnection, connect

from .provider import Provider

ROOT = Path(__file__).parents[2]
CALLER = Participant(original=None, user_id="caller", id="caller")


class Side(Protocol):
    """One way to hold a session."""

    line: int
    rate: int

    async def process_audio(self, pcm: PcmData, participant: Participant) -> None:
        """Send a frame of audio."""

    async def take(self, count: int) -> None:
        """Take that many pieces of audio, returning when there were so many."""

    async def watch(self, cleared: Callable[[], None]) -> None:
        """Take all there is; calls ``cleared`` whenever the user's barge-in took effect."""

    async def close(self) -> None:
        """Hang up."""


class Floor:
    """No plugin: the same resampler, the same bytes on the wire, and a bare socket."""

    def __init__(self, websocket: ClientConnection, rate: int, line: int) -> None:
        self.line = line
        self.rate = rate
        self._websocket = websocket
        self._resampler = FrameResampler(rate, "mono", "s16", 0)

    async def process_audio(self, pcm: PcmData, participant: Participant) -> None:
        """Send a frame of audio."""
        for frame in self._resampler.resample(pcm):
            data = bytes(memoryview(frame.planes[0])[: frame.samples * 2])
            text = base64.b64encode(data).decode()
            await self._websocket.send(
                '{"type":"input_audio_buffer.append","audio":"' + text + '"}'
            )

    async def take(self, count: int) -> None:
        """Receive that many pieces of audio, unread."""
        while count:
            frame = await self._websocket.recv()
            count -= "audio.delta" in frame[:60]

    async def watch(self, cleared: Callable[[], None]) -> None:
        """Receive; a barge-in takes effect when its frame is there."""
        async for frame in self._websocket:
            if "speech_started" in frame[:60]:
                cleared()

    async def close(self) -> None:
        """Hang up."""
        await self._websocket.close()


class Plugin:
    """A plugin behind Vision Agents' own interface."""

    def __init__(self, llm: Realtime, rate: int, line: int) -> None:
        self.line = line
        self.rate = rate
        self.llm = llm
        self.process_audio = llm.process_audio
        self.close = llm.close

    async def take(self, count: int) -> None:
        """Take that many pieces of audio from the output."""
        while count:
            item = await self.llm.output.get()
            count -= isinstance(item, RealtimeAudioOutput)

    async def watch(self, cleared: Callable[[], None]) -> None:
        """Take all there is; a barge-in takes effect when the output is cleared."""
        output = self.llm.output
        clear = output.clear

        def timed_clear() -> None:
            clear()
            cleared()

        output.clear = timed_clear
        async for _ in output:
            pass


Opener = Callable[[Provider, bool], Awaitable[Side]]


def _floor(rate: int) -> Opener:
    async def open_side(provider: Provider, deflates: bool) -> Side:
        url = provider.url("floor", deflates=deflates)
        websocket = await connect(url, compression=None, max_size=None)
        await websocket.recv()
        return Floor(websocket, rate, await provider.newest_line())

    return open_side


def _generated(slug: str, rate: int, **settings: object) -> Opener:
    async def open_side(provider: Provider, deflates: bool) -> Side:
        module = import_module(f"vision_agents.plugins.{slug}")
        url = provider.url("v1/realtime", deflates=deflates)
        llm = module.Realtime(api_key="any", base_url=url, **settings)
        await llm.connect()
        return Plugin(llm, rate, await provider.newest_line())

    return open_side


async def _xai(provider: Provider, deflates: bool) -> Side:
    xai_realtime.WEBSOCKET_URL = provider.url("xai", deflates=deflates)
    llm = xai.Realtime(api_key="any")
    await llm.connect()
    return Plugin(llm, 24000, await provider.newest_line())


async def _qwen(provider: Provider, deflates: bool) -> Side:
    llm = qwen.Realtime(api_key="any", base_url=provider.url("qwen", deflates=deflates))
    await llm.connect()
    return Plugin(llm, 16000, await provider.newest_line())


async def _gemini(provider: Provider, deflates: bool) -> Side:
    client = genai.Client(api_key="any", http_options=HttpOptions(api_version="v1alpha"))
    url = provider.url("gemini", deflates=deflates)
    client._api_client._websocket_base_url = lambda http_options=None: url
    client._api_client._websocket_ssl_ctx = {}
    llm = gemini.Realtime(client=client)
    await llm.connect()
    return Plugin(llm, 16000, await provider.newest_line())


OPENERS: dict[str, Opener] = {
    "floor, 24 kHz": _floor(24000),
    "floor, 16 kHz": _floor(16000),
    "this, 24 kHz": _generated("acme", 24000),
    "this, 24 kHz, 40 ms": _generated("acme", 24000, input_chunk_ms=40),
    "this, 24 kHz, 100 ms": _generated("acme", 24000, input_chunk_ms=100),
    "this, 16 kHz": _generated("acme16", 16000),
    "xAI": _xai,
    "Qwen": _qwen,
    "Gemini": _gemini,
}
"""Ways to hold a session, by name. xAI's takes 24 kHz; Qwen's and Gemini's take 16 kHz."""


@asynccontextmanager
async def opened(
    names: Iterable[str], far_end: Provider, *, deflates: bool = False
) -> AsyncIterator[dict[str, Side]]:
    """Sessions of these sides, closed at the end."""
    sides = {name: await OPENERS[name](far_end, deflates) for name in names}
    try:
        yield sides
    finally:
        for side in sides.values():
            await side.close()


def generate(folder: Path) -> None:
    """Generate the plugins measured, at both rates, and make them importable."""
    for slug, rate in (("acme", "24000"), ("acme16", "16000")):
        plugin = cookiecutter(
            str(ROOT),
            no_input=True,
            output_dir=str(folder),
            extra_context={"plugin_slug": slug, "input_sample_rate": rate},
            default_config={"replay_dir": str(folder / "replays")},
        )
        sys.path.insert(0, plugin)
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # for the processes started from here
