"""Has a provider answer an offer, in one HTTP request whose failures are TransportFailure."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from .access import is_loopback, wait_s
from .errors import TransportFailure

MAX_ANSWER_BYTES = 256 * 1024
"""A longer answer is no session description."""


async def post_offer(
    url: str, form: aiohttp.FormData, headers: Mapping[str, str]
) -> str:
    """Send an offer; redirects are not followed. Returns the answer.

    Raises:
        TransportFailure: it was refused, or the address cannot work.
    """
    try:
        # Not trust_env: it would look for another password than the API key, too.
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                url,
                data=form,
                headers=headers,
                proxy=_proxy(url),
                allow_redirects=False,
            ) as response,
        ):
            if response.status in (200, 201):
                return await _read(response)
            wait = response.headers.get("Retry-After", "")
            failure = TransportFailure(
                "the offer was refused",
                code=response.status,
                retry_after_s=wait_s(wait),
            )
    except aiohttp.ClientConnectorCertificateError:
        failure = TransportFailure("the certificate does not fit", usable=False)
    except ValueError as error:
        failure = TransportFailure(type(error).__name__, usable=False)
    except (aiohttp.ClientError, OSError) as error:
        failure = TransportFailure(type(error).__name__)
    # Raised here, without a cause: the library's exceptions hold the request's headers.
    raise failure


async def _read(response: aiohttp.ClientResponse) -> str:
    """Read an answer, in however many pieces it comes."""
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > MAX_ANSWER_BYTES:
            raise TransportFailure("the answer is too long", usable=False)
    return answer.decode(errors="replace")


def _proxy(url: str) -> str | None:
    """Return the environment's proxy for a URL."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise TransportFailure("a proxy that is not HTTP", usable=False)
    return proxy
