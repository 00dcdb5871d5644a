"""The embedded provider is a real one: callers that others wrote hold a conversation with it over WebRTC."""

import asyncio
import importlib
import json
import math
import re
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType, TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import aiohttp
import pytest
from getstream.video.rtc.track_util import PcmData
from openai import AsyncOpenAI
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.events import RealtimeConnectedEvent, RealtimeDisconnectedEvent
from vision_agents.core.llm.realtime import (
    Realtime,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
)
from vision_agents.plugins import inworld, openai
from vision_agents.plugins.inworld import rtc_manager as inworlds_call

from tests.generated import Plugin

Provider = Any  # of the generated plugin
Peer = Any

USER = Participant(None, "alice", "participant-alice")
SESSION = {"type": "realtime", "model": "a-model"}
RATE = 48000
WAIT_S = 30.0
CONSENT_S = 45.0
"""How long aiortc takes at most to see that the other end is gone (RFC 7675)."""

ItemT = TypeVar("ItemT")


class Request(TypedDict, total=False):
    data: str | aiohttp.FormData
    headers: dict[str, str]


@pytest.fixture(scope="module")
def nightingale(plugins: dict[str, Plugin]) -> Iterator[ModuleType]:
    plugin = plugins["webrtc"]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin.path))
        yield importlib.import_module(f"vision_agents.plugins.{plugin.slug}")


@pytest.fixture
async def provider(nightingale: ModuleType) -> AsyncIterator[Provider]:
    async with nightingale.loopback.Provider() as provider:
        yield provider
        assert [connection.violations for connection in provider.connections] == [[]] * len(
            provider.connections
        )


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
        """Wait until that much of a voice was heard."""
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


@pytest.fixture(params=["openai", "openai with video", "inworld"])
def shipped(
    request: pytest.FixtureRequest, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> Realtime:
    """A realtime plugin of the house as it is shipped, with another base URL."""
    if request.param != "inworld":
        base_url = provider.url.removesuffix("/realtime/calls")
        client = AsyncOpenAI(api_key="any", base_url=base_url)
        return openai.Realtime(client=client, send_video=request.param.endswith("video"))
    # It has no argument for its base URL: these constants are all there is of it.
    monkeypatch.setattr(inworlds_call, "INWORLD_CALLS_ENDPOINT", provider.url)
    ice_url = re.sub("calls$", "ice-servers", provider.url)
    monkeypatch.setattr(inworlds_call, "INWORLD_ICE_ENDPOINT", ice_url)
    return inworld.Realtime(api_key="any", force_tool_calling=True)


class TestTheHousesPluginsTalkToTheLoopback:
    @pytest.fixture(autouse=True)
    async def heard(self, shipped: Realtime) -> AsyncIterator[Listener]:
        @shipped.register_function(name="get_weather", description="The weather somewhere.")
        async def get_weather(city: str) -> str:
            return f"rain in {city}"

        await shipped.connect()
        async with Listener(shipped) as listener:
            yield listener
        await shipped.close()

    async def test_a_text_turn(
        self, shipped: Realtime, heard: Listener, provider: Provider
    ) -> None:
        await ask(shipped, "Hello canary")
        assert (await heard.first(RealtimeAgentTranscript)).text == "You said: Hello canary"
        [spoken] = provider.spoken
        await heard.hears(spoken.seconds)
        [connection] = provider.connections
        assert connection.config.model == shipped.model

    async def test_a_spoken_turn(
        self, shipped: Realtime, heard: Listener, provider: Provider
    ) -> None:
        await speak(shipped, 1.0)
        # Inworld's forgets who spoke, and does not say what: the answer repeats it.
        said = await heard.first(RealtimeAgentTranscript)
        assert re.fullmatch(r"You said: speech of 1\.[0-9] seconds", said.text)
        [spoken] = provider.spoken
        assert spoken.seconds > 1.0
        await heard.hears(spoken.seconds)

    async def test_a_barge_in(self, shipped: Realtime, heard: Listener, provider: Provider) -> None:
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
        assert spoken.seconds < whole, "it was spoken to the end"

    async def test_a_tool_call(self, shipped: Realtime, heard: Listener) -> None:
        await ask(shipped, 'Call get_weather with {"city": "Oslo"}')
        said = await heard.first(RealtimeAgentTranscript)
        assert "rain in Oslo" in said.text


class TestTheOffer:
    """Every form of it that is in use."""

    @pytest.fixture
    async def caller(self, nightingale: ModuleType) -> AsyncIterator[Peer]:
        caller = nightingale.peer.Peer()
        yield caller
        await caller.close()

    async def is_taken(self, caller: Peer, answer: str, provider: Provider) -> None:
        async with asyncio.timeout(WAIT_S):
            await caller.accept(answer)
            message = await caller.receive()
            while not isinstance(message, str):
                message = await caller.receive()
        assert json.loads(message)["type"] == "session.created"
        [connection] = provider.connections
        assert (connection.model, connection.api_key) == ("a-model", "any")

    async def post(self, url: str, **arguments: Unpack[Request]) -> tuple[int, str, str]:
        arguments["headers"] = {"Authorization": "Bearer any"} | arguments.get("headers", {})
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, **arguments) as response,
        ):
            return response.status, await response.text(), response.headers.get("Location", "")

    async def test_as_the_sdk_sends_it(self, caller: Peer, provider: Provider) -> None:
        base_url = provider.url.removesuffix("/realtime/calls")
        async with AsyncOpenAI(api_key="any", base_url=base_url) as client:
            offer = await caller.offer("oai-events")
            answer = await client.realtime.calls.create(sdp=offer, session=SESSION)
        await self.is_taken(caller, answer.text, provider)

    async def test_as_the_form_of_the_documentation(self, caller: Peer, provider: Provider) -> None:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("sdp", await caller.offer("oai-events"))
        form.add_field("session", json.dumps(SESSION))
        status, answer, location = await self.post(provider.url, data=form)
        assert (status, location) == (201, "/v1/realtime/calls/call_1")
        await self.is_taken(caller, answer, provider)

    async def test_bare_with_the_model_in_the_query(self, caller: Peer, provider: Provider) -> None:
        offer = await caller.offer("oai-events")
        headers = {"Content-Type": "application/sdp"}
        url = f"{provider.url}?model=a-model"
        status, answer, _ = await self.post(url, data=offer, headers=headers)
        assert status == 201
        await self.is_taken(caller, answer, provider)

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            ("no sdp", "application/sdp"),
            ("{}", "application/json"),
            ('{"sdp": "v=0"}', "application/json"),
            ("v=0\r\n", "application/sdp"),
            ("", "multipart/form-data; boundary=x"),
            ("v=0", "text/plain"),
        ],
    )
    async def test_what_is_none_is_refused(self, provider: Provider, body: str, kind: str) -> None:
        url = f"{provider.url}?model=a-model"
        status, *_ = await self.post(url, data=body, headers={"Content-Type": kind})
        assert status == 400
        assert provider.connections == []

    async def test_without_a_key_it_is_refused(self, provider: Provider) -> None:
        status, *_ = await self.post(provider.url, data="", headers={"Authorization": ""})
        assert status == 401


