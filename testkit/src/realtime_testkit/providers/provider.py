"""An embedded provider on 127.0.0.1 over WebSocket, with no key and no network.

By default it echoes: it hears speech and says it back with a transcript, answers text,
and calls a tool whose name it is told. Tests script it instead: hold answers back, break
the connection, say anything at any time; and read every command it was given.

Example:
    async with openai.Provider() as provider:
        llm = Realtime(api_key="any", base_url=provider.url)
"""

import asyncio
import contextlib
import http
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal, Self
from urllib.parse import urlencode

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from realtime_testkit import protocol
from realtime_testkit.protocol import Command, Event

from .codec import Codec
from .connection import Connection
from .echo_input import Transcriber
from .echo_model import EchoModel, Manners
from .handshake import Handshake, Refusal
from .upkeep import Limits
from .waiting import News
from .websocket import WebSocketConnection

if TYPE_CHECKING:
    from .scenario import Scenario

SESSION_S = 3600.0
"""How long a session lasts at most."""

RECORDING_LIMIT = 256 * 1024 * 1024
"""Bytes that are kept of each connection."""

MAX_FRAME = 32 * 1024 * 1024
"""Bytes of the largest frame that is read: 15 MiB of audio, as JSON."""

Observer = Callable[[int, Literal["hears", "says"], Command | Event | str], None]

logger = logging.getLogger(__name__)
_transport_logger = logger.getChild("transport")
_transport_logger.addFilter(lambda record: "authorization" not in record.getMessage().lower())


