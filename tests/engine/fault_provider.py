"""A provider that does what a fault script says, over real sockets."""

import asyncio
import base64
import contextlib
import http
import itertools
import json
import logging
import struct
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hypothesis import strategies as st
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "sk-kestrel-5f0c81d2"
"""The API key, which nothing may show."""

CONTENT = "nightingale"
"""A word in every prompt, instruction, argument, result and answer."""

_logger = logging.getLogger(__name__)
_logger.propagate = False  # what the provider's end logs is of no interest

AUDIO = base64.b64encode(bytes(range(240)) * 20).decode()
LONG = {
    "a deep list": "[" * 20_000,
    "deep objects": '{"type":"error","error":' * 2_000,
    "a long number": '{"type": "response.done", "response": {"id": ' + "9" * 5_000 + "}}",
    "more than the limit": "x" * 17_000_000,
    "a long code": "x" * 10_000,
}
"""Frames and codes, by names that are shorter in a report."""

TOOLS = ("look", "fail", "hang", "odd", "hang up", "no_such_tool")

CODES = (
    "server_error",
    "rate_limit_exceeded",
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "session_expired",
    "invalid_api_key",
    f"bad key {KEY}",
    f"a\nforged line\r{KEY}",
    "a long code",
    None,
    7,
)
"""What errors are called."""

HANDSHAKES = st.one_of(
    st.just("take"),
    st.just("take"),
    st.just("take"),
    st.sampled_from(["hang up", "reset", "junk", "redirect"]),
    st.sampled_from([200, 204, 301, 400, 401, 403, 408, 425, 429, 451, 500, 503, 520, 599]),
)
ACKNOWLEDGEMENTS = st.sampled_from(
    [
        *("at once", "at once", "at once", "late", "never", "error", "named error"),
        *("warning", "many transcripts", "drop", "close"),
    ]
)
ANSWERS = st.sampled_from(
    [
        *("complete", "complete", "audio", "tool", "tool", "two tools", "cut-off tool"),
        *("refuse", "refuse unnamed", "fail", "ignore", "hold", "drop", "close", "twice"),
        *("no ids", "never announced", "cancelled"),
    ]
)
FRAMES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200),
    st.sampled_from(["", *LONG]),
)
STEPS = st.one_of(
    st.tuples(st.just("frame"), FRAMES),
    st.tuples(st.just("cut"), st.integers(0, 60)),
    st.tuples(st.just("mistyped"), st.sampled_from([None, 7, "", "\ud83d", [], {"id": [1]}])),
    st.tuples(st.just("error"), st.sampled_from(CODES)),
    st.tuples(st.just("named error"), st.sampled_from(CODES)),
    st.tuples(st.just("close"), st.integers(1000, 4999)),
    st.tuples(
        st.sampled_from(["reset", "bad utf-8", "bad opcode", "speech", "pause", "own", "stray"]),
        st.none(),
    ),
    st.tuples(st.just("transcript"), st.sampled_from(["user_1", "user_2", None])),
)


@dataclass(frozen=True)
class Script:
    """What a provider does; where a list ends, it does everything right.

    Attributes:
        handshakes: how it answers each handshake.
        acknowledgements: how it answers each change of a session.
        answers: how it answers each request.
    """

    handshakes: list[str | int]
    acknowledgements: list[str]
    answers: list[str]