async def test_an_end_that_vanishes_is_missed(nightingale: ModuleType, provider: Provider) -> None:
    """No goodbye, no packet any more: said once, and made good."""
    llm = nightingale.Realtime(api_key="any", base_url=provider.url)
    connected: list[RealtimeConnectedEvent] = []
    disconnected: list[RealtimeDisconnectedEvent] = []
    again = asyncio.Event()

    @llm.events.subscribe
    async def on_event(event: RealtimeConnectedEvent | RealtimeDisconnectedEvent) -> None:
        if isinstance(event, RealtimeDisconnectedEvent):
            disconnected.append(event)
        else:
            connected.append(event)
            if len(connected) == 2:
                again.set()

    await llm.connect()
    began = time.monotonic()
    (await provider.connection()).freeze()
    async with asyncio.timeout(CONSENT_S):
        await again.wait()
    assert time.monotonic() - began > 1.0
    assert [event.clean for event in disconnected] == [False]
    assert llm.connected
    await llm.close()


def test_a_websocket_plugin_holds_none_of_it(plugins: dict[str, Plugin]) -> None:
    for name in ("default", "video"):
        for path in plugins[name].package.glob("*.py"):
            source = path.read_text(encoding="utf-8")
            found = re.search(r"(?i)webrtc|\bsdp\b|\bice\b|peer\b|output_audio_buffer", source)
            assert found is None, f"{name}: {path.name}: {found}"
            imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
            assert not imported & {"aiohttp", "aioice"}, path.name
            # In the signature that the base class asks for, and in the track it is handed.
            takes_tracks = path.name in (f"{plugins[name].slug}_realtime.py", "video.py")
            assert takes_tracks or "aiortc" not in imported, path.name
