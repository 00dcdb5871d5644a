"""A WebSocket connection whose failures are all TransportFailure."""

import logging
import ssl
from collections.abc import Mapping

from websockets import broadcast
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from websockets.protocol import State

from .access import is_loopback, wait_s
from .errors import TransportFailure

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A larger frame ends the connection: audio deltas of several MiB are real."""

MAX_QUEUED_FRAMES = 256
"""Speech comes faster than it is played; with 16 frames, the default of websockets,
the socket is paused and resumed all through a response."""

CLOSE_TIMEOUT_S = 0.25
"""How long a provider may take to answer a close before the socket is dropped."""

logger = logging.getLogger(__name__)
# At DEBUG websockets logs the request's headers, frames and close reasons.
_transport_logger = logger.getChild("transport")
_transport_logger.setLevel(logging.INFO)
_transport_logger.addFilter(lambda record: record.levelno >= logging.INFO)


class _Connect(connect):
    """Opens a connection to the address that was given and to no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: the request carries the API key."""
        return exc


async def open_websocket(
    url: str, headers: Mapping[str, str], ping_interval_s: float
) -> "WebSocket":
    """Open a connection; redirects are not followed.

    Raises:
        TransportFailure: it was refused, hung up on, or the address cannot work.
    """
    try:
        return WebSocket(
            await _Connect(
                url,
                additional_headers=dict(headers),
                # Base64 audio hardly compresses and compressing it doubles a frame's cost.
                compression=None,
                close_timeout=CLOSE_TIMEOUT_S,
                logger=_transport_logger,
                max_queue=MAX_QUEUED_FRAMES,
                max_size=MAX_FRAME_BYTES,
                open_timeout=None,
                ping_interval=ping_interval_s,
                ping_timeout=ping_interval_s,
                proxy=None if is_loopback(url) else True,
            )
        )
    except InvalidStatus as error:
        status = error.response.status_code
        # Any header may come twice, and get() takes none that does.
        wait = next(iter(error.response.headers.get_all("Retry-After")), "")
        failure = TransportFailure(
            "the handshake was refused", code=status, retry_after_s=wait_s(wait)
        )
    except InvalidMessage:
        failure = TransportFailure("the handshake was cut off")
    except (
        InvalidURI,
        InvalidProxy,
        InvalidHandshake,
        ImportError,
        ValueError,
    ) as error:
        failure = TransportFailure(type(error).__name__, usable=False)
    except ssl.SSLCertVerificationError:
        failure = TransportFailure("the certificate does not fit", usable=False)
    except (OSError, EOFError) as error:
        failure = TransportFailure(type(error).__name__)
    # Raised here, without a cause: the library's exceptions hold the request's headers.
    raise failure


class WebSocket:
    """One open connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def close(self) -> None:
        """Close; a provider that does not answer is cut off."""
        try:
            await self._connection.close()
        finally:
            self.abort()

    def send_nowait(self, frame: str | bytes) -> bool:
        """Send a frame if it need not wait; returns whether it was sent."""
        connection = self._connection
        waits = connection.transport.get_write_buffer_size()
        if waits or connection.state is not State.OPEN:
            return False
        broadcast((connection,), frame)  # takes two thirds of the time of send()
        return True

    async def send(self, frame: str | bytes) -> None:
        """Send a frame; waits while the provider does not read.

        Raises:
            TransportFailure: the connection is closed.
        """
        try:
            await self._connection.send(frame)
            return
        except ConnectionClosed as closed:
            failure = _closed(closed)
        raise failure

    async def receive(self) -> str | bytes:
        """Wait for the next frame.

        Raises:
            TransportFailure: the connection was closed or broke.
        """
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            failure = _closed(closed)
        raise failure

    def abort(self) -> None:
        """Drop the connection at once."""
        self._connection.transport.abort()


def _closed(closed: ConnectionClosed) -> TransportFailure:
    frame = closed.rcvd
    if frame is None:
        return TransportFailure("the connection broke")
    return TransportFailure(frame.reason, code=frame.code)
