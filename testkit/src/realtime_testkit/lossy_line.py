"""A bad network between a client and a WebRTC provider: not every packet arrives.

The line stands in for the provider's endpoint, and puts an address of its own into the offer
and the answer, so that neither end knows of another way to the other.
"""

import asyncio
import random
import re
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import hdrs, web

CANDIDATE = re.compile(r"a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host")
ANY_CANDIDATE = re.compile(r"a=candidate:.*?(\r\n|\\r\\n)")
THE_LAST = re.compile(r"a=end-of-candidates(\r\n|\\r\\n)?")
NOT_FORWARDED = (hdrs.HOST, hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONNECTION)

Address = tuple[str, int]


class Way(asyncio.DatagramProtocol):
    """The line's address for one end: what arrives from there leaves through the other."""

    def __init__(self, line: "LossyLine", end: Address) -> None:
        self.end = end
        self.other: Way | None = None
        self.transport: asyncio.DatagramTransport | None = None
        self._line = line

    def datagram_received(self, data: bytes, address: Address) -> None:
        """Forward a packet, or drop it."""
        if self.other is not None and self._line.forwards(data):
            self.other.send(data)

    def send(self, data: bytes) -> None:
        """Send a packet to the end."""
        if self.transport is not None:
            self.transport.sendto(data, self.end)


class LossyLine:
    """Stands between a client and its provider.

    Args:
        url: the provider's endpoint.

    Attributes:
        loses: share of packets that are dropped, each way.
        mtu: longer packets (with 28 bytes of headers) are dropped; None without a limit.
        lost: how many were dropped.
        ports: UDP ports that the client opened for its calls.
    """

    def __init__(self, url: str) -> None:
        self.loses = 0.0
        self.mtu: int | None = None
        self.lost = 0
        self.ports: list[int] = []
        self._url = url
        self._chance = random.Random(5)
        self._server: web.AppRunner | None = None
        self._ways: list[Way] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._call)
        self._server = web.AppRunner(app, access_log=None)
        await self._server.setup()
        await web.TCPSite(self._server, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for way in self._ways:
            if way.transport is not None:
                way.transport.close()
        if self._server is not None:
            await self._server.cleanup()

    @property
    def url(self) -> str:
        """The endpoint, for base_url."""
        port = self._server.addresses[0][1] if self._server is not None else 0
        return f"http://127.0.0.1:{port}/calls"

    def forwards(self, data: bytes) -> bool:
        """Whether the next packet arrives."""
        fits = self.mtu is None or len(data) + 28 <= self.mtu
        kept = fits and self._chance.random() >= self.loses
        self.lost += not kept
        return kept

    async def _call(self, request: web.Request) -> web.Response:
        body = await request.text()
        [(host, port), *_] = CANDIDATE.findall(body)
        self.ports.append(int(port))
        near, far = await self._way((host, int(port))), await self._way((host, 0))
        near.other, far.other = far, near
        headers = {k: v for k, v in request.headers.items() if k.title() not in NOT_FORWARDED}
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                self._url, params=request.query, data=_only(body, far).encode(), headers=headers
            ) as response,
        ):
            answer = await response.text()
            if candidates := CANDIDATE.findall(answer):
                far.end = candidates[0][0], int(candidates[0][1])
            return web.Response(
                status=response.status,
                text=_only(answer, near),
                content_type=response.content_type,
            )

    async def _way(self, end: Address) -> Way:
        loop = asyncio.get_running_loop()
        transport, way = await loop.create_datagram_endpoint(lambda: Way(self, end), (end[0], 0))
        way.transport = transport
        self._ways.append(way)
        return way


def _only(text: str, way: Way) -> str:
    """A message with a session description that names one address, that of a way."""
    host, port = way.transport.get_extra_info("sockname") if way.transport is not None else ("", 0)
    there = f"a=candidate:1 1 udp 2130706431 {host} {port} typ host"
    break_ = ANY_CANDIDATE.search(text)
    ending = break_[1] if break_ is not None else "\r\n"
    without = ANY_CANDIDATE.sub("", text)
    return THE_LAST.sub(lambda last: f"{there}{ending}{last[0]}", without)
