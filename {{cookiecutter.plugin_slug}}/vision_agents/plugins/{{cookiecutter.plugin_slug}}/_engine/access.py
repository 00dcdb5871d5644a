"""Where a provider is, when and with which key: what can be used, and the key of the moment."""

import ipaddress
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from inspect import isawaitable
from urllib.parse import urlsplit

from .errors import SessionError

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or what returns one for each connection."""


def is_endpoint(url: str, *schemes: str) -> bool:
    """Whether a URL has one of these schemes, a host, and nothing that cannot be."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not parts.fragment


def shown(url: str) -> str:
    """Return a URL without its password and its query, which may hold a key."""
    return re.sub("//[^/@]*@", "//***@", re.sub(r"\?.*", "?***", url))


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wait_s(retry_after: str) -> float:
    """Read a Retry-After header, a number of seconds or a date; 0 for anything else."""
    if retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        due = parsedate_to_datetime(retry_after) - datetime.now(UTC)
    except (ValueError, TypeError):  # the latter for a date without a zone
        return 0.0
    return max(0.0, due.total_seconds())


def check_key(key: object) -> str:
    """Return a key that can be sent in a header.

    Raises:
        ValueError: it cannot; the message does not show it.
    """
    if not isinstance(key, str) or not re.fullmatch("[!-~]+", key):
        raise ValueError(
            "api_key cannot be sent in a header: it is empty, or has spaces, line ends or "
            "characters that are not ASCII"
        )
    return key


async def current_key(api_key: ApiKey) -> str:
    """Return the key for the next connection.

    Raises:
        SessionError: the caller's function failed, or returned no usable key.
    """
    if isinstance(api_key, str):
        return api_key
    try:
        key = api_key()
        return check_key(await key if isawaitable(key) else key)
    except Exception as error:  # noqa: BLE001 - a caller's own function may raise anything
        failure, temporary = type(error).__name__, not isinstance(error, ValueError)
    # Raised here, without a cause: the exception may show the key.
    raise SessionError(
        f"api_key() returned no usable key ({failure})", temporary=temporary
    )
