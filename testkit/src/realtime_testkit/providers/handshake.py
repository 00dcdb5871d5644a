"""How a client asks for a connection, and how it is refused one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Handshake:
    """A client's request for a connection.

    Attributes:
        path: of the URL, without the query.
        query: the parameters of the URL.
        headers: by their names in lower case.
    """

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, target: str, headers: Mapping[str, str]) -> Self:
        """Read the target and the headers of an HTTP request."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return cls(url.path, query, {name.lower(): value for name, value in headers.items()})

    def token(self, scheme: str = "Bearer", header: str = "authorization") -> str | None:
        """The credentials in a header that starts with a scheme, if it has that scheme."""
        given, _, token = self.headers.get(header.lower(), "").partition(" ")
        return token if given.lower() == scheme.lower() and token else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP answer to a handshake that is refused."""

    status: int
    reason: str = ""
