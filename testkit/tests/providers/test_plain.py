"""The plain wire: a whole conversation, and what it refuses."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from realtime_testkit.providers import plain
from websockets.asyncio.client import ClientConnection, connect

from .conversing import silence, tone

SETUP = {
    "model": "m",
    "modality": "AUDIO",
    "inputHertz": 24000,
    "outputHertz": 24000,
    "transcribes": True,
    "functions": [{"name": "weather", "parameters": {}}],
}


@pytest.fixture
async def provider() -> AsyncIterator[plain.Provider]:
    async with plain.Provider() as provider:
        yield provider


@pytest.fixture
async def line(provider: plain.Provider) -> AsyncIterator[ClientConnection]:
    headers = {"Authorization": "Bearer any"}
    async with connect(f"{provider.url}?model=m", additional_headers=headers) as line:
        yield line


async def say(line: ClientConnection, **payloads: object) -> None:
    await line.send(json.dumps(payloads))


async def ask(line: ClientConnection, text: str) -> None:
    turn = {"role": "user", "parts": [{"text": text}]}
    await say(line, clientContent={"turns": [turn], "turnComplete": True})


async def turn_of(line: ClientConnection) -> tuple[list[dict[str, Any]], bytes]:
    """Everything up to the end of a turn."""
    messages: list[dict[str, Any]] = []
    audio = b""
    async for frame in line:
        if isinstance(frame, bytes):
            audio += frame
            continue
        messages.append(json.loads(frame))
        if messages[-1].get("serverContent", {}).get("turnComplete"):
            break
    return messages, audio


def spoken(messages: list[dict[str, Any]], name: str) -> str:
    contents = [message.get("serverContent", {}) for message in messages]
    return "".join(content.get(name, {}).get("text", "") for content in contents)


class TestAConversation:
    @pytest.fixture(autouse=True)
    async def set_up(self, line: ClientConnection) -> None:
        await say(line, setup=SETUP)
        assert "setupComplete" in json.loads(await line.recv())

    async def test_text_is_answered_with_speech(self, line: ClientConnection) -> None:
        await ask(line, "hello")
        messages, audio = await turn_of(line)
        assert spoken(messages, "outputTranscription") == "You said: hello"
        assert len(audio) > 24000

    async def test_speech_is_transcribed_and_answered(self, line: ClientConnection) -> None:
        await line.send(tone(0.5))
        await line.send(silence(0.6))
        messages, _ = await turn_of(line)
        assert spoken(messages, "inputTranscription").startswith("speech of")
        assert spoken(messages, "outputTranscription").startswith("You said: speech of")

    async def test_a_tool_is_called_and_its_result_answered(self, line: ClientConnection) -> None:
        await ask(line, "the weather")
        messages, _ = await turn_of(line)
        [call] = next(m["toolCall"]["functionCalls"] for m in messages if "toolCall" in m)
        answer = {"id": call["id"], "name": "weather", "response": {"output": "rain"}}
        await say(line, toolResponse={"functionResponses": [answer]})
        await say(line, clientContent={"turnComplete": True})
        messages, _ = await turn_of(line)
        assert spoken(messages, "outputTranscription") == "weather says rain"

    async def test_turns_are_answered_in_order(self, line: ClientConnection) -> None:
        await ask(line, "one")
        await ask(line, "two")
        said = [spoken((await turn_of(line))[0], "outputTranscription") for _ in range(2)]
        assert said == ["You said: one", "You said: two"]

    async def test_a_result_without_a_call_is_refused(
        self, line: ClientConnection, provider: plain.Provider
    ) -> None:
        answer = {"id": "none", "name": "weather", "response": {}}
        await say(line, toolResponse={"functionResponses": [answer]})
        assert json.loads(await line.recv())["error"]["code"] == "unknown_call"
        assert len(provider.connections[0].violations) == 1


async def test_nothing_comes_before_the_setup(
    line: ClientConnection, provider: plain.Provider
) -> None:
    await ask(line, "hello")
    assert "error" in json.loads(await line.recv())
    assert provider.connections[0].violations
