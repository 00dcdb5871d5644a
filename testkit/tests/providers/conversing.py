"""A bare client of the OpenAI wire, for the tests of the provider."""

import asyncio
import base64
import json
import math
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from realtime_testkit.providers import Provider
from websockets.asyncio.client import ClientConnection, connect

Message = dict[str, Any]  # JSON objects of many shapes
WAIT_S = 10.0


class Client:
    """Says messages, and waits for those of the provider."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.heard: list[Message] = []

    async def say(self, kind: str, **fields: object) -> None:
        await self.websocket.send(json.dumps({"type": kind, **fields}))

    async def configure(self, **session: object) -> Message:
        await self.say("session.update", session={"type": "realtime", **session})
        updated = await self.until("session.updated")
        return dict(updated["session"])

    async def write(self, text: str, **fields: object) -> Message:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content, **fields}
        await self.say("conversation.item.create", item=item)
        return await self.until("conversation.item.done")

    async def ask(self, text: str, **response: object) -> None:
        await self.write(text)
        await self.say("response.create", response=response)

    async def speak(self, data: bytes, piece: int = 4800) -> None:
        for start in range(0, len(data), piece):
            audio = base64.b64encode(data[start : start + piece]).decode()
            await self.say("input_audio_buffer.append", audio=audio)

    async def until(self, kind: str) -> Message:
        """Wait for the next message of a type."""
        async with asyncio.timeout(WAIT_S):
            while True:
                message: Message = json.loads(await self.websocket.recv())
                self.heard.append(message)
                if message["type"] == kind:
                    return message

    async def refused(self, code: str) -> Message:
        """Wait for the next error, which has to be of that code."""
        error: Message = (await self.until("error"))["error"]
        assert error["code"] == code, error
        return error

    def kinds(self, since: int = 0) -> list[str]:
        return [message["type"] for message in self.heard[since:]]


@asynccontextmanager
async def client_of(provider: Provider) -> AsyncIterator[Client]:
    """A client that was greeted."""
    headers = {"Authorization": "Bearer any"}
    url = f"{provider.url}?model=a-model"
    async with connect(url, additional_headers=headers, max_size=None) as websocket:
        client = Client(websocket)
        await client.until("session.created")
        yield client


def tone(seconds: float, rate: int = 24000, amplitude: int = 8000) -> bytes:
    wave = (int(amplitude * math.sin(i / 20)) for i in range(int(seconds * rate)))
    return array("h", wave).tobytes()


def silence(seconds: float, rate: int = 24000) -> bytes:
    return bytes(int(seconds * rate) * 2)