class Provider:
    """Serves any number of connections, each with a conversation of its own.

    A subclass states what its service is like, in class attributes and in `key`, `model`
    and `check`.

    Args:
        scripted: nothing is answered; only what the test sends is said.
        transcribe: what the echo understands, given the seconds of speech it heard.
        pace: speed of its speech, 1.0 for real time; 0 says everything at once.

    Attributes:
        codec: what the provider's side of a connection is read and written with.
        path: of its URL.
        query: what its URL carries, and a client has to keep.
        needs_model: refuse handshakes without a model.
        acknowledges: say SessionAccepted to each configuration.
        goes_on_after_tools: answer a tool's result without being asked.
        queues_requests: a new request waits for the response in progress.
        new_request_interrupts: a new request cancels the response in progress, instead of
            being refused.
        connections: all there ever were, in order.
        api_key: the only key it takes; None for any.
        refuse: answer the coming handshakes with this HTTP status.
        reject: answer the coming configurations with this error code.
        rejects: which of them; all of them unless it is set.
        resumes: take lost sessions up again; without, that is an error.
        greets: greet new connections; without, nothing at all is said to them.
        accepts: cleared, new configurations are not acknowledged until it is set.
        holds: cleared, the echo keeps the last piece of its responses back.
        delay_s: wait before anything is said.
        rewrite: turns each frame sent into the frames really sent.
        handshakes: how many were tried, successful or not.
        recording_limit: bytes that are kept of each connection; 0 keeps nothing, and forgets
            connections that are gone.
        scenario: what it answers by itself, where it is not to echo.
        observer: told of what is heard and said, by the connection's number.
        limits: what connections have to keep to with time.
    """

    codec: ClassVar[type[Codec]]
    transport: ClassVar[Literal["websocket", "webrtc"]] = "websocket"
    path: ClassVar[str] = "/v1/realtime"
    query: ClassVar[Mapping[str, str]] = {}
    needs_model: ClassVar[bool] = True
    acknowledges: ClassVar[bool] = True
    goes_on_after_tools: ClassVar[bool] = False
    queues_requests: ClassVar[bool] = False
    new_request_interrupts: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(session_s=SESSION_S)

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
        self.api_key: str | None = None
        self.refuse: int | None = None
        self.reject: str | None = None
        self.rejects: Callable[[protocol.SessionConfig], bool] = lambda config: True
        self.resumes = True
        self.greets = True
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.holds = asyncio.Event()
        self.holds.set()
        self.delay_s = 0.0
        self.rewrite: Callable[[str | bytes], Iterable[str | bytes]] | None = None
        self.handshakes = 0
        self.recording_limit = RECORDING_LIMIT
        self.scenario: Scenario | None = None
        self.observer: Observer | None = None
        self._count = 0
        self._server: Server | None = None
        self._port = 0
        self._news = News()
        self._refusal: Refusal | None = None

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
        return self._url("ws")

    async def listen(self, port: int = 0) -> None:
        """Accept connections; without a port, on the same one as before."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            port or self._port,
            close_timeout=0.5,
            logger=_transport_logger,
            max_size=MAX_FRAME,
            ping_interval=None,
            process_request=self._answer_handshake,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[Self]:
        """Listen on a port, and close everything at the end."""
        await self.listen(port)
        try:
            yield self
        finally:
            await self.__aexit__(None, None, None)

    async def stop_listening(self) -> None:
        """Refuse new connections; those there are go on."""
        if self._server is not None:
            self._server.close(close_connections=False)
            self._server = None

    async def connection(self, number: int = 1) -> Connection:
        """Wait for the connection of that number, counted from 1, to be configured.

        Raises:
            TimeoutError: there is none; the message says why the last handshake was refused.
        """
        try:
            await self._news.until(
                lambda: len(self.connections) >= number, f"connection number {number}"
            )
        except TimeoutError as error:
            if (last := self._refusal) is None:
                raise
            why = f"the provider refused the last handshake: {last.status}, {last.reason}"
            raise TimeoutError(f"{error}; {why}") from None
        connection = self.connections[number - 1]
        await connection.wait_for(protocol.Configure)
        return connection

    async def wait_handshakes(self, count: int) -> None:
        """Wait until that many handshakes were tried, successful or not."""
        await self._news.until(lambda: self.handshakes >= count, f"handshake number {count}")

    def named(self, response_id: str) -> str:
        """The id a response was said to have, where the client had to invent one."""
        names = (connection.names.get(response_id) for connection in self.connections)
        return next(filter(None, names), response_id)

    def key(self, handshake: Handshake) -> str | None:
        """The API key in a handshake."""
        return handshake.token()

    def model(self, handshake: Handshake) -> str | None:
        """The model that a handshake asks for."""
        return handshake.query.get("model")

    def check(self, handshake: Handshake) -> Refusal | None:
        """Judge a handshake: None to take it."""
        key = self.key(handshake)
        if handshake.path != self.path:
            return Refusal(404, f"no {handshake.path} here")
        if not self.query.items() <= handshake.query.items():
            return Refusal(404, f"the query is not {urlencode(self.query)}")
        if not key or self.api_key not in (None, key):
            return Refusal(401, "not with this key" if key else "no key where key() looks for it")
        if self.needs_model and not self.model(handshake):
            return Refusal(400, "no model where model() looks for it")
        return None

    def answers_with(self, connection: Connection) -> EchoModel:
        """What answers on a connection of a provider that is not scripted."""
        manners = Manners(
            self.goes_on_after_tools,
            self.new_request_interrupts,
            self.queues_requests,
            self.scenario,
        )
        return EchoModel(connection, self.transcribe, self.pace, self.holds, manners)

    @property
    def _next_number(self) -> int:
        return self._count + 1

    def _keep(self, connection: Connection) -> None:
        self._count += 1
        self.connections.append(connection)
        self._news.tell()

    def _forget(self, connection: Connection) -> None:
        if not self.recording_limit:
            self.connections.remove(connection)

    def _url(self, scheme: str) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{scheme}://127.0.0.1:{self._port}{self.path}{query}"

    def _judge(self, handshake: Handshake) -> Refusal | None:
        """Count a handshake, and judge it."""
        self.handshakes += 1
        self._news.tell()
        refused = None if self.refuse is None else Refusal(self.refuse, "refused")
        self._refusal = refused or self.check(handshake)
        return self._refusal

    def _answer_handshake(self, websocket: ServerConnection, request: Request) -> Response | None:
        handshake = Handshake.read(request.path, dict(request.headers.raw_items()))
        refusal = self._judge(handshake)
        if refusal is None:
            return None
        return websocket.respond(http.HTTPStatus(refusal.status), f"{refusal.reason}\n")

    async def _serve(self, websocket: ServerConnection) -> None:
        request = websocket.request
        assert request is not None  # the handshake is done
        handshake = Handshake.read(request.path, dict(request.headers.raw_items()))
        connection = WebSocketConnection(self, self._next_number, handshake, websocket)
        self._keep(connection)
        try:
            await connection.run()
        finally:
            self._forget(connection)
