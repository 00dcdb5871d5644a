"""The far end of every line: one process that speaks the words of all providers measured.

It runs apart, so that what it costs is not counted, and does as it is told through a pipe.
"""

import asyncio
import base64
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import ClassVar

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench import processes

ANSWER_S = 30.0
"""How long the provider may take over one order."""


class Audio(msgspec.Struct, frozen=True):
    """Gemini's wrapping of audio, in the alphabet for URLs."""

    data: str = ""


class RealtimeInput(msgspec.Struct, frozen=True):
    """What Gemini's client streams."""

    audio: Audio = Audio()


class ClientFrame(msgspec.Struct):
    """What any of the clients says, as far as it matters here."""

    type: str = ""
    audio: bytes = b""
    realtime_input: RealtimeInput = RealtimeInput()


_decode = msgspec.json.Decoder(ClientFrame).decode
_encode = msgspec.json.Encoder().encode


class OpenAIWire:
    """The OpenAI Realtime events, as the reference wire and xAI have them."""

    audio_delta: ClassVar = "response.output_audio.delta"

    def greeting(self) -> list[dict[str, object]]:
        """What is said to a new connection."""
        return [{"type": "session.created", "session": {"id": "session"}}]

    def accepted(self) -> list[dict[str, object]]:
        """What is said to a configuration."""
        return [{"type": "session.updated", "session": {}}]

    def begin(self, name: str) -> list[dict[str, object]]:
        """The beginning of a response."""
        return [{"type": "response.created", "response": {"id": name, "status": "in_progress"}}]

    def delta(self, name: str, data: bytes) -> dict[str, object]:
        """A piece of its speech."""
        return {
            "type": self.audio_delta,
            "event_id": f"event_{name}",
            "response_id": name,
            "item_id": f"item_{name}",
            "output_index": 0,
            "content_index": 0,
            "delta": data,
        }

    def end(self, name: str) -> list[dict[str, object]]:
        """The end of a response."""
        return [{"type": "response.done", "response": {"id": name, "status": "completed"}}]

    def interrupt(self) -> dict[str, object]:
        """The user speaks: the agent has to fall silent."""
        return {"type": "input_audio_buffer.speech_started", "item_id": None}

    def listen(self) -> list[dict[str, object]]:
        """The user has spoken."""
        return [{"type": "input_audio_buffer.speech_stopped", "item_id": None}]


class QwenWire(OpenAIWire):
    """The same under the older names, as DashScope has them."""

    audio_delta: ClassVar = "response.audio.delta"


class GeminiWire(OpenAIWire):
    """The Live API."""

    def greeting(self) -> list[dict[str, object]]:
        """Nothing, before the setup."""
        return []

    def accepted(self) -> list[dict[str, object]]:
        """What is said to a setup."""
        return [{"setupComplete": {}}]

    def begin(self, name: str) -> list[dict[str, object]]:
        """Nothing: a response begins with its first content."""
        return []

    def delta(self, name: str, data: bytes) -> dict[str, object]:
        """A piece of its speech."""
        part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}
        return {"serverContent": {"modelTurn": {"parts": [part]}}}

    def end(self, name: str) -> list[dict[str, object]]:
        """The end of a turn."""
        return [{"serverContent": {"turnComplete": True}}]

    def interrupt(self) -> dict[str, object]:
        """The user speaks: the agent has to fall silent."""
        return {"serverContent": {"interrupted": True}}

    def listen(self) -> list[dict[str, object]]:
        """Nothing."""
        return []


@dataclass(eq=False)
class Line:
    """One connection, as the provider sees it."""

    websocket: ServerConnection
    wire: OpenAIWire
    heard: int = 0
    audio: list[bytes] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    responses: int = 0

    async def serve(self, *, records: bool) -> None:
        """Listen to the end; ``records`` keeps the audio."""
        configured = False
        await self._say(*self.wire.greeting())
        async for frame in self.websocket:
            said = _decode(frame)
            audio = said.audio or base64.urlsafe_b64decode(said.realtime_input.audio.data)
            if not audio and not configured:
                configured = True
                await self._say(*self.wire.accepted())
            self.heard += len(audio)
            if records:
                self.audio.append(audio)
            self.news.set()

    async def wait(self, size: int) -> None:
        """Return once that many bytes of audio were heard."""
        while self.heard < size:
            self.news.clear()
            await self.news.wait()

    async def speak(self, seconds: float, delta_ms: float, speed: float) -> None:
        """Say a response at a multiple of real time; 0 says it as fast as it goes."""
        name = await self._begin()
        delta = self._delta(name, delta_ms)
        started = time.perf_counter()
        for number in range(1, round(seconds * 1000 / delta_ms) + 1):
            await self.websocket.send(delta, text=True)
            if speed:
                due = started + number * delta_ms / 1000 / speed
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await self._say(*self.wire.end(name))

    async def be_interrupted(self, count: int, speed: float) -> list[float]:
        """Begin a response and be interrupted, again and again.

        Args:
            count: how often.
            speed: of the speech, a multiple of real time; 0 says one piece and waits.

        Returns:
            When each interruption was sent, on `time.perf_counter`.
        """
        moments: list[float] = []
        signal = _encode(self.wire.interrupt())
        for _ in range(count):
            name = await self._begin()
            delta = self._delta(name, 100)
            await self.websocket.send(delta, text=True)
            until = time.perf_counter() + random.uniform(0.03, 0.06)
            while speed and time.perf_counter() < until:
                await asyncio.sleep(0.1 / speed)
                await self.websocket.send(delta, text=True)
            await asyncio.sleep(max(0.0, until - time.perf_counter()))
            moments.append(time.perf_counter())
            await self.websocket.send(signal, text=True)
            await asyncio.sleep(0.01)
            await self._say(*self.wire.listen())
        return moments

    async def _begin(self) -> str:
        self.responses += 1
        name = f"response_{self.responses}"
        await self._say(*self.wire.begin(name))
        return name

    def _delta(self, name: str, delta_ms: float) -> bytes:
        return _encode(self.wire.delta(name, random.randbytes(round(24 * delta_ms) * 2)))

    async def _say(self, *messages: dict[str, object]) -> None:
        for message in messages:
            await self.websocket.send(_encode(message), text=True)


