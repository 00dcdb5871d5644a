"""A server that answers a connection with the bytes it is given, and closes it."""

import asyncio
import contextlib
import datetime
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HEAD_END = b"\r\n\r\n"


class RawServer:
    """Listens on 127.0.0.1.

    Args:
        answer: what every connection is sent after its request; None closes it at once. A
            function is given the request.
        port: 0 for any.
        tls: with TLS, and a certificate that nobody trusts.
        silent: answer nothing, and wait for the client to hang up.

    Attributes:
        port: where it listens.
        connections: how many there were.
        open: how many there are.
        received: what was received on all of them, after TLS.
    """

    def __init__(
        self,
        answer: bytes | Callable[[bytes], bytes] | None,
        *,
        port: int = 0,
        tls: bool = False,
        silent: bool = False,
    ) -> None:
        self.port = port
        self.connections = 0
        self.open = 0
        self.received = b""
        self._answer = answer
        self._tls = tls
        self._silent = silent
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        context = _untrusted() if self._tls else None
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=context, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._answer_one(reader, writer)
        finally:
            self.open -= 1

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if self._silent:
                self.received += await reader.read()
            elif self._answer is not None:
                request = await reader.readuntil(HEAD_END)
                self.received += request
                answer = self._answer
                writer.write(answer if isinstance(answer, bytes) else answer(request))
                await writer.drain()
            writer.close()
            await writer.wait_closed()


def response(status: int, *headers: str, body: str = "") -> bytes:
    """An HTTP response."""
    lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", body]).encode()


def _untrusted() -> ssl.SSLContext:
    """A context with a certificate for 127.0.0.1 that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        path.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
    return context
