"""The exceptions that a realtime plugin raises."""

MAX_CODE = 100
"""Characters of a provider's code or type that reach a log, an event or a metric."""


class SessionError(ConnectionError):
    """A session could not be opened, was refused a change, or was lost.

    Attributes:
        code: WebSocket close code, HTTP status or the provider's error code.
        temporary: trying again may help.
        retry_after_s: how long the provider asks to wait before that, seconds.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: int | str | None = None,
        temporary: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.temporary = temporary
        self.retry_after_s = retry_after_s


class SessionEnd(SessionError):
    """The provider ended the session as it may; there is no reason to reconnect."""


class ResponseError(RuntimeError):
    """A response failed. The session stays usable.

    Attributes:
        code: the provider's own name for the error.
    """

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(f"{reason}: {code}")
        self.code = code


class MalformedFrame(ValueError):
    """A frame that is not a message of the provider's."""


class TransportFailure(Exception):
    """A connection was not established, or ended; carries no exception of a library.

    Attributes:
        code: HTTP status or WebSocket close code; None where there was neither.
        reason: the provider's close reason, or what kind of failure it was.
        usable: False where the address, the proxy or the certificate cannot work.
        retry_after_s: how long the provider asks to wait, seconds.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: int | None = None,
        usable: bool = True,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.usable = usable
        self.retry_after_s = retry_after_s


def printable(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Cut what a provider calls something to MAX_CODE printable characters without secrets."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(c if c.isprintable() else " " for c in text[:MAX_CODE])