class Double:
    """Listens on 127.0.0.1, and does what a script says."""

    def __init__(self, script: Script) -> None:
        self.open: list[ServerConnection] = []
        self.url = ""
        self._handshakes = deque(script.handshakes)
        self._acknowledgements = deque(script.acknowledgements)
        self._answers = deque(script.answers)
        self._numbers = itertools.count(1)
        self._last_id = "event_0"
        self._held: list[tuple[ServerConnection, str]] = []
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._handshake,
            ping_interval=None,
            max_size=None,
            close_timeout=0.05,
            logger=_logger,
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1/realtime"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        for websocket in self.open:
            websocket.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    def behave(self) -> None:
        """Do everything right from here on."""
        for script in (self._handshakes, self._acknowledgements, self._answers):
            script.clear()

    async def act(self, what: str, with_what: Any) -> None:
        """Do one step, on the newest connection if there is one."""
        if not self.open:
            return
        websocket = self.open[-1]
        match what:
            case "frame":
                await self._send(websocket, LONG.get(with_what, with_what))
            case "cut":
                whole = _frame("response.output_text.delta", delta=CONTENT, response_id="cut")
                await self._send(websocket, whole[:with_what])
            case "mistyped":
                for kind in ("response.created", "response.done", "response.output_item.done"):
                    given = dict.fromkeys(("response", "item", "response_id"), with_what)
                    await self._send(websocket, _frame(kind, **given))
            case "error" | "named error":
                event_id = self._last_id if what == "named error" else None
                await self._error(websocket, LONG.get(with_what, with_what), event_id)
            case "close":
                _close(websocket, with_what)
            case "reset":
                websocket.transport.abort()
            case "bad utf-8":
                _write(websocket, b"\x81\x02\xff\xfe")
            case "bad opcode":
                _write(websocket, b"\xf7\x02ab")
            case "speech":
                for kind in ("started", "stopped"):
                    name = f"input_audio_buffer.speech_{kind}"
                    item_id = f"user_{next(self._numbers)}"
                    await self._send(websocket, _frame(name, item_id=item_id))
            case "pause":
                websocket.transport.pause_reading()
            case "own":
                await self._respond(websocket, "complete", None)
            case "stray":
                ids = {"response_id": "response_of_nobody", "item_id": "item_of_nobody"}
                for kind in ("text", "audio"):
                    said = AUDIO if kind == "audio" else CONTENT
                    name = f"response.output_{kind}.delta"
                    await self._send(websocket, _frame(name, delta=said, **ids))
            case "transcript":
                name = "conversation.item.input_audio_transcription"
                item = {"item_id": with_what, "transcript": CONTENT, "delta": CONTENT}
                await self._send(websocket, _frame(f"{name}.delta", **item))
                await self._send(websocket, _frame(f"{name}.completed", **item))

    def _handshake(self, websocket: ServerConnection, request: Request) -> Response | None:
        how = self._handshakes.popleft() if self._handshakes else "take"
        if how == "take":
            return None
        status = how if isinstance(how, int) else 400
        headers = Headers({"Retry-After": "0", "X-Key": KEY, "Content-Length": "0"})
        if how in ("hang up", "junk"):
            if how == "junk":
                _write(websocket, f"HTTP/1.1 nonsense {KEY}\r\n\r\n".encode())
            websocket.transport.close()
        elif how == "reset":
            websocket.transport.abort()
        elif how == "redirect":
            status, headers["Location"] = 302, self.url
        elif status % 2:
            headers["Retry-After"] = "0"  # and a second time
        phrase = http.HTTPStatus(400).phrase
        return Response(status, phrase, headers, b"")

    async def _serve(self, websocket: ServerConnection) -> None:
        self.open.append(websocket)
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            session = {"id": "session_1", "instructions": CONTENT}
            await websocket.send(_frame("session.created", session=session))
            async for frame in websocket:
                said = json.loads(frame)
                self._last_id = said.get("event_id", self._last_id)
                if said["type"] == "session.update":
                    await self._acknowledge(websocket, said)
                elif said["type"] == "response.create":
                    how = self._answers.popleft() if self._answers else "complete"
                    await self._respond(websocket, how, said["response"].get("metadata"))
                elif said["type"] == "response.cancel":
                    await self._end_held(websocket)
        self.open.remove(websocket)

    async def _acknowledge(self, websocket: ServerConnection, said: dict[str, Any]) -> None:
        how = self._acknowledgements.popleft() if self._acknowledgements else "at once"
        match how:
            case "never":
                return
            case "late":
                await asyncio.sleep(0.05)
            case "error" | "named error":
                event_id = said["event_id"] if how == "named error" else None
                await self._error(websocket, f"invalid_value {KEY}\n", event_id)
                return
            case "warning":
                await self._error(websocket, "a_warning", None)
            case "many transcripts":
                name = "conversation.item.input_audio_transcription.completed"
                for _ in range(20):
                    await self._send(websocket, _frame(name, transcript=CONTENT * 30_000))
            case "drop":
                websocket.transport.abort()
                return
            case "close":
                _close(websocket, 1011)
                return
        await self._send(websocket, _frame("session.updated", session=said["session"]))

    async def _respond(
        self, websocket: ServerConnection, how: str, metadata: dict[str, Any] | None
    ) -> None:
        number = next(self._numbers)
        response: dict[str, Any] = {"id": f"response_{number}", "metadata": metadata}
        ids = {"response_id": response["id"], "item_id": f"item_{number}"}
        match how:
            case "ignore":
                return
            case "refuse" | "refuse unnamed":
                event_id = self._last_id if how == "refuse" else None
                await self._error(websocket, f"refused {KEY}\n{KEY}", event_id)
                return
            case "no ids":
                response.pop("metadata")
                ids = {}
        if how != "never announced":
            await self._send(websocket, _frame("response.created", response=response))
        if "tool" in how:
            await self._call(websocket, how, number, ids)
        if how == "audio":
            await self._send(websocket, _frame("response.output_audio.delta", delta=AUDIO, **ids))
        name = "response.output_audio_transcript.delta"
        await self._send(websocket, _frame(name, delta=f"{CONTENT} {number}", **ids))
        match how:
            case "hold":
                self._held.append((websocket, response["id"]))
                return
            case "drop":
                websocket.transport.abort()
                return
            case "close":
                _close(websocket, 1012)
                return
            case "fail":
                error = {"code": f"failed {KEY}\nforged", "type": KEY}
                response |= {"status": "failed", "status_details": {"error": error}}
            case "cancelled":
                response["status"] = "cancelled"
            case "twice":
                await self._send(websocket, _frame("response.done", response=response))
        await self._send(websocket, _frame("response.done", response=response))

    async def _call(
        self, websocket: ServerConnection, how: str, number: int, ids: dict[str, str]
    ) -> None:
        for place in range(2 if how == "two tools" else 1):
            call = {
                "type": "function_call",
                "id": f"call_item_{number}_{place}",
                "call_id": f"call_{number}_{place}",
                "name": TOOLS[(number + place) % len(TOOLS)],
            }
            await self._send(
                websocket,
                _frame("response.output_item.added", item=call, **ids | {"item_id": None}),
            )
            if how == "cut-off tool":
                call |= {"arguments": '{"city": "' + CONTENT, "status": "incomplete"}
            else:
                call |= {"arguments": json.dumps({"city": CONTENT}), "status": "completed"}
            await self._send(websocket, _frame("response.output_item.done", item=call, **ids))

    async def _end_held(self, websocket: ServerConnection) -> None:
        held, self._held = self._held, []
        for where, response_id in held:
            if where is websocket:
                response = {"id": response_id, "status": "cancelled"}
                await self._send(websocket, _frame("response.done", response=response))
        if not held:
            await self._error(websocket, "response_cancel_not_active", None)

    async def _error(self, websocket: ServerConnection, code: object, event_id: str | None) -> None:
        error = {"code": code, "event_id": event_id, "type": f"{KEY}\n", "message": CONTENT + KEY}
        await self._send(websocket, _frame("error", error=error))

    async def _send(self, websocket: ServerConnection, frame: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed, ConnectionError, TimeoutError):
            async with asyncio.timeout(0.2):
                await websocket.send(frame)


def _frame(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields})


def _close(websocket: ServerConnection, code: int) -> None:
    """Send a close frame with any code, also one that no library sends."""
    reason = f"{CONTENT} {KEY}".encode()
    payload = struct.pack("!H", code) + reason
    _write(websocket, bytes([0x88, len(payload)]) + payload)


def _write(websocket: ServerConnection, data: bytes) -> None:
    """Write bytes that are no valid message, unless the connection is half closed already."""
    with contextlib.suppress(RuntimeError):
        websocket.transport.write(data)
