"""{{ cookiecutter.plugin_name }}'s address and credentials, and what a lost connection means.

Change this file where your provider's handshake or its errors differ. Its messages
are in wire.py.
"""

import asyncio
import itertools
import json
import logging
import os
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import aiohttp
from aiortc import RTCIceServer
from websockets.client import backoff

from . import wire
from ._engine.access import (
    ApiKey,
    check_key,
    current_key,
    is_endpoint,
    is_loopback,
    shown,
)
from ._engine.errors import SessionEnd, SessionError, TransportFailure
from ._engine.peer import Peer
from ._engine.session_types import SessionConfig
from ._engine.signaling import post_offer
from ._engine.webrtc import WebRTCSession

API_KEY_VARIABLE = "{{ cookiecutter.__env_prefix }}_API_KEY"

DEFAULT_BASE_URL = "https://{{ cookiecutter.plugin_slug | slugify }}.example/v1/realtime/calls"

CHANNEL = "oai-events"
"""Label of the data channel for the provider's messages."""

TEMPORARY_HTTP_STATUS = frozenset({408, 425, 429})
"""Answers to the offer after which to try again, beside 500 to 599."""

TEMPORARY_REASONS = ("session_expired", "session expired", "maximum duration")
"""Error codes after which to reconnect."""

TEMPORARY_WHILE_CONFIGURING = ("rate_limit", "server_error", "overloaded", "try_again")
"""Error codes that refuse a session for the moment."""

FATAL_REASONS = (
    "invalid_api_key",
    "insufficient_quota",
    "account_deactivated",
    "model_not_found",
)
"""Error codes that end the session for good."""

logger = logging.getLogger(__name__)


def classify(
    code: int | str | None, reason: str, *, configuring: bool = False
) -> SessionError | None:
    """Classify a closed connection or a reported error: clean end, temporary or fatal.

    Args:
        code: HTTP status or error code; 1000 where the provider closed the connection,
            None where it broke.
        reason: what kind of failure it was.
        configuring: the session was not accepted yet.

    Returns:
        SessionEnd for a clean end, another SessionError for a loss, None for an error
        after which the session goes on.
    """
    words = f"{code} {reason}".lower()
    if any(fatal in words for fatal in FATAL_REASONS):
        return SessionError(f"the provider ended the session ({code})", code=code)
    if any(temporary in words for temporary in TEMPORARY_REASONS):
        return SessionError(f"the session expired ({code})", code=code, temporary=True)
    match code:
        case None:
            return SessionError("the connection broke", temporary=True)
        case 1000:
            return SessionEnd("the provider ended the session")
        case int():
            temporary = code in TEMPORARY_HTTP_STATUS or 500 <= code < 600
            return SessionError(
                f"the offer was refused ({code})", code=code, temporary=temporary
            )
    if configuring and any(each in words for each in TEMPORARY_WHILE_CONFIGURING):
        return SessionError(
            f"the session was refused ({code})", code=code, temporary=True
        )
    return None


def build_client(api_key: ApiKey | None, base_url: str | None) -> "Client":
    """Build the client where the caller brought none.

    Raises:
        ValueError: there is no key, or it would be sent in clear text.
    """
    key = api_key or os.environ.get(API_KEY_VARIABLE)
    if not key:
        raise ValueError(
            f"api_key is missing: pass api_key or set {API_KEY_VARIABLE}, or pass a client "
            "of your own"
        )
    client = Client(key, base_url if base_url is not None else DEFAULT_BASE_URL)
    if urlsplit(client.base_url).scheme == "http" and not is_loopback(client.base_url):
        raise ValueError(
            f"base_url={shown(client.base_url)!r} would send the API key in clear text: use https://, "
            "or pass a client of your own"
        )
    return client


