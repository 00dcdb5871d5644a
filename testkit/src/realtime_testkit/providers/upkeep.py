"""What happens to a connection with time: pings, keep-alives, and the end of a session."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Protocol

from realtime_testkit import protocol

SILENT_CODE = 1011
"""The close code for a client that keeps silent for too long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection has to keep to, in seconds.

    Attributes:
        ping_s: between pings, each to be answered before the next; None for no pings.
        silence_s: the longest time without a message; None for any.
        session_s: the longest session; None for any.
    """

    ping_s: float | None = None
    silence_s: float | None = None
    session_s: float | None = None


class Connection(Protocol):
    """The connection that is kept up."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the session."""

    async def say_if_supported(self, event: protocol.Event) -> None:
        """Say something."""

    def object_to(self, what: str) -> None:
        """Note something that a strict provider does not allow."""


class Upkeep:
    """Keeps one connection within its limits."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._tasks: list[asyncio.Task[None]] = []
        self._tokens = itertools.count(1)
        self._unanswered: str | None = None
        self._heard = asyncio.Event()

    def start(self) -> None:
        """Begin to watch the time."""
        limits = self._limits
        if limits.ping_s is not None:
            self._tasks.append(asyncio.create_task(self._ping(limits.ping_s)))
        if limits.silence_s is not None:
            self._tasks.append(asyncio.create_task(self._miss(limits.silence_s)))
        if limits.session_s is not None:
            self._tasks.append(asyncio.create_task(self._expire(limits.session_s)))

    async def stop(self) -> None:
        """Watch no longer."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def heard(self, command: protocol.Command | None = None) -> None:
        """The client said something."""
        self._heard.set()
        if isinstance(command, protocol.Pong) and command.token == self._unanswered:
            self._unanswered = None

    async def _ping(self, every_s: float) -> None:
        try:
            while True:
                await asyncio.sleep(every_s)
                if self._unanswered is not None:
                    self._connection.object_to(f"no Pong for {self._unanswered}")
                self._unanswered = f"ping_{next(self._tokens)}"
                await self._connection.say_if_supported(protocol.Ping(self._unanswered))
        except ConnectionError:
            return

    async def _miss(self, silence_s: float) -> None:
        try:
            while True:
                self._heard.clear()
                async with asyncio.timeout(silence_s):
                    await self._heard.wait()
        except TimeoutError:
            self._connection.object_to(f"nothing was said for {silence_s:g} s")
            await self._connection.close(SILENT_CODE, "no message in time")

    async def _expire(self, session_s: float) -> None:
        await asyncio.sleep(session_s)
        try:
            await self._connection.say_if_supported(protocol.Fault("session_expired"))
            await self._connection.close(1001, "the session expired")
        except ConnectionError:
            return
