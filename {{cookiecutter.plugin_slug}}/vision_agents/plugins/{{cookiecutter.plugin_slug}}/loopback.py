"""An embedded provider on 127.0.0.1: the other end of wire.py, with no key and no network.

It is a parrot. It hears speech, says it back with a transcript, answers text, and
calls a tool whose name it is told. Tests script it instead: hold things back, break
the connection, say anything at any time; and read every command it was given.

Example:
    async with Provider() as provider:
        llm = Realtime(api_key="any", base_url=provider.url)
"""

import asyncio
import http
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from . import events, wire
from .parrot import Parrot, Transcriber

PATH = "/v1/realtime"

WAIT_S = 5.0
"""How long the wait_ methods wait before they raise TimeoutError."""

CommandT = TypeVar("CommandT", bound=events.Command)

logger = logging.getLogger(__name__)
_transport_logger = logger.getChild("transport")
_transport_logger.addFilter(lambda record: "authorization" not in record.getMessage().lower())


class Provider:
    """Serves any number of connections, each with a parrot of its own.

    Args:
        scripted: no parrot; only what the test sends is said.
        transcribe: what the parrot understands, given the seconds of speech it heard;
            it has ears but no words of its own.
        pace: speed of its speech, 1.0 for real time; 0 says everything at once.

    Attributes:
        connections: all there ever were, in order.
        refuse: answer the coming handshakes with this HTTP status.
        reject: answer the coming configurations with this error code.
        greets: greet new connections; without, they hear nothing at all.
        accepts: cleared, new configurations are not acknowledged until it is set.
        holds: cleared, the parrot keeps the last piece of its responses back.
        delay_s: wait before anything is said.
        rewrite: turns each frame sent into the frames really sent.
    """

    def __init__(
        self,
        *,
        scripted: bool = False,
        transcribe: Transcriber = "speech of {:.1f} seconds".format,
        pace: float = 0.0,
    ) -> None:
        self.scripted = scripted
        self.transcribe = transcribe
        self.pace = pace
        self.connections: list[Connection] = []
        self.refuse: int | None = None
        self.reject: str | None = None
        self.greets = True
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.holds = asyncio.Event()
        self.holds.set()
        self.delay_s = 0.0
        self.rewrite: Callable[[str | bytes], Iterable[str | bytes]] | None = None
        self.handshakes = 0
        self._server: Server | None = None
        self._port = 0
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop_listening()
        for connection in self.connections:
            connection.abort()
        await asyncio.gather(*(connection.closed.wait() for connection in self.connections))

    @property
    def url(self) -> str:
        """The endpoint, for base_url."""
        return f"ws://127.0.0.1:{self._port}{PATH}"

    async def listen(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            close_timeout=0.5,
            logger=_transport_logger,
            max_size=None,
            ping_interval=None,
            process_request=self._answer_handshake,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop_listening(self) -> None:
        """Refuse new connections; those there are go on."""
        if self._server is not None:
            self._server.close(close_connections=False)
            self._server = None

    async def connection(self, number: int = 1) -> "Connection":
        """Wait for the connection of that number, counted from 1, to be configured."""
        await _until(
            self._news, lambda: len(self.connections) >= number, f"connection number {number}"
        )
        connection = self.connections[number - 1]
        await connection.wait_for(events.Configure)
        return connection

    async def wait_handshakes(self, count: int) -> None:
        """Wait until that many handshakes were tried, successful or not."""
        await _until(self._news, lambda: self.handshakes >= count, f"handshake number {count}")

    def named(self, response_id: str) -> str:
        """The id a response was said to have, where the plugin had to make one up."""
        names = (connection.names.get(response_id) for connection in self.connections)
        return next(filter(None, names), response_id)

    def _answer_handshake(self, websocket: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        self._news.set()
        url = urlsplit(request.path)
        if self.refuse is not None:
            return websocket.respond(http.HTTPStatus(self.refuse), "refused\n")
        if url.path != PATH:
            return websocket.respond(http.HTTPStatus.NOT_FOUND, f"no {url.path} here\n")
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return websocket.respond(http.HTTPStatus.UNAUTHORIZED, "no bearer token\n")
        if not parse_qs(url.query).get("model"):
            return websocket.respond(http.HTTPStatus.BAD_REQUEST, "no model\n")
        return None

    async def _serve(self, websocket: ServerConnection) -> None:
        connection = Connection(self, websocket, len(self.connections) + 1)
        self.connections.append(connection)
        self._news.set()
        await connection.run()


class Connection:
    """One connection, as the provider sees it.

    Attributes:
        number: counted from 1.
        model, api_key: what the handshake said.
        config: the configuration in force.
        commands: everything the plugin said, in order.
        frames: the same as it was on the wire, refused frames included.
        violations: what a strict provider would have refused, and why.
        names: see `wire.ServerCodec`.
        closed: set once the connection is gone.
        close_code: the plugin's close code; None while open or if it just broke.
    """

    def __init__(self, provider: Provider, websocket: ServerConnection, number: int) -> None:
        request = websocket.request
        assert request is not None  # the handshake is done
        self.number = number
        self.model = parse_qs(urlsplit(request.path).query)["model"][0]
        self.api_key = request.headers["Authorization"].removeprefix("Bearer ")
        self.config: events.SessionConfig | None = None
        self.commands: list[events.Command] = []
        self.frames: list[str | bytes] = []
        self.violations: list[str] = []
        self.closed = asyncio.Event()
        self.close_code: int | None = None
        self._provider = provider
        self._websocket = websocket
        self._codec = wire.ServerCodec()
        self.names = self._codec.names
        self._news = asyncio.Event()
        self._parrot: Parrot | None = None
        if not provider.scripted:
            self._parrot = Parrot(self, provider.transcribe, provider.pace, provider.holds)
        self._spoken_ms: dict[str, float] = {}
        self._open_calls: set[str] = set()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close as a provider does."""
        await self._websocket.close(code, reason)

    async def run(self) -> None:
        """Serve the connection to its end."""
        try:
            if self._provider.greets:
                await self.send(events.SessionOpened(f"session_{self.number}"))
            async for frame in self._websocket:
                self.frames.append(frame)
                try:
                    commands = self._codec.decode(frame)
                except events.MalformedFrame as error:
                    await self._violated(str(error))
                    continue
                for command in commands:
                    await self._take(command)
        except (ConnectionClosed, ConnectionError):
            pass  # however the plugin went, close_code says it
        finally:
            if self._parrot is not None:
                await self._parrot.hush()
            self.close_code = self._websocket.close_code
            self.closed.set()
            self._news.set()

    def abort(self) -> None:
        """Break the TCP connection, without a close frame."""
        self._websocket.transport.abort()

    async def send(self, *said: events.Event) -> None:
        """Say something.

        Raises:
            ConnectionError: nobody listens any more.
        """
        for event in said:
            if self._provider.delay_s:
                await asyncio.sleep(self._provider.delay_s)
            match event:
                case events.AudioDelta(data=data, item_id=str(item_id)):
                    rate = self.config.output_rate if self.config is not None else 24000
                    spoken_ms = len(data) / 2 / rate * 1000
                    self._spoken_ms[item_id] = self._spoken_ms.get(item_id, 0.0) + spoken_ms
                case events.ToolCall(call_id=call_id):
                    self._open_calls.add(call_id)
            for frame in self._codec.encode(event):
                rewrite = self._provider.rewrite
                for sent in (frame,) if rewrite is None else rewrite(frame):
                    await self.send_raw(sent)

    async def send_raw(self, frame: str | bytes) -> None:
        """Say it to the letter, whatever it is; see `send`."""
        try:
            await self._websocket.send(frame)
        except ConnectionClosed as error:
            raise ConnectionError("the plugin is gone") from error

    def freeze(self) -> None:
        """Stop reading, as a hung provider does; a close is not answered either."""
        self._websocket.transport.pause_reading()

    def received(self, kind: type[CommandT]) -> list[CommandT]:
        """The commands of a kind so far."""
        return [command for command in self.commands if isinstance(command, kind)]

    def audio(self) -> bytes:
        """All audio received so far."""
        return b"".join(command.data for command in self.received(events.AppendAudio))

    async def wait_for(self, kind: type[CommandT], count: int = 1) -> CommandT:
        """Wait for the count-th command of a kind."""
        what = f"{kind.__name__} number {count}"
        await _until(self._news, lambda: len(self.received(kind)) >= count, what)
        return self.received(kind)[count - 1]

    async def wait_audio(self, size: int) -> bytes:
        """Wait until that many bytes of audio came; returns all of it."""
        await _until(self._news, lambda: len(self.audio()) >= size, f"{size} bytes of audio")
        return self.audio()

    async def _take(self, command: events.Command) -> None:
        self.commands.append(command)
        self._news.set()
        match command:
            case events.Configure(config, previous):
                self.config = config
                if not self._provider.greets:
                    return
                if self._provider.reject is not None:
                    await self.send(events.Fault(self._provider.reject))
                    return
                if previous is None:
                    await self._held_back()
                await self.send(events.SessionAccepted(config.output_rate))
            case _ if self.config is None:
                await self._violated(f"{type(command).__name__} before the session was configured")
            case events.TruncateItem(item_id, audio_end_ms):
                if audio_end_ms > self._spoken_ms.get(item_id, -1):
                    await self._violated(f"truncated {item_id} at {audio_end_ms} ms, beyond its end")
            case events.AddToolResult(call_id):
                if call_id not in self._open_calls:
                    await self._violated(f"a result for {call_id}, which is no open call")
                self._open_calls.discard(call_id)
        if self._parrot is not None:
            await self._parrot.hear(command)

    async def _held_back(self) -> None:
        """Wait until the provider accepts, or the plugin hung up."""
        accepts = asyncio.create_task(self._provider.accepts.wait())
        gone = asyncio.create_task(self._websocket.wait_closed())
        await asyncio.wait((accepts, gone), return_when=asyncio.FIRST_COMPLETED)
        accepts.cancel()
        gone.cancel()

    async def _violated(self, what: str) -> None:
        self.violations.append(what)
        await self.send(events.Fault("invalid_request_error"))


async def _until(news: asyncio.Event, condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                news.clear()
                await news.wait()
    except TimeoutError:
        raise TimeoutError(f"no {what} within {WAIT_S:g} s") from None