class Client:
    """Opens sessions with the provider.

    Args:
        api_key: sent as a bearer token.
        base_url: the endpoint that answers offers; it may have a query.
        ice_servers: STUN and TURN servers to reach the provider through; none is
            asked unless given here.
        connect_timeout_s: bound on opening a session, from the offer to its configuration.
        send_timeout_s: bound on one send to a provider that stopped reading.
        reconnect_delay_s: upper bound of the random delay before the first attempt
            to reconnect, and the delay before the second; it grows from there.
        reconnect_max_delay_s: cap on that delay.
        reconnect_attempts: attempts in a row before giving up.

    Raises:
        ValueError: api_key cannot be sent, or base_url is no HTTP URL.
    """

    traits = wire.TRAITS

    def __init__(
        self,
        api_key: ApiKey,
        base_url: str = DEFAULT_BASE_URL,
        *,
        ice_servers: Sequence[RTCIceServer] = (),
        connect_timeout_s: float = 10.0,
        send_timeout_s: float = 5.0,
        reconnect_delay_s: float = 0.25,
        reconnect_max_delay_s: float = 5.0,
        reconnect_attempts: int = 8,
    ) -> None:
        if isinstance(api_key, str):
            check_key(api_key)
        if not is_endpoint(base_url, "http", "https"):
            raise ValueError(
                f"base_url={shown(base_url)!r} is no endpoint: give http:// or https://, a host and a path"
            )
        self.base_url = base_url
        self._api_key = api_key
        self._ice_servers = tuple(ice_servers)
        self._connect_timeout_s = connect_timeout_s
        self._send_timeout_s = send_timeout_s
        self._reconnect_delay_s = reconnect_delay_s
        self._reconnect_max_delay_s = reconnect_max_delay_s
        self._reconnect_attempts = reconnect_attempts

    async def connect(
        self, config: SessionConfig, resume: str | None = None
    ) -> WebRTCSession:
        """Open a session and wait until the provider accepted its configuration.

        Args:
            config: what to configure it with.
            resume: handle of a lost session to continue; otherwise a new one is opened.

        Raises:
            SessionError: it was refused, or not answered within connect_timeout_s.
        """
        peer = Peer(self._ice_servers, video={{ cookiecutter.video == 'yes' }})
        try:
            return await self._connect(peer, config, resume)
        except TimeoutError:
            reason = f"the provider did not answer within {self._connect_timeout_s:g} s"
            failure = SessionError(reason, temporary=True)
        except SessionError as error:
            failure = error
        except BaseException:
            peer.abort()
            raise
        await peer.close()
        if resume is None:
            raise failure
        logger.info("The lost session was not continued: %s", failure)
        return await self.connect(config)

    def reconnect_delays(self) -> Iterator[float]:
        """Seconds to wait before each attempt to reconnect; ends where to give up."""
        delays = backoff(
            initial_delay=self._reconnect_delay_s,
            min_delay=self._reconnect_delay_s,
            max_delay=self._reconnect_max_delay_s,
        )
        return itertools.islice(delays, self._reconnect_attempts)

    async def _connect(
        self, peer: Peer, config: SessionConfig, resume: str | None
    ) -> WebRTCSession:
        deadline = asyncio.get_running_loop().time() + self._connect_timeout_s
        failure: SessionError | None
        try:
            async with asyncio.timeout_at(deadline):
                key = await current_key(self._api_key)
                await peer.accept(
                    await self._answer(await peer.offer(CHANNEL), config, key)
                )
        except TransportFailure as error:
            failure = classify(error.code, error.reason)
            if failure is None or not error.usable:
                failure = SessionError(
                    f"the provider cannot be reached ({error.reason})"
                )
            failure.retry_after_s = error.retry_after_s
        else:
            session = WebRTCSession(
                peer,
                wire.Codec(),
                wire.TRAITS,
                classify,
                send_timeout_s=self._send_timeout_s,
                secrets=(key,),
            )
            await session.configure(config, resume, deadline=deadline)
            return session
        raise failure  # without a cause: nothing of the request may reach a log

    async def _answer(self, offer: str, config: SessionConfig, key: str) -> str:
        """Send the offer and the session's model; the rest is configured once connected."""
        session = json.dumps({"type": "realtime", "model": config.model})
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("sdp", offer, content_type="application/sdp")
        form.add_field("session", session, content_type="application/json")
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/sdp"}
        return await post_offer(self.base_url, form, headers)