class Exchange:
    """All lines of the process, and what it is told to do with them."""

    def __init__(self, pipe: Connection, speaks: float, *, records: bool) -> None:
        self.lines: list[Line] = []
        self._pipe = pipe
        self._speaks = speaks
        self._records = records

    async def run(self) -> None:
        """Serve until the other end of the pipe goes."""
        # It can say a whole response before anybody reads.
        settings = {"write_limit": 2**22, "max_size": None, "max_queue": None}
        settings["ping_interval"] = None
        async with (
            serve(self._take, "127.0.0.1", 0, compression=None, **settings) as plain,
            serve(self._take, "127.0.0.1", 0, **settings) as deflating,
        ):
            self._pipe.send([next(iter(s.sockets)).getsockname()[1] for s in (plain, deflating)])
            while True:
                try:
                    order, number, *arguments = await asyncio.to_thread(self._pipe.recv)
                except EOFError:
                    return
                self._pipe.send(await self._obey(order, number, arguments))

    async def _take(self, websocket: ServerConnection) -> None:
        assert websocket.request is not None  # the handshake is done
        path = websocket.request.path
        wire = GeminiWire() if "Gen" in path else QwenWire() if "qwen" in path else OpenAIWire()
        line = Line(websocket, wire)
        self.lines.append(line)
        speaking = asyncio.create_task(line.speak(3600, self._speaks, 1)) if self._speaks else None
        try:
            await line.serve(records=self._records)
        except ConnectionClosed:
            pass
        finally:
            if speaking is not None:
                speaking.cancel()

    async def _obey(self, order: str, number: int, arguments: list[float]) -> object:
        line = self.lines[number]
        match order, arguments:
            case "count", []:
                return len(self.lines)
            case "pause", []:
                return line.websocket.transport.pause_reading()
            case "resume", []:
                return line.websocket.transport.resume_reading()
            case "heard", []:
                return line.heard
            case "wait", [size]:
                return await line.wait(int(size))
            case "audio", []:
                heard, line.audio = b"".join(line.audio), []
                return heard
            case "speak", [seconds, delta_ms]:
                return await line.speak(seconds, delta_ms, 0)
            case "interrupt", [count, speed]:
                return await line.be_interrupted(int(count), speed)
        raise ValueError(f"no such order: {order} {arguments}")


class Provider:
    """The near end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._plain, self._deflating = pipe.recv()

    def url(self, path: str, *, deflates: bool = False) -> str:
        """An endpoint; ``deflates`` accepts permessage-deflate where it is offered."""
        return f"ws://127.0.0.1:{self._deflating if deflates else self._plain}/{path}"

    def tell(self, order: str, line: int, *arguments: float) -> None:
        """Give an order and do not wait; `answer` is due."""
        self._pipe.send((order, line, *arguments))

    def obeyed(self) -> object:
        """What came of the last order, with the loop standing still until it is there."""
        if not self._pipe.poll(ANSWER_S):
            raise TimeoutError(f"the provider did not obey within {ANSWER_S:g} s")
        return self._pipe.recv()

    async def answer(self) -> object:
        """Wait for what came of the last order."""
        return await asyncio.to_thread(self.obeyed)

    async def ask(self, order: str, line: int, *arguments: float) -> object:
        """Give an order and wait for what comes of it."""
        self.tell(order, line, *arguments)
        return await self.answer()

    async def newest_line(self) -> int:
        """The number of the line that was opened last."""
        count = await self.ask("count", -1)
        assert isinstance(count, int)
        return count - 1


def _serve(pipe: Connection, speaks: float, records: bool) -> None:
    asyncio.run(Exchange(pipe, speaks, records=records).run())


@contextmanager
def provider(*, speaks: float = 0.0, records: bool = False) -> Iterator[Provider]:
    """Run the process.

    Args:
        speaks: speak on every line in real time, in pieces of that many ms; 0 for silence.
        records: keep the audio that is heard.
    """
    with processes.serving(_serve, speaks, records) as pipe:
        yield Provider(pipe)
