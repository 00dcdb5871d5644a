"""{{ cookiecutter.plugin_name }}'s client: dials the provider, sends commands, yields events.

Knows sockets and when a lost one is worth dialling again; the words are wire.py's.
"""

import asyncio
import ipaddress
import itertools
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import backoff
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from . import wire
from .events import (
    AddMessage,
    AppendAudio,
    Command,
    Configure,
    CreateResponse,
    Event,
    Fault,
    Malformed,
    MalformedFrame,
    SessionAccepted,
    SessionConfig,
    SessionError,
)

API_KEY_VARIABLE = "{{ cookiecutter.__env_prefix }}_API_KEY"

DEFAULT_BASE_URL = "wss://api.{{ cookiecutter.plugin_slug | replace('_', '-') }}.example/v1/realtime"

TEMPORARY_CLOSE_CODES = frozenset({1001, 1006, 1011, 1012, 1013, 1014})
"""Close codes worth dialling again for (RFC 6455 and the IANA registry). 1000 is an
end; a connection that broke without a close frame counts as 1006."""

TEMPORARY_REASONS = ("session_expired", "session expired", "maximum duration")
"""Close reasons and error codes worth dialling again for, whatever the close code."""

FATAL_REASONS = ("invalid_api_key", "insufficient_quota", "account_deactivated", "model_not_found")
"""Close reasons and error codes that end the session, whatever the close code."""

TEMPORARY_HTTP_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers to the handshake worth dialling again for."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A larger frame ends the session: audio deltas of several MiB are real."""

MAX_AUDIO_BYTES = 64 * 1024
"""Longer audio goes out in several frames, to keep each under providers' limits."""

CLOSE_TIMEOUT_S = 0.5
"""How long a provider may take to answer our close before the socket is dropped."""

logger = logging.getLogger(__name__)


class _NoCredentials(logging.Filter):
    """Keeps the request's Authorization header out of the transport's debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "authorization" not in record.getMessage().lower()


_transport_logger = logger.getChild("transport")
_transport_logger.addFilter(_NoCredentials())


class SessionEnd(SessionError):
    """The provider ended the session as it may: no loss, nothing to dial again for."""


def classify(code: int | str | None, reason: str) -> SessionError:
    """Say what a closed connection or a reported error means for the session.

    Args:
        code: WebSocket close code, HTTP status or error code; None without any.
        reason: the provider's words, if any.

    Returns:
        SessionEnd for a clean end, else the loss, temporary or not.
    """
    words = f"{code} {reason}".lower()
    if any(fatal in words for fatal in FATAL_REASONS):
        return SessionError(f"the provider ended the session ({code})", code=code)
    if any(temporary in words for temporary in TEMPORARY_REASONS):
        return SessionError(f"the session expired ({code})", code=code, temporary=True)
    match code:
        case 1000:
            return SessionEnd("the provider ended the session", code=code)
        case None:
            return SessionError("the connection broke", temporary=True)
        case int() if code in TEMPORARY_CLOSE_CODES | TEMPORARY_HTTP_STATUS:
            return SessionError(f"the connection was lost ({code})", code=code, temporary=True)
        case int() if code >= 1000:
            return SessionError(f"the provider ended the session ({code})", code=code)
    return SessionError(f"the provider refused the session ({code})", code=code)


def build_client(api_key: str | None, base_url: str | None) -> "Client":
    """Build the client where the caller brought none.

    Args:
        api_key: None for the environment's.
        base_url: None for the provider's.

    Raises:
        ValueError: there is no key, or it would travel in clear text.
    """
    key = api_key or os.environ.get(API_KEY_VARIABLE)
    if not key:
        raise ValueError(
            f"api_key is missing: pass api_key or set {API_KEY_VARIABLE}, or pass a client "
            "of your own"
        )
    client = Client(key, base_url if base_url is not None else DEFAULT_BASE_URL)
    url = urlsplit(client.base_url)
    if url.scheme == "ws" and not _is_loopback(url.hostname or ""):
        raise ValueError(
            f"base_url={base_url!r} would send the API key in clear text: use wss://, "
            "or pass a client of your own"
        )
    return client


class Client:
    """Opens sessions with the provider.

    Args:
        api_key: sent as a bearer token.
        base_url: the full endpoint without its query.
        connect_timeout_s: bound on the handshake and on the provider taking the
            configuration, together.
        send_timeout_s: bound on one send to a provider that stopped reading.
        reconnect_delay_s: upper bound of the random delay before the first attempt
            to reconnect, and the delay before the second; it grows from there.
        reconnect_max_delay_s: cap on that delay.
        reconnect_attempts: attempts in a row before giving up.

    Raises:
        ValueError: api_key is empty, or base_url is no WebSocket URL.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_BASE_URL,
        *,
        connect_timeout_s: float = 10.0,
        send_timeout_s: float = 5.0,
        reconnect_delay_s: float = 0.25,
        reconnect_max_delay_s: float = 5.0,
        reconnect_attempts: int = 8,
    ) -> None:
        if not api_key:
            raise ValueError("api_key is empty: pass the provider's key")
        if not _is_endpoint(base_url):
            raise ValueError(
                f"base_url={base_url!r} is no endpoint: give ws:// or wss://, a host and a "
                "path, without a query"
            )
        self.base_url = base_url
        self.capabilities = wire.CAPABILITIES
        self._api_key = api_key
        self._connect_timeout_s = connect_timeout_s
        self._send_timeout_s = send_timeout_s
        self._reconnect_delay_s = reconnect_delay_s
        self._reconnect_max_delay_s = reconnect_max_delay_s
        self._reconnect_attempts = reconnect_attempts

    async def connect(self, config: SessionConfig) -> "Session":
        """Open a session and wait until the provider took its configuration.

        Raises:
            SessionError: it was refused, or not answered within connect_timeout_s.
        """
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                session = await self._dial(config.model)
                try:
                    await session.configure(config)
                except BaseException:
                    session.abort()
                    raise
                return session
        except TimeoutError as error:
            reason = f"the provider did not answer within {self._connect_timeout_s:g} s"
            raise SessionError(reason, temporary=True) from error

    def reconnect_delays(self) -> Iterator[float]:
        """Seconds to wait before each attempt to reconnect; ends where to give up."""
        delays = backoff(
            initial_delay=self._reconnect_delay_s,
            min_delay=self._reconnect_delay_s,
            max_delay=self._reconnect_max_delay_s,
        )
        return itertools.islice(delays, self._reconnect_attempts)

    async def _dial(self, model: str) -> "Session":
        host = urlsplit(self.base_url).hostname or ""
        try:
            websocket = await connect(
                f"{self.base_url}?{urlencode({'model': model})}",
                additional_headers={"Authorization": f"Bearer {self._api_key}"},
                # Base64 audio hardly compresses and compressing it doubles a frame's cost.
                compression=None,
                close_timeout=CLOSE_TIMEOUT_S,
                logger=_transport_logger,
                max_size=MAX_FRAME_BYTES,
                open_timeout=None,
                proxy=None if _is_loopback(host) else True,
            )
        except InvalidStatus as error:
            raise classify(error.response.status_code, "") from error
        except InvalidHandshake as error:
            raise SessionError(f"the handshake failed ({type(error).__name__})") from error
        except OSError as error:
            reason = f"the provider cannot be reached ({type(error).__name__})"
            raise SessionError(reason, temporary=True) from error
        return Session(websocket, self._send_timeout_s)


