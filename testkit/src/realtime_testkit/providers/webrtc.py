"""The embedded provider over WebRTC.

It takes calls on 127.0.0.1; the connection itself uses the machine's own addresses,
because ICE leaves loopback out. Speech is played in real time: the messages of a response
are sent at once, its speech is played after them, and one response after the other.
"""

import asyncio
import logging
from types import TracebackType
from typing import ClassVar, Literal

from aiohttp import hdrs, web

from realtime_testkit.protocol import MalformedFrame

from .call import CallConnection, Speech
from .echo_input import Transcriber
from .handshake import Handshake
from .offer import read_offer
from .provider import Provider

logger = logging.getLogger(__name__)


class WebRTCProvider(Provider):
    """Serves any number of calls, each with a conversation of its own.

    Attributes:
        call_needs_model: refuse calls without a model, in the query or in the session.
        ice_path: where some clients ask for STUN and TURN servers; there are none.
        spoken: every answer that was played, in order.
        opens: open the channel of coming calls; without, nothing is ever said.
        drops_media: no sound gets through any more, in either direction.
    """

    transport: ClassVar[Literal["websocket", "webrtc"]] = "webrtc"
    path: ClassVar[str] = "/v1/realtime/calls"
    ice_path: ClassVar[str] = "/v1/realtime/ice-servers"
    needs_model: ClassVar[bool] = False  # in the query: the session in the offer may name it
    call_needs_model: ClassVar[bool] = True

    def __init__(
        self,
        *,
        scripted: bool = False,
        transcribe: Transcriber = "speech of {:.1f} seconds".format,
        pace: float = 0.0,
    ) -> None:
        super().__init__(scripted=scripted, transcribe=transcribe, pace=pace)
        self.spoken: list[Speech] = []
        self.opens = True
        self.drops_media = False
        self._runner: web.AppRunner | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop_listening()
        for connection in self.connections:
            connection.abort()
        if self._running:
            await asyncio.wait(self._running)

    @property
    def url(self) -> str:
        """The endpoint, for base_url."""
        return self._url("http")

    async def listen(self, port: int = 0) -> None:
        """Accept calls; without a port, on the same one as before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port or self._port).start()
        self._port = self._runner.addresses[0][1]

    async def stop_listening(self) -> None:
        """Refuse new calls; those there are go on."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _run(self, connection: CallConnection) -> None:
        try:
            await connection.run()
        finally:
            self._forget(connection)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == self.ice_path:
            return web.json_response({"ice_servers": []})
        handshake = Handshake.read(request.path_qs, request.headers)
        refusal = self._judge(handshake)
        if refusal is not None:
            return web.Response(status=refusal.status, text=f"{refusal.reason}\n")
        if request.method != hdrs.METH_POST:
            return web.Response(status=404, text=f"no {request.method} {request.path} here\n")
        connection = CallConnection(self, self._next_number, handshake)
        try:
            offer = await read_offer(request)
            connection.read_session(offer.session)
            if self.call_needs_model and not connection.model:
                raise MalformedFrame("no model")
            answer = await connection.answer(offer.sdp)
        except (ValueError, ConnectionError) as error:
            connection.abort()
            return web.Response(status=400, text=f"{error}\n")
        self._keep(connection)
        running = asyncio.create_task(self._run(connection))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        name = f"call_{connection.number}"
        location = {hdrs.LOCATION: f"{self.path}/{name}"}
        if "application/json" in request.headers.get(hdrs.ACCEPT, ""):
            body = {"id": name, "sdp": answer}
            return web.json_response(body, status=201, headers=location)
        return web.Response(
            status=201, text=answer, content_type="application/sdp", headers=location
        )
