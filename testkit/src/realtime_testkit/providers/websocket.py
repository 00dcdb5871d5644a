"""A connection over WebSocket."""

import logging
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from .connection import Connection
from .handshake import Handshake

if TYPE_CHECKING:
    from .provider import Provider

logger = logging.getLogger(__name__)


class WebSocketConnection(Connection):
    """A connection over WebSocket."""

    def __init__(
        self, provider: "Provider", number: int, handshake: Handshake, websocket: ServerConnection
    ) -> None:
        super().__init__(provider, number, handshake)
        self._websocket = websocket

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close as a provider does."""
        await self._websocket.close(code, reason)

    def abort(self) -> None:
        """Break the TCP connection, without a close frame."""
        self._websocket.transport.abort()

    def freeze(self) -> None:
        """Stop reading, as a provider that hangs does; a close is not answered either."""
        self._websocket.transport.pause_reading()

    def thaw(self) -> None:
        """Read again."""
        self._websocket.transport.resume_reading()

    async def run(self) -> None:
        """Serve the connection to its end."""
        try:
            await self._greet()
            async for frame in self._websocket:
                await self._read(frame)
        except (ConnectionClosed, ConnectionError) as error:
            logger.debug("The connection is gone: %s", error)  # close_code tells how
        finally:
            await self._end(self._websocket.close_code)

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame to the letter, whatever it is.

        Raises:
            ConnectionError: the client is gone.
        """
        try:
            await self._websocket.send(frame)
        except ConnectionClosed as error:
            raise ConnectionError("the client is gone") from error

    async def _wait_gone(self) -> None:
        await self._websocket.wait_closed()