class Session:
    """One connection to the provider, from its first frame to its last."""

    def __init__(self, websocket: ClientConnection, send_timeout_s: float) -> None:
        self.output_rate: int | None = None
        self._websocket = websocket
        self._codec = wire.ClientCodec()
        self._send_timeout_s = send_timeout_s
        self._sending = asyncio.Lock()
        self._early: list[Event] = []

    async def close(self) -> None:
        """Close the connection; a provider that does not answer is cut off."""
        try:
            await self._websocket.close()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._websocket.transport.abort()

    async def configure(self, config: SessionConfig) -> None:
        """Configure the session, and wait until the provider took that.

        Raises:
            SessionError: the provider said no, or went away.
        """
        await self.send(Configure(config))
        while True:
            received = await self._receive()
            for number, event in enumerate(received, start=1):
                match event:
                    case SessionAccepted():
                        self._early += received[number:]
                        return
                    case Fault(code):
                        raise classify(code, "")
                    case _:
                        self._early.append(event)

    async def send(self, *commands: Command) -> None:
        """Send commands in order, nothing in between.

        Raises:
            SessionError: the connection is lost, or the provider stopped reading.
        """
        frames = [frame for command in commands for frame in self._codec.encode(command)]
        try:
            async with asyncio.timeout(self._send_timeout_s), self._sending:
                for frame in frames:
                    await self._websocket.send(frame)
        except ConnectionClosed as error:
            raise SessionError("the connection is lost", temporary=True) from error
        except TimeoutError as error:
            self.abort()
            raise SessionError("the provider stopped reading", temporary=True) from error

    async def send_audio(self, data: bytes) -> None:
        """Send packed signed 16-bit mono at the configured rate; see `send`."""
        for start in range(0, len(data), MAX_AUDIO_BYTES):
            await self.send(AppendAudio(data[start : start + MAX_AUDIO_BYTES]))

    async def create_response(
        self, messages: Sequence[AddMessage] = (), /, *, request_id: str, **options: object
    ) -> None:
        """Ask for a response: the provider's native call.

        Args:
            messages: added to the conversation first.
            request_id: comes back with the response.
            options: the provider's own settings for this response.
        """
        await self.send(*messages, CreateResponse(request_id, options))

    async def events(self) -> AsyncIterator[Event]:
        """Yield what the provider says until it ends the session.

        Raises:
            SessionError: the connection was lost, or a fatal error was reported.
        """
        while self._early:
            yield self._early.pop(0)
        while True:
            try:
                received = await self._receive()
            except SessionEnd:
                return
            for event in received:
                yield event

    async def _receive(self) -> list[Event]:
        try:
            frame = await self._websocket.recv()
        except ConnectionClosed as closed:
            frame_received = closed.rcvd
            if frame_received is None:
                raise classify(None, "") from closed
            raise classify(frame_received.code, frame_received.reason) from closed
        try:
            received = self._codec.decode(frame)
        except MalformedFrame as malformed:
            return [Malformed(str(malformed))]
        for event in received:
            match event:
                case Fault(code) if code in FATAL_REASONS + TEMPORARY_REASONS:
                    raise classify(code, "")
                case SessionAccepted(output_rate):
                    self.output_rate = output_rate
        return received


def _is_endpoint(base_url: str) -> bool:
    url = urlsplit(base_url)
    try:
        url.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return False
    return url.scheme in ("ws", "wss") and bool(url.hostname) and not (url.query or url.fragment)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
