"""The realtime plugins that ship with Vision Agents hold a conversation over WebRTC."""

import asyncio
import math
import re
from array import array
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self, TypeVar

import pytest
from getstream.video.rtc.track_util import PcmData
from openai import AsyncOpenAI
from realtime_testkit import protocol
from realtime_testkit.providers.openai import WebRTCProvider
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.realtime import (
    Realtime,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
)
from vision_agents.plugins import inworld, openai
from vision_agents.plugins.inworld import rtc_manager as inworlds_call

pytestmark = pytest.mark.clients

USER = Participant(None, "alice", "participant-alice")
RATE = 48000
WAIT_S = 30.0

ItemT = TypeVar("ItemT")


class Listener:
    """All that a plugin puts out."""

    def __init__(self, llm: Realtime) -> None:
        self.items: list[object] = []
        self._llm = llm
        self._more = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def of(self, kind: type[ItemT]) -> list[ItemT]:
        return [item for item in self.items if isinstance(item, kind)]

    async def first(self, kind: type[ItemT], after: int = 0) -> ItemT:
        """Wait for an item of a kind, beyond so many of that kind."""
        await self._until(lambda: len(self.of(kind)) > after)
        return self.of(kind)[after]

    async def hears(self, seconds: float) -> None:
        """Wait until that much speech was heard."""
        await self._until(
            lambda: sum(item.data.duration for item in self.of(RealtimeAudioOutput)) >= seconds
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._more.clear()
                await self._more.wait()

    async def _listen(self) -> None:
        async for item in self._llm.output:
            self.items.append(item)
            self._more.set()


async def speak(llm: Realtime, seconds: float) -> None:
    """A tone, as 20 ms frames of a call."""
    size = RATE // 50
    wave = array("h", (int(8000 * math.sin(i / 20)) for i in range(round(seconds * RATE))))
    for start in range(0, len(wave), size):
        frame = PcmData.from_bytes(wave[start : start + size].tobytes(), RATE)
        await llm.simple_audio_response(frame, USER)


async def ask(llm: Realtime, text: str) -> None:
    async for _ in llm.simple_response(text):
        pass


@pytest.fixture
async def provider() -> AsyncIterator[WebRTCProvider]:
    async with WebRTCProvider() as provider:
        yield provider
        for connection in provider.connections:
            assert connection.violations == []
            assert [frame for frame in connection.sent if '"type":"error"' in str(frame)] == []


@pytest.fixture(params=["openai", "openai with video", "inworld"])
def shipped(
    request: pytest.FixtureRequest, provider: WebRTCProvider, monkeypatch: pytest.MonkeyPatch
) -> Realtime:
    """A shipped realtime plugin, with another base URL."""
    if request.param != "inworld":
        base_url = provider.url.removesuffix("/realtime/calls")
        client = AsyncOpenAI(api_key="any", base_url=base_url)
        return openai.Realtime(client=client, send_video=request.param.endswith("video"))
    # It has no argument for its base URL: these public constants are all there is of it.
    monkeypatch.setattr(inworlds_call, "INWORLD_CALLS_ENDPOINT", provider.url)
    ice_url = re.sub("calls$", "ice-servers", provider.url)
    monkeypatch.setattr(inworlds_call, "INWORLD_ICE_ENDPOINT", ice_url)
    return inworld.Realtime(api_key="any", force_tool_calling=True)


class TestShippedPlugins:
    @pytest.fixture(autouse=True)
    async def heard(self, shipped: Realtime) -> AsyncIterator[Listener]:
        @shipped.register_function(name="get_weather", description="The weather somewhere.")
        async def get_weather(city: str) -> str:
            return f"rain in {city}"

        await shipped.connect()
        async with Listener(shipped) as listener:
            yield listener
        await shipped.close()

    async def test_a_text_turn_is_answered(
        self, shipped: Realtime, heard: Listener, provider: WebRTCProvider
    ) -> None:
        await ask(shipped, "Hello canary")
        assert (await heard.first(RealtimeAgentTranscript)).text == "You said: Hello canary"
        [spoken] = provider.spoken
        await heard.hears(spoken.seconds)
        [connection] = provider.connections
        assert connection.config is not None
        assert connection.config.model == shipped.model

    async def test_a_spoken_turn_is_answered(
        self, shipped: Realtime, heard: Listener, provider: WebRTCProvider
    ) -> None:
        await speak(shipped, 1.0)
        # Inworld's plugin forgets who spoke, and does not tell what: the answer repeats it.
        said = await heard.first(RealtimeAgentTranscript)
        assert re.fullmatch(r"You said: speech of 1\.[0-9] seconds", said.text)
        [spoken] = provider.spoken
        assert spoken.seconds > 1.0
        await heard.hears(spoken.seconds)

    async def test_a_barge_in_cuts_the_answer(
        self, shipped: Realtime, heard: Listener, provider: WebRTCProvider
    ) -> None:
        await ask(shipped, "Sing a song that is as long as you can remember it to be")
        await heard.first(RealtimeAudioOutput)
        before = len(heard.of(RealtimeAudioOutputDone))
        [spoken] = provider.spoken
        whole = spoken.seconds
        await speak(shipped, 0.5)
        async with asyncio.timeout(WAIT_S):
            while not (await heard.first(RealtimeAudioOutputDone, before)).interrupted:
                before += 1
        assert (await heard.first(RealtimeAgentTranscript, 1)).text.startswith("You said: speech")
        assert spoken.seconds < whole, "it was played to the end"

    async def test_a_tool_is_called_and_its_result_answered(
        self, shipped: Realtime, heard: Listener, provider: WebRTCProvider
    ) -> None:
        await ask(shipped, 'Call get_weather with {"city": "Oslo"}')
        said = await heard.first(RealtimeAgentTranscript)
        assert "rain in Oslo" in said.text
        [connection] = provider.connections
        assert connection.received(protocol.AddToolResult)
