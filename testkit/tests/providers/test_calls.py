"""The embedded provider over WebRTC: every form of an offer, and what the channel tells."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, TypedDict, Unpack

import aiohttp
import pytest
from getstream.video.rtc.track_util import PcmData
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeSessionCreateRequestParam
from realtime_testkit import protocol
from realtime_testkit.providers import plain, webrtc
from realtime_testkit.providers.openai import WebRTCProvider
from realtime_testkit.providers.peer import Peer

from .conversing import tone
from .published import faults_of

SESSION: RealtimeSessionCreateRequestParam = {"type": "realtime", "model": "a-model"}
WAIT_S = 20.0


class Request(TypedDict, total=False):
    data: str | aiohttp.FormData
    headers: dict[str, str]


@pytest.fixture
async def provider() -> AsyncIterator[WebRTCProvider]:
    async with WebRTCProvider() as provider:
        yield provider
        for connection in provider.connections:
            assert faults_of(connection) == []


@pytest.fixture
async def caller() -> AsyncIterator[Peer]:
    caller = Peer()
    yield caller
    await caller.close()


async def post(url: str, **arguments: Unpack[Request]) -> tuple[int, str, str]:
    arguments["headers"] = {"Authorization": "Bearer any"} | arguments.get("headers", {})
    async with aiohttp.ClientSession() as http, http.post(url, **arguments) as response:
        return response.status, await response.text(), response.headers.get("Location", "")


async def until(caller: Peer, kind: str) -> dict[str, Any]:
    """Wait for the next message of a type."""
    async with asyncio.timeout(WAIT_S):
        while True:
            heard = await caller.receive()
            if isinstance(heard, str) and json.loads(heard)["type"] == kind:
                message: dict[str, Any] = json.loads(heard)
                return message


async def connected(caller: Peer, provider: webrtc.WebRTCProvider) -> None:
    offer = await caller.offer("oai-events")
    headers = {"Content-Type": "application/sdp"}
    status, answer, _ = await post(f"{provider.url}?model=a-model", data=offer, headers=headers)
    assert status == 201
    await caller.accept(answer)


class TestTheOffer:
    async def is_taken(self, caller: Peer, answer: str, provider: WebRTCProvider) -> None:
        await caller.accept(answer)
        created = await until(caller, "session.created")
        assert created["session"]["model"] == "a-model"
        [connection] = provider.connections
        assert (connection.model, connection.api_key) == ("a-model", "any")

    async def test_as_the_sdk_sends_it(self, caller: Peer, provider: WebRTCProvider) -> None:
        base_url = provider.url.removesuffix("/realtime/calls")
        async with AsyncOpenAI(api_key="any", base_url=base_url) as client:
            offer = await caller.offer("oai-events")
            answer = await client.realtime.calls.create(sdp=offer, session=SESSION)
        await self.is_taken(caller, answer.text, provider)

    async def test_as_the_form_of_the_documentation(
        self, caller: Peer, provider: WebRTCProvider
    ) -> None:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("sdp", await caller.offer("oai-events"))
        form.add_field("session", json.dumps(SESSION))
        status, answer, location = await post(provider.url, data=form)
        assert (status, location) == (201, "/v1/realtime/calls/call_1")
        await self.is_taken(caller, answer, provider)

    async def test_bare_with_the_model_in_the_query(
        self, caller: Peer, provider: WebRTCProvider
    ) -> None:
        offer = await caller.offer("oai-events")
        headers = {"Content-Type": "application/sdp"}
        url = f"{provider.url}?model=a-model"
        status, answer, _ = await post(url, data=offer, headers=headers)
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
    async def test_what_is_none_is_refused(
        self, provider: WebRTCProvider, body: str, kind: str
    ) -> None:
        url = f"{provider.url}?model=a-model"
        status, *_ = await post(url, data=body, headers={"Content-Type": kind})
        assert status == 400
        assert provider.connections == []

    async def test_without_a_key_it_is_refused(self, provider: WebRTCProvider) -> None:
        status, *_ = await post(provider.url, data="", headers={"Authorization": ""})
        assert status == 401


class TestTheCall:
    async def test_what_is_played_is_told_in_order(
        self, caller: Peer, provider: WebRTCProvider
    ) -> None:
        """The part is added, playing starts, the response is done, playing stops."""
        await connected(caller, provider)
        await until(caller, "session.created")
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hello"}],
        }
        await caller.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await caller.send(json.dumps({"type": "response.create"}))
        await until(caller, "response.content_part.added")
        await until(caller, "output_audio_buffer.started")
        done = await until(caller, "response.done")
        stopped = await until(caller, "output_audio_buffer.stopped")
        assert stopped["response_id"] == done["response"]["id"]

    async def test_a_barge_in_clears_what_is_played(
        self, caller: Peer, provider: WebRTCProvider
    ) -> None:
        await connected(caller, provider)
        await until(caller, "session.created")
        request = {"instructions": "Sing as long as you can, and then once more, please"}
        await caller.send(json.dumps({"type": "response.create", "response": request}))
        await until(caller, "output_audio_buffer.started")
        await caller.speak(PcmData.from_bytes(tone(0.5, 48000), 48000), final=True)
        await until(caller, "input_audio_buffer.speech_started")
        await until(caller, "output_audio_buffer.cleared")
        [first, *_] = provider.spoken
        assert first.seconds < 2.75, "eleven words take 2.75 s"


async def test_the_plain_wire_is_spoken_in_a_call(caller: Peer) -> None:
    """Its messages are in the channel, its speech on the track."""
    async with plain.WebRTCProvider() as provider:
        await connected(caller, provider)
        setup = {"model": "m", "modality": "AUDIO", "inputHertz": 16000, "outputHertz": 24000}
        await caller.send(json.dumps({"setup": setup}))
        turn = {"role": "user", "parts": [{"text": "hello"}]}
        await caller.send(json.dumps({"clientContent": {"turns": [turn], "turnComplete": True}}))
        said, sounds = "", 0
        async with asyncio.timeout(WAIT_S):
            while "turnComplete" not in said or not sounds:
                heard = await caller.receive()
                if isinstance(heard, str):
                    said += heard
                elif not isinstance(heard, bytes):
                    sounds += 1
        assert "You" in said
        connection = await provider.connection()
        assert isinstance(connection.commands[0], protocol.Configure)
        assert connection.violations == []
