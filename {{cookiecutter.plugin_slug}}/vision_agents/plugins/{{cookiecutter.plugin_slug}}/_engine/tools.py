"""Runs the tools that the model calls, beside the reading of the session."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from msgspec import structs

from .bounded import BoundedDict
from .connection import stop
from .history import plain
from .responses import Response
from .session import Session
from .session_events import ToolCall
from .session_types import JSONObject

MAX_RUNNING = 8
"""How many tools run side by side; the others wait."""

MAX_ARGUMENTS = 256 * 1024
"""Characters of one call's arguments; those of a longer one are not read."""

MAX_CALLS = 256
"""How many calls are remembered, and how many may wait; the newest."""

GRACE_S = 0.1
"""How long close() lets tools finish before it cancels them."""

logger = logging.getLogger(__name__)

_Key = tuple[int, str]  # the session, counted, and the id of a call in it
_running_call: ContextVar[_Key] = ContextVar("running_call", default=(0, ""))


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool may return to say how it goes on.

    Attributes:
        output: the result that the model is told.
        respond: False where it is no reason for a response.
    """

    output: object = field(repr=False)
    respond: bool = True


RunOne = Callable[
    [dict[str, object], float], Awaitable[tuple[object, object, Exception | None]]
]


class Tools:
    """The calls that run.

    Args:
        run_one: runs a registered function; the base class's own.
        timeout_s: bound on one call.
        finished: awaited with each call that ended, its session, response and result.
    """

    def __init__(
        self,
        run_one: RunOne,
        timeout_s: float,
        finished: Callable[
            [Session, ToolCall, Response, ToolResult | None], Awaitable[None]
        ],
    ) -> None:
        self._run_one = run_one
        self._timeout_s = timeout_s
        self._finished = finished
        self._seen: BoundedDict[str, None] = BoundedDict(MAX_CALLS)
        self._sessions = 0
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._unwanted: set[_Key] = set()
        self._slots = asyncio.Semaphore(MAX_RUNNING)
        self._closing = False

    def call(self, session: Session, call: ToolCall, response: Response) -> None:
        """Run a tool; one that is told twice runs once."""
        if self._closing or call.call_id in self._seen:
            return
        if len(self._tasks) >= MAX_CALLS:
            logger.warning("A call was left out: %d tools run or wait", MAX_CALLS)
            return
        if len(call.arguments) > MAX_ARGUMENTS:
            call = structs.replace(call, arguments="too long")  # the model is told
        self._seen[call.call_id] = None
        response.calls += 1
        response.open_calls += 1
        for reply in response.replies:
            reply.waits_for += 1
        key = (self._sessions, call.call_id)
        task = asyncio.create_task(self._run(key, session, call, response))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def cancel(self, call_id: str) -> None:
        """Tell nobody the result of a call that the provider took back."""
        key = (self._sessions, call_id)
        if key in self._tasks:
            self._unwanted.add(key)

    def forget(self) -> None:
        """Begin anew with a session whose calls have ids of their own."""
        self._seen.clear()
        self._sessions += 1
        self._closing = False

    async def finish(self) -> None:
        """Start no more, and let those that run finish for a moment, for their results."""
        self._closing = True
        if running := self._others():
            await asyncio.wait(running, timeout=GRACE_S)

    async def stop(self) -> None:
        """Cancel the tools that run; one that calls this itself runs on, for nobody."""
        self._unwanted |= self._tasks.keys() & {_running_call.get()}
        await stop(self._others())

    def _others(self) -> list[asyncio.Task[None]]:
        return [task for key, task in self._tasks.items() if key != _running_call.get()]

    async def _run(
        self, key: _Key, session: Session, call: ToolCall, response: Response
    ) -> None:
        _running_call.set(key)
        result: ToolResult | None = None
        try:
            async with self._slots:
                result = await self._result(call)
            if key in self._unwanted:
                result = None
        finally:
            self._unwanted.discard(key)
            response.open_calls -= 1
            for reply in response.replies:
                reply.waits_for -= 1
        await self._finished(session, call, response, result)

    async def _result(self, call: ToolCall) -> ToolResult:
        try:
            arguments = call.parse()
        except ValueError as error:
            return ToolResult({"error": str(error)})
        output, failure = await self._outcome(call, arguments)
        respond = not isinstance(output, ToolResult) or output.respond
        if isinstance(output, ToolResult):
            output = output.output
        return ToolResult(
            plain(output if failure is None else {"error": failure}), respond
        )

    async def _outcome(
        self, call: ToolCall, arguments: JSONObject
    ) -> tuple[object, BaseException | None]:
        failure: BaseException | None
        try:
            _, output, failure = await self._run_one(
                {"id": call.call_id, "name": call.name, "arguments_json": arguments},
                self._timeout_s,
            )
        except asyncio.CancelledError as cancelled:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            return (
                None,
                cancelled,
            )  # of something inside the tool: for the model it failed
        except Exception as error:  # noqa: BLE001 - the base class could not tell how it failed
            return None, error
        return output, failure
