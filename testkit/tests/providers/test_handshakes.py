"""An author states in a few lines how a service is reached and what it is like."""

import asyncio
import json
from collections.abc import Mapping
from typing import ClassVar

import pytest
from realtime_testkit import protocol
from realtime_testkit.protocol import Command, Event, UnsupportedEvent
from realtime_testkit.providers import Handshake, Limits, Provider, Refusal, WireCodec, openai
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


class KeyInAHeader(openai.Provider):
    path = "/v1/agents"

    def key(self, handshake: Handshake) -> str | None:
        return handshake.headers.get("xi-api-key")

    def model(self, handshake: Handshake) -> str | None:
        return handshake.query.get("agent_id")


class TokenWithoutModel(openai.Provider):
    needs_model = False

    def key(self, handshake: Handshake) -> str | None:
        return handshake.token("Token")


class KeyInTheQuery(openai.Provider):
    query: ClassVar[Mapping[str, str]] = {"api-version": "2026-11-01"}

    def key(self, handshake: Handshake) -> str | None:
        return handshake.query.get("key")


class Signed(openai.Provider):
    def check(self, handshake: Handshake) -> Refusal | None:
        return None if handshake.query.get("signature") == "good" else Refusal(403, "not signed")


@pytest.mark.parametrize(
    ("kind", "query", "headers", "status"),
    [
        (openai.Provider, "?model=m", {"Authorization": "Bearer k"}, 101),
        (openai.Provider, "?model=m", {"Authorization": "Token k"}, 401),
        (openai.Provider, "?model=m", {}, 401),
        (openai.Provider, "", {"Authorization": "Bearer k"}, 400),
        (KeyInAHeader, "?agent_id=a", {"xi-api-key": "k"}, 101),
        (KeyInAHeader, "?agent_id=a", {"Authorization": "Bearer k"}, 401),
        (TokenWithoutModel, "", {"Authorization": "Token k"}, 101),
        (KeyInTheQuery, "&key=k&model=m", {}, 101),
        (KeyInTheQuery, "&model=m", {}, 401),
        (Signed, "?signature=good", {}, 101),
        (Signed, "?signature=bad", {}, 403),
    ],
)
async def test_a_handshake_is_judged_as_the_service_does(
    kind: type[openai.Provider], query: str, headers: Mapping[str, str], status: int
) -> None:
    async with kind() as provider:
        provider.api_key = "k"
        try:
            async with connect(provider.url + query, additional_headers=headers):
                seen = 101
        except InvalidStatus as refused:
            seen = refused.response.status_code
        assert seen == status
        assert provider.handshakes == 1


async def test_a_query_of_its_own_has_to_be_kept() -> None:
    async with KeyInTheQuery() as provider:
        assert provider.url.endswith("/v1/realtime?api-version=2026-11-01")
        bare = provider.url.partition("?")[0]
        with pytest.raises(InvalidStatus):
            async with connect(f"{bare}?key=k&model=m"):
                pass


class Letters(WireCodec):
    """A wire of its own: a frame is a word."""

    def encode(self, event: Event) -> list[str | bytes]:
        match event:
            case protocol.SessionOpened():
                return ["welcome"]
            case protocol.Ping(token):
                return [f"ping {token}"]
            case protocol.TextDone(text=text):
                return [text]
            case protocol.Fault(code):
                return [f"fault {code}"]
        raise UnsupportedEvent(type(event).__name__)

    def decode(self, frame: str | bytes) -> list[Command]:
        word, _, rest = str(frame).partition(" ")
        match word:
            case "start":
                return [protocol.Configure(protocol.SessionConfig("m", modalities="text"))]
            case "pong":
                return [protocol.Pong(rest)]
            case "alive":
                return [protocol.KeepAlive()]
        return [protocol.AddMessage("user", str(frame)), protocol.CreateResponse("")]


class Strange(Provider):
    codec = Letters
    needs_model = False
    limits = Limits(ping_s=0.1)


class Impatient(Strange):
    limits = Limits(silence_s=0.3)


class Brief(openai.Provider):
    limits = Limits(session_s=0.2)


HEADERS = {"Authorization": "Bearer k"}


async def test_a_wire_of_its_own_is_spoken_on_its_first_run() -> None:
    """It greets, takes a message as a request, and answers with what the wire has words for."""
    async with Strange() as provider, connect(provider.url, additional_headers=HEADERS) as ws:
        assert await ws.recv() == "welcome"
        await ws.send("start")
        await ws.send("hello")
        while (said := str(await ws.recv())).startswith("ping"):
            await ws.send(said.replace("ping", "pong"))
        assert said == "You said: hello"
        assert (await provider.connection()).violations == []


async def test_a_ping_has_to_be_answered() -> None:
    async with Strange() as provider, connect(provider.url, additional_headers=HEADERS) as ws:
        assert await ws.recv() == "welcome"
        assert await ws.recv() == "ping ping_1"
        await ws.send("pong ping_1")
        assert await ws.recv() == "ping ping_2"
        assert await ws.recv() == "ping ping_3"
        assert provider.connections[0].violations == ["no Pong for ping_2"]


async def test_a_client_that_keeps_silent_is_hung_up_on() -> None:
    async with Impatient() as provider, connect(provider.url, additional_headers=HEADERS) as ws:
        assert await ws.recv() == "welcome"
        for _ in range(3):
            await asyncio.sleep(0.2)
            await ws.send("alive")
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 1011


async def test_a_session_expires() -> None:
    async with (
        Brief() as provider,
        connect(f"{provider.url}?model=m", additional_headers=HEADERS) as ws,
    ):
        assert json.loads(await ws.recv())["type"] == "session.created"
        assert json.loads(await ws.recv())["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed):
            await ws.recv()
        assert ws.close_code == 1001


async def test_waiting_for_a_connection_says_why_the_handshake_was_refused() -> None:
    async with openai.Provider() as provider:
        with pytest.raises(InvalidStatus):
            await connect(f"{provider.url}?model=m", additional_headers={"X-Key": "k"})
        with pytest.raises(
            TimeoutError, match=r"refused the last handshake: 401, no key where key"
        ):
            await provider.connection()
